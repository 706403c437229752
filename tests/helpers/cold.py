"""Whether a decoder's rounds for a prompt depend on what it decoded before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from decoder_cases import make_decoder
from exact import in_one_process, start

from decoders.sampling.sampler import Greedy
from decoders.session import Session

#: Of the toy pair, whose texts soon repeat themselves, and each other.
PROMPTS = [[1, 3], [4, 0], [2, 2]]


class RememberedRounds(AssertionError):
    """A prompt's rounds are others after other prompts."""


@contextmanager
def started(name: str, **settings: Any) -> Iterator[Session]:
    """A decoder on the toy pair, greedy."""
    with in_one_process():
        decoder: Any = make_decoder(name, 3)
        session = start(replace(decoder, **settings), Greedy())
        try:
            yield session
        finally:
            session.stop()


def decoded(session: Session, index: int) -> list[tuple[str, list[int], int, int]]:
    """Of each round of a prompt: its mode, what was drafted, accepted, and final then."""
    rounds = session.decode(PROMPTS[index], 30, []).rounds
    return [(one.mode, one.drafted_ids, one.accepted, one.verified_length) for one in rounds]


def check_cold(name: str, **settings: Any) -> None:
    """Each prompt's rounds are those of a session that has decoded nothing else.

    Whatever the order, and however often it was there before.
    """
    alone = []
    for index in range(len(PROMPTS)):
        with started(name, **settings) as session:
            alone.append(decoded(session, index))
    for order in ([0, 1, 2, 0, 1, 2], [2, 2, 1, 0]):
        with started(name, **settings) as session:
            for index in order:
                if decoded(session, index) != alone[index]:
                    raise RememberedRounds(f"prompt {index} in the order {order}")
