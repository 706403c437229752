"""Drafts prepared for likely outcomes, simulated: as the decoder's rounds in test_ssd.py."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from decoders.schedule import Extents
from decoders.ssd import Ssd
from pearl_eval.simulation import (
    Adaptive,
    Ahead,
    Alone,
    BlockRates,
    Branching,
    Costs,
    ForwardTimes,
    Rate,
    Replicas,
    Sequential,
    SimulatedRound,
    Simulation,
    Slowdown,
    Surface,
    Trace,
)
from pearl_eval.simulation.acceptance import BlockText, FixedText, Text, _places

#: As a target forward and a draft forward take there, by how many tokens they read.
TIMES = ForwardTimes(Surface((1, 2), (0,), ((11.0, 12.0),)), Surface((1, 2), (0,), ((3.0, 4.0),)))
RIGHT = np.array([mark == "1" for mark in "11011111011111"])


class Known:
    """A text whose third token is the draft model's second choice, and whose ninth its fourth."""

    of = "draft model"

    def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
        places = np.full(len(RIGHT), 2)
        places[8] = 4
        return FixedText(RIGHT, None, places)


def rounds(
    schedule: Branching, length: int = 14, times: ForwardTimes = TIMES, decision: float = 0.0
) -> list[SimulatedRound]:
    costs = Costs(round=decision, crossing=1.0)
    return list(Simulation(schedule, times, Known(), costs, length, [2]).rounds())


def brief(found: list[SimulatedRound]) -> list[tuple[object, ...]]:
    return [
        (one.mode, one.start, one.seconds, one.draft_seconds, one.target_seconds,
         one.wait_draft_seconds, one.wait_target_seconds, one.branch_forwards)
        for one in found
    ]  # fmt: skip


def test_drafts_that_are_not_whole_in_time() -> None:
    """γ = 3, for 2 tokens after each accepted length: 8 outcomes of three drafted tokens.

    The draft is read in 6 s, and then 8 tokens in 10 s: one is there when the outcome is heard of,
    16 s after the draft was sent; with half a second more it would not be. The first round is that
    of test_ssd.py.
    """
    found = rounds(Branching(3, 2))
    assert brief(found) == [
        ("decode", 0, 12, 0, 12, 0, 0, 0),
        # From 0.5 on 4, 4 and 4 s; then three tokens are read for the last, 5 s.
        ("hit", 12, 20, 17, 14, 0, 6, 4),
        # Heard of at 32.5. From 17.5 on 6 and 10 s, till 33.5; then 2 tokens (4 s) and 1 (3 s).
        ("hit", 32, 23, 23, 14, 0, 9, 4),
        # Heard of at 55.5. From 40.5 on 6 and 10 s, till 56.5; then the same.
        ("hit", 55, 23, 23, 14, 0, 9, 4),
        # Heard of at 78.5, from 63.5 on. Three tokens are drafted in 9 s, till 88.5.
        ("miss", 78, 25, 25, 14, 0, 11, 2),
        # Six outcomes of which the text has room for a draft: from 88.5 on 6 and 8 s, till 102.5;
        # heard of at 103.5, with 4 of them in 6 s under way till 108.5. No draft is wanted.
        ("decode", 103, 18, 20, 11, 12, 6, 3),
    ]
    assert [(one.drafted, one.judged, one.accepted, one.verified_length) for one in found] == [
        (0, 0, 0, 1), (3, 2, 1, 3), (3, 3, 3, 7), (3, 2, 1, 9), (3, 3, 3, 13), (0, 0, 0, 14),
    ]  # fmt: skip
    assert [one.target_tokens for one in found] == [2, 4, 4, 4, 4, 1]
    assert [one.hit for one in found] == [False, True, True, True, False, False]


