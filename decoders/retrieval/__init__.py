"""What was seen before, and what is guessed by it: suffixes counted, and their continuations."""
