"""How forwards are timed: which ones, and by what clock."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toy import Inline

from decoders import draft_length
from decoders.draft_length import (
    choose_balanced,
    choose_expected_best,
    time_drafts,
    time_forwards,
    time_read,
    time_sequential,
    time_together,
    time_wide,
)
from decoders.model.tree import Tree
from decoders.process import drafter as drafter_module
from decoders.process import timed_drafter
from decoders.process.clock import clock as real_clock
from decoders.process.clock import no_garbage_collection
from decoders.process.drafter import PROPOSAL, Proposal
from decoders.process.timed_drafter import TimedDrafter, TimedDrafterService
from decoders.sampling.sampler import Downscaling, Draft, Greedy


class Clock:
    def __init__(self) -> None:
        self.now = -1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (draft_length, timed_drafter, drafter_module):
        monkeypatch.setattr(module, "clock", made)
    return made


class Rows:
    """Logits of which nothing is asked but the first choices."""

    def argmax(self, dim: int) -> torch.Tensor:
        assert dim == -1
        return torch.zeros(1)


class Model:
    """Whose n-th forward takes ``seconds(n)``. ``read`` has of each forward: after how many tokens,
    how many it read, and of how many it gave logits."""

    def __init__(self, clock: Clock, seconds: Callable[[int], float]) -> None:
        self._clock, self._seconds = clock, seconds
        self.length = 0
        self.read: list[tuple[int, int, int]] = []

    def rollback(self, length: int) -> None:
        assert 0 <= length <= self.length
        self.length = length

    def synchronize(self) -> None:
        pass

    def extend(self, tokens: list[int], rows: int) -> Rows:
        self.read.append((self.length, len(tokens) - self.length, rows))
        self.length = len(tokens)
        self._clock.now += self._seconds(len(self.read))
        return Rows()


class Drafter:
    """Whose n-th answer took n seconds. ``asked`` has of each request: how many tokens it keeps,
    how many it reads, and how many it is to draft."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []

    def request(self, keep: int, tail: list[int], count: int, verified: int = 0) -> None:
        self.asked.append((keep, len(tail), count))

    def widen(self, keep: int, width: int, count: int) -> None:
        self.asked.append((keep, width, count))

    def read(self, keep: int, guess: list[int], given: int, count: int) -> None:
        self.asked.append((keep, len(guess), given * 100 + count))

    def collect(self) -> Proposal:
        return Proposal(Draft(), float(len(self.asked)))


def test_forwards_of_a_kind_are_timed_after_one_that_warms_up(clock: Clock) -> None:
    """The first reads what is before them, the second warms up: the third and fourth are timed."""
    model: Any = Model(clock, float)
    assert time_forwards(model, window=3, context=5, repeats=2) == [3.0, 4.0]
    assert model.read == [(0, 5, 1), *[(5, 3, 3)] * 3] and model.length == 0
    cold: Any = Model(clock, float)
    assert time_forwards(cold, window=3, context=5, repeats=2, warm=False) == [2.0, 3.0]
    assert cold.read == [(0, 5, 1), *[(5, 3, 3)] * 2]
    nothing_before: Any = Model(clock, float)
    assert time_forwards(nothing_before, window=3, context=0, repeats=1) == [2.0]
    assert nothing_before.read == [(0, 3, 3)] * 2


@pytest.mark.parametrize(
    ("seconds", "warm_ups"),
    [
        # Until they have taken 0.02 s,
        (0.03, 1),
        (0.02, 1),
        (0.01, 2),
        (0.006, 4),
        # or are twelve.
        (0.00125, 12),
        (0.0, 12),
    ],
)
def test_how_many_forwards_warm_up(clock: Clock, seconds: float, warm_ups: int) -> None:
    clock.now = 0.0  # so that sums are exact
    counted: Any = Model(clock, lambda number: seconds)
    time_forwards(counted, window=1, context=0, repeats=5)
    assert len(counted.read) == warm_ups + 5


