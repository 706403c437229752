"""Evaluates speculative decoding of large language models, built around PEARL."""

from pearl_eval import own_packages

__version__ = "0.1.0"

own_packages.insist()
