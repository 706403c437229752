"""Verdicts on logits that were made by hand: where each limit is, and what is said."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import tensor

from decoders.model.reading import Reading
from decoders.model.routing import Routing
from decoders.sampling.sampler import Greedy, OwnChoice
from pearl_eval.checks import equivalence
from pearl_eval.checks import stand_ins as reading
from pearl_eval.checks.divergence import Divergence, describe
from pearl_eval.checks.equivalence import EquivalenceChecker
from pearl_eval.checks.rounding import Logits, RouterTie
from pearl_eval.checks.stand_ins import StandIn, stand_ins
from pearl_eval.checks.verdict import Verdict

PROMPT, OUTPUT, REFERENCE = [7, 8], [0, 0, 0], [0, 1, 0]
EVENTS = [Reading(0, PROMPT, 1)]
TARGET: Any = SimpleNamespace(model=SimpleNamespace(dtype=torch.bfloat16))


def verdict(events: Any = EVENTS, factor: float = 10.0) -> Verdict:
    """On three tokens 0, where the reference has a 1 in the middle."""
    checker = EquivalenceChecker(TARGET, factor)
    own_choice = Greedy().verifier(0, 0)
    return checker.compare(PROMPT, OUTPUT, REFERENCE, 3, [], own_choice, events)


def off_by(precise: list[list[float]], errors: list[float]) -> Logits:
    """Logits of two tokens, which differ from the precise ones by as much as is said."""
    rows = [[a - e, b + e] for (a, b), e in zip(precise, errors, strict=True)]
    return Logits(tensor(rows, dtype=torch.float64))


def routed(made: Logits) -> Logits:
    """The same by a mixture of experts."""
    made.routing.routers = ["r"]
    return made


class Forwards:
    """Stands for the forwards of a check; says what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own: list[Logits] = []
        self.single = Logits(torch.zeros(0))
        self.precise: list[list[float]] = []
        self.ties: list[RouterTie] = []
        self.explained = 1.0
        self.sizes: list[int] = []
        self.routings: list[Routing] = []
        for name in ("replayed", "stepwise", "exact", "explained", "router_ties"):
            for module in (equivalence, reading):
                monkeypatch.setattr(module, name, getattr(self, f"_{name}"), raising=False)

    def _replayed(self, *_: Any) -> Logits:
        return self.own.pop(0)

    def _stepwise(self, target: Any, text: list[int], begin: int, size: int) -> Logits:
        assert (text, begin) == (PROMPT + OUTPUT, 2)
        self.sizes.append(size)
        return self.single

    def _exact(self, target: Any, text: list[int], begin: int, routing: Routing) -> Logits:
        assert (text, begin) == (PROMPT + OUTPUT, 2)
        self.routings.append(routing)
        return Logits(tensor(self.precise, dtype=torch.float64))

    def _explained(self, *_: Any) -> torch.Tensor:
        return tensor([self.explained])

    def _router_ties(self, *_: Any) -> list[RouterTie]:
        return self.ties


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Forwards:
    """Single tokens err by 0.01, 0.004 and 0.01: 0.008 on average. Ten times as much is allowed,
    or ten times the average where that is more: 0.1, 0.08 and 0.1. The decoder's forwards have the
    second token's logits alike."""
    made = Forwards(monkeypatch)
    made.precise = [[1.0, 0.0], [0.5, 0.53], [1.0, 0.0]]
    made.single = off_by(made.precise, [0.01, 0.004, 0.01])
    made.own = [off_by(made.precise, [0.005, -0.015, -0.01])]
    return made


TIE = (
    "position 1: in float64 token 0 is 0.03 logits below the best choice and the reference's, 1, 0;"
    " held to 0.08 (10 times the error of single tokens, 0.008 on average); each token is the first"
    " choice of the decoder's own forwards, made again in the same shapes"
)


def test_a_tie_is_told_with_its_evidence(forwards: Forwards) -> None:
    """At one of three places the second choice is as good as the first."""
    assert verdict() == Verdict("tie", 1, TIE, pytest.approx(1 / 3))
    assert forwards.sizes == [1] and len(forwards.routings) == 1