def test_drafts_that_are_there_in_time() -> None:
    """γ = 1, F = 1, as in test_ssd.py but that something is prepared for each accepted length."""
    assert brief(rounds(Branching(1, 1), 6)) == [
        ("decode", 0, 12, 0, 12, 0, 0, 0),
        ("hit", 12, 13, 7, 12, 5, 1, 2),
        ("miss", 25, 16, 11, 12, 5, 4, 2),
        # One outcome has room for a draft. The text's end is heard of at 53.5, and that it was
        # heard of half a second later.
        ("decode", 41, 13, 7, 11, 18, 1, 2),
    ]
    alone = rounds(Branching(1, 1, at_miss=False), 7)
    assert brief(alone) == [
        ("decode", 0, 12, 0, 12, 0, 0, 0),
        ("hit", 12, 13, 7, 12, 5, 1, 2),
        ("miss", 25, 12, 8, 11, 5, 1, 2),
        ("hit", 37, 13, 6, 12, 6, 1, 2),
        ("decode", 50, 13, 7, 11, 18, 1, 2),
    ]
    assert [one.drafted for one in alone] == [0, 1, 0, 1, 0]


def test_what_is_prepared_when_the_text_ends_is_made_for_nothing() -> None:
    """Three drafted tokens and one of the target's end it at 55 s, which is heard of at 55.5. From
    40.5 on the draft was read in 6 s, then four tokens in 6 s and two in 4 s, till 56.5."""
    assert brief(rounds(Branching(3, 2), 7))[2:] == [("hit", 32, 25, 39, 14, 0, 9, 7)]


def test_where_no_outcome_has_room_for_a_draft_none_is_prepared() -> None:
    """Each token is wrong. The third of four leaves none to draft: the target waits for the news
    to cross, there and back."""

    class Wrong:
        of = "draft model"

        def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
            return FixedText(np.zeros(length, bool))

    made = Simulation(Branching(1, 1), TIMES, Wrong(), Costs(crossing=1.0), 4, [2]).rounds()
    *_, before, last = brief(list(made))
    assert before[0] == "miss" and last[:1] + last[3:5] == ("decode", 0, 11)
    assert last[6:] == (1, 0)


def test_decisions_and_what_both_cost_each_other() -> None:
    """A decision takes 0.25 s; beside each other both take twice as long."""
    times = ForwardTimes(TIMES.target, TIMES.draft, Slowdown(target=2.0, draft=2.0))
    first, second = rounds(Branching(1, 1), 4, times, decision=0.25)[:2]
    assert (first.seconds, first.target_seconds) == (24.25, 24.0)
    # 4 and 3 s, both twice; heard of after 24.75 s, from 0.5 s on.
    assert (second.draft_seconds, second.wait_draft_seconds) == (14.0, 10.25)


def test_what_prepares_may_take_longer_than_reading_a_text() -> None:
    """5 s for two continuations, 9 and 17 s for four and eight of them, where the draft model reads
    two tokens of one text in 4 s and three in 5."""
    branches = Surface((1, 2), (0,), ((3.0, 5.0),))
    times = ForwardTimes(TIMES.target, TIMES.draft, branches=branches)
    assert brief(rounds(Branching(3, 2), 8, times))[:3] == [
        ("decode", 0, 12, 0, 12, 0, 0, 0),
        # From 0.5 on the prompt in 4 s, and twice 5; then three tokens in 5.
        ("hit", 12, 22, 19, 14, 0, 8, 4),
        # From 19.5 on 9 and 17 s, till 45.5; then two tokens in 4 s, and one in 3.
        ("hit", 34, 33, 33, 14, 0, 19, 4),
    ]