class Late(Model):
    """A model at a text of before, whose device is still at work on going back when it is asked for
    more: 100 s, unless it is waited for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, lambda number: 1.0)
        self.length = 99
        self._pending = 0.0

    def rollback(self, length: int) -> None:
        super().rollback(length)
        self._pending = 100.0

    def synchronize(self) -> None:
        self._clock.now += self._pending
        self._pending = 0.0

    def extend(self, tokens: list[int], rows: int) -> Rows:
        self.synchronize()
        return super().extend(tokens, rows)


def test_what_a_device_did_before_is_no_part_of_a_forward(clock: Clock) -> None:
    """Nor is the text that the model was at."""
    model: Any = Late(clock)
    assert time_forwards(model, window=3, context=5, repeats=2) == [1.0, 1.0]
    assert model.read == [(0, 5, 1), *[(5, 3, 3)] * 3] and model.length == 0
    cold: Any = Late(clock)
    assert time_forwards(cold, window=3, context=0, repeats=1, warm=False) == [1.0]
    assert cold.read == [(0, 3, 3)]
    target, draft = Late(clock), Late(clock)
    models: Any = target, draft
    assert time_sequential(*models, count=2, context=5, repeats=2) == [3.0, 3.0]
    assert target.read == [(0, 5, 1), *[(5, 3, 3)] * 3]
    assert draft.read == [(0, 5, 1), *[(5, 1, 1), (6, 1, 1)] * 3]
    together: Any = Late(clock)
    drafter: Any = Drafter()
    time_together(together, drafter, window=3, context=5, repeats=2)
    assert together.read == [(0, 5, 1), *[(5, 3, 3)] * 3] and together.length == 0


def test_drafts_are_timed_in_rows(clock: Clock) -> None:
    """Of rows of three forwards, of which the first reads two tokens: a third of a row's time."""
    drafter: Any = Drafter()
    assert time_drafts(drafter, context=5, repeats=2, count=3, window=2) == [1.0, 4 / 3]
    assert drafter.asked == [(0, 5, 1), *[(5, 2, 3)] * 3]
    plain: Any = Drafter()
    assert time_drafts(plain, context=5, repeats=2, warm=False) == [2.0, 3.0]
    assert plain.asked == [(0, 5, 1), *[(5, 1, 1)] * 2]
    nothing_before: Any = Drafter()
    assert time_drafts(nothing_before, context=0, repeats=1, window=2) == [3.0]
    # Before anything is asked of a drafter it reads at least one token.
    assert nothing_before.asked == [(0, 1, 1), *[(0, 2, 1)] * 2]


def test_wide_drafts_are_timed_in_rows(clock: Clock) -> None:
    """Rows of two forwards over six continuations of five tokens; the first row warms up."""
    own: Any = Drafter()
    assert time_wide(own, width=6, context=5, repeats=3, count=2) == [1.5, 2.0, 2.5]
    assert own.asked == [(0, 5, 1), *[(5, 6, 2)] * 4]
    single: Any = Drafter()
    assert time_wide(single, width=6, context=5, repeats=1) == [3.0]


def test_forwards_over_guesses_are_timed_in_rows(clock: Clock) -> None:
    """Rows of two over six tokens; of the first, which warms up, all are chosen; then in turn one
    token, and all."""
    own: Any = Drafter()
    one, each = time_read(own, window=6, context=5, repeats=2, count=2)
    assert (one, each) == ([1.5, 2.5], [2.0, 3.0])
    assert own.asked == [(0, 5, 1), (5, 6, 602), *[(5, 6, 102), (5, 6, 602)] * 2]
    single: Any = Drafter()
    assert time_read(single, window=3, context=5, repeats=1) == ([3.0], [4.0])


