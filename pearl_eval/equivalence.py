"""Is the output the target's own? The verdicts ``identical``, ``tie`` and ``violation``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from decoders.model import CachedModel
from decoders.text import Text

#: Rows of logits looked at in one piece, which bounds the memory of the check.
_CHUNK = 256


@dataclass(frozen=True)
class Divergence:
    """A token that is not the target's first choice: its position among the generated tokens, the
    token, the target's own, their logits in higher precision, and the tolerance."""

    position: int
    token: int
    expected: int
    token_logit: float
    expected_logit: float
    tolerance: float

    def __str__(self) -> str:
        return (
            f"position {self.position}: token {self.token} (logit {self.token_logit:.6g}) where the"
            f" target's own is {self.expected} (logit {self.expected_logit:.6g}),"
            f" tolerance {self.tolerance:.2g}"
        )


@dataclass(frozen=True)
class Verdict:
    """``kind`` is ``identical``, ``tie`` or ``violation``; ``why`` says what a violation is.

    For a decoder that does not claim the target's output, it is ``identical`` or ``lossy``.
    """

    kind: str
    first_divergence: int | None = None
    why: str = ""


IDENTICAL = Verdict("identical")


class EquivalenceChecker:
    """Compares outputs with the reference's.

    Where they differ, the target runs once over prompt and output in its run's dtype and once in
    higher precision. The largest difference of a logit between the two is the rounding error of
    the dtype on this text; a token within ``tolerance_factor`` times that of the target's first
    choice is a tie. Every token of the output is held to this, so the ones after a first tie too.

    Parameters
    ----------
    target
        The target model of the run.
    tolerance_factor
        4 by default: each of the two compared scores may be off by the error on either side.
    """

    def __init__(self, target: CachedModel, tolerance_factor: float = 4.0) -> None:
        self._target = target
        self._factor = tolerance_factor
        self._precise: CachedModel | None = None

    def compare(
        self,
        prompt: Sequence[int],
        output: Sequence[int],
        reference: Sequence[int],
        limit: int,
        stop_ids: Sequence[int],
    ) -> Verdict:
        """Judge ``output``, generated from ``prompt`` by the decoder under test."""
        first = first_difference(output, reference)
        if first is None:
            return IDENTICAL
        text = Text(prompt, limit, stop_ids)
        text.append(output)
        if text.output != list(output) or not text.finished:
            return Verdict(
                "violation", first, f"ends at {len(output)} tokens, neither at a stop nor the limit"
            )
        wrong = self._first_wrong_token(list(prompt), list(output))
        if wrong is not None:
            return Verdict("violation", first, str(wrong))
        return Verdict("tie", first)

    @torch.inference_mode()
    def _first_wrong_token(self, prompt: list[int], output: list[int]) -> Divergence | None:
        """The first token of ``output`` that is no first choice of the target's, nor a tie."""
        gaps: list[tuple[float, int, int, float, float]] = []
        error = 0.0
        if self._precise is None:
            self._precise = self._target.in_higher_precision()
        precise = self._precise
        self._target.rollback(0)
        precise.rollback(0)
        for start in range(0, len(output), _CHUNK):
            piece = output[start : start + _CHUNK]
            seen = prompt + output[: start + len(piece) - 1]
            run = self._target.extend(seen, rows=len(piece)).to(precise.model.dtype)
            exact = precise.extend(seen, rows=len(piece))
            error = max(error, float((run - exact).abs().max()))
            best, choice = exact.max(dim=-1)
            rows = torch.arange(len(piece), device=exact.device)
            given = exact[rows, torch.tensor(piece, device=exact.device)]
            for offset in torch.nonzero(given < best).flatten().tolist():
                top, own = float(best[offset]), float(given[offset])
                gaps.append((top - own, start + offset, int(choice[offset]), own, top))
        tolerance = self._factor * error
        for gap, position, expected, own, top in gaps:
            if gap > tolerance:
                return Divergence(position, output[position], expected, own, top, tolerance)
        return None


def first_difference(output: Sequence[int], reference: Sequence[int]) -> int | None:
    """First position at which two outputs differ, which may be where one of them ends."""
    for position, (ours, theirs) in enumerate(zip(output, reference, strict=False)):
        if ours != theirs:
            return position
    return None if len(output) == len(reference) else min(len(output), len(reference))


def lossy_verdict(output: Sequence[int], reference: Sequence[int]) -> Verdict:
    """The verdict on a decoder that does not claim to give the target's own output."""
    first = first_difference(output, reference)
    return IDENTICAL if first is None else Verdict("lossy", first)
