"""Two files beside each other, and the page that tells of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pearl_eval.audit import audit, result
from pearl_eval.audit.audit import _conclude, _counted, _summary, _table, _tell
from pearl_eval.audit.comparison import pair_up, part
from pearl_eval.audit.ends import EndKind, OutputEnd
from pearl_eval.audit.inputs import Input
from pearl_eval.audit.page import page
from pearl_eval.audit.processors import Applied
from pearl_eval.audit.result import AuditResult, FileResult
from pearl_eval.audit.rows import AuditRow, Place, Unusable
from pearl_eval.audit.texts import RowText
from pearl_eval.audit.verdicts import JudgedOutput
from pearl_eval.checks.distribution import Fit
from pearl_eval.checks.divergence import Divergence
from pearl_eval.config.schema import Dtype
from pearl_eval.errors import EquivalenceViolation, UserError


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
    file = FileResult("f", outputs, [Unusable(Place("f", 5), "why not")])
    figures = file.figures()
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
    text = page(AuditResult([file], "so much", "model", "bfloat16"))
    assert "Target: model, in bfloat16. Tolerance: so much." in text
    assert "| 5 | 1 | 1 | 2 | 0 | 1 | 10 |" in text
    assert (
        "- line 3: position 0: token 1 (logit 1) where the target's own is 9 (logit 1.25)" in text
    )
    assert "- line 4: position 2: it ends badly" in text
    assert "- line 2 (b): position 1: token 2 (score 1) and 9 (score 1.25) are 0.25 apart" in text
    assert "- f, line 5: why not" in text


def test_what_is_written_of_an_output() -> None:
    output = judged(3, [7, 8, 9], [1, 2], "c", wrong=0, tie=1)
    output.more = 0.25
    wrong = {"position": 0, "token": 1, "expected": 9, "token_logit": 1.0, "expected_logit": 1.25}
    wrong |= {"tolerance": 0.5, "gap": 0.25}
    assert FileResult("f", [output], []).rows() == [
        {
            "file": "f",
            "line": 3,
            "name": "c",
            "verdict": "violation",
            "position": 0,
            "why": output.why,
            "prompt_tokens": 3,
            "tokens": 2,
            "retokenised": False,
            "applied": "",
            "end": "proper",
            "allowed_for_experts": 0.25,
            "ties": [wrong | {"position": 1, "token": 2}],
            "violations": [wrong],
        }
    ]
    # A score that is cut off is no number of JSON's.
    output.violations[0] = Divergence(0, 1, 9, float("-inf"), 1.25, 0.5)
    (cut,) = FileResult("f", [output], []).rows()[0]["violations"]
    assert (cut["token_logit"], cut["gap"], cut["expected_logit"]) == (None, None, 1.25)


def test_what_the_page_says_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight tokens that the target was to choose two have a second choice that would pass."""
    outputs = [
        judged(1, [7], [1, 2, 3, 4], tie=1),
        judged(2, [7], [1, 2], wrong=0),
        judged(3, [7], [1, 2]),
    ]
    outputs[0].ties.append(Divergence(3, 4, 9, 1.0, 1.25, 0.5))
    outputs[0].near = 2
    ends = OutputEnd(EndKind.unknown)
    sampled = Applied.of({"temperature": 0.5}, {})
    texts = [replace(outputs[1].text, retokenised=True), replace(outputs[2].text, applied=sampled)]
    outputs[1] = replace(outputs[1], text=texts[0], end=ends)
    outputs.append(replace(outputs[2], text=texts[1], end=ends))
    monkeypatch.setattr(result, "fit_of", lambda judged: Fit(1234, 0.0123, 0.0377))
    found = FileResult("f", outputs, [])
    lines = page(AuditResult([found], "", "", "")).splitlines()
    for line in (
        "- violations: 25.00% of the outputs that were judged (95 % interval 4.56% to 69.94%), 1"
        " tokens",
        "- what this can't see: at 25.00% of the positions the target's second choice would pass as"
        " a tie",
        "- sampled tokens: p = 0.012 over 1234 tokens; smallest bias that would be seen: 0.038",
        "- 1 outputs were given as text and retokenised: the engine may have generated other tokens"
        " for the same text",
        "- 2 outputs do not tell why they end, which was not judged",
        "- applied to the scores: sampled: temperature=0.5",
    ):
        assert line in lines, line
    (tie,) = (line for line in lines if line.startswith("- line 1: "))
    assert tie.endswith("held to 0.5; 1 more")
    assert (found.figures()["sampled"], found.kinds["sampled"]) == (1, 1)
    names = ("sampled_tokens", "sampling_p_value", "sampling_smallest_bias")
    assert [found.figures()[name] for name in names] == [1234, 0.0123, 0.0377]
    assert [found.figures()[name] for name in ("ends_unknown", "retokenised")] == [2, 1]
    monkeypatch.setattr(result, "fit_of", lambda judged: Fit(9, 1e-12, 0.5))
    assert "- sampled tokens: BIASED, p = 1e-12 over 9 " in page(
        AuditResult([FileResult("f", outputs, [])], "", "", "")
    )


