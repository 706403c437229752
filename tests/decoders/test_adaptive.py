"""``pearl_adaptive``: its rule and what that goes by, by cases worked out on paper."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import exact
import pytest
import torch
from by_hand import Decode, by_hand, target_seconds, wrong_at
from toy import InlineForerunner, TableModel

from decoders.adaptive import policy as policies
from decoders.adaptive.average import Average
from decoders.adaptive.calibration import Calibration, Chances, doubt, place_kind
from decoders.adaptive.deliberation import Deliberation
from decoders.adaptive.drafts import NEVER, Situation
from decoders.adaptive.forward_costs import ForwardCosts
from decoders.adaptive.line import Line
from decoders.adaptive.outlook import Outlook
from decoders.adaptive.policy import MOST, Decision, Policy
from decoders.adaptive.slowdown import LearnedSlowdown
from decoders.adaptive.stopping import RunEnds, Start, Timings, best_start, expected_ends
from decoders.pearl_adaptive import PearlAdaptive, PearlAdaptiveSession
from decoders.pearl_async import PearlAsync
from decoders.process import forerunner, forerunner_service
from decoders.round import Round
from decoders.sampling.sampler import Greedy
from decoders.schedule import Adaptive

__all__ = ["by_hand"]

TEXT = list(range(10, 24))
#: Forwards of 10 s, whatever they judge; a token each 2 s.
FLAT = Timings([10.0] * 20, 2.0, 2.0)


def test_a_forward_takes_a_text_as_far_as_is_drafted_meanwhile() -> None:
    # 5 tokens in 10 s: 4 judged, and one added for which a draft was there.
    assert FLAT.steady() == (5, 10.0)
    # 10 + 1 s for each that is judged: with 9 of them 19 s, in which 10 are drafted.
    assert Timings([10.0 + one for one in range(30)], 1.9, 1.9).steady() == (10, 19.0)
    # Never as many: all that may be judged.
    assert Timings([10.0, 11.0], 0.1, 0.1).steady() == (2, 11.0)


@pytest.mark.parametrize(("arrival", "awaited"), [(1.9, 1), (2.0, 0)])
def test_it_waits_for_a_token_while_that_ends_the_run_sooner(arrival: float, awaited: int) -> None:
    """Nothing is at hand, and each token is right by a half.

    From the third forward on, each takes the text 5 further, so 10 / (1 - 1/32) = 10.3226 s are to
    come if all is right until then. Started now: in 10 s 1 + (10 - a) / 2 tokens are drafted if the
    first is there in a, so 6 - a/2 with it, and one of them is the one that the target adds: of the
    second forward 5 - a/2 are judged. 10 + 1/2 · 10 + (1/2)^(7 - a/2) · 10.3226.

    Waited for one, which costs 1.3 · a: judged with it; 5 drafted meanwhile, and one is added
    beside one of them. 1.3 a + 10 + 1/4 · 10 + (1/2)^7 · 10.3226.

    For a = 2 that is 15 + 0.1613 and 2.6 + 12.5 + 0.0806, so now is better by 0.02; for a = 1.9 it
    is 15 + 0.1558 and 2.47 + 12.5 + 0.0806, which saves 0.1052.
    """
    start = best_start([], 0.5, arrival, FLAT)
    assert start.awaited == awaited
    assert start.saved == pytest.approx(0.1052 * awaited, abs=1e-4)


def test_what_is_hardly_ever_right_is_left_unjudged() -> None:
    """Three are at hand: right for sure, then by 0.1 each. Where each that is judged takes 2 s, the
    second costs 2 s and saves a further forward, of 16 s, by 0.1 · 0.9."""
    dear = Timings([10.0 + 2 * one for one in range(20)], 5.0, 5.0)
    assert best_start([1.0, 0.1, 0.1], 0.1, 5.0, dear)[:2] == (1, 0)
    # Where it takes no longer, all are.
    assert best_start([1.0, 0.1, 0.1], 0.1, 5.0, FLAT)[:2] == (3, 0)
    # And where no more will come, since the text is at its end.
    assert best_start([1.0, 0.1, 0.1], 0.1, NEVER, dear)[:2] == (3, 0)


def test_no_more_are_judged_than_a_forward_may() -> None:
    short = Timings([10.0] * 4, 2.0, 2.0)
    assert best_start([0.9] * 7, 0.9, 1.0, short).judged == 3
    assert best_start([0.9] * 7, 0.9, NEVER, short).judged == 3


def test_when_the_wrong_token_is_found_by_what_is_done_next() -> None:
    """Two are at hand, right by 0.9 and 0.45; with the next one by 0.36. A token each 4 s.

    With 3 judged a forward takes 16 s, in which 4 are drafted: 16 / (1 - 0.8^4) s from the third
    forward on. Of the first one 7, 9 or 11 s are over when the next token is there, so 2.75, 3.25
    or 3.75 are drafted in it. Of these and the two at hand 3.75, 3.25 and 2.75 are left to judge.
    """
    slower = Timings([10.0, 12.0, 14.0, 16.0, 18.0, 20.0], 4.0, 3.0)
    later = 16 / (1 - 0.8**4)
    now = [
        10 + 0.9 * 18 + 0.45 * 0.8**3.75 * later,
        12 + 0.45 * 16 + 0.45 * 0.8**4.25 * later,
        14 + 0.36 * 16 + 0.45 * 0.8**4.75 * later,
    ]
    # Waited for 3, 6 and 9 s, since no more than five may be judged.
    waited = [
        1.3 * 3 + 16 + 0.36 * 0.8 * (16 + 0.8**4 * later),
        1.3 * 6 + 18 + 0.36 * 0.8**2 * (18 + 0.8**4.5 * later),
        1.3 * 9 + 20 + 0.36 * 0.8**3 * (18 + 0.8**5 * later),
    ]
    found = expected_ends([0.9, 0.5], 0.8, 3.0, slower)
    assert (found.judged, found.arrival) == (1, 3.0)
    assert found.seconds == pytest.approx([now[1], *waited]) and now[1] < min(now[0], now[2])
    # To judge both at once, without any weighing, ends the run by so much later.
    assert found.unweighed == pytest.approx(now[2])
    assert now[1] < min(waited)
    start = best_start([0.9, 0.5], 0.8, 3.0, slower)
    assert start == (1, 0, pytest.approx(now[2] - now[1]))
    # Were the next one there at once, three and a half would be left beside both, counted as four.
    soon = expected_ends([0.9, 0.5], 0.8, 0.0, slower)
    assert soon.judged == 2
    assert soon.seconds[0] == pytest.approx(14 + 0.36 * 18 + 0.45 * 0.8**5.5 * later)
    # Where none will come all are judged, and nothing else can be done.
    assert expected_ends([0.9, 0.5], 0.8, NEVER, slower) == RunEnds(2, (0.0,), NEVER)


def test_more_at_hand_than_two_forwards_judge() -> None:
    """Six, of which either forward judges two at most: after two that judge 0 and 2 four are known
    if all are right, after 1 and 2 five, after 2 and 2 six."""
    found = expected_ends([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 0.5, 2.0, Timings([10, 11, 12], 2.0, 2.0))
    later = 12 / (1 - 0.5**3)
    all_right = 0.9 * 0.8 * 0.7 * 0.6 * 0.5 * 0.4
    assert found.judged == 2
    assert found.seconds == [pytest.approx(12 + 0.9 * 0.8 * 0.7 * 12 + all_right * later)]
    # Were they as dear as that, a forward that judges none would do.
    dear = expected_ends([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 0.5, 2.0, Timings([10, 31, 32], 2.0, 2.0))
    later = 32 / (1 - 0.5**3)
    assert dear.judged == 0
    assert dear.seconds == [pytest.approx(10 + 0.9 * 32 + 0.9 * 0.8 * 0.7 * 0.6 * later)]


@pytest.mark.parametrize(("arrival", "waits"), [(12.0, 2), (30.0, 0)])
def test_a_token_that_comes_after_the_forward_is_none_of_those_drafted_in_it(
    arrival: float, waits: int
) -> None:
    """So the second judges none, and adds the second token of the text: 17.9 s. What comes later
    than that is not weighed: the next after 12 s come at 17 and 22."""
    found = expected_ends([], 0.5, arrival, Timings([10.0] * 20, 4.0, 5.0))
    now = 10 + 0.5 * 10 + 0.5**2 * 10 / (1 - 0.5**3)
    assert found.seconds[0] == pytest.approx(now)
    assert len(found.seconds) == 1 + waits


def test_what_comes_late_leaves_what_is_at_hand() -> None:
    """Of three none is judged now, and two by the second forward, which adds the third."""
    found = expected_ends([0.3, 0.8, 0.7], 0.5, 30.0, Timings([10, 31, 32, 33], 4.0, 4.0))
    now = 10 + 0.3 * 32 + 0.3 * 0.8 * 0.7 * 0.5 * 33 / (1 - 0.5**4)
    assert found[:3] == (0, [pytest.approx(now)], 30.0)


def test_a_draft_model_that_is_slow_beside_the_target_drafts_nothing_in_a_forward() -> None:
    """A token takes 20 s in one of 10 s, and 5 s while the target waits."""
    found = expected_ends([], 0.9, 5.0, Timings([10.0] * 20, 20.0, 5.0))
    later = 10 / (1 - 0.9)
    assert found.seconds[:2] == [
        pytest.approx(10 + 0.9 * 10 + 0.9**2.25 * later),
        pytest.approx(1.3 * 5 + 10 + 0.9**2 * (10 + 0.9 * later)),
    ]


def test_so_many_are_looked_ahead_for_as_matter() -> None:
    """Eight at most, and none that is right by less than 0.02 with those before it."""

    def ahead(unseen: float, *held: float, arrival: float = 0.1, each: float = 0.1) -> int:
        timings = Timings([10.0] * 20, 0.1, each)
        return len(expected_ends(held, unseen, arrival, timings).seconds) - 1

    # Of the first one 0.18² and 0.25², of the second 0.25³.
    assert (ahead(0.99), ahead(0.18), ahead(0.25), ahead(0.1)) == (8, 1, 1, 0)
    assert ahead(0.99, 0.9, 0.9) == 8
    # The third would be there after 14.5 s. Waiting for the first ends the run before.
    found = expected_ends([], 0.5, 0.5, Timings([10.0] * 20, 2.0, 7.0)).seconds
    assert found[0] > 14.5 > found[1] and len(found) == 3


def test_of_equal_ways_that_is_taken_which_judges_and_waits_least() -> None:
    assert best_start([0.0, 0.0], 0.0, 1.0, FLAT) == Start(0, 0, 0.0)


def test_what_is_as_good_as_right_is_not_waited_for() -> None:
    """It makes no difference when the target starts, and what is expected may be wrong."""
    assert best_start([], 0.996, 1.0, Timings([10.0] * 20, 1.0, 1.0))[:2] == (0, 0)


def test_kinds_of_doubt_and_of_places() -> None:
    """One for each halving of the doubt; places by powers of two."""
    assert [doubt(one) for one in (0.0, 0.4, 0.51, 0.76, 0.9, 0.999, 1.0)] == [0, 0, 1, 2, 3, 8, 8]
    assert [place_kind(one) for one in (0, 1, 2, 3, 4, 7, 8, 15, 16, 500)] == [
        *(0, 1, 2, 2, 3, 3, 4, 4, 5, 5)
    ]


def test_at_first_a_draft_model_is_taken_at_its_word() -> None:
    """A doubt of between 1/4 and 1/8 is taken as 3/16; one that nothing is known of as 1/4."""
    known = Calibration()
    assert known.drafted.chance(doubt(0.8), 0) == pytest.approx(1 - 3 / 16)
    assert known.unseen.chance(known.NOTHING, 0) == pytest.approx(3 / 4)
    assert known.unseen.chance(doubt(0.8), 3) == pytest.approx(3 / 4)


def test_a_step_of_learning() -> None:
    """A token of even odds that was right: an error of 1/2 and a spread of 1/4.

    Seen before: as much as 2 of its doubt, 1 of its place, 0.5 of any. Half the error over what is
    then 0.98 · 2 + 0.25 = 2.21, 0.98 · 1 + 0.25 = 1.23 and 0.93 · 0.5 + 0.25 = 0.715.
    """
    chances = Chances([0.0, 0.0])
    chances.learn(1, 2, right=True)
    odds = 0.25 / 2.21 + 0.25 / 1.23 + 0.25 / 0.715
    assert chances.chance(1, 2) == pytest.approx(1 / (1 + math.exp(-odds)))
    # Of another doubt or place, only what is known of the rest.
    assert chances.chance(0, 0) == pytest.approx(1 / (1 + math.exp(-0.25 / 0.715)))


def test_a_second_step_of_learning_and_one_that_hardly_matters() -> None:
    """What was seen before counts 0.98 and 0.93 times as much, and a spread at least as 0.02."""
    chances = Chances([0.0])
    chances.learn(0, 0, right=True)
    odds = 0.25 / 2.21 + 0.25 / 1.23 + 0.25 / 0.715
    chances.learn(0, 0, right=False)
    before = 1 / (1 + math.exp(-odds))
    half, spread = before / 2, before * (1 - before)
    for seen in (0.98 * 2.21 + spread, 0.98 * 1.23 + spread, 0.93 * 0.715 + spread):
        odds -= half / seen
    assert chances.chance(0, 0) == pytest.approx(1 / (1 + math.exp(-odds)), rel=1e-9)
    # One that was taken to be right by 0.996, the most there is. Of any token 0.93 · 0.5 + 0.02 was
    # seen, which counts as 0.5.
    sure = Chances([6.0])
    sure.learn(0, 0, right=False)
    odds = 6.0 - 0.498 / 1.98 - 0.498 / 1.0 - 0.498 / 0.5
    assert sure.chance(0, 0) == pytest.approx(1 / (1 + math.exp(-odds)), rel=1e-9)


def test_of_a_token_to_come_it_is_learned_by_the_one_before_it() -> None:
    """That no doubt at all was before it is something else than that nothing was."""
    assert Calibration.NOTHING not in range(9)
    for before, own in ((8, 8), (3, 3), (None, Calibration.NOTHING)):
        known, other = Calibration(), Chances([math.log(3.0)] * 2)
        known.learn(0, before, 5, right=False)
        other.learn(0, 5, right=False)
        for kind in (3, 8, known.NOTHING):
            assert known.unseen.chance(kind, 0) == other.chance(int(kind != own), 0)


def test_chances_become_what_is_seen() -> None:
    """Of one kind every second token is right, of another all, whatever the draft model says."""
    known = Calibration()
    for index in range(600):
        known.learn(doubt(0.99), None, 0, index % 2 == 0)
        known.learn(doubt(0.3), doubt(0.99), 1, right=True)
    assert known.drafted.chance(doubt(0.99), 0) == pytest.approx(0.5, abs=0.1)
    assert known.drafted.chance(doubt(0.3), 1) > 0.95
    assert known.unseen.chance(known.NOTHING, 0) == pytest.approx(0.5, abs=0.1)
    assert known.unseen.chance(doubt(0.99), 1) > 0.95


def test_no_chance_is_certain() -> None:
    known = Calibration()
    for _ in range(2000):
        known.learn(0, None, 0, right=False)
        known.learn(8, None, 1, right=True)
    assert known.drafted.chance(0, 0) == pytest.approx(0.004)
    assert known.drafted.chance(8, 1) == pytest.approx(0.996)


def test_an_average_forgets_and_does_not_follow_what_is_far_off() -> None:
    average = Average(0.1)
    assert average.value == 0.0
    for value in (2.0, 4.0):
        average.add(value)
    assert average.value == 3.0  # of so few the mean
    for _ in range(8):
        average.add(3.0)
    average.add(100.0)
    assert average.value == pytest.approx(3.0 + 0.1 * (6.0 - 3.0))  # as twice the average
    usual = Average()
    for _ in range(30):
        usual.add(2.0)
    usual.add(3.0)
    assert usual.value == pytest.approx(2.1)


def test_forwards_of_sizes_that_were_not_measured_are_between_those_that_were() -> None:
    """Before any other was measured each token more takes 2 %."""
    costs = ForwardCosts(6)
    assert not costs
    costs.add(0, 10.0)
    assert costs and costs.seconds() == pytest.approx([10 * (1 + 0.02 * n) for n in range(7)])
    for _ in range(400):
        costs.add(0, 10.0)
        costs.add(4, 14.0)
    assert costs.seconds() == pytest.approx([10, 11, 12, 13, 14, 15, 16], rel=0.01)


def test_a_forward_moves_the_level_of_all_and_its_own_place() -> None:
    """Of 4 tokens it is expected to take 1.08 times as long, so 21.6 s are as 20 s of none: the
    mean is 15. Of that it took 1.44, which is further by 0.36, a tenth of which is taken over."""
    costs = ForwardCosts(4)
    costs.add(0, 10.0)
    costs.add(4, 21.6)
    assert costs.relative(4) == pytest.approx(1.08 + 0.036)
    assert costs.seconds() == pytest.approx([15.0, 15.3, 15.6, 15.9, 15 * 1.116])
    # One that is far off counts as twice what is expected, of the level and of the shape.
    costs.add(4, 1000.0)
    assert costs.relative(4) == pytest.approx(1.116 + 0.1116)
    assert costs.seconds()[0] == pytest.approx(15.0 + 15.0 / 3)
    # Of seven one is 0.15 of the level: 11.5 s, of which it took 1.7391.
    level = ForwardCosts(1)
    for _ in range(6):
        level.add(0, 10.0)
    level.add(0, 20.0)
    assert level.seconds()[0] == pytest.approx(11.5 * (1 + 0.1 * (20 / 11.5 - 1)))


def test_after_eight_forwards_other_sizes_are_drawn_through_what_was_measured() -> None:
    """15 s of none and 16.74 s of 4, which is 1.116 times as long."""
    costs = ForwardCosts(6)
    costs.add(0, 10.0)
    costs.add(4, 21.6)
    for _ in range(5):
        costs.add(0, 15.0)
    assert [costs.relative(judged) for judged in (1, 2, 3, 5)] == [1.02, 1.04, 1.06, 1.1]
    costs.add(0, 15.0)
    assert [costs.relative(judged) for judged in range(7)] == (
        pytest.approx([1, 1.029, 1.058, 1.087, 1.116, 1.145, 1.174])
    )
    # Of three sizes: between two by these, beyond them by the first and the last.
    three = ForwardCosts(8)
    for judged, seconds in zip((2, 4, 7) * 3, (10, 12, 13, 11, 12, 15, 9, 14), strict=False):
        three.add(judged, seconds)
    shape = [three.relative(judged) for judged in range(9)]
    slope = (shape[7] - shape[2]) / 5
    third = (shape[7] - shape[4]) / 3
    assert slope > 0.02 and abs(third - slope) > 0.002
    assert shape[:2] == pytest.approx([shape[2] - 2 * slope, shape[2] - slope])
    assert shape[3] == pytest.approx((shape[2] + shape[4]) / 2)
    assert shape[5:7] == pytest.approx([shape[4] + third, shape[4] + 2 * third])
    assert shape[8] == pytest.approx(shape[7] + slope)
    # A single size says nothing of others: 2 % for each token.
    single = ForwardCosts(2)
    for _ in range(8):
        single.add(1, 10.2)
    assert single.seconds() == pytest.approx([10.0, 10.2, 10.4])
    # And none that judges more is taken to be quicker.
    falling = ForwardCosts(3)
    for judged, seconds in ((2, 20.8), *[(0, 40.0)] * 7):
        falling.add(judged, seconds)
    shape = [falling.relative(judged) for judged in range(4)]
    assert shape[0] > shape[2] == shape[3]
    assert shape[1] == pytest.approx((shape[0] + shape[2]) / 2)


def test_forwards_become_slower_together() -> None:
    """Twice as slow, of which only those that judge nothing are measured."""
    costs = ForwardCosts(4)
    for _ in range(200):
        costs.add(0, 10.0)
        costs.add(4, 12.0)
    for _ in range(16):
        costs.add(0, 20.0)
    seconds = costs.seconds()
    assert seconds[4] > 18 and 17 < seconds[0] < 21


def test_a_token_that_would_end_after_the_news_is_not_begun() -> None:
    """A forward takes 4 s. The draft of 3 tokens is right by 1/2 · (1/2)^1, so wrong by 3/4: what
    would be begun less than 3 s before the news is not, until 3 s after it."""
    outlook = Outlook()
    outlook.drafted(4.0, anew=False)
    assert outlook.better_waits(100.0, 3) == 0.0
    outlook.expect(100.0, 0.5, 0.5, 2, 0.0)
    assert outlook.better_waits(96.9, 3) == 0.0
    assert outlook.better_waits(97.5, 3) == pytest.approx(2.5 + 3.0)
    assert outlook.better_waits(102.0, 3) == pytest.approx(1.0)
    assert outlook.better_waits(103.1, 3) == 0.0
    # Of two tokens, which are right by 1/2: 2 s.
    assert outlook.better_waits(97.5, 2) == 0.0
    assert outlook.better_waits(98.5, 2) == pytest.approx(1.5 + 2.0)
    # Each further token counts less: of two 2 s all the same.
    outlook.expect(100.0, 0.5, 0.2, 2, 0.0)
    assert outlook.better_waits(97.5, 2) == 0.0 < outlook.better_waits(96.5, 3)
    outlook.expect(100.0, 0.5, 0.5, 2, 0.0)
    # At the very time there is nothing to choose.
    assert outlook.better_waits(97.0, 3) == 0.0 < outlook.better_waits(97.001, 3)
    outlook.forget()
    assert outlook.better_waits(98.5, 2) == 0.0


def test_a_draft_model_rests_where_it_costs_the_target_more_than_it_may_gain() -> None:
    """The target is slower by 0.3. The draft of 3 tokens is right by 1/4, that of 2 by 1/2.

    The news comes in 40 s: a rest saves 0.05 · 40 = 2 s more than it loses. After one the first
    forward has taken 7 s, else 4 s: 3 s of it are lost. With 80 s to go it rests all the same.
    """
    outlook = Outlook()
    outlook.drafted(4.0, anew=True)
    outlook.expect(100.0, 0.5, 0.5, 2, 0.3)
    assert outlook.better_waits(60.0, 2) == 0.0
    assert outlook.better_waits(60.0, 3) == pytest.approx(40.0 + 4.0)
    outlook.drafted(7.0, anew=True)
    outlook.expect(100.0, 0.5, 0.5, 2, 0.3)
    assert outlook.better_waits(60.0, 3) == 0.0
    assert outlook.better_waits(20.0, 3) > 80.0
    # Only what comes after a rest counts as such.
    assert outlook.better_waits(60.0, 3) == 0.0
    outlook.drafted(100.0, anew=True)
    outlook.expect(100.0, 0.5, 0.5, 2, 0.3)
    assert outlook.better_waits(20.0, 3) > 80.0


def rests(outlook: Outlook, now: float, slowdown: float) -> bool:
    """Where news comes at 100 s, and the draft is right by a half."""
    outlook.expect(100.0, 0.5, 0.5, 2, slowdown)
    return outlook.better_waits(now, 2) > 0


def test_by_how_little_a_rest_must_pay() -> None:
    """A forward takes 4 s; nothing is known of what a rest costs."""
    outlook = Outlook()
    outlook.drafted(4.0, anew=True)
    # By 0.8 s, by nothing, and less than nothing.
    assert rests(outlook, 84.0, 0.55) and not rests(outlook, 84.0, 0.5)
    assert not rests(outlook, 84.0, 0.3)
    # A whole forward before the news there still is something to gain.
    outlook.expect(100.0, 0.25, 0.5, 2, 0.9)
    assert outlook.better_waits(96.0, 2) == pytest.approx(8.0)


def test_what_a_rest_costs_is_told_by_forwards_that_begin_a_draft() -> None:
    """7 s after a rest, else 4 s: so 3 s. With 20 s to go a slowdown of 0.6 costs 2 s too much, one
    of 0.7 costs 4."""
    outlook = Outlook()
    outlook.drafted(4.0, anew=True)
    outlook.drafted(8.0, anew=False)
    assert rests(outlook, 80.0, 0.9)
    outlook.drafted(7.0, anew=True)
    assert not rests(outlook, 80.0, 0.6) and rests(outlook, 80.0, 0.7)
    # One that goes on with its draft after a rest says nothing, and ends the rest.
    outlook.drafted(14.0, anew=False)
    outlook.drafted(4.0, anew=True)
    assert not rests(outlook, 80.0, 0.6) and rests(outlook, 80.0, 0.7)
    # As long as no draft began without a rest it is all forwards: 5.5 s, so a rest costs 1.5.
    others = Outlook()
    others.drafted(4.0, anew=False)
    assert rests(others, 80.0, 0.9)
    others.drafted(7.0, anew=True)
    assert rests(others, 80.0, 0.6) and not rests(others, 80.0, 0.57)


def test_a_line_is_that_of_the_recent_points() -> None:
    """A rise of a tenth of the mean counts as much as a variance of 1; that of these places is 4:
    from 10 at 0 to 14 at 4 it rises by (4 · 1 + 1 · 0.1 · 12) / 5."""
    line = Line(0.1, 1.0)
    assert not line
    line.add(3.0, 10.0)
    assert line and (line.slope, line.at(5.0)) == (pytest.approx(1.0), pytest.approx(12.0))
    for _ in range(300):
        line.add(0.0, 20.0)
    for _ in range(300):
        line.add(0.0, 10.0)
        line.add(4.0, 14.0)
    assert line.slope == pytest.approx(1.04, abs=0.01)
    assert line.at(2.0) == pytest.approx(12.0, abs=0.05)


def test_a_point_far_above_a_line_counts_as_twice_as_high() -> None:
    """Of 1 + 0.98 + 0.98² + … = 50 points one is new: a fiftieth of what it is above the others."""
    line = Line(0.0, 1.0)
    for _ in range(400):
        line.add(2.0, 10.0)
    line.add(2.0, 1000.0)
    assert line.at(2.0) == pytest.approx(10.0 + (20.0 - 10.0) / 50, rel=1e-3)
    # Twice of what the line says there, not of the mean: it expects about 60 at 10.
    steep = Line(0.0, 0.001)
    for _ in range(400):
        steep.add(0.0, 10.0)
        steep.add(10.0, 60.0)
    # Or of the mean, where that is more: of 10 and 20, at 0 and 10. At its own mean a line has that
    # of its values.
    line = Line(0.0, 0.001)
    for place, value in ((0.0, 10.0), (10.0, 20.0), (0.0, 1000.0)):
        line.add(place, value)
        assert line
    values = 0.98 * 10.0 + 20.0
    assert line.at(9.8 / 2.9404) == pytest.approx((0.98 * values + 2 * values / 1.98) / 2.9404)
    before = steep.at(10.0)
    steep.add(10.0, 115.0)
    assert steep.at(10.0) - before == pytest.approx(55.0 / 25, rel=0.05)


def test_a_slowdown_is_learned_from_forwards_of_either_kind() -> None:
    """10 s alone, 12 s beside the draft model, 11 s where that ran for half of them."""
    slowdown = LearnedSlowdown()
    assert slowdown.value == 0.1
    for _ in range(60):
        slowdown.add(0.0, 10.0)
        slowdown.add(1.0, 12.0)
        slowdown.add(0.5, 11.0)
    assert slowdown.value == pytest.approx(0.2, abs=0.01)
    # Of what never varies nothing is learned, and none is ever a gain.
    same = LearnedSlowdown()
    for _ in range(60):
        same.add(1.0, 12.0)
    assert same.value == pytest.approx(0.1, abs=0.02)
    for _ in range(200):
        slowdown.add(0.0, 12.0)
        slowdown.add(1.0, 10.0)
    assert slowdown.value == 0.0


def test_a_slowdown_of_two_forwards() -> None:
    """What is taken at first counts as much as a variance of 0.01; that of these is about 0.25."""
    slowdown = LearnedSlowdown()
    # The first forward of all tells nothing, however long it took.
    slowdown.add(1.0, 0.024)
    assert slowdown.value == 0.1
    slowdown.add(0.0, 0.010)
    slowdown.add(1.0, 0.012)
    share, mean = 1 / 1.98, (0.98 * 0.010 + 0.012) / 1.98
    variance, covariance = share - share**2, 0.012 / 1.98 - share * mean
    slope = (covariance + 0.01 * 0.1 * mean) / (variance + 0.01)
    assert slowdown.value == pytest.approx(slope / (mean - slope * share))
    # More than twice as long is no slowdown but something else.
    for _ in range(60):
        slowdown.add(0.0, 0.010)
        slowdown.add(1.0, 0.030)
    assert slowdown.value == 1.0


def test_a_policy_decides_by_what_it_has_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft forward takes 3 s beside the target and 2 s alone; the first one read the prompt."""
    asked = list[tuple[object, ...]]()

    def decided(*arguments: object) -> Start:
        asked.append(arguments)
        return Start(1, 0, 0.25)

    monkeypatch.setattr(policies, "best_start", decided)
    policy = Policy()
    policy.ran(0, 10.0)
    policy.drafted(3.0, beside=True)
    policy.drafted(2.0, beside=False)
    decision = policy.decide(Situation([0.7], 0, 0.7, 1.5))
    chances, unseen = [policy.chance(0.7, 0)], policy.unseen(0.7, 1)
    ((*given, timings),) = asked
    assert given == [chances, unseen, 1.5]
    assert timings[:3] == (pytest.approx([10 + 0.2 * judged for judged in range(33)]), 3.0, 2.0)
    # That the draft process is told of it saves half of 3 s, by the chance of an error squared.
    saved = pytest.approx(0.25 + 1.5 * (1 - chances[0]) ** 2)
    assert decision == (1, 0, chances, chances[0], unseen, pytest.approx(10.2), saved)


