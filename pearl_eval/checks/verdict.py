"""What is said of an output: whether it is the target's own, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from decoders.sampling.sampler import common_length


@dataclass(frozen=True)
class Verdict:
    """Whether an output is the target's own (``kind``), and the evidence (``why``).

    Where outputs need not be the same it is ``identical`` or says why: ``lossy`` for a decoder that
    does not claim the target's output, ``sampled`` where tokens are drawn at random.
    ``runner_up_pass_rate`` is the share of the output's positions at which the target's second
    choice would have passed as a tie, too: what the check can't see.
    """

    kind: str
    first_divergence: int | None = None
    why: str = ""
    runner_up_pass_rate: float | None = None


IDENTICAL = Verdict("identical")


def first_difference(output: Sequence[int], reference: Sequence[int]) -> int | None:
    """First position at which two outputs differ, which may be where one of them ends."""
    common = common_length(output, reference)
    return None if common == len(output) == len(reference) else common


def unchecked_verdict(kind: str, output: Sequence[int], reference: Sequence[int]) -> Verdict:
    """The verdict where the outputs need not be the same; ``kind`` says why."""
    first = first_difference(output, reference)
    return IDENTICAL if first is None else Verdict(kind, first)
