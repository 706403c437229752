"""Two files beside each other, and the page that tells of them."""

from __future__ import annotations

import pytest

from pearl_eval.audit.comparison import pair_up, part
from pearl_eval.audit.ends import EndKind, OutputEnd
from pearl_eval.audit.page import page
from pearl_eval.audit.processors import Applied
from pearl_eval.audit.result import AuditResult, FileResult
from pearl_eval.audit.rows import AuditRow, Place, Unusable
from pearl_eval.audit.texts import RowText
from pearl_eval.audit.verdicts import JudgedOutput
from pearl_eval.checks.equivalence import Divergence


def judged(
    line: int, prompt: list[int], output: list[int], name: str = "", tie: int | None = None,
    wrong: int | None = None, end: int | None = None,
) -> JudgedOutput:  # fmt: skip
    """An output with a tie and a violation at these positions, that ends wrongly at ``end``."""
    row = AuditRow(Place("f", line), name, prompt, output)
    kind = EndKind.proper if end is None else EndKind.improper
    found = JudgedOutput(
        RowText(row, prompt, output, Applied.of({}, {})),
        OutputEnd(kind, "ends badly", end or 0),
        tokens=len(output),
    )
    for position, into in ((tie, found.ties), (wrong, found.violations)):
        if position is not None:
            into.append(Divergence(position, output[position], 9, 1.0, 1.25, 0.5))
    return found


@pytest.mark.parametrize(
    ("first", "second", "position", "tokens", "found", "meaning"),
    [
        ({}, {"output": [1, 2, 3]}, None, (None, None), ("own", "own"), "same"),
        ({}, {"output": [1, 4, 3], "tie": 1}, 1, (2, 4), ("own", "tie"), "rounding"),
        ({}, {"output": [1, 4, 3], "wrong": 1}, 1, (2, 4), ("own", "violation"), "second wrong"),
        ({"wrong": 1}, {"output": [1, 4]}, 1, (2, 4), ("violation", "own"), "first wrong"),
        ({"wrong": 1}, {"output": [1, 4], "wrong": 1}, 1, (2, 4), ("violation",) * 2, "both wrong"),
        # A violation elsewhere is not why they part.
        ({"wrong": 2}, {"output": [1, 4, 3], "tie": 1}, 1, (2, 4), ("own", "tie"), "rounding"),
        ({}, {"output": [1, 2], "end": 2}, 2, (3, None), ("own", "violation"), "second wrong"),
    ],
)  # fmt: skip
def test_where_two_outputs_part(first, second, position, tokens, found, meaning) -> None:  # type: ignore[no-untyped-def]
    parting = part(
        judged(1, [7], **{"output": [1, 2, 3], **first}), judged(4, [7], name="b", **second)
    )
    assert (parting.position, parting.tokens) == (position, tokens)
    assert (parting.found, parting.meaning) == (found, meaning)
    assert (parting.name, [place.line for place in parting.places]) == ("b", [1, 4])


def lines(pairs: list[tuple[JudgedOutput, JudgedOutput]]) -> list[tuple[int, int]]:
    return [(a.text.row.place.line, b.text.row.place.line) for a, b in pairs]


def test_outputs_of_one_prompt_are_found_by_name_or_by_prompt() -> None:
    first = [judged(1, [7], [1], "a"), judged(2, [8], [1], "b"), judged(3, [9], [1], "c")]
    second = [judged(1, [8], [1], "b"), judged(2, [7], [1], "a"), judged(3, [6], [1], "c")]
    pairs, alone = pair_up(first, second)
    assert lines(pairs) == [(1, 2), (2, 1)]
    assert [one.text.row.place.line for one in alone] == [3, 3]
    # Several of one prompt, unnamed, in their order.
    first = [judged(1, [7], [1]), judged(2, [7], [2]), judged(3, [8], [3])]
    second = [judged(1, [8], [1]), judged(2, [7], [2]), judged(3, [7], [3])]
    pairs, alone = pair_up(first, second)
    assert (lines(pairs), alone) == ([(1, 2), (2, 3), (3, 1)], [])


def test_figures_and_the_page() -> None:
    outputs = [
        judged(1, [7], [1, 2, 3, 4]),
        judged(2, [7], [1, 2], "b", tie=1),
        judged(3, [7], [1, 2], wrong=0, tie=1),
        judged(4, [7], [1, 2], end=2),
    ]
    outputs[0].near = 3
    result = FileResult("f", outputs, [Unusable(Place("f", 5), "why not")])
    figures = result.figures()
    names = ("outputs", "prompts", "identical", "ties", "violations")
    assert [figures[name] for name in names] == [
        5, 4, 1, 1, 2,
    ]  # fmt: skip
    assert (figures["unusable"], figures["sampled"], figures["tokens"]) == (1, 0, 10)
    assert (figures["tie_tokens"], figures["violation_tokens"]) == (2, 1)
    assert figures["violation_rate"] == 0.5
    # Wilson's interval of 2 of 4 is 0.5 ± 0.3500.
    assert figures["violation_rate_ci95"] == pytest.approx((0.15, 0.85), abs=1e-3)
    assert figures["runner_up_pass_rate"] == 0.3
    text = page(AuditResult([result], "so much", "model", "bfloat16"))
    assert "Target: model, in bfloat16. Tolerance: so much." in text
    assert "| 5 | 1 | 1 | 2 | 0 | 1 | 10 |" in text
    assert (
        "- line 3: position 0: token 1 (logit 1) where the target's own is 9 (logit 1.25)" in text
    )
    assert "- line 4: position 2: it ends badly" in text
    assert "- line 2 (b): position 1: token 2 (score 1) and 9 (score 1.25) are 0.25 apart" in text
    assert "- f, line 5: why not" in text


def test_a_long_list_is_cut_on_the_page() -> None:
    outputs = [judged(line, [7], [1], wrong=0) for line in range(1, 23)]
    text = page(AuditResult([FileResult("f", outputs, [])], "", "", ""))
    assert text.count("where the target's own is 9") == 20
    assert "- and 2 more, in audit.json" in text
