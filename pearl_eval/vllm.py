"""What vLLM is told to import, by a name that no folder of a user's own has: see docs/vllm.md.

``--speculative-config '{"method": "custom_class", "model": "pearl_eval.vllm.Pearl", ...}'``
"""

from decoders.vllm.probe import Probe
from decoders.vllm.proposer import PearlProposer as Pearl

__all__ = ["Pearl", "Probe"]