def test_each_forward_takes_what_it_takes_after_so_many_tokens() -> None:
    """γ = 2, F = 1. A draft forward takes 2 s, one for each token it reads and 0.01 s for each
    before them; one of the target 5.5 s, one and 0.1 s."""

    def surface(base: float, each: float) -> Surface:
        return Surface.of(
            {(w, c): base + w + each * c for w, c in itertools.product((1, 2), (0, 100))}
        )

    times = ForwardTimes(surface(5.5, 0.1), surface(2.0, 0.01))
    expected = [
        ("decode", 0, 7.5, 0, 7.5, 0, 0, 0),
        # From 0.5 on 4, 3.02 and 3.03 s, till 10.55. Three tokens are read after two.
        ("hit", 7.5, 12.25, 10.05, 8.7, 0, 3.55, 3),
        # Heard of at 20.25. From 10.55 on 5.02 and 5.05 s; then two tokens after four, 4.04 s.
        ("hit", 19.75, 14.31, 14.11, 8.9, 0, 5.41, 3),
        # Heard of at 34.56. From 24.66 on 5.04 and 5.07 s; then two after seven, 4.07 s.
        ("hit", 34.06, 14.48, 14.18, 9.2, 0, 5.28, 3),
        # Heard of at 49.04. From 38.84 on 5.07, 5.1 and 5.13 s; then 3.1 and 3.11 s.
        ("miss", 48.54, 21.81, 21.51, 9.5, 0, 12.31, 3),
    ]
    found = brief(rounds(Branching(2, 1), 14, times))[:5]
    assert [one[0] for one in found] == [one[0] for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one[1:] == pytest.approx(other[1:])


def test_likelier_lengths_have_more_continuations() -> None:
    """3, 2 and 1 of them after none, one and two accepted tokens; after a text without a draft, as
    many as after a whole one."""
    assert brief(rounds(Branching(2, 2, "geometric", 0.2)))[:3] == [
        ("decode", 0, 12, 0, 12, 0, 0, 0),
        # From 0.5 on 4, 3 and 3 s.
        ("hit", 12, 14, 10, 13, 2, 1, 3),
        # From 12.5 on 5 and twice 8 s.
        ("hit", 26, 21, 21, 13, 0, 8, 3),
    ]


class FurtherChoices:
    """Whose tokens are the third, fourth, first, second and fifth choices, then first ones."""

    of = "draft model"

    def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
        right = np.array([False, False, True, False, False, *[True] * 4])
        return FixedText(right, None, np.array([3, 4, 1, 2, 5, *[1] * 4]))


def test_a_token_is_prepared_for_among_as_many_as_its_accepted_length_has() -> None:
    """After a rejected token three others, after an accepted one, or without a draft, one."""
    schedule = Branching(1, 2, "geometric", 0.1)
    assert schedule.numbers() == (3, 1)
    made = Simulation(schedule, TIMES, FurtherChoices(), max_new_tokens=9).rounds()
    assert [one.mode for one in made] == ["decode", "miss", "hit", "miss", "miss", "hit"]


def test_what_follows_a_whole_draft_is_right_as_often_as_its_last_token() -> None:
    """Always: of tokens that are accepted by their place one choice is enough."""
    made = Simulation(Branching(2, 1), TIMES, BlockRates((1.0, 1.0)), max_new_tokens=10).rounds()
    assert [one.mode for one in made] == ["decode", "hit", "hit", "hit"]


def test_a_draft_that_nothing_was_prepared_of_is_read_first() -> None:
    """The target is done before the draft model has begun: 4 s for the prompt, then one by one."""
    times = ForwardTimes(Surface.constant(0.0), TIMES.draft)
    one = Simulation(Branching(2, 1), times, Known(), Costs(), 9, [2])
    second = list(one.rounds())[1]
    # Nothing had to be read again: a token each.
    assert (second.mode, second.draft_seconds, second.branch_forwards) == ("hit", 4 + 3 + 3, 3)
    missed = Simulation(Branching(1, 1), times, FurtherChoices(), Costs(), 9, [2])
    second = list(missed.rounds())[1]
    assert (second.mode, second.draft_seconds, second.branch_forwards) == ("miss", 4 + 3, 1)
    # Of the text's last three tokens the first is read, as one might be drafted after it.
    *_, last = Simulation(Branching(1, 1), times, FurtherChoices(), Costs(), 8, [2]).rounds()
    assert (last.mode, last.draft_seconds, last.branch_forwards) == ("decode", 4, 1)


def test_wide_forwards_take_longer() -> None:
    """What decides whether many outcomes are worth it: forwards over 4, 8 and 16 tokens."""
    made = [rounds(Branching(3, fan_out))[2] for fan_out in (1, 2, 4)]
    assert [one.branch_forwards for one in made] == [4, 4, 4]
    # 6 s for the draft; in 15 s two of 6 s are begun besides, one of 10 s, or one of 18 s. Where
    # two tokens are there three are read then (5 s), where one is, two (4 s) and one (3 s).
    assert [one.draft_seconds for one in made] == [6 + 12 + 5, 6 + 10 + 7, 6 + 18 + 7]


def test_sums_count_forwards_of_the_draft_model() -> None:
    result = Simulation(Branching(3, 2), TIMES, Known(), Costs(crossing=1.0), 14, [2]).run()
    assert result.draft_forwards == 4 + 4 + 4 + (2 + 3) + 3
    assert result.modes == {"decode": 2, "hit": 3, "miss": 1}


def test_the_decoder_says_its_schedule() -> None:
    assert Ssd(4, 3, "geometric", 0.7, 0.5, "none").simulated_as() == Branching(
        4, 3, "geometric", 0.7, 0.5, at_miss=False
    )
    assert Ssd(4).simulated_as() == Branching(4, 2)


def test_a_schedule_says_how_wide_its_draft_forwards_are() -> None:
    """The draft with the token before it, and a token of each continuation: three of each of five
    accepted lengths; on average as many where likelier ones have more."""
    assert Extents.of([Branching(4, 3)]) == Extents(side_by_side=frozenset({5, 15}))
    made = Branching(2, 2, "geometric", 0.5, 1.0)
    # Of six: 1/2 · (1 − 1/2) is gained by a second token after none accepted, then 1/4 · 1/2 twice
    # (the first of equals), or 1/2 · 1/6 by a third.
    assert made.numbers() == (2, 2, 2) and made.draft_widths == (3, 6)
    # 0.8 · (1/2 + 1/6) by two more after none, then 0.16 · 1/2 by one after one, not 0.8 · 1/12.
    assert Branching(2, 2, "geometric", 0.2, 1.0).numbers() == (3, 2, 1)
    assert Extents.of([made, Branching(4, 3)]).side_by_side == {3, 5, 6, 15}
    assert Extents.of([Sequential(3), Alone(), Replicas(2, 2), None]) == Extents()
    # The draft's own token, and a quarter of sixteen others or all of them.
    adaptive = Adaptive(96, branches=True)
    assert Extents.of([adaptive]) == Extents(side_by_side=frozenset({5, 17}))
    assert Extents.of([Adaptive(96), Ahead(96)]) == Extents()


class TestPlaces:
    """At which place of the draft model's choices the target's token is."""

    def test_of_a_text(self) -> None:
        text = Known().text(0, 14, np.random.default_rng(0))
        # The first choice, right or not counted.
        assert text.within(0, 1, rejected=False) and not text.within(0, 0, rejected=False)
        assert text.within(2, 1, rejected=True) and not text.within(2, 1, rejected=False)
        assert text.within(8, 3, rejected=True) and not text.within(8, 2, rejected=True)
        # Of which nothing is known.
        assert not FixedText(RIGHT).within(2, 1000, rejected=True)

    def test_of_blocks(self) -> None:
        text = BlockText((0.9, 0.5), (0.6, 0.4, 0.1), (2, 3, 2))
        assert not text.within(0, 1, rejected=False) and text.within(1, 1, rejected=False)
        # A token that was rejected is not right.
        assert not text.within(1, 1, rejected=True) and text.within(1, 2, rejected=True)
        # As often as the last of three, and a token whose number is the rate itself is not.
        further = BlockText((0.9, 0.5, 0.2), (0.3, 0.2, 0.1), (2, 2, 2))
        assert [further.within(one, 1, rejected=False) for one in range(3)] == [False, False, True]

    @pytest.mark.parametrize("tail", [0.5, 1.0, 2.0])
    def test_how_often_they_are_further_back(self, tail: float) -> None:
        """Beyond the first m with the chance m^-tail, and never the first."""
        places = _places(100_000, tail, np.random.default_rng(1))
        for most in (1, 2, 5):
            assert (places > most).mean() == pytest.approx(most**-tail, abs=0.01)

    @pytest.mark.parametrize("made", [Rate(0.5), BlockRates((0.5,)), Trace(("0" * 2000,))])
    def test_drawn(self, made: Rate | BlockRates | Trace) -> None:
        """Of wrong tokens a half are second choices, and 2 of 3 the second or third."""
        text = made.text(0, 2000, np.random.default_rng(2))
        wrong = [one for one in range(2000) if not text.accepted(one, 1)]
        for most, share in ((1, 1 / 2), (2, 2 / 3)):
            found = [text.within(one, most, rejected=True) for one in wrong]
            assert np.mean(found) == pytest.approx(share, abs=0.05)
