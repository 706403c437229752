"""A benchmark: runs of several decoders whose prompts are interleaved, and the limits beside."""
