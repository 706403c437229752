"""Weights that are no folder of safetensors yet: GGUF files, also in installed packages."""
