"""Is the output the target's own? The verdicts ``identical``, ``tie`` and ``violation``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from decoders.model import CachedModel
from decoders.sampler import OwnChoice
from decoders.text import Text

#: Positions looked at in one piece, which bounds the memory of the check.
_CHUNK = 256


@dataclass(frozen=True)
class Divergence:
    """A token that is not the target's first choice.

    Its position among the generated tokens, the token, the target's own, and their logits in higher
    precision, plus the noise that chose among them where there is some.
    """

    position: int
    token: int
    expected: int
    token_logit: float
    expected_logit: float

    @property
    def gap(self) -> float:
        return self.expected_logit - self.token_logit


@dataclass(frozen=True)
class Verdict:
    """``kind`` is ``identical``, ``tie`` or ``violation``; ``why`` says what a violation is.

    Where outputs need not be the same it is ``identical`` or says why: ``lossy`` for a decoder that
    does not claim the target's output, ``sampled`` where tokens are drawn at random.
    """

    kind: str
    first_divergence: int | None = None
    why: str = ""


IDENTICAL = Verdict("identical")


def first_difference(output: Sequence[int], reference: Sequence[int]) -> int | None:
    """First position at which two outputs differ, which may be where one of them ends."""
    for position, (ours, theirs) in enumerate(zip(output, reference, strict=False)):
        if ours != theirs:
            return position
    return None if len(output) == len(reference) else min(len(output), len(reference))


def unchecked_verdict(kind: str, output: Sequence[int], reference: Sequence[int]) -> Verdict:
    """The verdict where the outputs need not be the same; ``kind`` says why."""
    first = first_difference(output, reference)
    return IDENTICAL if first is None else Verdict(kind, first)


class EquivalenceChecker:
    """Compares outputs with the reference's.

    Where they differ, the target runs over prompt and output once in its run's dtype and once in
    higher precision. How far the gap between its first two choices differs between the two, as a
    root mean square over the text, is the rounding error of comparing two tokens. A token whose gap
    to the first choice is within ``tolerance_factor`` times that is a tie. Every token of the
    output is held to this, so the ones after a first tie too.

    Parameters
    ----------
    target
        The target model of the run.
    tolerance_factor
        4 by default: rounding errors are close to normal, and then 1 in 16,000 is larger.
    """

    def __init__(self, target: CachedModel, tolerance_factor: float = 4.0) -> None:
        self._target = target
        self._factor = tolerance_factor

    def compare(
        self,
        prompt: Sequence[int],
        output: Sequence[int],
        reference: Sequence[int],
        limit: int,
        stop_ids: Sequence[int],
        verifier: OwnChoice,
    ) -> Verdict:
        """Judge ``output``, generated from ``prompt`` by the decoder under test.

        ``verifier`` is one that has not yet been used.
        """
        first = first_difference(output, reference)
        if first is None:
            return IDENTICAL
        text = Text(prompt, limit, stop_ids)
        text.append(output)
        if text.output != list(output) or not text.finished:
            return Verdict(
                "violation", first, f"ends at {len(output)} tokens, neither at a stop nor the limit"
            )
        divergences, rounding_error = self.divergences(list(prompt), list(output), verifier)
        tolerance = self._factor * rounding_error * verifier.sharpness
        for one in divergences:
            if one.gap > tolerance:
                return Verdict("violation", first, _describe(one, tolerance))
        return Verdict("tie", first)

    @torch.inference_mode()
    def divergences(
        self, prompt: list[int], output: list[int], verifier: OwnChoice
    ) -> tuple[list[Divergence], float]:
        """Tokens of ``output`` that are no first choice in higher precision, and the rounding
        error of the run's dtype on this text (a logit difference, root mean square)."""
        precise = self._target.in_higher_precision()
        self._target.rollback(0)
        text = prompt + output
        found: list[Divergence] = []
        squares = 0.0
        for start in range(0, len(text) - 1, _CHUNK):
            seen = text[: min(start + _CHUNK, len(text) - 1)]
            rows = len(seen) - start
            exact = precise.extend(seen, rows)
            run = self._target.extend(seen, rows).to(exact.dtype)
            top = exact.topk(min(2, exact.shape[-1]), dim=-1)
            choices = run.gather(-1, top.indices) - top.values
            squares += float((choices[:, 0] - choices[:, -1]).square().sum())
            skip = max(0, len(prompt) - 1 - start)
            if skip >= rows:
                continue
            scores = verifier.scores(exact[skip:], start + skip + 1)
            best, choice = scores.max(dim=-1)
            for row in range(rows - skip):
                position = start + skip + row + 1
                token, expected = text[position], int(choice[row])
                if token != expected:
                    logits = float(scores[row, token]), float(best[row])
                    found.append(Divergence(position - len(prompt), token, expected, *logits))
        return found, (squares / (len(text) - 1)) ** 0.5


def _describe(divergence: Divergence, tolerance: float) -> str:
    return (
        f"position {divergence.position}: token {divergence.token} (logit"
        f" {divergence.token_logit:.6g}) where the target's own is {divergence.expected} (logit"
        f" {divergence.expected_logit:.6g}), tolerance {tolerance:.2g}"
    )
