"""Is the output the target's own? The verdicts ``identical``, ``tie`` and ``violation``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from decoders.model import CachedModel
from decoders.sampler import OwnChoice
from decoders.text import Text

#: Positions looked at in one piece, which bounds the memory of the check.
_CHUNK = 256
#: Positions of a forward that stands for those of a decoder.
_STEP = 4


@dataclass(frozen=True)
class Divergence:
    """A token that is not the target's first choice.

    Its position among the generated tokens, the token, the target's own, their logits in higher
    precision (plus the noise that chose among them where there is some), and how far apart these
    may be by rounding alone.
    """

    position: int
    token: int
    expected: int
    token_logit: float
    expected_logit: float
    tolerance: float = 0.0

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

    Where they differ, the target runs over prompt and output in higher precision, and in its run's
    dtype: once in large pieces, once in small ones as a decoder does. How far the gap between its
    first two choices differs between the dtypes is the rounding error of comparing two tokens. A
    token is a tie if its gap to the first choice is within ``tolerance_factor`` times the root mean
    square of that error over the text; or within half as many times the error in this very place,
    which may be far larger. Every token of the output is held to this, so the ones after a first
    tie too.

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
        wrong = self._first_wrong(list(prompt), list(output), verifier)
        if wrong is not None:
            return Verdict("violation", first, _describe(wrong))
        return Verdict("tie", first)

    def _first_wrong(
        self, prompt: list[int], output: list[int], verifier: OwnChoice
    ) -> Divergence | None:
        """The first token of ``output`` that rounding can't account for."""
        text, precise = prompt + output, self._target.in_higher_precision()
        for one in self.divergences(prompt, output, verifier):
            if one.gap <= one.tolerance:
                continue
            position = len(prompt) + one.position
            for _, end in _pieces(precise.length, position, _CHUNK):
                logits = precise.extend(text[:end], rows=1)
            error = one.tolerance / verifier.sharpness
            if not verifier.could_choose(one.token, logits, position, error):
                return one
        return None

    @torch.inference_mode()
    def divergences(
        self, prompt: list[int], output: list[int], verifier: OwnChoice
    ) -> list[Divergence]:
        """Tokens of ``output`` that are no first choice in higher precision."""
        text, precise = prompt + output, self._target.in_higher_precision()
        self._target.rollback(0)
        tops: list[Any] = []
        found: list[Divergence] = []
        for start, end in _pieces(0, len(text) - 1, _CHUNK):
            exact = precise.extend(text[:end], end - start)
            tops.append(exact.topk(min(2, exact.shape[-1]), dim=-1))
            skip = max(0, len(prompt) - 1 - start)
            if skip < end - start:
                scores = verifier.scores(exact[skip:], start + skip + 1)
                found += _differing(scores, text, start + skip + 1, len(prompt))
        if not found:
            return []
        values, indices = (torch.cat(parts) for parts in zip(*tops, strict=True))

        def errors(begin: int, size: int) -> torch.Tensor:
            """Rounding errors from position ``begin`` on, in pieces of ``size``."""
            parts = []
            self._target.rollback(begin)
            for start, end in _pieces(begin, len(text) - 1, size):
                run = self._target.extend(text[:end], end - start).to(values.dtype)
                wrong = run.gather(-1, indices[start:end]) - values[start:end]
                parts.append((wrong[:, 0] - wrong[:, -1]).abs())
            return torch.cat(parts)

        large = errors(0, _CHUNK)
        typical = self._factor * float(large.square().mean().sqrt())
        begin = len(prompt) - 1
        local = self._factor / 2 * torch.maximum(large[begin:], errors(begin, _STEP))
        return [
            replace(one, tolerance=verifier.sharpness * max(typical, float(local[one.position])))
            for one in found
        ]


def _pieces(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    for begin in range(start, end, size):
        yield begin, min(begin + size, end)


def _differing(
    scores: torch.Tensor, text: Sequence[int], position: int, prompt_length: int
) -> Iterator[Divergence]:
    """Tokens that are not the best of their scores, which are those from ``position`` on."""
    best, choice = scores.max(dim=-1)
    for row, own in enumerate(choice.tolist()):
        token = text[position + row]
        if token != own:
            logits = float(scores[row, token]), float(best[row])
            yield Divergence(position + row - prompt_length, token, own, *logits)


def _describe(divergence: Divergence) -> str:
    cut = math.isinf(divergence.token_logit)
    logit = "cut off by top-k or top-p" if cut else f"logit {divergence.token_logit:.6g}"
    return (
        f"position {divergence.position}: token {divergence.token} ({logit}) where the target's own"
        f" is {divergence.expected} (logit {divergence.expected_logit:.6g}), tolerance"
        f" {divergence.tolerance:.2g}"
    )