def test_a_policy_tells_forwards_of_other_sizes_from_slower_ones() -> None:
    """One that judges more takes longer, as is known, whatever ran beside it."""
    policy = Policy()
    for _ in range(300):
        policy.ran(0, 10.0, 0.0)
        policy.ran(4, 14.0, 1.0)
        policy.ran(0, 10.0, 1.0)
    assert policy.slowdown < 0.03


def test_the_next_token_is_expected_a_forward_after_the_last() -> None:
    policy = Policy()
    policy.drafted(3.0, beside=True)
    # While the target waits it may be quicker; as long as that was not seen it is not.
    assert policy.arrival(ended=10.0, told=5.0, anew=False, now=11.0) == 2.0
    policy.drafted(2.0, beside=False)
    assert (policy.drafting, policy.waiting) == (3.0, 2.0)
    # It goes on with what it was at.
    assert policy.arrival(ended=10.0, told=12.0, anew=False, now=12.0) == 0.0
    assert policy.arrival(ended=10.0, told=5.0, anew=False, now=11.0) == 1.0
    assert policy.arrival(ended=10.0, told=5.0, anew=False, now=20.0) == 0.0
    # It had nothing to do, or rested, since 10: else the next one had been there at 13.
    assert policy.arrival(ended=10.0, told=13.5, anew=False, now=14.0) == 1.5
    assert policy.arrival(ended=10.0, told=13.0, anew=False, now=13.0) == 0.0
    # It is at a token that it began at 10, and hears at 13 that it must begin anew.
    assert policy.arrival(ended=10.0, told=12.0, anew=True, now=12.0) == 3.0
    # It waited for that since 10 + 3.
    assert policy.arrival(ended=10.0, told=14.0, anew=True, now=14.0) == 2.0
    # It has drafted one since, still for the text that is no more; or had just done so.
    assert policy.arrival(ended=13.0, told=12.0, anew=True, now=13.0) == 2.0
    assert policy.arrival(ended=13.0, told=13.0, anew=True, now=13.0) == 2.0
    waited = Policy()
    assert (waited.drafting, waited.waiting) == (0.0, 0.0)
    waited.drafted(2.0, beside=False)
    assert (waited.drafting, waited.waiting) == (2.0, 2.0)


