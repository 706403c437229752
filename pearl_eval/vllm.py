"""What vLLM is told to import: names in a package that no folder of a user's hides."""

from decoders.vllm.probe import Probe

__all__ = ["Probe"]
