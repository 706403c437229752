"""What vLLM is told to import, by a name that no folder of a user's own has: see docs/vllm.md.

``--speculative-config '{"method": "custom_class", "model": "pearl_eval.vllm.Pearl", ...}'``
``--distributed-executor-backend pearl_eval.vllm.Executor``
"""

from typing import Any

from decoders.vllm.probe import Probe
from decoders.vllm.proposer import PearlProposer as Pearl

__all__ = ["Pearl", "Probe"]


def __getattr__(name: str) -> Any:
    # Late, since this one needs vLLM.
    if name == "Executor":
        from decoders.vllm.executor import Executor

        # vLLM sends it to another process by its name, which must be one that is found there, too.
        Executor.__module__ = __name__
        return Executor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
