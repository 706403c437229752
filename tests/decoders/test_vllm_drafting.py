"""The draft process's side of PEARL inside vLLM, with a model that counts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from decoders.model.batch import Guess
from decoders.process.channel import Message
from decoders.vllm import drafting
from decoders.vllm.drafting import DRAFTED, STEP, DraftService


def guess(text: Sequence[int]) -> Guess:
    """The next number, which is found the more probable the larger it is."""
    return Guess(text[-1] + 1, (text[-1] + 1) / 1000)


class Counting:
    """After a token comes the next number; it notes what is read in which slot."""

    def __init__(self) -> None:
        self.lengths: dict[int, int] = {}
        self.forwards: list[Any] = []

    def length(self, slot: int) -> int:
        return self.lengths.get(slot, 0)

    def rollback(self, slot: int, length: int) -> None:
        self.lengths[slot] = min(length, self.length(slot))

    def read(self, slot: int, text: Sequence[int]) -> Guess:
        assert len(text) > self.length(slot)
        self.forwards.append((slot, list(text[self.length(slot) :])))
        self.lengths[slot] = len(text)
        return guess(text)

    def step(self, slots: Sequence[int], texts: Sequence[Sequence[int]]) -> list[Guess]:
        self.forwards.append(list(slots))
        for slot, text in zip(slots, texts, strict=True):
            assert len(text) == self.length(slot) + 1
            self.lengths[slot] = len(text)
        return [guess(text) for text in texts]


def step(
    over: Sequence[int] = (), begun: Sequence[Any] = (), updates: Sequence[Any] = ()
) -> Message:
    new = [(number, array("i", tokens).tobytes(), limit) for number, tokens, limit in begun]
    return STEP, list(over), new, list(updates)


class Service:
    def __init__(self) -> None:
        self.batch = Counting()
        self.service = DraftService(self.batch)  # type: ignore[arg-type]

    def take(self, **changes: Any) -> None:
        self.service.take(step(**changes))

    def work(self) -> list[Any]:
        """What a round of forwards drafts."""
        found = []
        for name, start, seconds, drafted in self.service.work():
            assert name == DRAFTED and start > 0 and seconds >= 0
            assert all(one[4] == one[3] / 1000 for one in drafted)
            found.append([one[:4] for one in drafted])
        return found


def test_a_text_is_read_and_drafted_up_to_its_limit() -> None:
    one = Service()
    assert not one.service.may_draft and one.work() == []
    one.take(begun=[(5, [10, 11, 12], 6)])
    assert one.service.may_draft
    assert one.work() == [[(5, 0, 3, 13)]]
    assert one.work() == [[(5, 0, 4, 14)]]
    assert one.work() == [[(5, 0, 5, 15)]]
    assert not one.service.may_draft and one.work() == []
    assert one.batch.forwards == [(0, [10, 11, 12]), [0], [0]]


def test_a_long_prompt_is_read_in_windows_between_which_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drafting, "WINDOW", 2)
    one = Service()
    one.take(begun=[(1, [10], 9)])
    assert one.work() == [[(1, 0, 1, 11)]]
    one.take(begun=[(2, [20, 21, 22, 23], 9), (3, [30, 31], 9)])
    # A part that is read is told of, too: it is not silent meanwhile.
    assert one.work() == [[], [(1, 0, 2, 12)]]
    assert one.work() == [[(2, 0, 4, 24)], [(1, 0, 3, 13)]]
    assert one.work() == [[(3, 0, 2, 32)], [(1, 0, 4, 14), (2, 0, 5, 25)]]
    assert one.work() == [[(1, 0, 5, 15), (2, 0, 6, 26), (3, 0, 3, 33)]]
    assert one.batch.forwards[1:] == [
        (1, [20, 21]), [0], (1, [22, 23]), [0], (2, [30, 31]), [0, 1], [0, 1, 2],
    ]  # fmt: skip


def test_a_draft_that_the_target_agrees_with_goes_on() -> None:
    one = Service()
    one.take(begun=[(1, [10], 4)])
    for _ in range(3):
        one.work()
    one.take(updates=[(1, 1, 1, [11, 12], 6)])
    assert one.work() == [[(1, 0, 4, 14)]]
    assert one.work() == [[(1, 0, 5, 15)]]
    assert one.work() == []


def test_a_draft_that_it_does_not_agree_with_is_cut_back() -> None:
    one = Service()
    one.take(begun=[(1, [10], 5)])
    for _ in range(4):
        one.work()
    one.take(updates=[(1, 1, 1, [11, 30], 5)])
    assert one.batch.length(0) == 2
    assert one.work() == [[(1, 1, 3, 31)]]
    assert one.work() == [[(1, 1, 4, 32)]]
    assert one.batch.forwards[-2:] == [[0], [0]]
    one.take(updates=[(1, 2, 3, [31], 9), (1, 3, 4, [50, 51], 9)])
    # Of what is new it has read nothing.
    assert one.work() == [[(1, 3, 6, 52)]]
    assert one.batch.forwards[-1] == (0, [50, 51])


def test_one_that_is_overtaken_takes_over_what_it_has_not_drafted() -> None:
    one = Service()
    one.take(begun=[(1, [10], 9)])
    one.work()
    one.take(updates=[(1, 1, 1, [11, 12, 13], 9)])
    assert one.work() == [[(1, 1, 4, 14)]]
    assert one.batch.forwards[-1] == (0, [11, 12, 13])


def test_of_a_text_that_is_over_nothing_is_left_to_the_next_in_its_slot() -> None:
    one = Service()
    one.take(begun=[(1, [10, 11], 9), (2, [20], 9), (3, [30], 9)])
    for _ in range(4):
        one.work()
    # Text 4 is as text 1 was: it is read anew, in the lowest slot that is free.
    one.take(over=[1, 3], begun=[(4, [10, 11], 9)])
    assert one.batch.length(0) == 0
    one.work()
    assert one.batch.forwards[-2:] == [(0, [10, 11]), [1]]
    one.take(over=[2], begun=[(5, [7], 9), (6, [8], 9)])
    one.work()
    assert one.batch.forwards[-1] == [1, 2, 0] or one.batch.forwards[-1] == [0, 1, 2]


def test_a_text_that_it_does_not_know_is_an_error() -> None:
    one = Service()
    with pytest.raises(KeyError):
        one.take(updates=[(1, 1, 0, [3], 9)])
    with pytest.raises(KeyError):
        one.take(over=[1])