class Grown:
    """A model that takes a second for a forward over a tree, and then finds the token most likely
    that is as many steps on as the tree is deep there. ``read`` has of each forward the length of
    the text, and the continuations that it is to have tokens after."""

    vocab_size = 9
    fixed_shapes = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.rolled: list[int] = []
        self.read: list[tuple[int, list[list[int]]]] = []

    def rollback(self, length: int) -> None:
        self.rolled.append(length)

    def grow_tree(self, length: int, tree: Tree, nodes: list[int]) -> torch.Tensor:
        self._clock.now += 1.0
        self.read.append((length, [tree.path(node) for node in nodes]))
        tokens = [tree.tokens[node] + tree.depths[node] for node in nodes]
        return torch.nn.functional.one_hot(torch.tensor(tokens), 9).float()


def test_continuations_are_drafted_side_by_side(clock: Clock) -> None:
    """Three of them, which begin with 0, 1 and 2, and go on by 1, then by 2."""
    model: Any = Grown(clock)
    service = TimedDrafterService(model, Greedy())
    said = service.answer(("widen", 7, 3, 2))
    assert said == (PROPOSAL, [1, 3, 2, 4, 3, 5], [], 2.0)
    assert model.rolled == [7]
    assert model.read == [(7, [[0], [1], [2]]), (7, [[0, 1], [1, 2], [2, 3]])]
    # It also answers what any draft process does.
    assert service.answer(("begin", 0, 5)) is None


class Noted(Greedy):
    """Notes of each choice the shape of the logits, and the position; none is downscaled."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[tuple[tuple[int, ...], int]] = []

    def proposer(self, seed: int, start: int) -> Any:
        def propose(
            logits: torch.Tensor, position: int, downscaling: Downscaling | None = None
        ) -> tuple[int, None]:
            assert downscaling is None
            self.places.append((tuple(logits.shape), position))
            return 0, None

        return SimpleNamespace(propose=propose, forget=lambda before: None)


def test_positions_of_what_is_drafted_side_by_side(clock: Clock) -> None:
    """The first forward's tokens follow one that follows the text."""
    model, sampler = Grown(clock), Noted()
    TimedDrafterService(model, sampler).widen(7, 2, 2)  # type: ignore[arg-type]
    assert sampler.places == [((1, 9), 8)] * 2 + [((1, 9), 9)] * 2


class Looked:
    """A model that takes two seconds for a forward, after which it finds the token most likely that
    is one more than the one read. ``read`` has of each forward the length of the text before it,
    what is read, and how many rows are wanted."""

    vocab_size = 9
    fixed_shapes = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._length = 0
        self.read: list[tuple[int, list[int], int]] = []

    def rollback(self, length: int) -> None:
        self._length = length

    def extend(self, tokens: list[int], rows: int) -> torch.Tensor:
        self._clock.now += 2.0
        self.read.append((self._length, tokens[self._length :], rows))
        self._length = len(tokens)
        return torch.nn.functional.one_hot(torch.tensor(tokens[-rows:]) + 1, 9).float()


def test_a_guess_is_read_again_and_again(clock: Clock) -> None:
    """Of three tokens after the first two that it has; the tokens after two of them are chosen."""
    model: Any = Looked(clock)
    service = TimedDrafterService(model, Greedy())
    service.answer(("request", 0, [5, 6], 1, 0))
    assert service.answer(("read", 2, [1, 2, 7], 2, 2)) == (PROPOSAL, [2, 3, 2, 3], [], 4.0)
    assert model.read[1:] == [(2, [1, 2, 7], 3)] * 2


def test_positions_of_what_is_chosen_after_a_guess(clock: Clock) -> None:
    """Each follows a token of the guess, which follows the first two of the text."""
    model, sampler = Looked(clock), Noted()
    service = TimedDrafterService(model, sampler)  # type: ignore[arg-type]
    service.answer(("request", 0, [5, 6], 0, 0))
    service.read(2, [1, 2, 7], 2, 2)
    assert sampler.places == [((1, 9), 3), ((1, 9), 4)] * 2


class InlineTimedDrafter(Inline, TimedDrafter):  # type: ignore[misc]
    """A ``TimedDrafter`` that drafts the moment it is asked."""

    make_service = TimedDrafterService


