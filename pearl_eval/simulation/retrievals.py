"""What a decoder was recorded to do whose models both read what was looked up in the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from decoders.schedule import BOTH
from pearl_eval.simulation.acceptance import UNTOLD


class Retrieved(NamedTuple):
    """A recorded round: drafted tokens that were judged and accepted, and how many tokens the text
    gained; how many tokens of a guess the target read, and each draft forward; and how many tokens
    each of these gave."""

    judged: int
    accepted: int
    gained: int
    target_guessed: int
    guessed: tuple[int, ...] = ()
    given: tuple[int, ...] = ()

    @property
    def rejected(self) -> bool:
        return self.accepted < self.judged

    def pending(self, before: int) -> int:
        """How many drafted tokens are pending after it, of so many that were before."""
        return 0 if self.rejected else before + sum(self.given) - self.accepted


def retrieved(rounds: Iterable[Any], prompt: int) -> Iterator[Retrieved]:
    """From the recorded rounds of a text, after a prompt of so many tokens.

    ValueError for rounds that do not say what draft forwards read and gave.
    """
    pending = known = 0
    unread = prompt
    for one in rounds:
        made = Retrieved(
            one.judged,
            one.accepted,
            one.verified_length - known,
            one.target_tokens - unread - pending,
            tuple(map(int, one.guessed)),
            tuple(map(int, one.given)),
        )
        if one.drafted != sum(made.given):
            raise ValueError(
                "rounds of a decoder whose models read what was looked up do not say what each"
                " draft forward gave: they are of an older version"
            )
        yield made
        pending, known = made.pending(pending), one.verified_length
        # Of the text, the last token is read again by each forward.
        unread = 1


class RetrievedText:
    """A text whose rounds were recorded."""

    def __init__(self, rounds: Sequence[Retrieved]) -> None:
        self.rounds = rounds

    # Of a drafted token nothing is known but what became of it in these rounds.
    def accepted(self, start: int, count: int) -> int:
        raise ValueError("of recorded rounds only those are known, not what others would accept")

    def confidence(self, position: int) -> float:
        return UNTOLD

    def within(self, position: int, count: int, rejected: bool) -> bool:
        return False

    def at_hand(self, start: int, count: int) -> int:
        return count


@dataclass(frozen=True)
class Retrievals:
    """Of each prompt the recorded rounds of a decoder whose models both read what was looked up.

    With greedy decoding they follow from the text and the settings, and from no time. So they hold
    for a decoder of the same settings on the same texts.
    """

    prompts: tuple[tuple[Retrieved, ...], ...]
    of: str = BOTH

    def text(self, index: int, length: int, rng: np.random.Generator) -> RetrievedText:
        """Prompts are taken in order, again from the first after the last.

        ValueError where the recorded text is not of this length.
        """
        rounds = self.prompts[index % len(self.prompts)]
        if (recorded := sum(one.gained for one in rounds)) != length:
            raise ValueError(
                f"prompt {index % len(self.prompts)}: {recorded} tokens were recorded, {length} are"
                " to be simulated; recorded rounds are those of their own text alone"
            )
        return RetrievedText(rounds)