class Token(NamedTuple):
    ended: float
    confidence: float


def test_what_there_is_when_the_target_is_free() -> None:
    policy, last = Policy(), Token(ended=10.0, confidence=0.7)
    policy.drafted(3.0, beside=True)
    # The next token is there a forward after the last one, of which 1 s is over.
    here = ([0.9, 0.7], 4, last)
    assert policy.situation(*here, stale=False, room=3, told=5.0, now=11.0) == (
        Situation([0.9, 0.7], 4, 0.7, 2.0)
    )
    # There is no room for a third.
    assert policy.situation(*here, stale=False, room=2, told=5.0, now=11.0).arrival == NEVER
    # The draft went elsewhere: the next token follows none, and comes a forward later.
    assert policy.situation([], 4, last, stale=True, room=3, told=11.0, now=11.0) == (
        Situation([], 4, None, 5.0)
    )
    # Nothing was drafted yet: it is reading the prompt, for nobody knows how long.
    assert policy.situation([], 0, None, stale=False, room=3, told=0.0, now=0.0) == (
        Situation([], 0, None, NEVER)
    )


def test_the_reading_of_a_prompt_is_no_draft_forward_like_others() -> None:
    policy = Policy()
    for _ in range(2):
        policy.begin()
        policy.drafted(50.0, beside=True)
        policy.drafted(3.0, beside=True)
    assert policy.drafting == 3.0


