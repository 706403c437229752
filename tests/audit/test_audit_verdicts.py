"""Verdicts on outputs by logits that are given, with tolerances worked out by hand.

In bfloat16 32 epsilons of 2^-7 are allowed, which is a quarter of the logits' standard deviation.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_pair import make_tokenizer

from pearl_eval.audit.ends import EndKind, OutputEnd
from pearl_eval.audit.processors import Applied, Processed
from pearl_eval.audit.rows import AuditRow, Place
from pearl_eval.audit.texts import RowText
from pearl_eval.audit.verdicts import JudgedOutput, OutputJudge, source
from pearl_eval.checks.rounding import Logits
from pearl_eval.checks.stand_ins import StandIn

#: The first two choices are 0.4 apart; deviation √3.28, so 0.4528 is allowed.
NEAR = [4.0, 3.6, 0.0, 0.4]
#: 1 apart; deviation √2.5, so 0.3953 is allowed.
FAR = [4.0, 3.0, 1.0, 0.0]
#: Equal; deviation 3, so 0.75 is allowed.
EQUAL = [3.0, 3.0, -3.0, -3.0]
PROMPT = [1]


def judge_of(output: list[int], end: EndKind = EndKind.proper, **told: Any) -> OutputJudge:
    row = AuditRow(Place("f", 1), "", PROMPT, output)
    text = RowText(row, PROMPT, output, Applied.of(told, {}))
    processed = Processed(text.applied, text.ids, text.begin, [3], make_tokenizer())
    return OutputJudge(
        text, OutputEnd(end, "ends here", len(output)), processed, [3], torch.bfloat16
    )


def tensor(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def judged(
    output: list[int], rows: list[list[float]], end: EndKind = EndKind.proper, **told: Any
) -> JudgedOutput:
    judge = judge_of(output, end, **told)
    judge.take(0, tensor(rows))
    return judge.judged


def test_first_choices_are_identical_and_the_end_is_not_asked_for() -> None:
    found = judged([0, 0], [FAR, NEAR, FAR])
    assert (found.kind, found.first, found.why) == ("identical", None, "")
    assert (found.tokens, found.near) == (2, 1)


def test_a_second_choice_within_rounding_is_a_tie_with_both_scores() -> None:
    found = judged([0, 1], [FAR, NEAR])
    (tie,) = found.ties
    assert (found.kind, found.first) == ("tie", None)
    assert (tie.position, tie.token, tie.expected) == (1, 1, 0)
    assert (tie.token_logit, tie.expected_logit) == (3.6, 4.0)
    assert tie.tolerance == pytest.approx(0.25 * 3.28**0.5)
    assert found.why == (
        "position 1: token 1 (score 3.6) and 0 (score 4) are 0.4 apart, held to 0.45"
    )
    assert (found.at(0), found.at(1)) == ("own", "tie")


def test_one_beyond_it_is_a_violation_also_after_a_tie() -> None:
    found = judged([1, 1, 0], [NEAR, FAR, FAR])
    (wrong,) = found.violations
    assert (found.kind, found.first) == ("violation", 1)
    assert (wrong.position, wrong.token, wrong.expected, wrong.gap) == (1, 1, 0, 1.0)
    assert wrong.tolerance == pytest.approx(0.25 * 2.5**0.5)
    assert found.why == (
        "position 1: token 1 (logit 3) where the target's own is 0 (logit 4), tolerance 0.4"
    )
    assert [found.at(position) for position in range(3)] == ["tie", "violation", "own"]


@pytest.mark.parametrize(("token", "other"), [(0, 1), (1, 0)])
def test_equal_scores_are_a_tie_whichever_came_first(token: int, other: int) -> None:
    found = judged([token], [EQUAL])
    (tie,) = found.ties
    assert found.kind == "tie"
    assert (tie.token, tie.expected, tie.gap, tie.tolerance) == (token, other, 0.0, 0.75)
    assert judged([2], [EQUAL]).kind == "violation"


def test_pieces_make_the_same_as_the_whole() -> None:
    judge = judge_of([0, 1, 1])
    judge.take(0, tensor([FAR]))
    judge.take(1, tensor([NEAR, FAR]))
    found = judge.judged
    assert [one.position for one in found.ties] == [1]
    assert [one.position for one in found.violations] == [2]
    assert (found.tokens, found.near) == (3, 1)


def test_an_output_may_end_where_the_target_would_stop() -> None:
    stopping, tied, going_on = [0.0, 1.0, 3.0, 4.0], [4.0, 0.0, 0.4, 3.6], FAR
    assert judged([0], [FAR, stopping], EndKind.next).kind == "identical"
    found = judged([0], [FAR, tied], EndKind.next)
    assert (found.kind, found.ties[0].position, found.ties[0].token) == ("tie", 1, 3)
    found = judged([0], [FAR, going_on], EndKind.next)
    assert (found.kind, found.first) == ("violation", 1)
    assert found.why.startswith("position 1: token 3 (logit 0) where the target's own is 0")
    assert found.why.endswith("it ends where the target does not stop")
    assert judged([0], [FAR, going_on], EndKind.unknown).kind == "identical"
    found = judged([0], [FAR], EndKind.improper)
    assert (found.kind, found.first, found.at(1)) == ("violation", 1, "violation")
    assert found.why == "position 1: it ends here"


def test_scores_are_what_was_applied_to_them() -> None:
    assert judged([1], [FAR], logit_bias={1: 2.0}).kind == "identical"
    found = judged([0], [FAR], bad_words_ids=[[0]])
    assert (found.kind, found.why[:36]) == ("violation", "position 0: token 0 (cut off by top-")
    # A penalty of 2 may pull scores apart by twice as much.
    tied = judged([2], [[0.0, 0.0, 3.4, 4.0]], repetition_penalty=2.0)
    deviation = (sum((x - 1.85) ** 2 for x in (0.0, 0.0, 3.4, 4.0)) / 4) ** 0.5
    assert tied.ties[0].tolerance == pytest.approx(2 * 0.25 * deviation)


def test_drawn_tokens_are_counted_and_those_that_cannot_be_drawn_are_violations() -> None:
    found = judged([1, 0], [FAR, FAR], temperature=1.0, top_k=2)
    assert (found.kind, found.sampled.tokens) == ("sampled", 2)
    found = judged([2], [FAR], temperature=1.0, top_k=2)
    assert (found.kind, found.violations[0].token) == ("violation", 2)
    # The third of these may come second by rounding: 0.1 lower, 0.52 allowed.
    assert judged([2], [[4.0, 1.0, 0.9, -1.9]], temperature=1.0, top_k=2).kind == "sampled"
    assert judged([0], [FAR, FAR], EndKind.next, temperature=1.0).kind == "sampled"


def test_drawn_tokens_of_later_pieces_are_told_by_their_place() -> None:
    told = {"temperature": 1.0, "top_k": 2}
    judge, whole = judge_of([1, 0, 2], **told), judged([1, 0, 2], [FAR] * 3, **told)
    judge.take(0, tensor([FAR, FAR]))
    judge.take(2, tensor([FAR]))
    (wrong,) = judge.judged.violations
    assert (wrong.position, wrong.token, wrong.expected) == (2, 2, 0)
    assert (wrong.token_logit, wrong.expected_logit) == (-float("inf"), 4.0)
    assert wrong.tolerance == pytest.approx(0.25 * 2.5**0.5)
    assert judge.judged.violations == whole.violations
    # What came before a piece counts in it.
    assert (judge.judged.sampled._covariance == whole.sampled._covariance).all()


def test_a_wrong_end_counts_where_it_is_before_a_wrong_token() -> None:
    found = judged([0, 1], [FAR, FAR], EndKind.improper)
    assert (found.first, found.at(1), found.at(2)) == (1, "violation", "violation")
    assert found.why.startswith("position 1: token 1 (logit 3)")
    found.end = OutputEnd(EndKind.improper, "goes on", 0)
    assert (found.first, found.at(0), found.why) == (0, "violation", "position 0: it goes on")
    found.end = OutputEnd(EndKind.unknown, "", 0)
    assert (found.first, found.at(0)) == (1, "own")


def test_a_token_that_the_target_has_no_score_for_ends_nothing() -> None:
    judge = judge_of([0], EndKind.next)
    judge._stops = [3, 4]
    judge.take(0, tensor([FAR, [0.0, 1.0, 3.0, 4.0]]))
    assert judge.judged.kind == "identical"
    judge._stops = [4]
    judge._take_end(tensor([FAR]))
    assert judge.judged.kind == "identical"


def test_a_place_that_errs_more_is_allowed_as_much() -> None:
    judge = judge_of([1, 1])
    judge.take(0, tensor([FAR, FAR]))
    assert len(judge.judged.violations) == 2
    # At the first the target errs by 0.11 on average, ten times of which is more than 1.
    off = [[4.11, 2.89, 1.11, -0.11], FAR, FAR]
    precise = [FAR, FAR, FAR]
    asked = []

    def ways(text: list[int], begin: int) -> list[StandIn]:
        asked.append((text, begin))
        return [StandIn(Logits(tensor(off)), Logits(tensor(precise)))]

    judge.reconsider(ways, no_others)
    found = judge.judged
    assert asked == [([1, 1, 1, 1], 1)]
    assert [one.position for one in found.ties] == [0]
    assert found.ties[0].tolerance == pytest.approx(1.1)
    assert [one.position for one in found.violations] == [1]
    assert found.violations[0].tolerance == pytest.approx(0.25 * 2.5**0.5)
    assert found.more == 0.0


def test_of_a_mixture_other_experts_may_have_been_chosen() -> None:
    judge = judge_of([1, 2])
    judge.take(0, tensor([FAR, FAR]))
    other = [[3.5, 3.0, 1.0, 0.5], FAR, FAR]
    ways = [StandIn(Logits(tensor(rows)), Logits(tensor(rows))) for rows in ([FAR] * 3, other)]
    judge.reconsider(lambda text, begin: ways, no_others)
    found = judge.judged
    # Token 1 is 1 behind in one way and 0.5 in the other; twice that difference is allowed more.
    assert found.more == pytest.approx(1.0)
    assert [one.position for one in found.ties] == [0]
    assert found.ties[0].gap == pytest.approx(0.5)
    assert found.ties[0].tolerance == pytest.approx(0.25 * 2.5**0.5 + 1.0)
    assert [one.position for one in found.violations] == [1]


def test_of_a_mixture_experts_are_drawn_until_one_draw_could_choose_a_token() -> None:
    """Token 1 is 1 behind, and in the second draw 0.2; 0.25 times the deviation is allowed."""
    judge = judge_of([1, 1])
    judge.take(0, tensor([FAR, FAR]))
    nearer = [[4.0, 3.8, 1.0, 0.0], FAR, FAR]
    draws = [Logits(tensor(rows)) for rows in ([FAR] * 3, nearer, [FAR] * 3)]
    way = StandIn(Logits(tensor([FAR] * 3)), Logits(tensor([FAR] * 3)))
    asked = []

    def others(text: list[int], begin: int, known: StandIn) -> list[Logits]:
        asked.append((text, begin, known))
        return draws

    judge.reconsider(lambda text, begin: [way], others)
    found = judge.judged
    assert asked == [([1, 1, 1, 1], 1, way)]
    assert [(one.position, one.gap) for one in found.ties] == [(0, pytest.approx(0.2))]
    assert [(one.position, one.gap) for one in found.violations] == [(1, pytest.approx(1.0))]
    assert found.more == 0.0


def no_others(text: list[int], begin: int, known: StandIn) -> list[Logits]:
    return []


def test_nothing_is_asked_again_of_what_needs_it_not() -> None:
    def ways(text: list[int], begin: int) -> list[StandIn]:
        raise AssertionError

    judge = judge_of([1])
    judge.take(0, tensor([NEAR]))
    judge.reconsider(ways, no_others)
    assert judge.judged.kind == "tie"


def test_where_tolerances_come_from() -> None:
    assert source(torch.bfloat16).startswith("32 times the epsilon of bfloat16 times")
    assert source(torch.float32).startswith("1024 times the epsilon of float32 times")
