"""``pearl_adaptive``: its rule and what that goes by, by cases worked out on paper."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from by_hand import Decode, by_hand, target_seconds, wrong_at

from decoders.adaptive.average import Average
from decoders.adaptive.calibration import Calibration, Chances, doubt, place_kind
from decoders.adaptive.drafts import NEVER, Situation
from decoders.adaptive.forward_costs import ForwardCosts
from decoders.adaptive.line import Line
from decoders.adaptive.outlook import Outlook
from decoders.adaptive.policy import MOST, Decision, Policy
from decoders.adaptive.slowdown import LearnedSlowdown
from decoders.adaptive.stopping import Timings, best_start
from decoders.pearl_adaptive import PearlAdaptive
from decoders.process import forerunner
from decoders.sampling.sampler import Greedy

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
    is 15 + 0.1558 and 2.47 + 12.5 + 0.0806.
    """
    assert best_start([], 0.5, arrival, FLAT).awaited == awaited


def test_what_is_hardly_ever_right_is_left_unjudged() -> None:
    """Three are at hand: right for sure, then by 0.1 each. Where each that is judged takes 2 s, the
    second costs 2 s and saves a further forward, of 16 s, by 0.1 · 0.9."""
    dear = Timings([10.0 + 2 * one for one in range(20)], 5.0, 5.0)
    assert best_start([1.0, 0.1, 0.1], 0.1, 5.0, dear) == (1, 0)
    # Where it takes no longer, all are.
    assert best_start([1.0, 0.1, 0.1], 0.1, 5.0, FLAT) == (3, 0)
    # And where no more will come, since the text is at its end.
    assert best_start([1.0, 0.1, 0.1], 0.1, NEVER, dear) == (3, 0)


def test_no_more_are_judged_than_a_forward_may() -> None:
    short = Timings([10.0] * 4, 2.0, 2.0)
    assert best_start([0.9] * 7, 0.9, 1.0, short).judged == 3
    assert best_start([0.9] * 7, 0.9, NEVER, short).judged == 3


def test_what_is_as_good_as_right_is_not_waited_for() -> None:
    """It makes no difference when the target starts, and what is expected may be wrong."""
    assert best_start([], 0.996, 1.0, Timings([10.0] * 20, 1.0, 1.0)) == (0, 0)


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
    assert policy.arrival(ended=10.0, told=5.0, anew=False, now=11.0) == 1.0
    assert policy.arrival(ended=10.0, told=5.0, anew=False, now=20.0) == 0.0
    # It is at a token that it began at 10, and hears at 13 that it must begin anew.
    assert policy.arrival(ended=10.0, told=12.0, anew=True, now=12.0) == 3.0
    # It waited for that since 10 + 3.
    assert policy.arrival(ended=10.0, told=14.0, anew=True, now=14.0) == 2.0
    # It has drafted one since, still for the text that is no more.
    assert policy.arrival(ended=13.0, told=12.0, anew=True, now=13.0) == 2.0


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
    monkeypatch.setattr(forerunner, "clock", lambda: model.now)
    monkeypatch.setattr(Outlook, "drafted", lambda self, *one: counted.append(one))
    service = forerunner.ForerunnerService(model, Greedy(), confides=True)  # type: ignore[arg-type]

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


def test_a_policy_learns_what_became_of_the_tokens_of_a_draft() -> None:
    """Places 2 and 3 of a draft, of which the second was wrong."""
    policy, other = Policy(), Calibration()
    policy.verified([0.8, 0.3], 2, 0.6, 1)
    other.learn(doubt(0.8), doubt(0.6), 2, right=True)
    other.learn(doubt(0.3), doubt(0.8), 2, right=False)
    policy.ran(0, 10.0)
    policy.drafted(2.0, beside=True)
    decision = policy.decide(Situation([0.7, 0.8], 1, 0.8, NEVER))
    assert decision.chances == [
        other.drafted.chance(doubt(0.7), 1),
        other.drafted.chance(doubt(0.8), 2),
    ]
    assert decision.unseen == other.unseen.chance(doubt(0.8), place_kind(3))
    assert decision.right == pytest.approx(math.prod(decision.chances))
    anew = policy.decide(Situation([], 7, None, NEVER))
    assert anew.unseen == other.unseen.chance(other.NOTHING, 0)
    assert (anew.judged, anew.seconds) == (0, 10.0)


def test_before_anything_was_measured_all_is_judged() -> None:
    policy = Policy()
    decision = policy.decide(Situation([0.5] * 50, 0, 0.5, 1.0))
    assert decision == Decision(MOST, 0) and decision.seconds is None
    # Nor while no draft forward was but the one that read the prompt.
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


def test_its_rounds(by_hand: Decode) -> None:
    """By the clock on which only forwards take time, and those alone."""
    generation = by_hand(PearlAdaptive(), TEXT, wrong_at(TEXT, 2, 8), learns=True)
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
