"""Which drafted tokens the target accepts: by chance at given rates, or as recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from decoders.schedule import DRAFT_MODEL

#: The confidence of tokens of which none is known: the same of all, so that it says nothing.
UNTOLD = 0.5


class Text(Protocol):
    """A text for which it is settled which drafted tokens would be accepted."""

    def accepted(self, start: int, count: int) -> int:
        """How many of ``count`` tokens drafted from position ``start`` on are accepted: those
        before the first wrong one. Positions count generated tokens, from 0."""

    def confidence(self, position: int) -> float:
        """The probability that the draft model gives its token for a position."""


class Acceptance(Protocol):
    """A source of texts, in each of which some drafted tokens would be accepted."""

    @property
    def of(self) -> str:
        """Whose drafts are judged."""

    def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
        """The text of prompt number ``index``, of ``length`` tokens."""


class FixedText:
    """Every position is right or wrong by itself, wherever a block begins.

    That is what greedy decoding does exactly: whether the draft model's first choice after a
    verified prefix is the target's depends on the prefix alone. ``confidences`` are the
    probabilities that the draft model gives its tokens, if they are known.
    """

    def __init__(
        self, right: NDArray[np.bool_], confidences: Sequence[float] | None = None
    ) -> None:
        self._confidences = confidences
        positions = np.where(right, len(right), np.arange(len(right)))
        # Where the first wrong token at or after each position is.
        self._wrong = np.minimum.accumulate(positions[::-1])[::-1].tolist()

    def accepted(self, start: int, count: int) -> int:
        return min(count, self._wrong[start] - start) if count else 0

    def confidence(self, position: int) -> float:
        return UNTOLD if self._confidences is None else self._confidences[position]


class BlockText:
    """Each token is accepted at the rate of its place in its block, given those before it.

    ``chances`` are uniform random numbers, one for each position.
    """

    def __init__(self, rates: Sequence[float], chances: Sequence[float]) -> None:
        self._rates = rates
        self._chances = chances

    def accepted(self, start: int, count: int) -> int:
        last = len(self._rates) - 1
        for place in range(count):
            if self._chances[start + place] >= self._rates[min(place, last)]:
                return place
        return count

    def confidence(self, position: int) -> float:
        return UNTOLD


@dataclass(frozen=True)
class Rate:
    """Each drafted token is accepted with the same chance α, whatever became of the others."""

    rate: float
    of: str = DRAFT_MODEL

    def __post_init__(self) -> None:
        _check_rate(self.rate)

    def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
        return FixedText(rng.random(length) < self.rate, [self.rate] * length)


@dataclass(frozen=True)
class BlockRates:
    """The chance of the first, second … token of a block, given that those before it were accepted.

    As ``conditional`` of the traces of a run; the last rate holds for all further places.
    """

    rates: tuple[float, ...]
    of: str = DRAFT_MODEL

    def __post_init__(self) -> None:
        if not self.rates:
            raise ValueError("expected at least one rate of a place in the block, got none")
        for rate in self.rates:
            _check_rate(rate)

    def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
        return BlockText(self.rates, rng.random(length).tolist())


@dataclass(frozen=True)
class Trace:
    """What was recorded of each prompt: its positions as ``1`` right, ``0`` wrong, ``-`` unknown.

    Unknown are positions for which no token was drafted after the verified text, as the one that
    vanilla speculative decoding adds itself. They are drawn, at the rate of the known ones.

    ``confidences`` of each prompt are the probabilities that the draft model gave its tokens, where
    they were recorded.
    """

    prompts: tuple[str, ...]
    of: str = DRAFT_MODEL
    confidences: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        if not self.prompts or not any(set(one) & set("01") for one in self.prompts):
            raise ValueError(
                "an acceptance trace needs a prompt with drafted tokens that were judged"
            )
        strange = set("".join(self.prompts)) - set("01-")
        if strange:
            raise ValueError(f"an acceptance trace is of 0, 1 and -, got {sorted(strange)}")

    @property
    def rate(self) -> float:
        """The share of known positions that are right."""
        text = "".join(self.prompts)
        return text.count("1") / (len(text) - text.count("-"))

    def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
        """Prompts are taken in order, again from the first after the last.

        ValueError where the recorded text is shorter than ``length``.
        """
        recorded = np.frombuffer(self.prompts[index % len(self.prompts)].encode(), dtype=np.uint8)
        if len(recorded) < length:
            raise ValueError(
                f"prompt {index % len(self.prompts)}: {len(recorded)} tokens were recorded,"
                f" {length} are to be simulated"
            )
        recorded = recorded[:length]
        drawn = rng.random(length) < self.rate
        right = np.where(recorded == ord("-"), drawn, recorded == ord("1"))
        known = self.confidences
        return FixedText(right, None if known is None else known[index % len(self.prompts)])


def merge(traces: Sequence[str]) -> str:
    """What several decodings of the same text know together.

    Where they differ, which only rounding can make them, the first that knows is taken.
    """
    return "".join(
        next((mark for mark in marks if mark != "-"), "-") for marks in zip(*traces, strict=True)
    )


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"an acceptance rate is between 0 and 1, got {rate}")
