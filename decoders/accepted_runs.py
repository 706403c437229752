"""Accepted tokens: the one definition of their rate, of acceptance length, and of runs of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol, TypeVar


class Judged(Protocol):
    """What a round, or whatever sums some up, says of its drafted tokens."""

    @property
    def judged(self) -> int: ...
    @property
    def accepted(self) -> int: ...


class Verified(Judged, Protocol):
    """What a round also says of tokens that its own target forward did not judge."""

    @property
    def compared(self) -> int: ...
    @property
    def compared_accepted(self) -> int: ...


R = TypeVar("R", bound=Judged)


def acceptance_rate(judged: Iterable[Judged]) -> float | None:
    """Accepted drafted tokens over judged ones; ``None`` where none was judged."""
    counts = [(one.accepted, one.judged) for one in judged]
    whole = sum(count for _, count in counts)
    return sum(count for count, _ in counts) / whole if whole else None


def verifications(rounds: Iterable[Verified]) -> list[int]:
    """How many tokens each verification accepted.

    A verification is a target forward that judged at least one drafted token. Drafted tokens that
    were compared with one that the target had chosen itself are none of its.
    """
    return [one.accepted - one.compared_accepted for one in rounds if one.judged > one.compared]


def acceptance_length(accepted: Collection[int]) -> float | None:
    """1 + accepted tokens a verification, as engines count it; ``None`` where there was none.

    The 1 is the target's own token, which comes with each verification of vanilla speculative
    decoding. PEARL has none after a block that is accepted as a whole: there this is no count of
    tokens a step.
    """
    return 1 + sum(accepted) / len(accepted) if accepted else None


def accepted_runs(rounds: Iterable[R], ends_run: Callable[[R], bool]) -> list[int]:
    """Lengths of the runs of accepted tokens in one text.

    A run ends where a drafted token is rejected. It also ends where the target adds a token of its
    own for which nothing was drafted, as after a block of vanilla speculative decoding. The last
    run may be cut by the end of the text, and is listed like the others; it is left out only where
    it would begin after the last token judged.

    Parameters
    ----------
    rounds
        Of one text, in order. Rounds in which nothing was judged change nothing.
    ends_run
        Whether a run ends with a round of which every judged token was accepted.
    """
    runs: list[int] = []
    run = 0
    unfinished = False
    for one in rounds:
        if not one.judged:
            continue
        run += one.accepted
        unfinished = one.accepted == one.judged and not ends_run(one)
        if not unfinished:
            runs.append(run)
            run = 0
    return [*runs, run] if unfinished else runs
