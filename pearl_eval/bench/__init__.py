"""Decoders side by side in one run, limits and goals beside."""