def test_where_experts_were_chosen_otherwise_that_is_told(forwards: Forwards) -> None:
    forwards.single = routed(forwards.single)
    (own,) = forwards.own
    forwards.ties = [RouterTie("r.2", 7, 0.02, 0.03), RouterTie("r.1", 6, 0.01, 0.09)]
    said = (
        "; given the experts chosen, 2 times others than in higher precision, the farthest by r.2"
        " for token 7 of prompt and output (scores 0.02 apart, held to 0.03)"
    )
    assert verdict().why == TIE + said
    # Each in higher precision by the experts that it chose.
    assert [one is own.routing for one in forwards.routings] == [True, False]
    assert forwards.routings[1] is forwards.single.routing


@pytest.mark.parametrize(("best", "kind"), [(0.579, "tie"), (0.581, "violation")])
def test_a_token_may_be_as_far_below_the_best_as_single_tokens_err(
    forwards: Forwards, best: float, kind: str
) -> None:
    """Ten times their average error of 0.008, which is more than in that place."""
    forwards.precise[1][1] = best
    forwards.single = off_by(forwards.precise, [0.01, 0.004, 0.01])
    forwards.own = [off_by(forwards.precise, [0.001, (0.5 - best) / 2, 0.001])]
    found = verdict()
    assert (found.kind, found.first_divergence) == (kind, 1)
    if kind == "violation":
        assert found.why == (
            "position 1: token 0 (logit 0.5) where the target's own is 1 (logit 0.581), tolerance"
            " 0.08"
        )


def test_a_token_that_the_decoders_forwards_did_not_choose_is_a_violation(
    forwards: Forwards,
) -> None:
    own = off_by([[1.0, 0.0], [0.5, 0.75], [0.25, 0.5]], [0.0, 0.0, 0.0])
    forwards.own = [own, Logits(own.rows.clone())]
    assert verdict() == Verdict(
        "violation",
        1,
        "position 1: token 0 (logit 0.5) where the decoder's own forward, made again in the same"
        " shape, gives 1 (logit 0.75)",
    )


@pytest.mark.parametrize(("missing", "place"), [([2], 2), ([1, 2], 1), ([0], 0)])
def test_a_token_that_no_forward_chose_is_a_violation(
    forwards: Forwards, missing: list[int], place: int
) -> None:
    own = off_by([[1.0, 0.0]] * 3, [0.0] * 3)
    forwards.own = [Logits(own.rows, own.routing, missing), own]
    assert verdict() == Verdict(
        "violation",
        1,
        f"position {place}: token 0 was taken though no forward of the target had read just the"
        " text before it",
    )


def checker() -> EquivalenceChecker:
    return EquivalenceChecker(TARGET)


@pytest.mark.parametrize(
    ("wrong", "usual", "by_rounding", "said"),
    [
        ([1.0, 1.0], [1.0, 1.0], 1.0, ""),
        (
            [1.0, 1.0],
            [1.0, 1.5],
            1.125,
            "single tokens err by 1.2 logits, rounding explains 1.1",
        ),
        # On average three times as much, or a third.
        ([3.0, 3.0], [1.0, 1.0], 2.0, ""),
        ([1.0, 1.0], [3.0, 3.0], 3.0, ""),
        (
            [3.0, 3.25],
            [1.0, 1.0],
            2.0,
            "forwards of several tokens err by 3.1 logits on average, those of single tokens by 1"
            " (factor allowed: 3)",
        ),
        (
            [1.0, 0.875],
            [3.0, 3.0],
            3.0,
            "forwards of several tokens err by 0.94 logits on average, those of single tokens by 3"
            " (factor allowed: 3)",
        ),
        # Of one token there is no average.
        ([10.0], [1.0], 1.0, ""),
        ([1.0], [10.0], 10.0, ""),
        (
            [10.5],
            [1.0],
            1.0,
            "forwards of several tokens err by 10 logits on average, those of single tokens by 1"
            " (factor allowed: 10)",
        ),
        # At one token ten times as much as single tokens there, or on average if that is more.
        ([20.0, 0.0, 0.0, 4.0], [1.0, 1.0, 1.0, 5.0], 2.0, ""),
        (
            [0.0, 20.5, 0.0, 0.0, 0.0, 0.0, 0.0, 21.0],
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0],
            2.0,
            "at position 1 a forward of several tokens errs by 20 logits, single tokens by 2"
            " (factor allowed: 10)",
        ),
    ],
)
def test_where_forwards_are_at_fault(
    wrong: list[float], usual: list[float], by_rounding: float, said: str
) -> None:
    found = checker()._fault(tensor(wrong), tensor(usual), tensor([by_rounding]), [])
    assert found == said


