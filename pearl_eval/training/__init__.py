"""A draft model trained to say what a target says: losses, batches of its text, the loop."""
