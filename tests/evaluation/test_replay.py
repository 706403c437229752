"""How near a run came to rules that know more: from rounds that were written by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from decoders.adaptive.drafts import Situation
from decoders.adaptive.policy import Policy
from pearl_eval.results import replay
from pearl_eval.results.replay import (
    Hindsight,
    RecordedText,
    Replay,
    hindsight,
    measured_times,
    recorded_texts,
)
from pearl_eval.simulation import Adaptive, Costs, ForwardTimes, Rate, Simulation, Surface, Trace
from pearl_eval.simulation.acceptance import UNTOLD
from pearl_eval.simulation.bounds import Dials

A, R, D = "accepted", "rejected", "discarded"


def one_round(task: str, number: int, verified: int, **columns: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"drafted_at": [], "fates": [], "confidences": [], "chances": []}
    return {"task_id": task, "sample": 0, "turn": 0, "round": number, "verified_length": verified,
            **empty, **columns}  # fmt: skip


def drafted(
    task: str, number: int, verified: int, at: list[int], fates: list[str], sure: list[float]
) -> dict[str, Any]:
    return one_round(task, number, verified, drafted_at=at, fates=fates, confidences=sure)


def test_texts_are_told_by_what_was_judged() -> None:
    rounds = pd.DataFrame(
        [
            one_round("a", 0, 1),
            drafted("a", 1, 3, [1, 2, 3], [A, R, D], [0.9, 0.4, 0.8]),
            # Drafted anew; the last was drafted for beyond the end of the text.
            drafted("a", 2, 5, [3, 4, 5], [A, A, R], [0.7, 0.6, 0.1]),
            drafted("b", 0, 2, [1], [A], [0.3]),
            # By a decoder that does not say how sure its draft model was.
            drafted("c", 0, 2, [0, 1], [A, R], []),
        ]
    )
    first, second, third = recorded_texts(rounds)
    assert (first.marks, second.marks) == ("-1011", "-1")
    assert third == RecordedText("10", (UNTOLD, UNTOLD))
    assert first.confidences == (UNTOLD, 0.9, 0.4, 0.7, 0.6)
    assert second.confidences == (UNTOLD, 0.3)


def test_in_hindsight_it_is_known_how_often_each_kind_was_right() -> None:
    """Of doubt 0.1 at the first place of a draft one is right and one wrong, and at the third one
    wrong; of doubt 0.6 at the first place one is right and one wrong, and at the second one right.
    What follows a wrong token is at a first place. In all three of six are right.
    """
    rows = [
        drafted("a", 0, 3, [0, 1, 2], [A, A, R], [0.9, 0.4, 0.9]),
        drafted("b", 0, 1, [0], [R], [0.4]),
        drafted("c", 0, 2, [0, 1], [R, A], [0.9, 0.4]),
    ]
    texts = hindsight(recorded_texts(pd.DataFrame(rows)))
    rate = 3 / 6
    assert [text.confidences for text in texts] == [
        pytest.approx(((1 + rate) / 3, (1 + rate) / 2, rate / 2)),
        pytest.approx(((1 + rate) / 3,)),
        pytest.approx(((1 + rate) / 3, (1 + rate) / 3)),
    ]


def test_of_what_is_not_drafted_yet_it_is_known_how_often_its_place_was_right() -> None:
    """Both at a first place, the only one at a second, and not that at a third: 3 of 4."""
    texts = [RecordedText("110", (0.5, 0.5, 0.9)), RecordedText("1", (0.1,))]
    known = Hindsight([*texts, RecordedText("-", (0.5,))])
    rate = 3 / 4
    assert known.unseen(0.5, 0) == pytest.approx((2 + rate) / 3)
    assert known.unseen(0.5, 1) == pytest.approx((1 + rate) / 2)
    assert known.unseen(0.5, 3) == pytest.approx(rate / 2)
    assert known.unseen(None, 40) == pytest.approx(rate)
    assert known.chance(0.3, 5) == 0.3


def test_a_place_counts_tokens_of_which_nothing_is_known() -> None:
    """The third after one that is right and one that was not judged, the second after a wrong one:
    of the five kinds of places there was one token each, but two at a first."""
    known = Hindsight([RecordedText("1-10-1", (0.5,) * 6)])
    rate = 3 / 4
    assert known.unseen(0.5, 0) == pytest.approx((1 + rate) / 2)
    assert known.unseen(0.5, 1) == pytest.approx((1 + rate) / 2)
    assert known.unseen(0.5, 2) == pytest.approx((1 + rate) / 3)


def test_times_are_those_of_the_rounds() -> None:
    """Of 10 ms and 1 for each token, beside which there are 2 ms a round."""
    read = [1, 3, 5]
    later = pd.DataFrame(
        {
            "target_tokens": read,
            "target_seconds": [0.009 + 0.001 * one for one in read],
            "wait_target_seconds": [0.0, 0.004, 0.0],
            "wall": [0.012, 0.018, 0.016],
            "draft_seconds": [0.006, 0.002, 0.0],
            "drafted": [3, 1, 0],
            "prepared": 0,
            "branch_seconds": 0.0,
            "branch_forwards": 0,
        }
    )
    forwards, costs = measured_times(later)
    assert forwards.target(1, 0) == pytest.approx(0.010)
    assert forwards.target(5, 0) == pytest.approx(0.014)
    assert forwards.target(40, 0) == pytest.approx(0.049)
    assert forwards.draft(1, 0) == pytest.approx(0.002)
    assert costs.round == pytest.approx(0.002)
    # What reads more is never quicker; and one size alone says nothing of others.
    falling, _ = measured_times(later.assign(target_seconds=[0.03, 0.02, 0.01]))
    assert falling.target(1, 0) == falling.target(9, 0) == pytest.approx(0.02)
    two, _ = measured_times(later[:2])
    assert two.target(9, 0) == pytest.approx(0.018)
    # Nor does anything take less than no time, or a draft model that drafted nothing any.
    steep, _ = measured_times(later.assign(target_tokens=[5, 6, 7], draft_seconds=0.0, drafted=0))
    assert steep.target(1, 0) == pytest.approx(0.002) and steep.draft(1, 0) == 0.0
    steeper = later.assign(target_tokens=[5, 6, 7], target_seconds=[0.01, 0.02, 0.03])
    assert measured_times(steeper)[0].target(1, 0) == 0.0
    assert measured_times(later.assign(wall=0.001))[1].round == 0.0
    assert measured_times(later[1:2])[0].draft(1, 0) == pytest.approx(0.002)
    # Three of the four tokens came of two forwards that took 5 ms in all; or there were but those.
    wide = {"prepared": [2, 1, 0], "branch_seconds": [0.003, 0.002, 0.0]}
    some = later.assign(**wide, branch_forwards=[1, 1, 0])
    assert measured_times(some)[0].draft(1, 0) == pytest.approx(0.003)
    every = some.assign(prepared=[3, 1, 0], draft_seconds=[0.003, 0.002, 0.0])
    assert measured_times(every)[0].draft(1, 0) == pytest.approx(0.0025)
    same, _ = measured_times(later.assign(target_tokens=3))
    assert same.target(1, 0) == same.target(9, 0) == pytest.approx(0.012)


def recorded(texts: int) -> pd.DataFrame:
    """Rounds as the simulator makes them, where each token of the text was drafted and judged."""
    target = Surface.of({(w, 0): 0.010 + 0.0002 * w for w in range(1, 34)})
    forwards = ForwardTimes(target, Surface.constant(0.001))
    simulation = Simulation(Adaptive(96), forwards, Rate(0.8), Costs(), 200, (1,))
    rows = []
    for index in range(texts):
        text, before = Rate(0.8).text(index, 200, np.random.default_rng([0, index])), 0
        for number, one in enumerate(simulation.rounds(index)):
            places = list(range(before, one.verified_length))
            fates = [A if text.accepted(place, 1) else R for place in places]
            columns = {
                "drafted_at": places, "fates": fates, "confidences": [0.8] * len(places),
                "chances": [0.8] * (one.target_tokens - 1), "length_before": before,
                "wall": one.seconds, "drafted": one.drafted, "target_tokens": one.target_tokens,
                "draft_seconds": one.draft_seconds, "target_seconds": one.target_seconds,
                "wait_target_seconds": one.wait_target_seconds,
                "prepared": 0, "branch_seconds": 0.0, "branch_forwards": 0,
            }  # fmt: skip
            rows.append(one_round(f"t{index}", number, one.verified_length, **columns))
            before = one.verified_length
    return pd.DataFrame(rows)


def test_a_run_is_replayed_by_its_own_rule_and_by_those_that_know_more() -> None:
    found = Replay.of(recorded(6))
    assert found is not None
    assert found.simulated == pytest.approx(found.measured, rel=0.1)
    assert 0.9 * found.informed < found.simulated < 1.05 * found.informed
    assert found.outcomes > 1.1 * found.informed
    # Where the target takes ten times as long as a draft forward, waiting gains.
    assert found.simulated > 1.02 * found.at_once


def test_each_rule_has_its_own_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is tokens over seconds of the rounds that read no prompt."""
    made: list[Any] = []

    class Noted(Simulation):
        def run(self, *, policy: Policy) -> Any:  # type: ignore[override]
            made.append((self, policy))
            # So long that each rule has a speed of its own.
            return SimpleNamespace(seconds=float(len(made)))

    monkeypatch.setattr(replay, "Simulation", Noted)
    rounds = recorded(2)
    found = Replay.of(rounds)
    texts = recorded_texts(rounds)
    later = rounds[rounds["round"] > 0]
    tokens = sum(400 - one for one in rounds[rounds["round"] == 0]["verified_length"]) - 400
    assert found == Replay(
        measured=pytest.approx(tokens / later["wall"].sum()),
        simulated=400 / (1 + 2),
        at_once=400 / (3 + 4),
        informed=400 / (5 + 6),
        outcomes=400 / (7 + 8),
    )
    kinds = [*[Policy] * 2, *[Dials] * 2, *[Hindsight] * 4]
    assert [type(policy) for _, policy in made] == kinds
    # None is waited for, and each that there is is judged, up to the most that ever are.
    at_once = made[2][1]
    for held, judged in ((0, 0), (1, 1), (32, 32), (33, 32)):
        assert at_once.decide(Situation((0.1,) * held, 0, None, 0.001))[:2] == (judged, 0)
    known = hindsight(texts)
    assert known != texts
    for (one, _), text in zip(made, [*texts, *texts, *known], strict=False):
        assert one.acceptance == Trace((text.marks,), confidences=(text.confidences,))
    for one, _ in made:
        assert (one.schedule, one.max_new_tokens, one.prompts) == (Adaptive(96), 200, (1,))
        assert (one.forwards, one.costs) == measured_times(later)
    for (one, _), text in zip(made[6:], texts, strict=True):
        told = one.acceptance.text(0, 200, np.random.default_rng(0))
        right = [mark == "1" for mark in text.marks]
        assert [told.confidence(place) > 0.5 for place in range(200)] == right


def test_only_what_was_decided_is_replayed() -> None:
    rounds = recorded(1)
    assert rounds["draft_seconds"].sum() < 1 and Replay.of(rounds) is not None
    undecided = rounds.assign(chances=[np.array([])] * len(rounds))
    assert Replay.of(undecided) is None
    assert Replay.of(rounds[rounds["round"] == 0]) is None
    assert Replay.of(rounds.assign(draft_seconds=0.0)) is None
    unjudged = rounds.assign(fates=[[D] * len(one) for one in rounds["fates"]])
    assert Replay.of(unjudged) is None