@pytest.mark.parametrize(("gap", "wrong"), [(0.25, False), (0.26, True)])
def test_the_least_excusable_choice_of_experts_decides(gap: float, wrong: bool) -> None:
    ties = [RouterTie("r", 3, gap, 0.25), RouterTie("s", 4, 9.0, 99.0)]
    said = (
        "experts were chosen that rounding can't account for: by r for token 3 of prompt and output"
        " (scores 0.26 apart, held to 0.25)"
    )
    found = checker()._fault(tensor([1.0]), tensor([1.0]), tensor([1.0]), ties)
    assert found == (said if wrong else "")


def test_a_wrong_forward_is_told_from_a_wrong_decoder(forwards: Forwards) -> None:
    forwards.explained = 0.007
    assert verdict().why == (
        "the target's forward is what is wrong, not the decoder: held against float64, single"
        " tokens err by 0.008 logits, rounding explains 0.007"
    )


def way(precise: list[list[float]], errors: list[float], experts: bool = True) -> StandIn:
    exact, run = Logits(tensor(precise, dtype=torch.float64)), off_by(precise, errors)
    return StandIn(routed(run) if experts else run, exact)


def test_without_forwards_that_repeat_themselves_a_bound_is_asked_for(
    forwards: Forwards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second token errs by up to 0.02, so 0.2 is allowed, which is more than what rounding in
    bfloat16 explains of logits 0.1 apart. Experts change how far it is below the best by 0.3, so
    twice that is allowed beside."""
    monkeypatch.undo()
    ways = [
        way([[2.0, 0.0], [0.5, 0.6], [2.0, 0.0]], [0.01, 0.02, 0.01]),
        way([[2.0, 1.5], [0.5, 0.9], [2.0, 0.0]], [0.03, 0.01, 0.01]),
    ]
    monkeypatch.setattr(equivalence, "stand_ins", lambda *_: ways)
    monkeypatch.setattr(equivalence, "other_experts", lambda *_: [])
    why = (
        "position 1: in float64 token 0 is 0.1 logits below the best choice and the reference's, 1,"
        " 0; held to {} (what rounding in bfloat16 may do to logits so far spread out, or 10 times"
        " the error seen in that place if that is more); the decoder's own forwards are not known"
    )
    more = (
        ", so 0.6 more is allowed: twice the most that other experts changed between 2 ways of"
        " reading the text"
    )
    # At one of three places the second choice would have passed, too, and at another by the second
    # way of reading.
    rate = pytest.approx(1 / 3)
    tie = Verdict("tie", 1, why.format("0.8") + more, pytest.approx(2 / 3))
    assert verdict(events=()) == tie
    unlike = [off_by([[0.0, 1.0]] * 3, [0.0, 0.0, error]) for error in (0.0, 0.25)]
    monkeypatch.setattr(equivalence, "replayed", lambda *_: unlike.pop())
    assert verdict() == tie
    # A dense model's ways have no experts.
    ways[:] = [way([[2.0, 0.0], [0.5, 0.6], [2.0, 0.0]], [0.01, 0.02, 0.01], False)] * 2
    assert verdict(events=()) == Verdict("tie", 1, why.format("0.2"), rate)
    # The target's forwards of several tokens err by 0.1 on average, single ones by 0.01.
    ways[0] = way([[2.0, 0.0], [0.5, 0.6], [2.0, 0.0]], [0.1, 0.1, 0.1], False)
    ways[1] = way([[2.0, 0.0], [0.5, 0.6], [2.0, 0.0]], [0.01, 0.01, 0.01], False)
    assert verdict(events=()) == Verdict(
        "violation",
        1,
        "the target's forward is what is wrong, not the decoder: held against float64, forwards of"
        " several tokens err by 0.1 logits on average, those of single tokens by 0.01 (factor"
        " allowed: 3)",
    )


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [(1.4, 1.1, "tie"), (1.1, 1.4, "tie"), (1.65, 1.35, "violation"), (1.29, 1.29, "violation")],
)
def test_one_way_of_reading_that_could_choose_a_token_is_enough(
    monkeypatch: pytest.MonkeyPatch, first: float, second: float, kind: str
) -> None:
    """Token 0 has a logit of 0.5; 0.8 is allowed where the two ways differ by 0.3, else 0.2."""
    ways = [way([[2.0, 0.0], [0.5, best], [2.0, 0.0]], [0.02] * 3) for best in (first, second)]
    monkeypatch.setattr(equivalence, "stand_ins", lambda *_: ways)
    monkeypatch.setattr(equivalence, "other_experts", lambda *_: [])
    found = verdict(events=())
    assert found.kind == kind
    if kind == "violation":
        allowed = "0.8" if first != second else "0.2"
        assert found.why == (
            f"position 1: token 0 (logit 0.5) where the target's own is 1 (logit {first}),"
            f" tolerance {allowed}"
        )


@pytest.mark.parametrize(
    ("draws", "kind", "drawn"), [([2.0, 0.65, 9.0], "tie", 2), ([2.0] * 3, "violation", 3)]
)
def test_experts_are_drawn_until_a_draw_could_choose_the_token(
    monkeypatch: pytest.MonkeyPatch, draws: list[float], kind: str, drawn: int
) -> None:
    """Token 0 has a logit of 0.5; 0.2 is allowed."""
    ways = [way([[2.0, 0.0], [0.5, 2.0], [2.0, 0.0]], [0.02] * 3)] * 2
    asked: list[Any] = []

    def others(*arguments: Any) -> Iterator[Logits]:
        for best in draws:
            asked.append(arguments)
            yield way([[2.0, 0.0], [0.5, best], [2.0, 0.0]], [0.0] * 3).precise

    monkeypatch.setattr(equivalence, "stand_ins", lambda *_: ways)
    monkeypatch.setattr(equivalence, "other_experts", others)
    found = verdict(events=())
    assert asked == [(TARGET, PROMPT + OUTPUT, 2, ways[0])] * drawn
    assert found.kind == kind
    said = "and experts drawn 2 times by routers that err as much as they are seen to"
    assert (said in found.why) == (kind == "tie")


def test_a_text_is_read_in_several_ways_where_experts_may_change(forwards: Forwards) -> None:
    many, single = stand_ins(TARGET, PROMPT + OUTPUT, 2)
    assert forwards.sizes == [256, 1]
    assert many.run is single.run is forwards.single and many.precise is single.precise
    forwards.sizes.clear()
    forwards.single = routed(forwards.single)
    found = stand_ins(TARGET, PROMPT + OUTPUT, 2)
    assert forwards.sizes == [256, 8, 4, 2, 1]
    assert all(one.run is forwards.single for one in found)
    assert all(one is forwards.single.routing for one in forwards.routings[1:])


def test_experts_are_drawn_by_as_much_as_routers_are_seen_to_err(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one router's scores are off by 0.3 and 0.5 for the two tokens that both readings have,
    and of an expert that can't be chosen by nothing: a deviation of the root of 0.34 / 4."""
    made = way([[0.0, 0.0]], [0.0])
    made.run.routing.scores = [tensor([[[1.3, -math.inf]], [[2.5, 0.0]], [[9.0, 9.0]]])]
    made.precise.routing.scores = [tensor([[[1.0, -math.inf]], [[2.0, 0.0]]], dtype=torch.float64)]
    asked: list[Any] = []
    monkeypatch.setattr(reading, "with_router_errors", lambda *given: asked.append(given))
    assert len(list(reading.other_experts(TARGET, PROMPT, 1, made))) == len(asked) == 24
    assert asked[0][:3] == (TARGET, PROMPT, 1)
    assert all(given[3] == [pytest.approx(0.085**0.5)] for given in asked)
    assert len({given[4] for given in asked}) == 24
    dense = way([[0.0, 0.0]], [0.0], False)
    assert list(reading.other_experts(TARGET, PROMPT, 1, dense)) == []


def test_an_output_that_ends_where_the_other_goes_on_says_so(forwards: Forwards) -> None:
    found = EquivalenceChecker(TARGET).compare(
        PROMPT, OUTPUT, OUTPUT[:2], 3, [], Greedy().verifier(0, 0), EVENTS
    )
    assert found.kind == "tie" and found.why.startswith("position 2: one of the outputs ends (10")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ([0, 1], "ends at 2 tokens, neither at a stop nor the limit"),
        ([0, 1, 5, 1], "ends at 4 tokens, neither at a stop nor the limit"),
        ([0, 1, 1, 1, 1], "ends at 5 tokens, neither at a stop nor the limit"),
    ],
)
def test_where_an_output_may_not_end_is_told(output: list[int], said: str) -> None:
    """A stop token is 5, and four are the limit."""
    found = EquivalenceChecker(TARGET).compare(
        PROMPT, output, [0, 1, 1, 5], 4, [5], Greedy().verifier(0, 0)
    )
    first = {2: 2, 4: 2, 5: 3}[len(output)]
    assert found == Verdict("violation", first, said)