class Prophet:
    """A model that always drafts token 3: it reads a prompt in 50 s, and any other token in 4."""

    def __init__(self) -> None:
        self.now, self.read = 0.0, 0

    def extend(self, text: list[int], rows: int) -> torch.Tensor:
        self.now += 50.0 if not self.read else 4.0
        self.read = len(text)
        return torch.tensor([[0.0, 0.0, 0.0, 1.0]])

    def rollback(self, length: int) -> None:
        self.read = min(self.read, length)


def test_a_draft_process_counts_no_reading_of_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as a draft forward, nor as the first of a draft that begins anew."""
    model, counted = Prophet(), list[tuple[float, bool]]()
    monkeypatch.setattr(forerunner_service, "clock", lambda: model.now)
    monkeypatch.setattr(Outlook, "drafted", lambda self, *one: counted.append(one))
    service = forerunner_service.ForerunnerService(model, Greedy(), confides=True)  # type: ignore[arg-type]

    def begin() -> None:
        counted.clear()
        service.answer(("begin", [1, 2], 9, 20, 0))
        service.draft(0.0)
        assert counted == []

    begin()
    service.draft(0.0)
    service.answer(("verified", 1, 2, [3, 1]))
    service.draft(0.0)
    service.draft(0.0)
    assert counted == [(4.0, False), (4.0, True), (4.0, False)]
    # Of the next text, whether or not the target was quicker than the reading of the prompt.
    service.answer(("verified", 2, 4, [1]))
    begin()
    service.answer(("begin", [1, 2], 9, 20, 0))
    service.answer(("verified", 1, 2, [0]))
    service.draft(0.0)
    service.draft(0.0)
    assert counted == [(4.0, False)]


def test_a_draft_process_says_how_sure_it_is_as_long_as_it_is_asked() -> None:
    service = forerunner_service.ForerunnerService(Prophet(), Greedy(), confides=True)  # type: ignore[arg-type]
    service.answer(("begin", [1, 2], 9, 20, 0))

    def told() -> tuple[Any, ...]:
        """What it says of a token beside where it belongs, and times."""
        return service.draft(0.0)[7:]

    assert len(told()) == len(told()) == 1
    assert service.answer(("confide", False)) is None
    assert told() == told() == ()
    service.answer(("begin", [1, 2], 9, 20, 0))
    assert told() == ()
    service.answer(("confide", True))
    assert len(told()) == 1
    plain = forerunner_service.ForerunnerService(Prophet(), Greedy())  # type: ignore[arg-type]
    plain.answer(("begin", [1, 2], 9, 20, 0))
    assert plain.draft(0.0)[7:] == ()


def test_it_is_told_when_that_changes() -> None:
    sent = list[tuple[object, ...]]()
    one: Any = object.__new__(forerunner.Forerunner)
    one.send, one._asks = sent.append, True
    for asked in (True, False, False, True, True):
        one.confide(asked)
    assert sent == [("confide", False), ("confide", True)]


def test_rounds_are_weighed_as_long_as_that_saves_more_than_it_takes() -> None:
    """Taken to gain a millisecond at first. Each round counts a twentieth, with the decision's time
    twice: 0.002 · 0.95ⁿ - 0.001 remains, which is 0.0000267 after thirteen rounds, and then
    -0.0000246."""
    deliberation = Deliberation()
    for _ in range(14):
        assert deliberation.pays() and deliberation.nears
        deliberation.weighed(0.0, 0.0005)
    # The next nine are not, and what is drafted from the end of the eighth on is there for the
    # tenth.
    found = [(deliberation.pays(), deliberation.nears) for _ in range(10)]
    assert found == [(False, False)] * 7 + [(False, True)] * 2 + [(True, True)]
    # 0.95 · -0.0000246 + 0.05 · 0.0004 is less than nothing yet.
    deliberation.weighed(0.0005, 0.00005)
    assert [deliberation.pays() for _ in range(10)] == [False] * 9 + [True]
    # 0.95 · -0.0000034 + 0.05 · 0.0004 is more.
    deliberation.weighed(0.0005, 0.00005)
    assert deliberation.pays() and deliberation.pays()


def test_drafts_for_other_tokens_are_a_reason_to_weigh() -> None:
    deliberation = Deliberation()
    for _ in range(14):
        deliberation.weighed(0.0, 0.0005)
    for _ in range(9):
        assert not deliberation.pays()
        # Whatever comes until the next one is weighed is its decision's.
        deliberation.came(0.0002)
    assert deliberation.pays()
    # 0.95 · -0.0000246 + 0.05 · (0.0018 - 0.001)
    deliberation.weighed(0.0, 0.0005)
    assert deliberation.pays()
    # It counts once: 0.95 · 0.0000166 - 0.05 · 0.001 is less than nothing.
    deliberation.weighed(0.0, 0.0005)
    assert not deliberation.pays()


def test_a_decision_that_was_interrupted_is_no_reason_not_to_weigh() -> None:
    """It counts as one of a millisecond, and not of two seconds."""
    deliberation = Deliberation()
    deliberation.weighed(0.0, 1.0)
    # 0.95 · 0.001 - 0.05 · 0.001
    assert deliberation.pays()
    for _ in range(13):
        deliberation.weighed(0.0, 0.0005)
    assert not deliberation.pays()


def test_a_policy_learns_what_became_of_the_tokens_of_a_draft() -> None:
    """Places 1 and 2 of a draft, of which the second was wrong; and later on its place 4."""
    policy, other = Policy(), Calibration()
    policy.verified([0.8, 0.3], 1, 0.6, 1)
    policy.verified([0.8], 4, 0.3, 0)
    policy.verified([0.9], 0, None, 1)
    other.learn(doubt(0.8), doubt(0.6), 1, right=True)
    other.learn(doubt(0.3), doubt(0.8), 2, right=False)
    other.learn(doubt(0.8), doubt(0.3), place_kind(4), right=False)
    other.learn(doubt(0.9), None, 0, right=True)
    policy.ran(0, 10.0)
    policy.drafted(2.0, beside=True)
    decision = policy.decide(Situation([0.7, 0.8, 0.3], 1, 0.8, NEVER))
    assert decision.chances == [
        other.drafted.chance(doubt(0.7), 1),
        other.drafted.chance(doubt(0.8), 2),
        other.drafted.chance(doubt(0.3), 2),
    ]
    assert decision.unseen == other.unseen.chance(doubt(0.8), place_kind(4))
    assert decision.right == pytest.approx(math.prod(decision.chances))
    third = policy.decide(Situation([0.7, 0.7, 0.8], 0, 0.8, NEVER))
    assert third.unseen == other.unseen.chance(doubt(0.8), place_kind(3))
    anew = policy.decide(Situation([], 4, None, NEVER))
    assert anew.unseen == other.unseen.chance(other.NOTHING, 0)
    assert (anew.judged, anew.seconds) == (0, 10.0)


def test_before_anything_was_measured_all_is_judged() -> None:
    policy = Policy()
    decision = policy.decide(Situation([0.5] * 50, 0, 0.5, 1.0))
    assert decision == Decision(MOST, 0) == (32, 0, (), 1.0, 1.0, None, 0.0)
    # Nor while no forward of the target was, or no draft forward but the one that read the prompt.
    first = Policy()
    first.drafted(5.0, beside=True)
    assert first.decide(Situation([0.5] * 3, 0, 0.5, 1.0)) == Decision(3, 0)
    policy.begin()
    policy.drafted(50.0, beside=True)
    policy.ran(0, 10.0)
    assert policy.decide(Situation([0.5] * 3, 0, 0.5, 1.0)) == Decision(3, 0)
    policy.drafted(5.0, beside=True)
    assert policy.decide(Situation([0.5] * 3, 0, 0.5, 1.0)).seconds is not None


def test_what_is_never_right_does_not_matter() -> None:
    policy = Policy()
    policy.ran(0, 10.0)
    policy.drafted(1.0, beside=True)
    decision = policy.decide(Situation([0.1] * 30, 0, 0.1, NEVER))
    assert len(decision.chances) < 8 and decision.right < 0.02

    class Known(Policy):
        def chance(self, confidence: float, place: int) -> float:
            return confidence

    # One of two in a hundred is weighed yet, and what follows it is not.
    found = Known().prospect(Situation([0.02, 0.5, 0.5], 0, 0.5, NEVER))
    assert (found.chances, found.right) == ([0.02, 0.5], 0.01)


def test_for_how_long_of_a_forward_the_draft_model_ran() -> None:
    """A forward from 10 to 20 s. Of its tokens one was made before it, three were for 2, 3 and 2 s
    in it, one began with its end, and one later: 7 s."""
    told = list[tuple[object, ...]]()
    session: Any = object.__new__(PearlAdaptiveSession)
    session._policy = SimpleNamespace(
        drafted=lambda *one: told.append(one), ran=lambda *one: told.append(one)
    )
    session._begun, session._told, session._beside = 10.0, 20.0, 0.0
    rounds = [Round("decode", target_tokens=9), Round("verify", target_tokens=4), Round("verify")]
    sequence: Any = SimpleNamespace(
        round=rounds[-1], rounds=rounds, note_drafted=lambda tokens, places: None
    )
    times = ((6, 9.5), (9, 12), (12, 15), (18, 22), (20, 23), (21, 25))
    session.note(
        sequence,
        [
            forerunner.Drafted(0, place, 3, end - begin, 0.0, end, 0.1 * place)
            for place, (begin, end) in enumerate(times)
        ],
    )
    assert told == [(3.5, True), (3, True), (3, True), (4, True), (3, False), (4, False)]
    assert rounds[-1].confidences == [0.1 * place for place in range(6)]
    session._learn_costs(sequence)
    assert told[6:] == [(3, 10.0, 0.7)]
    # The first forward of a text reads its prompt.
    sequence.rounds = rounds[1:]
    session._learn_costs(sequence)
    assert len(told) == 7


def test_what_it_is_asked_to_decide_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of 9 tokens, the draft of which began at its sixth; 4 or 40 tokens may follow."""
    asked = list[tuple[object, ...]]()

    def situation(*arguments: object) -> Situation:
        asked.append(arguments)
        return Situation([], 0, None, 1.5)

    monkeypatch.setattr("decoders.pearl_adaptive.clock", lambda: 21.0)
    session: Any = object.__new__(PearlAdaptiveSession)
    session._policy = SimpleNamespace(situation=situation, decide=lambda now: now)
    latest, session._told, session.decoder = object(), 20.0, PearlAdaptive(5)
    session.forerunner = SimpleNamespace(draft=(6, []), latest=latest, stale=False, anew=True)
    pending = [SimpleNamespace(confidence=one) for one in (0.9, 0.8)]
    for remaining, room in ((4, 3), (40, 5)):
        sequence: Any = type("Text", (list,), {"remaining": remaining})([3] * 9)
        decided, arrival = session._decide(sequence, pending)
        assert (decided, arrival) == (Situation([], 0, None, 1.5), 1.5)
        assert asked.pop() == ([0.9, 0.8], 3, latest, False, room, 20.0, 21.0, True)