def test_the_page_says_where_two_files_part() -> None:
    """Twice they are the same; of 21 that part 20 are told one by one."""
    first = [judged(n, [n], [1, 2, 3]) for n in range(1, 24)]
    second = [judged(n, [n], [1, 2, 3]) for n in (1, 2)]
    second += [judged(n, [n], [1, 4, 3], tie=1) for n in range(3, 23)]
    second.append(judged(23, [23], [1], "last", wrong=0, end=1))
    partings = [part(*both) for both in zip(first, second, strict=True)]
    lines = page(AuditResult([], "", "", "", partings=partings)).splitlines()
    assert "- 2 of 23: the same" in lines
    assert "- 20 of 23: part where either token is the target's own within rounding" in lines
    assert "- lines 3 and 3: at position 1 tokens 2 and 4, own and tie" in lines
    assert "- and 1 more, in audit.json" in lines
    last = page(AuditResult([], "", "", "", partings=partings[-1:]))
    assert "- lines 23 and 23 (last): at position 1 tokens 2 and its end, own and violation" in last
    assert "- 1 of 1: part where the second file's token is not the target's own" in last


def test_up_to_twenty_rows_that_cannot_be_judged_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [Unusable(Place("f", line), "why not") for line in range(1, 23)]
    _tell(rows[:20])
    assert capsys.readouterr().err.splitlines()[19:] == ["pearl-eval: f, line 20: why not"]
    _tell(rows)
    assert capsys.readouterr().err.splitlines()[19:] == [
        "pearl-eval: f, line 20: why not",
        "pearl-eval: and 2 more rows can't be judged",
    ]


def test_figures_of_two_files_together() -> None:
    """The more telling of their p-values; what belongs to one alone is the first one's."""
    files = [
        FileResult("f", [judged(1, [7], [1, 2], tie=1), judged(2, [7], [1])], []).figures(),
        FileResult("g", [judged(1, [7], [1], wrong=0)], [Unusable(Place("g", 2), "")]).figures(),
    ]
    files[0]["sampling_p_value"], files[1]["sampling_p_value"] = 0.5, 0.25
    whole = _summary({"files": files, "meanings": {"same": 1}})
    names = ("outputs", "prompts", "identical", "ties", "violations", "sampled", "unusable")
    assert [whole[name] for name in names] == [4, 3, 1, 1, 1, 0, 1]
    assert (whole["sampling_p_value"], whole["tokens"], whole["lossy"]) == (0.25, 3, 0)
    assert (whole["meanings"], whole["by_file"]) == ({"same": 1}, files)
    files[0]["sampling_p_value"] = files[1]["sampling_p_value"] = None
    assert _summary({"files": files, "meanings": None})["sampling_p_value"] is None


def test_where_nothing_was_judged_no_share_is_told() -> None:
    file = FileResult("f", [], [Unusable(Place("f", 1), "why not")])
    figures = file.figures()
    names = ("violation_rate", "violation_rate_ci95", "runner_up_pass_rate", "sampling_p_value")
    assert [figures[name] for name in names] == [None] * 4
    lines = page(AuditResult([file], "", "", "")).splitlines()
    assert "| 1 | 0 | 0 | 0 | 0 | 1 | 0 |" in lines
    assert not any(line.startswith(("- violations", "- what this can't see")) for line in lines)


def test_a_long_list_is_cut_on_the_page() -> None:
    outputs = [judged(line, [7], [1], wrong=0) for line in range(1, 23)]
    text = page(AuditResult([FileResult("f", outputs, [])], "", "", ""))
    assert text.count("where the target's own is 9") == 20
    assert "- and 2 more, in audit.json" in text


def test_what_the_file_of_an_audit_holds() -> None:
    first, second = judged(1, [7], [1, 2], "a"), judged(4, [7], [1, 3], "a", wrong=1)
    files = [
        FileResult("f", [first], [Unusable(Place("f", 9), "why not")]),
        FileResult("g", [second], []),
    ]
    alone = [Unusable(Place("g", 5), "alone")]
    made = AuditResult(
        files, "so much", "model", "bfloat16", [part(first, second)], alone, {"torch": "x"}
    )
    content = made.content()
    assert [one.pop("file") for one in content["files"]] == ["f", "g"]
    assert content.pop("files") == [one.figures() for one in files]
    assert [row["line"] for row in content.pop("rows")] == [1, 4]
    assert content == {
        "target": "model",
        "dtype": "bfloat16",
        "tolerance": "so much",
        "unusable": [
            {"file": "f", "line": 9, "reason": "why not"},
            {"file": "g", "line": 5, "reason": "alone"},
        ],
        "partings": [
            {
                "name": "a",
                "lines": [1, 4],
                "position": 1,
                "tokens": [2, 3],
                "found": ["own", "violation"],
                "meaning": "second wrong",
            }
        ],
        "meanings": {"second wrong": 1},
        "environment": {"torch": "x"},
    }
    assert AuditResult(files, "", "", "").content()["meanings"] is None


