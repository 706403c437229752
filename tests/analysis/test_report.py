"""The page of a run or a sweep."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from conftest import Command
from matplotlib.figure import Figure
from written_run import autoregressive, pearl, write_overrides, write_run

from analysis import report
from pearl_eval.figures.acceptance import judging_runs
from pearl_eval.figures.palette import BLUE_INK, GREEN_INK, INK
from pearl_eval.results.runs import Run, read_runs


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    write_overrides(write_run(folder / "0", "autoregressive", autoregressive()), "decoder=auto")
    write_run(folder / "1", "pearl", pearl(), speedup=2.345, tokens_per_second=123.4)
    write_overrides(folder / "1", "decoder=pearl", "decoder.gamma=3")
    return folder


def prose(page: str) -> str:
    """What a reader of the page sees, without pictures."""
    page = re.sub(r"<(style|svg)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_table_has_the_terminals_figures_and_labels(sweep: Path) -> None:
    said = prose(report.report(sweep))
    # 11 tokens accepted in 6 verifications; 12 tokens by rounds that end at 0.1, 0.2 … 0.6 s.
    row = "pearl 123.4 2.35× (2.70–3.20) 4.25 2.83 0.875 10% / 20% identical 2/2 0.500"
    assert row in said
    heads = "run tokens/s speedup (95 % CI) mean accepted tokens acceptance length acceptance rate"
    assert heads in said
    times = "100.0 / 100.0 / 100.0 45.5 / 45.5 / 45.5 100.0 / 100.0 / 100.0"
    assert "TPOT ms p50 / p95 / p99 ITL ms p50 / p95 / p99 auto – 200.0" in said
    assert f"pearl – {times} TTFT: to the first token." in said
    # Of 15 drafted tokens 11 are accepted; of six rounds of 100 ms models are busy for 90, 80 once.
    modes, waited = "pre-verify 33%, post-verify 67%", "10.00 ms 10.00 ms – – – – – – 11.67 ms"
    # Of 12 verifications 6 accept one token, 2 two and 4 three.
    verified = "0 6 2 4 1.00 0.50 0.33 –"
    assert f"pearl 12 0% 0.33 0.67 27% {waited} 100 {verified} {modes}" in said
    assert "dtype float32 target device cpu torch 2.13" in said


def test_what_was_prepared_is_told_by_accepted_length(tmp_path: Path) -> None:
    """After 1, 3 and 1 accepted tokens drafts were wanted, of which the last two were prepared."""
    rounds = pearl()
    for place, hit in ((1, False), (2, True), (4, True)):
        rounds[place].outcomes, rounds[place].hit = 6, hit
    rounds[1].branch_forwards, rounds[1].branch_tokens, rounds[1].branch_seconds = 3, 12, 0.03
    write_run(tmp_path, "ssd", rounds)
    said = prose(report.report(tmp_path))
    assert "10.00 ms 10.00 ms – – 67% 6.0 2.0 5.00 ms 11.67 ms" in said
    assert "1.00 0.50 0.33 – 50% – 100% pre-verify" in said


def cost(**own: float) -> dict[str, Any]:
    reference = {"target_flops": 8e6, "target_wasted_flops": 0.0, "target_bytes": 4e9}
    figures = {f"{name}_per_token": value for name, value in own.items()}
    return figures | {"reference": {f"{name}_per_token": v for name, v in reference.items()}}


def test_what_a_token_costs_is_beside_the_references(tmp_path: Path) -> None:
    target = {"target_flops": 16e6, "target_wasted_flops": 4e6, "target_bytes": 1e9}
    draft = {"draft_flops": 2e6, "draft_wasted_flops": 5e5, "draft_bytes": 5e8}
    write_run(tmp_path / "0", "pearl", pearl(), cost=cost(**target, **draft))
    write_run(tmp_path / "1", "lookahead", autoregressive(), cost=cost(**target))
    page = report.report(tmp_path)
    said = prose(page)
    alike = "16.0 M 4.0 M"
    both = "18.0 M / 8.0 M = 2.25× 1.5 G / 4.0 G = 0.38×"
    assert f"pearl {alike} 2.0 M 500.0 k 1.0 G 500.0 M {both}" in said
    assert f"lookahead {alike} – – 1.0 G – 16.0 M / 8.0 M = 2.00× 1.0 G / 4.0 G = 0.25×" in said
    assert "energy / reference's" not in page and "No device here counts its energy" in said


def test_each_figure_of_rounds_is_below_its_heading() -> None:
    traces = {
        "verifications": 12, "pre_verify_failure_rate": 0.25, "target_forwards_per_token": 0.5,
        "draft_forwards_per_token": 1.25, "wasted_fraction": 0.75,
        "wait_draft_seconds_per_round": 0.002, "wait_target_seconds_per_round": 0.003,
        "awaited_tokens_per_round": 1.5, "unjudged_tokens_per_round": 2.5, "hit_rate": 0.9,
        "outcomes_per_round": 6.5, "branch_tokens_per_round": 7.5,
        "branch_seconds_per_round": 0.004, "overhead_seconds_per_round": 0.005,
        "bytes_per_round": 100.0, "accepted_per_verification": [1, 2],
        "acceptance_by_position": [0.5, 0.125], "mode_shares": {"decode": 0.125, "verify": 0.875},
        "by_outcome": [
            {"accepted": 0, "hits": 1, "rounds": 4}, {"accepted": 2, "hits": 3, "rounds": 4},
        ],
    }  # fmt: skip
    headings, rows = report.trace_table([Run("a", {"traces": traces}, Path())])
    ((label, cells),) = rows
    assert label == "a" and dict(zip(headings, cells, strict=True)) == {
        "verifications": "12",
        "first token fails in pre-verify": "25%",
        "target forwards per token": "0.50",
        "draft forwards per token": "1.25",
        "drafted tokens wasted": "75%",
        "draft waits, per round": "2.00 ms",
        "target waits, per round": "3.00 ms",
        "tokens it waits for, per round": "1.50",
        "tokens left unjudged, per round": "2.50",
        "drafts that were prepared": "90%",
        "outcomes prepared for, per draft": "6.5",
        "tokens read to prepare, per round": "7.5",
        "preparing, per round": "4.00 ms",
        "neither model runs, per round": "5.00 ms",
        "bytes sent, per round": "100",
        "verifications that accept 0, 1, 2 …": "1 2",
        "share that accept at least 1, 2 …": "0.50 0.12",
        "prepared where 0, 1, 2 … were accepted": "25% – 75%",
        "rounds": "decode 12%, verify 88%",
    }


def test_each_figure_of_cost_is_below_its_heading() -> None:
    own = cost(
        target_flops=16e6, target_wasted_flops=4e6, draft_flops=2e6, draft_wasted_flops=1e6,
        target_bytes=1e9, draft_bytes=5e8, joules=0.25,
    )  # fmt: skip
    headings, ((label, cells),) = report.cost_table([Run("a", {"cost": own}, Path())])
    assert label == "a" and list(zip(headings, cells, strict=True)) == [
        ("FLOPs, target", "16.0 M"),
        ("of these wasted", "4.0 M"),
        ("FLOPs, draft", "2.0 M"),
        ("of these wasted", "1.0 M"),
        ("bytes read, target", "1.0 G"),
        ("bytes read, draft", "500.0 M"),
        ("all FLOPs / reference's", "18.0 M / 8.0 M = 2.25×"),
        ("all bytes / reference's", "1.5 G / 4.0 G = 0.38×"),
        ("energy / reference's", "0.25 J / –"),
    ]
    assert report.cost_table([Run("a", {"cost": {}}, Path())])[1] == []


def test_facts_that_runs_share_are_told_once() -> None:
    process = {"cores": [0, 1], "threads": None}
    runs = [
        Run(host, {"environment": {"dtype": "x", "host": host, "own_process": process}}, Path())
        for host in ("a", "b", "a")
    ]
    assert report.facts(runs) == [
        ("dtype", "x"),
        ("host", "a / b"),
        ("own process", "cores 0, 1, threads –"),
    ]


def test_an_output_that_is_not_the_targets_is_named_with_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        ("T/0", 1, "identical", None), ("T/0", 2, "violation", 3.0), ("T/1", 0, "violation", 0.0),
    ]  # fmt: skip
    records = pd.DataFrame(rows, columns=["task_id", "turn", "verdict", "first_divergence"])
    traces = SimpleNamespace(read=lambda directory: SimpleNamespace(records=records))
    monkeypatch.setattr(report, "Traces", traces)
    wrong = Run("a", {"violations": 2}, Path())
    assert list(report.failures(wrong)) == [
        report.WrongOutput("a", "T/0, turn 2", 3),
        report.WrongOutput("a", "T/1", 0),
    ]
    assert list(report.failures(Run("a", {"violations": 0}, Path()))) == []


def test_coloured_text_takes_the_pages_own_colour() -> None:
    figure = Figure()
    for place, colour in enumerate((GREEN_INK, BLUE_INK, INK)):
        figure.text(0.1, 0.1 + place / 4, f"said {place}", color=colour)
    drawn = report.svg(figure, "some")
    for place, own in enumerate((r"var\(--green\)", r"var\(--blue\)", "currentColor")):
        assert re.search(rf"{own}[^>]*>said {place}<", drawn)


def test_a_long_list_is_cut_after_twelve() -> None:
    twelve = " ".join(map(str, range(12)))
    assert report._listed([float(n) for n in range(12)], ".0f") == twelve
    assert report._listed([float(n) for n in range(13)], ".0f") == f"{twelve} …"
    assert report._listed([0.5, None], ".2f") == "0.50 –"
    assert report._listed([], ".2f") == report._listed(None, ".2f") == "–"


def test_energy_is_told_where_a_device_counts_it(tmp_path: Path) -> None:
    own = cost(target_flops=16e6, joules=0.25)
    own["reference"]["joules_per_token"] = 0.5
    write_run(tmp_path, "pearl", pearl(), cost=own)
    said = prose(report.report(tmp_path))
    assert "0.25 J / 0.5 J" in said and "No device here counts its energy" not in said


def test_the_page_needs_nothing_else(sweep: Path) -> None:
    page = report.report(sweep)
    assert not re.search(r"https?:|//\w|url\((?!#)|@import|<script|<link|<img", page)
    references = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert references and all(reference.startswith("#") for reference in references)


def test_ids_of_several_pictures_do_not_clash(sweep: Path) -> None:
    pictures = re.findall(r"<svg.*?</svg>", report.report(sweep), flags=re.DOTALL)
    assert len(pictures) == 3
    ids = [set(re.findall(r' id="([mph][0-9a-f]{6,})"', picture)) for picture in pictures]
    assert all(ids) and sum(map(len, ids)) == len(set.union(*ids))


def test_each_task_has_pictures_of_its_own(sweep: Path) -> None:
    write_run(sweep / "2", "pearl", pearl(), task="gsm8k")
    write_overrides(sweep / "2", "decoder=pearl", "task=gsm8k")
    page = report.report(sweep)
    assert page.count("acceptance rate along the text") == 2
    assert "gsm8k, tiny pair" in page and "<h1>humaneval, gsm8k, tiny</h1>" in page


def test_chances_that_were_foreseen_are_drawn_for_each_task(tmp_path: Path) -> None:
    rows = [{"predicted": 0.25, "judged": 40, "accepted": 10}]
    for number, task in enumerate(("humaneval", "gsm8k")):
        run = write_run(tmp_path / str(number), "pearl_adaptive", pearl(), task=task)
        summary = json.loads((run / "summary.json").read_text())
        summary["traces"]["by_chance"] = rows
        (run / "summary.json").write_text(json.dumps(summary))
    assert report.report(tmp_path).count("chance of a drafted token that was foreseen") == 2
    alone = report.report(tmp_path / "0")
    assert alone.count("chance of a drafted token that was foreseen") == 1
    # What all runs are of is in the heading.
    assert "humaneval, tiny pair" not in alone.split("Chances that were foreseen")[1]


def test_pictures_take_the_colours_of_the_page(sweep: Path) -> None:
    page = report.report(sweep)
    assert "prefers-color-scheme: dark" in page
    assert "fill: currentColor" in page and "var(--idle)" in page
    pictures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "#1a1a1b" not in pictures and "#dddddd" not in pictures


def test_every_element_is_closed(sweep: Path) -> None:
    class Balance(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                self.open.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    balance = Balance()
    balance.feed(report.report(sweep))
    assert not balance.open


def test_violations_and_failed_runs_are_said_in_red(sweep: Path) -> None:
    bad = sweep / "2"
    write_run(bad, "pearl", pearl(), violations=1, verdict="violation", first_divergence=7)
    write_overrides(bad, "decoder=pearl", "seed=3")
    write_overrides(sweep / "3", "decoder=<broken>")
    (sweep / "3" / "error.txt").write_text("the draft process died\n\nTraceback")
    page = report.report(sweep)
    said = prose(page)
    assert "pearl: Task/1, from token 7 on" in said and "pearl γ3 123.4" in said
    assert "sweep · 4 runs 1 output is not the target model's own:" in said
    assert "&lt;broken&gt; failed: the draft process died" in said and "Traceback" not in said
    assert page.count('<tr class="bad">') == 2
    assert "VIOLATION 1/2" in said
    assert 'class="alarm"' not in report.report(sweep / "1")


def test_a_single_run_has_a_page(sweep: Path) -> None:
    assert "pearl 123.4 2.35×" in prose(report.report(sweep / "1"))
    assert "<h2>Acceptance</h2>" not in report.report(sweep / "0")


def test_categories_are_told_apart(tmp_path: Path) -> None:
    numbers = ("speedup", "mean_accepted_tokens", "accuracy", "acceptance_rate")
    figures = dict.fromkeys(numbers, 0.25)
    figures |= {"tokens_per_second": 9.5, "speedup_ci95": None, "prompts": 2}
    write_run(tmp_path, "pearl", pearl(), by_category={"roleplay": figures})
    assert "roleplay 9.5 0.25× 0.25 0.250 – 0.250 2" in prose(report.report(tmp_path))


def test_of_many_runs_the_fastest_of_each_decoder_is_drawn(tmp_path: Path) -> None:
    for number in range(7):
        write_run(tmp_path / str(number), "pearl", pearl(), tokens_per_second=100.0 + number)
    assert [run.directory.name for run in judging_runs(read_runs(tmp_path))] == ["6"]


def test_the_command_writes_the_page_or_one_line(
    sweep: Path, tmp_path: Path, run_command: Command
) -> None:
    code, out, err = run_command("report", str(sweep))
    assert (code, out.strip(), err) == (0, str(sweep / "report.html"), "")
    assert (sweep / "report.html").read_text().startswith("<!doctype html>")
    write_run(tmp_path / "unfinished", "pearl", pearl(), finished=False)
    for arguments, message in {
        (str(tmp_path / "nowhere"),): "there is no run there",
        (str(tmp_path / "unfinished"),): "the run there is not finished",
        (str(sweep), "-o=/no/where/page.html"): "No such file or directory",
    }.items():
        code, out, err = run_command("report", *arguments)
        assert code == 2 and not out
        assert message in err and len(err.splitlines()) == 1
    code, out, _ = run_command("report", "--help")
    assert code == 0 and "pearl-eval report multirun/" in out