def test_it_runs_ahead_by_a_token_at_least() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        PearlAdaptive(0)


def test_it_makes_ready_for_as_many_as_it_may_judge() -> None:
    assert PearlAdaptiveSession.windows(object.__new__(PearlAdaptiveSession)) == range(1, 34)
    assert PearlAdaptive(5).simulated_as() == Adaptive(5, branches=True)
    assert PearlAdaptive(5, branches=False).simulated_as() == Adaptive(5)


def test_what_is_made_ready_before_a_text_and_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target reads its last token and up to three drafted ones, the draft model one or two."""
    asked, closed = list[tuple[object, ...]](), list[object]()
    monkeypatch.setattr(TableModel, "fixed_shapes", True)
    monkeypatch.setattr(
        TableModel, "prepare", lambda _, windows, *ends: asked.append((list(windows), *ends))
    )
    monkeypatch.setattr(InlineForerunner, "peak_memory_bytes", lambda _: 7)
    monkeypatch.setattr(InlineForerunner, "close", lambda one: closed.append(one))
    with exact.in_one_process():
        session: Any = exact.start(PearlAsync(3), Greedy())
    session.prepare(10, 40)
    assert asked == [([1, 2, 3, 4], 10, 40), ([1, 2], 10, 40)]
    assert session.peak_memory_bytes() == 7 and not closed
    session.stop()
    assert closed == [session.forerunner]


def test_a_draft_process_waits_for_no_news_of_another_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward takes 4 s, and news is expected in 1 s, of a draft that is wrong by a half: it had
    better wait for that and 2 s more. Not so of the next text, or once there was news."""
    model = Prophet()
    monkeypatch.setattr(forerunner_service, "clock", lambda: model.now)
    service = forerunner_service.ForerunnerService(model, Greedy(), confides=True)  # type: ignore[arg-type]
    service.answer(("begin", [1, 2], 3, 20, 0))
    service.draft(0.0)
    service.draft(0.0)
    service.answer(("expect", 55.0, 0.5, 1.0, 4, 0.0, [], []))
    assert model.now == 54.0 and service.better_waits() == 3.0
    service.answer(("begin", [1, 2], 3, 20, 0))
    assert service.better_waits() == 0.0
    service.answer(("expect", 55.0, 0.5, 1.0, 2, 0.0, [], []))
    service.answer(("verified", 1, 2, [3]))
    assert service.better_waits() == 0.0
    service.answer(("pause",))
    assert service.better_waits() == math.inf