def test_each_reason_to_part_is_told_in_words() -> None:
    same, tied, wrong = (
        judged(1, [7], [1]),
        judged(2, [7], [2], tie=0),
        judged(3, [7], [3], wrong=0),
    )
    other = judged(4, [7], [4], wrong=0)
    both = [(same, same), (same, tied), (wrong, tied), (tied, wrong), (wrong, other)]
    lines = page(AuditResult([], "", "", "", [part(*one) for one in both])).splitlines()
    assert [line for line in lines if " of 5: " in line] == [
        "- 1 of 5: the same",
        "- 1 of 5: part where either token is the target's own within rounding",
        "- 1 of 5: part where the first file's token is not the target's own",
        "- 1 of 5: part where the second file's token is not the target's own",
        "- 1 of 5: part where neither file's token is the target's own",
    ]


def test_what_an_audit_ends_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong counts before what is biased, and that before what could not be judged."""
    right, wrong = judged(1, [7], [1]), judged(2, [7], [1], wrong=0)
    lost = [Unusable(Place("g", 3), "why not")]
    _conclude(AuditResult([FileResult("f", [right], [])], "", "", ""))
    files = [FileResult("f", [], []), FileResult("g", [right, right], lost)]
    with pytest.raises(UserError, match=r"^1 rows could not be judged; all 2 others are the"):
        _conclude(AuditResult(files, "", "", ""))
    monkeypatch.setattr(result, "fit_of", lambda judged: Fit(9, 1e-12, 0.5) if judged else None)
    files = [FileResult("f", [], []), FileResult("g", [right, right], lost)]
    with pytest.raises(EquivalenceViolation) as error:
        _conclude(AuditResult(files, "", "", ""))
    assert str(error.value) == (
        "g: its 9 sampled tokens are not distributed as the target's (p = 1.0e-12)"
    )
    files = [FileResult("f", [right], []), FileResult("g", [right, wrong], lost)]
    with pytest.raises(EquivalenceViolation) as error:
        _conclude(AuditResult(files, "", "", ""))
    assert str(error.value) == (
        f"1 of 3 outputs are not the target's own; the first is f, line 2: {wrong.why}"
    )


def test_rows_are_tracked_by_how_many_tokens_are_none_of_the_targets() -> None:
    (found,) = _table([{"line": 3, "ties": [1, 2], "violations": [4]}]).to_dict("records")
    assert found == {"line": 3, "ties": 2, "violations": 1}


def test_rows_that_none_could_be_judged_of_are_counted() -> None:
    lost = Unusable(Place("f", 1), "")
    assert _counted([Input("f", [], [lost, lost]), Input("g", [], [lost])]) == "3 rows of f and g"


def test_tokens_that_the_target_does_not_have_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has ten, and its tokenizer more."""

    class Judging:
        def __init__(self, *given: Any) -> None: ...

        def judge(self, texts: list[RowText]) -> list[JudgedOutput]:
            return [judged(one.row.place.line, one.prompt, one.output) for one in texts]

    monkeypatch.setattr(audit, "Auditor", Judging)
    rows = [judged(1, [7], [9]), judged(2, [7], [10]), judged(3, [10], [1])]
    read = [Input("f", [one.text for one in rows], [Unusable(Place("f", 4), "why not")])]
    settings = {"model": {"path": "some/model"}}
    source = SimpleNamespace(target_settings=lambda: settings, dtype=Dtype.bfloat16)
    setup: Any = SimpleNamespace(pair=None, source=source, describe=lambda: {"torch": "x"})
    target: Any = SimpleNamespace(vocab_size=10, model=SimpleNamespace(dtype=torch.float32))
    nothing: Any = SimpleNamespace(ends=None)
    found = audit._judged(target, setup, nothing, nothing, read)
    (file,) = found.files
    assert [one.text.row.place.line for one in file.judged] == [1]
    assert [one.place.line for one in file.unusable] == [4, 2, 3]
    told = "it has token ids that the target, of 10, does not have"
    assert capsys.readouterr().err.splitlines() == [
        f"pearl-eval: f, line {line}: {told}" for line in (2, 3)
    ]
    assert (found.target, found.dtype) == ("some/model", "bfloat16")
    assert found.tolerance.startswith("1024 times the epsilon of float32")
    assert (found.environment, found.partings) == ({"torch": "x"}, ())
