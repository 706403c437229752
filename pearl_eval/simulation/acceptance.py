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
#: How soon the places of the target's tokens among the draft model's choices thin out.
TAIL = 1.0
#: As good as never.
_LAST_PLACE = 1e9


class Text(Protocol):
    """A text for which it is settled which drafted tokens would be accepted."""

    def accepted(self, start: int, count: int) -> int:
        """How many of ``count`` tokens drafted from position ``start`` on are accepted: those
        before the first wrong one. Positions count generated tokens, from 0."""

    def confidence(self, position: int) -> float:
        """The probability that the draft model gives its token for a position."""

    def within(self, position: int, count: int, rejected: bool) -> bool:
        """Whether the target's token for a position is one of the draft model's first ``count``
        choices, not counting the one that was ``rejected``."""


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
    probabilities that the draft model gives its tokens, if they are known. ``places`` say at which
    place of the draft model's choices the target's token is where that is not the first; without,
    it is never among them.
    """

    def __init__(
        self,
        right: NDArray[np.bool_],
        confidences: Sequence[float] | None = None,
        places: NDArray[np.int64] | None = None,
    ) -> None:
        self._confidences = confidences
        others = int(_LAST_PLACE) if places is None else places
        self._places: list[int] = np.where(right, 1, others).tolist()
        positions = np.where(right, len(right), np.arange(len(right)))
        # Where the first wrong token at or after each position is.
        self._wrong = np.minimum.accumulate(positions[::-1])[::-1].tolist()

    def accepted(self, start: int, count: int) -> int:
        return min(count, self._wrong[start] - start) if count else 0

    def confidence(self, position: int) -> float:
        return UNTOLD if self._confidences is None else self._confidences[position]

    def within(self, position: int, count: int, rejected: bool) -> bool:
        return self._places[position] - rejected <= count


class BlockText:
    """Each token is accepted at the rate of its place in its block, given those before it.

    ``chances`` are uniform random numbers, one for each position; ``places`` as of ``FixedText``.
    """

    def __init__(
        self, rates: Sequence[float], chances: Sequence[float], places: Sequence[int]
    ) -> None:
        self._rates = rates
        self._chances = chances
        self._places = places

    def accepted(self, start: int, count: int) -> int:
        last = len(self._rates) - 1
        for place in range(count):
            if self._chances[start + place] >= self._rates[min(place, last)]:
                return place
        return count

    def confidence(self, position: int) -> float:
        return UNTOLD

    def within(self, position: int, count: int, rejected: bool) -> bool:
        # What follows a whole block is accepted as often as the last of its tokens.
        right = not rejected and self._chances[position] < self._rates[-1]
        return right or self._places[position] - rejected <= count


@dataclass(frozen=True)
class Rate:
    """Each drafted token is accepted with the same chance α, whatever became of the others.

    ``tail``: where the draft model's first choice is wrong, the target's token is not among its
    first m with the chance m^-tail.
    """

    rate: float
    of: str = DRAFT_MODEL
    tail: float = TAIL

    def __post_init__(self) -> None:
        _check_rate(self.rate)

    def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
        right = rng.random(length) < self.rate
        return FixedText(right, [self.rate] * length, _places(length, self.tail, rng))


@dataclass(frozen=True)
class BlockRates:
    """The chance of the first, second … token of a block, given that those before it were accepted.

    As ``conditional`` of the traces of a run; the last rate holds for all further places. ``tail``
    as of ``Rate``.
    """

    rates: tuple[float, ...]
    of: str = DRAFT_MODEL
    tail: float = TAIL

    def __post_init__(self) -> None:
        if not self.rates:
            raise ValueError("expected at least one rate of a place in the block, got none")
        for rate in self.rates:
            _check_rate(rate)

    def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
        chances = rng.random(length).tolist()
        return BlockText(self.rates, chances, _places(length, self.tail, rng).tolist())


@dataclass(frozen=True)
class Trace:
    """What was recorded of each prompt: its positions as ``1`` right, ``0`` wrong, ``-`` unknown.

    Unknown are positions for which no token was drafted after the verified text, as the one that
    vanilla speculative decoding adds itself. They are drawn, at the rate of the known ones.

    ``confidences`` of each prompt are the probabilities that the draft model gave its tokens, where
    they were recorded. ``tail`` as of ``Rate``.
    """

    prompts: tuple[str, ...]
    of: str = DRAFT_MODEL
    confidences: tuple[tuple[float, ...], ...] | None = None
    tail: float = TAIL

    def __post_init__(self) -> None:
        if not any(set(one) & set("01") for one in self.prompts):
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
        known = None if self.confidences is None else self.confidences[index % len(self.prompts)]
        return FixedText(right, known, _places(length, self.tail, rng))


def merge(traces: Sequence[str]) -> str:
    """What several decodings of the same text know together.

    Where they differ, which only rounding can make them, the first that knows is taken.
    """
    return "".join(
        next((mark for mark in marks if mark != "-"), "-") for marks in zip(*traces, strict=True)
    )


def _places(length: int, tail: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """At which place of the draft model's choices the target's token is, if not at the first.

    Beyond place m with the chance m^-``tail``.
    """
    beyond = (1.0 - rng.random(length)) ** (-1.0 / tail)
    return 1 + np.minimum(beyond, _LAST_PLACE).astype(np.int64)


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"an acceptance rate is between 0 and 1, got {rate}")