def test_what_a_draft_process_draws_with() -> None:
    """Noise of the prompt's seed from its end on; none of it is asked for before what is verified,
    whether or not that agrees."""
    asked, forgotten = list[tuple[int, int]](), list[int]()

    class Noise(Greedy):
        def proposer(self, seed: int, start: int) -> Any:
            asked.append((seed, start))
            return SimpleNamespace(propose=lambda *_: (3, None), forget=forgotten.append)

    service = forerunner_service.ForerunnerService(Prophet(), Noise())  # type: ignore[arg-type]
    asked.clear()
    service.answer(("begin", [1, 2, 4], 9, 20, 77))
    assert asked == [(77, 3)]
    service.draft(0.0)
    service.answer(("verified", 1, 3, [3, 3]))
    service.answer(("verified", 2, 5, [4]))
    assert forgotten == [5, 6]


def test_its_rounds(by_hand: Decode) -> None:
    """By the clock on which only forwards take time, and those alone."""
    decoder = PearlAdaptive(branches=False)
    generation = by_hand(decoder, TEXT, wrong_at(TEXT, 2, 8), learns=True)
    assert generation.output_ids == TEXT
    waits = 0
    for one in generation.rounds:
        offered = one.target_tokens - 1
        if one is not generation.rounds[0]:
            assert offered <= one.at_hand and len(one.chances) in (0, offered)
            assert one.target_seconds == target_seconds(one.target_tokens)
        assert 0 <= one.awaited <= one.at_hand
        assert len(one.confidences) == one.drafted and set(one.confidences) <= {1.0}
        assert one.busy_seconds == one.target_seconds + one.wait_target_seconds
        if one.wait_start:
            waits += 1
            assert one.wait_start == one.start
            assert one.wait_start + one.wait_target_seconds == pytest.approx(one.target_start)
        else:
            assert one.wait_target_seconds == 0 == one.awaited
    # A token takes 3 s, a forward 11 s: after a disagreement it is worth waiting for.
    assert waits
    assert sum(one.own_tokens for one in generation.rounds) == len(generation.rounds)