def test_a_token_that_is_cut_off_has_no_logit() -> None:
    cut = Divergence(3, 5, 6, float("-inf"), 1.25, 0.5)
    assert describe(cut) == (
        "position 3: token 5 (cut off by top-k or top-p) where the target's own is 6 (logit 1.25),"
        " tolerance 0.5"
    )
    assert Divergence(3, 5, 6, 1.0, 3.5, 0.5).gap == 2.5


class Sharp(OwnChoice):
    """Scores are twice the logits; the third logit says which of the output's tokens it is for."""

    sharpness = 2.0

    def scores(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        assert logits[:, 2].tolist() == [2 - position - i for i in range(len(logits))]
        return 2 * logits

    def reduce(self, logits: torch.Tensor, position: int) -> Any:
        raise NotImplementedError

    def own(self, target: Any, index: int) -> int:
        raise NotImplementedError


CASE = equivalence._Case(PROMPT + OUTPUT, 2, 1, 1, Sharp())


def logits(*rows: tuple[float, float]) -> Logits:
    return Logits(tensor([[*row, -float(i)] for i, row in enumerate(rows)]))


def test_what_scores_make_of_logits_is_taken_back() -> None:
    """Where they are twice as far apart as logits, twice as much is allowed of them."""
    precise = logits((0.5, 0.25), (-0.5, -0.25), (1.0, 0.0))
    allowed = [0.125, 0.25, 0.5]
    assert CASE.outside([precise], allowed) is None
    assert CASE.outside([precise], [9.0, 0.2, 9.0]) == Divergence(
        1, 0, 1, -1.0, -0.5, pytest.approx(0.4)
    )
    assert CASE.at_first(precise, allowed) == (
        "position 1: in float32 token 0 is 0.5 logits below the best choice and the reference's, 1,"
        " 0; held to 0.5"
    )
    # The second choices are 0.25 below the best, the best, and 1 below.
    assert CASE.runners_up_within([precise], allowed) == pytest.approx(1 / 3)
    assert CASE.runners_up_within([precise], [0.25, 0.0, 1.0]) == 1.0
    # One of several ways of reading the text is enough: here the third token's are alike.
    other = logits((9.0, 0.0), (0.0, 9.0), (1.0, 1.0))
    for both in ([precise, other], [precise, other, precise]):
        assert CASE.runners_up_within(both, allowed) == pytest.approx(2 / 3)
    own = logits((0.5, 0.5), (0.5, 0.25), (1.0, 1.0))
    assert CASE.runners_up_chosen(own, precise) == pytest.approx(2 / 3)
    assert CASE.not_chosen(own) == ""
    assert "gives 1 (logit -0.5)" in CASE.not_chosen(precise)


def test_how_far_ways_of_reading_are_apart_is_told_in_logits() -> None:
    """The output's tokens are 0, 0.25 and 1 below the best, and 0.125, 0 and 0.25 below."""
    first = logits((0.5, 0.25), (-0.5, -0.25), (0.0, 1.0))
    second = logits((0.5, 0.625), (0.5, 0.25), (0.0, 0.25))
    assert CASE.spread([first, second]) == 0.75
    assert CASE.spread([first]) == 0.0
    # A token that a cut leaves out in both is as far below in both.
    cut = [logits((-math.inf, 1.0), (0.5, second), (0.5, 0.0)) for second in (0.0, 0.75)]
    assert CASE.spread(cut) == 0.25
    assert CASE.spread([first, cut[0]]) == 1.0
