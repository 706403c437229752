"""Evaluates speculative decoding of large language models, built around PEARL."""

__version__ = "0.1.0"
