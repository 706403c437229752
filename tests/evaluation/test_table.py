"""The table of runs as text: which columns there are, and what a narrow terminal does without."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pearl_eval.results.table import (
    DISPENSABLE,
    Row,
    category_cells,
    category_headings,
    cells,
    headings,
    latency_cells,
    notes,
)
from pearl_eval.shell.console import print_table

SUMMARY: dict[str, Any] = {
    "decoder_about": {},
    "prompts": 6,
    "tokens_per_second": 300.0,
    "reference_tokens_per_second": 100.0,
    "speedup": 3.0,
    "speedup_ci95": [2.75, 3.25],
    "mean_accepted_tokens": 5.25,
    "acceptance_length": 3.5,
    "acceptance_rate": 0.875,
    "draft_forwards": 9,
    "wait_fraction_draft": 0.1,
    "wait_fraction_target": 0.2,
    "exact_match_rate": 1.0,
    "ties": 0,
    "violations": 0,
    "lossy": 0,
    "runner_up_pass_rate": None,
    "sampled_tokens": None,
    "accuracy": 0.5,
    "accuracy_name": "pass@1",
    "reference": "inline",
    "synthetic": False,
    "by_category": None,
    "tokens_per_second_per_device": 150.0,
    **{f"ttft_seconds_{p}": s for p, s in (("p50", 0.25), ("p95", 0.5), ("p99", 0.75))},
    **{f"tpot_seconds_{p}": s for p, s in (("p50", 0.0125), ("p95", 0.02), ("p99", 0.03))},
    **{f"itl_seconds_{p}": s for p, s in (("p50", 0.04), ("p95", 0.05), ("p99", 0.06))},
}
EQUAL: dict[str, Any] = {
    "equal_hardware_speedup": 1.5,
    "equal_hardware_speedup_ci95": [1.25, 1.75],
    "equal_hardware_tokens_per_second": 200.0,
    "equal_hardware_tokens_per_second_per_device": 100.25,
    "devices": {"rule": "all", "decoder": ["core 1", "core 0"], "reference": ["core 1"]},
}


def row(label: str = "pearl", **more: Any) -> Row:
    return Row(label, "dir", SUMMARY | more)


def told(one: Row, *others: Row) -> dict[str, str]:
    """The cells of a row by their headings in one line."""
    rows = [one, *others]
    names = [name.replace("\n", " ") for name in headings(rows)]
    return dict(zip(names, cells(one, rows), strict=True))


def test_acceptance_length_is_beside_the_mean_accepted_tokens() -> None:
    found = told(row())
    assert found["mean accepted tokens"] == "5.25"
    assert found["acceptance length"] == "3.50"
    assert "÷ AR on equal hardware" not in found
    assert told(row(acceptance_length=None))["acceptance length"] == "–"


def test_each_figure_is_below_its_heading() -> None:
    assert told(row()) == {
        "tokens/s": "300.0",
        "speedup (95 % CI)": "3.00× (2.75–3.25)",
        "mean accepted tokens": "5.25",
        "acceptance length": "3.50",
        "acceptance rate": "0.875",
        "waited draft / target": "10% / 20%",
        "equivalence": "identical 6/6",
        "pass@1": "0.500",
        "reference": "inline",
    }
    assert told(row(draft_forwards=0))["waited draft / target"] == "–"
    mixed = told(row(), row(decoder_about={"engine": "vLLM"}))
    assert list(mixed)[:2] == ["engine", "tokens/s"] and mixed["engine"] == "transformers"
    own = dict(zip(category_headings([row()]), category_cells(SUMMARY), strict=True))
    assert list(own.values()) == [
        "300.0", "3.00× (2.75–3.25)", "5.25", "0.500", "3.50", "0.875", "6",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"ties": 1, "exact_match_rate": 5 / 6}, "identical 5/6, 1 tie"),
        ({"ties": 2, "exact_match_rate": 4 / 6}, "identical 4/6, 2 ties"),
        ({"violations": 2, "ties": 1}, "VIOLATION 2/6"),
        ({"lossy": 3, "exact_match_rate": 0.5}, "lossy, identical 3/6"),
        (
            {"sampled_tokens": 9, "exact_match_rate": 0.5, "sampling_p_value": 0.0625},
            "sampled, p = 0.062",
        ),
        # Whose random numbers are the reference's.
        ({"sampled_tokens": 9, "sampling_p_value": 0.0625}, "identical 6/6"),
    ],
)
def test_what_is_said_of_outputs(more: dict[str, Any], said: str) -> None:
    assert told(row(**more))["equivalence"] == said


def test_what_must_be_known_beside_the_table() -> None:
    sampled = {"sampled_tokens": 90, "sampling_smallest_bias": 0.0123, "verification": "block"}
    tied = {"ties": 2, "runner_up_pass_rate": 0.0234}
    lines = notes(
        [
            row("a", reference="cached"),
            row("b", reference="cached", synthetic=True, prompts=1),
            row("c", **sampled),
            row("d", **tied),
            row("e", lost_from="Task/3", decoder_about={"engine": "vLLM"}),
            row("f", decoder_settings={"cache": "warm"}, decoder_about={"cache": "earlier ones"}),
        ]
    )
    beginnings = [
        "Synthetic pair: tokens are made up",
        "a, b: against a cached reference",
        "Decoded in transformers and vLLM: each speedup is over",
        "c: drafted tokens judged as blocks",
        "c: 90 sampled tokens; a bias of 1.2% of the target's first choice",
        "d: 2 of 6 outputs differ by rounding alone; 2.3% of the target's second choices",
        "e: from Task/3 on it had no drafts",
        "f: looks up in more than each prompt's own text: earlier ones.",
        "No speeds: the only prompt was the warm-up.",
    ]
    assert len(lines) == len(beginnings)
    assert all(map(str.startswith, lines, beginnings))
    assert notes([row(ties=1), row(decoder_settings={"cache": "cold"})]) == []


def test_equal_hardware_has_a_column_where_a_run_has_it() -> None:
    found = told(row(**EQUAL))
    assert found["speedup (95 % CI)"] == "3.00× (2.75–3.25)"
    assert found["÷ AR on equal hardware"] == "1.50× (1.25–1.75)"
    assert told(row(), row(**EQUAL))["÷ AR on equal hardware"] == "–"
    failed = Row("liar", "dir", None, "it failed")
    assert list(told(failed, row(**EQUAL)).values()) == ["–"] * 7 + ["failed", "–", "–"]


def test_scores_of_several_kinds_are_all_named() -> None:
    others = [row(accuracy_name="same answer", accuracy=1.0), row(), row(accuracy_name="accuracy")]
    assert told(row(accuracy=0.25), *others)["pass@1, same answer, accuracy"] == "0.250"
    assert "pass@1" in told(row(), row())


def test_prepared_drafts_have_a_column_where_a_run_prepares_some() -> None:
    assert "drafts prepared" not in told(row(), row(traces={"hit_rate": None}))
    prepares = row("ssd", traces={"hit_rate": 0.625})
    assert told(prepares, row())["drafts prepared"] == "62%"
    assert told(prepares, row())["acceptance rate"] == "0.875"
    assert told(row(), prepares)["drafts prepared"] == "–"
    assert "drafts\nprepared" in DISPENSABLE


def test_tokens_per_second_by_device_are_told_where_they_are_compared() -> None:
    (line,) = notes([row(**EQUAL)])
    assert line == (
        "pearl: on 2 cores 150.0 tokens/s for each; autoregressive decoding has 100.0 tokens/s on"
        " 1, and 200.0 on 2 (100.2 for each)."
    )
    gpus = {"rule": "all", "decoder": ["cuda:0", "cuda:1"], "reference": ["cuda:1"]}
    assert "pearl: on 2 GPUs" in notes([row(**EQUAL | {"devices": gpus})])[0]
    same = EQUAL["devices"] | {"decoder": ["core 1"]}
    assert notes([row(**EQUAL | {"devices": same}), row()]) == []


def test_latencies_are_milliseconds() -> None:
    times = ["250.0 / 500.0 / 750.0", "12.5 / 20.0 / 30.0", "40.0 / 50.0 / 60.0"]
    assert latency_cells(row()) == ["150.0", *times]
    one_token = dict.fromkeys(("tpot_seconds_p50", "tpot_seconds_p95", "tpot_seconds_p99"))
    assert latency_cells(row(**one_token))[2] == "– / – / –"
    assert latency_cells(row(ttft_seconds_p50=None)) == []
    assert latency_cells(Row("liar", "dir", None, "it failed")) == []


def test_categories_have_their_own_acceptance_length() -> None:
    found = dict(zip(category_headings([row()]), category_cells(SUMMARY), strict=True))
    assert found["acceptance\nlength"] == "3.50"
    assert found["mean accepted\ntokens"] == "5.25"
    assert found["acceptance\nrate"] == "0.875"
    assert found["prompts"] == "6"


#: Widths at which a table just does not fit any longer, and what each does without then.
@pytest.mark.parametrize("equal", [False, True])
def test_a_narrow_table_does_without_more_and_more(
    equal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(traces={"hit_rate": 0.5}, **(EQUAL if equal else {}))]
    words = [name.split("\n")[-1] for name in DISPENSABLE]
    seen = []
    for width in range(185, 60, -1):
        monkeypatch.setattr("pearl_eval.shell.console._PLAIN_WIDTH", width)
        print_table("title", rows)
        out = capsys.readouterr().out
        drawn = out.split("Latency")[0].split("└")[0]
        if "…" in drawn:
            break
        assert "identical 6/6" in drawn and "3.00× (2.75–3.25)" in drawn and "0.500" in drawn
        assert ("1.50× (1.25–1.75)" in drawn) is equal
        left = [word for word in words if not re.search(rf"┃\s+{re.escape(word)} ┃", drawn)]
        assert left == words[: len(left)]
        seen.append(len(left))
    assert seen == sorted(seen) and set(seen) == set(range(len(DISPENSABLE) + 1))


def test_latencies_are_printed_where_they_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for width, there in ((110, True), (70, False)):
        monkeypatch.setattr("pearl_eval.shell.console._PLAIN_WIDTH", width)
        print_table("title", [row(), Row("liar", "dir", None, "it failed")])
        out = capsys.readouterr().out
        assert ("250.0 / 500.0 / 750.0" in out) is there
        assert ("Latency" in out) is there
    print_table("title", [row(ttft_seconds_p50=None)])
    assert "Latency" not in capsys.readouterr().out


def test_a_cache_that_is_not_cold_is_told_beside_the_table() -> None:
    def told(cache: str) -> list[str]:
        more = {"decoder_settings": {"cache": cache}, "decoder_about": {"cache": "this and that"}}
        return notes([row("suffix", **more)])

    assert told("warm") == ["suffix: looks up in more than each prompt's own text: this and that."]
    assert told("cold") == []