def test_a_draft_process_is_asked_for_either_kind(clock: Clock) -> None:
    """Six tokens of three continuations, two forwards; four after a guess of three, read twice."""
    wide = InlineTimedDrafter(lambda: Grown(clock), Greedy(), None)
    wide.widen(7, 3, 2)
    assert wide.collect() == Proposal(Draft([1, 3, 2, 4, 3, 5]), 2.0)
    reading = InlineTimedDrafter(lambda: Looked(clock), Greedy(), None)
    reading.request(0, [5, 6], 1)
    reading.collect()
    reading.read(2, [1, 2, 7], 2, 3)
    assert reading.collect() == Proposal(Draft([2, 3] * 3), 6.0)


def test_both_are_timed_together(clock: Clock) -> None:
    """A target forward over three tokens, and as many draft forwards of one token each."""
    target: Any = Model(clock, float)
    drafter: Any = Drafter()
    together = time_together(target, drafter, window=3, context=5, repeats=2)
    assert together == ([3.0, 4.0], [1.0, 4 / 3])
    assert target.read == [(0, 5, 1), *[(5, 3, 3)] * 3] and target.length == 0
    assert drafter.asked == [(0, 5, 1), *[(5, 1, 3)] * 3]
    # It is the target that warms up: of 0.0125 s each, two forwards.
    counted: Any = Model(clock, lambda number: 0.0125)
    time_together(counted, drafter, window=3, context=5, repeats=2)
    assert counted.read == [(0, 5, 1), *[(5, 3, 3)] * 4]


def test_both_are_timed_in_turn(clock: Clock) -> None:
    """Two draft forwards, then one of the target that reads the token before the drafted, too."""
    target: Any = Model(clock, float)
    draft: Any = Model(clock, lambda number: 100.0 * number)
    # The draft's 4th and 5th and the target's 3rd; then the 6th and 7th, and the 4th.
    assert time_sequential(target, draft, count=2, context=5, repeats=2) == [903.0, 1304.0]
    assert target.read == [(0, 5, 1), *[(5, 3, 3)] * 3]
    assert draft.read == [(0, 5, 1), *[(5, 1, 1), (6, 1, 1)] * 3]
    assert target.length == draft.length == 0


def test_draft_lengths_are_chosen_by_medians_of_nine_after_256_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A target forward takes 7 s, a draft forward 1 s; in means outliers would tell otherwise."""
    target, draft, drafter = (object() for _ in range(3))
    asked: list[Any] = []

    def together(*arguments: Any) -> tuple[list[float], list[float]]:
        asked.append(arguments)
        return [7.0, 7.0, 700.0], [1.0, 1.0, 100.0]

    def forwards(model: object, *arguments: Any) -> list[float]:
        asked.append((model, *arguments))
        return [7.0, 7.0, 700.0] if model is target else [1.0, 1.0, 100.0]

    monkeypatch.setattr(draft_length, "time_together", together)
    monkeypatch.setattr(draft_length, "time_forwards", forwards)
    assert choose_balanced(target, drafter) == 7  # type: ignore[arg-type]
    assert asked == [(target, drafter, window, 256, 9) for window in range(1, 17)]
    asked.clear()
    # 3.362 tokens in 11 s, 3.689 in 12 s, 3.951 in 13 s: 0.3056, 0.3074 and 0.3039 a second.
    assert choose_expected_best(target, draft, 0.8) == 5  # type: ignore[arg-type]
    assert asked == [
        *((target, window, 256, 9) for window in range(1, 17)),
        (draft, 1, 256, 9),
    ]


def test_the_clock_is_one_of_all_processes_that_goes_on_while_they_wait() -> None:
    """In seconds, and never set to another time."""
    assert abs(real_clock() - time.clock_gettime(time.CLOCK_MONOTONIC)) < 60
    begin = real_clock()
    time.sleep(0.003)
    assert 0.002 < real_clock() - begin < 60


def test_no_garbage_is_collected_while_something_is_timed() -> None:
    """It is again after that, however that ends."""
    assert gc.isenabled()
    with pytest.raises(LookupError), no_garbage_collection():
        assert not gc.isenabled()
        raise LookupError
    assert gc.isenabled()
