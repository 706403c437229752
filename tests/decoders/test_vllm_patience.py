"""What a step of vLLM waits for and judges: hand-computed cases, and steps on simulated time."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from served import MOST, Speeds, random_texts, tokens_per_second

from decoders.adaptive.drafts import NEVER, Situation
from decoders.adaptive.stopping import RunEnds, Timings, best_start, best_wait
from decoders.vllm import patience
from decoders.vllm.patience import StepPolicy


def test_several_texts_wait_as_long_as_is_best_in_sum() -> None:
    one = RunEnds(0, [10.0, 8.0, 9.0], 1.0)
    assert best_wait([one, RunEnds(0, [10.0, 11.9, 14.0], 1.0)], 2.0) == 1
    assert best_wait([one, RunEnds(0, [10.0, 12.1, 14.0], 1.0)], 2.0) == 0
    assert best_wait([RunEnds(0, [10.0, 8.0, 7.0], 1.0)], 2.0) == 2
    assert best_wait([], 2.0) == 0


def test_a_text_that_has_no_more_to_expect_loses_what_others_wait() -> None:
    """1.3 for each second: the first token is there in 1 s, the second in 3."""
    waits = RunEnds(0, [10.0, 8.5, 5.0], 1.0)
    # 10, 8.5 + 1.3 and 5 + 3.9; of two that lose 10, 8.5 + 2.6 and 5 + 7.8.
    assert best_wait([waits, RunEnds(3, [0.0], math.inf)], 2.0) == 2
    assert best_wait([waits, *[RunEnds(3, [0.0], math.inf)] * 2], 2.0) == 0
    assert best_wait([RunEnds(3, [0.0], math.inf)], 2.0) == 0
    # One whose second token does not matter: 10 + 20, 8.5 + 19.9 and 5 + 19.9 + 2.6.
    assert best_wait([waits, RunEnds(0, [20.0, 19.9], 1.0)], 2.0) == 2
    assert best_wait([RunEnds(0, [10.0, 8.5, 6.0], 1.0), RunEnds(0, [20.0, 19.9], 1.0)], 2.0) == 1


def test_one_that_went_elsewhere_has_its_next_token_a_forward_later() -> None:
    """After one forward 9.9 + 10 + 1.3, after two 9.9 + 2.6 + 5."""
    assert best_wait([RunEnds(0, [10.0, 9.9], 1.0), RunEnds(0, [10.0, 5.0], 3.0)], 2.0) == 2
    assert best_wait([RunEnds(0, [10.0, 9.9], 1.0), RunEnds(0, [10.0, 7.6], 3.0)], 2.0) == 0
    # After one 9 + 10 + 1.3: until its own first token the second text only waits.
    assert best_wait([RunEnds(0, [10.0, 9.0], 1.0), RunEnds(0, [10.0, 9.9], 3.0)], 2.0) == 0
    # By a forward, too, where it is expected 0.6 forwards later.
    assert best_wait([RunEnds(0, [10.0, 9.9], 1.0), RunEnds(0, [10.0, 5.0], 2.2)], 2.0) == 2


def measured(texts: int = 1, draft: float = 2.0, slope: float = 0.0) -> StepPolicy:
    """Of steps of 10 s without any drafted token, and a draft forward of so many."""
    policy = StepPolicy(19)
    for judged in (0, 4) * 100:
        policy.stepped(10.0 + slope * judged, texts, judged)
    policy.drafted(draft, beside=False)
    return policy


def test_a_step_takes_longer_for_each_token_that_it_reads_of_any_text() -> None:
    """At first 1 % more a token, which counts as much as a variance of 1: that of what was measured
    is 4. Half a second a token, of 11 s: (4 · 0.5 + 0.11) / 5."""
    first = StepPolicy(8)
    assert first.step(1, 0) == 0.0
    first.stepped(10.0, 2, 3)
    assert first.step(2, 0) == pytest.approx(10.0 - 3 * 0.1)
    assert first.step(2, 2) == pytest.approx(10.0 + 0.1)
    policy = measured(texts=2, slope=0.5)
    assert policy.step(2, 5) - policy.step(2, 0) == pytest.approx(10 * 2.11 / 5, rel=0.01)
    # It never takes less.
    falling = measured(texts=2, slope=-0.5)
    assert falling.step(2, 5) == falling.step(2, 0) == pytest.approx(10.0, rel=0.1)


def test_no_step_takes_less_than_no_time() -> None:
    """A token more takes longer by so much that a single one would take less than none."""
    steep = StepPolicy(8)
    for _ in range(50):
        steep.stepped(1.0, 5, 0)
        steep.stepped(10.0, 5, 1)
    assert steep.step(1, 0) == steep.step(1, 1) == 0.0 < steep.step(5, 0) < 6


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(("texts", "weighed"), [(1, 1), (16, 16), (17, 9), (32, 16), (33, 11)])
def test_no_more_than_sixteen_texts_are_weighed(
    texts: int, weighed: int, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By how long a step takes in which each of them judges as many."""
    asked = list[float]()
    policy = measured(slope=0.1)
    policy.drafted(3.0, beside=True)

    def ends(chances: object, unseen: float, arrival: float, timings: Timings) -> RunEnds:
        asked.append(arrival)
        steps = [policy.step(texts, judged) for judged in range(20)]
        assert timings[:3] == (steps, 3.0, 2.0)
        return RunEnds(5, [10.0, 1.0 if waits else 11.0], 0.5)

    monkeypatch.setattr(patience, "expected_ends", ends)
    held = [0.99] * 25
    decision = policy.decide([Situation(held, 9, 0.99, float(one)) for one in range(texts)])
    assert asked[:weighed] == [float(one) for one in range(0, texts, -(-texts // weighed))]
    if waits:
        # All wait for a forward: it need not be known what the others would judge.
        assert (decision.judged, decision.awaited) == ([19] * texts, 1) and len(asked) == weighed
    else:
        assert (decision.judged, decision.awaited) == ([5] * texts, 0) and len(asked) == texts


def test_a_single_text_is_decided_as_by_pearl_adaptive() -> None:
    policy = measured()
    timings = Timings([policy.step(1, judged) for judged in range(20)], 2.0, 2.0)
    for confidences, arrival in (([], 1.0), ([], 6.0), ([0.9, 0.2], 2.0), ([0.9] * 6, 0.5)):
        now = Situation(confidences, 0, confidences[-1] if confidences else None, arrival)
        chances, _, unseen = policy.prospect(now)
        expected = best_start(chances, unseen, arrival, timings)
        judged, awaited, own = policy.decide([now])
        assert (awaited, own) == (expected.awaited, [chances])
        assert judged == [len(chances) if awaited else expected.judged]


def test_before_four_steps_were_measured_all_is_judged_and_nothing_awaited() -> None:
    anew, long = Situation([], 0, None, 0.1), Situation([0.1] * 20, 0, 0.1, 0.1)
    policy = StepPolicy(8)
    policy.drafted(0.1, beside=True)
    for _ in range(3):
        policy.stepped(10.0, 2, 0)
        assert policy.decide([anew, long]) == ([0, 8], 0, [(), ()])
    policy.stepped(10.0, 2, 0)
    assert policy.decide([anew, long]).awaited > 0
    undrafted = StepPolicy(8)
    for _ in range(9):
        undrafted.stepped(10.0, 2, 0)
    assert undrafted.decide([anew]).awaited == 0
    assert policy.decide([]) == ([], 0, [])


def test_the_more_texts_lose_by_it_the_less_is_waited() -> None:
    policy, anew = measured(draft=0.5), Situation([], 0, None, 0.5)
    full = Situation([0.99] * 19, 5, 0.99, NEVER)
    waits = [policy.decide([anew, *[full] * others]).awaited for others in (0, 1, 8)]
    assert waits[0] >= waits[1] > waits[2] == 0


def test_a_tail_that_is_hardly_ever_right_is_left_where_others_wait_for_it() -> None:
    """Right by 0.25 if those before it are, three of them by 0.06. The third costs 0.1 s alone, and
    saves 0.06 forwards of more than 10 s. Among 24 texts it costs all of them 2.4 s."""
    policy = measured(slope=0.1, draft=20.0)
    tail = Situation([0.99, 0.2, 0.2], 3, 0.2, 20.0)
    ((alone,), _, _) = policy.decide([tail])
    among, waited, chances = policy.decide([tail] * 24)
    assert waited == 0 and alone == 3
    assert set(among) == {2} and len(among) == len(chances) == 24


def test_of_many_texts_some_are_weighed_and_all_are_judged() -> None:
    """Of 40 each third: if these have no more to expect nobody waits for the others."""
    policy = measured(draft=0.5)
    anew, full = Situation([], 0, None, 0.5), Situation([0.9] * 25, 5, 0.9, NEVER)
    texts = [anew if index % 3 else full for index in range(40)]
    judged, awaited, _ = policy.decide(texts)
    assert awaited == 0
    assert judged == [0 if index % 3 else 19 for index in range(40)]
    assert policy.decide([full if index % 3 else anew for index in range(40)]).awaited > 0


#: A draft model that is quick and good; one that is sometimes wrong, and sure when it is right,
#: where each token judged costs; one that is slow and seldom right.
PAIRS: dict[str, tuple[Speeds, Callable[[float], float]]] = {
    "quick": (Speeds(0.011, 0.00005, 0.0005), lambda sure: min(1.0, 0.75 + 0.25 * sure)),
    "dear": (Speeds(0.020, 0.0003, 0.001), lambda sure: 0.2 + 0.7 * sure),
    "slow": (Speeds(0.050, 0.0005, 0.012), lambda sure: 0.6 * sure),
}


@pytest.mark.parametrize("texts", [1, 4])
@pytest.mark.parametrize("pair", PAIRS)
def test_it_is_about_as_fast_as_the_best_number_to_wait_for(pair: str, texts: int) -> None:
    """The best of those from 0 to 10 on the very same texts, which depends on the pair."""
    speeds, chance = PAIRS[pair]
    tokens = 1600 // texts

    def speed(rule: StepPolicy | int) -> float:
        made = random_texts(texts, 2 * tokens + 64, chance)
        return tokens_per_second(made, speeds, rule, tokens)

    constant = {wait: speed(wait) for wait in (0, 2, 4, 6, 8, 10)}
    best = max(constant, key=lambda wait: constant[wait])
    found = speed(StepPolicy(MOST))
    assert found > 0.97 * constant[best]
    assert (best == 0) is (pair == "slow")
    if pair == "dear":
        assert found > 1.15 * constant[0]
