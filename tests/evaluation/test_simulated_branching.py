"""Drafts prepared for likely outcomes, simulated: as the decoder's rounds in test_ssd.py."""

from __future__ import annotations

import numpy as np
import pytest

from decoders.ssd import Ssd
from pearl_eval.simulation import (
    BlockRates,
    Branching,
    Costs,
    ForwardTimes,
    Rate,
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


def test_decisions_and_what_both_cost_each_other() -> None:
    """A decision takes 0.25 s; beside each other both take twice as long."""
    times = ForwardTimes(TIMES.target, TIMES.draft, Slowdown(target=2.0, draft=2.0))
    first, second = rounds(Branching(1, 1), 4, times, decision=0.25)[:2]
    assert (first.seconds, first.target_seconds) == (24.25, 24.0)
    # 4 and 3 s, both twice; heard of after 24.75 s, from 0.5 s on.
    assert (second.draft_seconds, second.wait_draft_seconds) == (14.0, 10.25)


def test_a_draft_that_nothing_was_prepared_of_is_read_first() -> None:
    """The target is done before the draft model has begun: 4 s for the prompt, then one by one."""
    times = ForwardTimes(Surface.constant(0.0), TIMES.draft)
    one = Simulation(Branching(2, 1), times, Known(), Costs(), 9, [2])
    second = list(one.rounds())[1]
    # Nothing had to be read again: a token each.
    assert (second.mode, second.draft_seconds, second.branch_forwards) == ("hit", 4 + 3 + 3, 3)


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
