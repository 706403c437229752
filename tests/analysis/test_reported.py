"""What the authors report: beside ours in tables, and never taken for ours."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from test_frame import write

from analysis.frames.frame import load
from analysis.frames.table import Table
from analysis.paper.paper_tables import TABLES
from analysis.paper.reported import MARK, REPORTED, figures, with_reported
from pearl_eval.commands import program
from pearl_eval.config.paths import config_dir

LLAMA = "llama31_8b_70b"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Llama 3.1 on each task of the paper, slower than reported, and another pair."""
    folder = tmp_path / "sweep"
    category = {"de": {"speedup": 2.0, "speedup_ci95": [1.9, 2.1], "prompts": 2}}
    runs = [
        ("pearl", LLAMA, "humaneval"),
        ("speculative", LLAMA, "humaneval"),
        ("pearl", "tiny", "humaneval"),
        ("pearl", LLAMA, "gsm8k"),
        ("pearl", LLAMA, "mgsm"),
        ("pearl", LLAMA, "mt_bench"),
        ("pearl_shared", LLAMA, "mt_bench"),
    ]
    for number, (decoder, pair, task) in enumerate(runs):
        own = {"speedup": 3.0 - number / 10, "speedup_ci95": [1.0, 3.5]}
        own |= {"by_category": category if task in ("mgsm", "mt_bench") else None}
        identity = {"data": task, "weights of the target": pair, "weights of the draft": pair}
        write(folder / str(number), decoder, pair=pair, task=task, identity=identity, **own)
    return folder


def beside(sweep: Path, name: str) -> Table:
    frame = load([sweep])
    return with_reported(TABLES[name](frame), frame)


def theirs(table: Table) -> dict[tuple[str, ...], float | None]:
    return {(*cell.row, cell.column): cell.value for cell in table.cells if cell.section == MARK}


def test_gsm8k_is_not_cited_as_mgsms_english(sweep: Path) -> None:
    english = {"en": {"speedup": 2.0, "speedup_ci95": [1.9, 2.1], "prompts": 2}}
    summary = sweep / "4" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"by_category": english}))
    assert (LLAMA, "pearl", "en (GSM8K)") in theirs(beside(sweep, "languages"))


def test_figures_name_pairs_and_tasks_that_are_configured_and_a_source() -> None:
    assert MARK == "reported by the authors, on NVIDIA A100-SXM4-80G"
    for one in REPORTED:
        assert "arXiv 2408.11850" in one.source
        for group, name in (("pair", one.pair), ("task", one.task), ("decoder", one.decoder)):
            assert not name or (config_dir() / group / f"{name}.yaml").exists()
    (one,) = figures("tokens_per_second", decoder="pearl_shared", pair="deepseek_1b_33b")
    assert (one.value, one.task, one.max_new_tokens) == (53.86, "humaneval", 1024)


def test_figures_are_those_that_the_authors_report() -> None:
    found = [
        (one.figure, one.decoder, one.pair, one.task, one.max_new_tokens, one.value, one.unit)
        for one in REPORTED
    ]
    speed, pearl, shared = "tokens_per_second", "pearl", "pearl_shared"
    assert found == [
        ("best speedup", pearl, "", "", None, 4.43, "×"),
        ("best speedup over speculative", pearl, "", "", None, 1.50, "×"),
        ("speedup", pearl, LLAMA, "humaneval", 1024, 3.87, "×"),
        ("speedup", pearl, LLAMA, "gsm8k", 256, 3.81, "×"),
        ("speedup", pearl, LLAMA, "mt_bench", 256, 3.59, "×"),
        ("speedup", pearl, LLAMA, "mgsm", 256, 3.95, "×"),
        (speed, pearl, "llama2_7b_70b", "mt_bench", 256, 24.28, "tokens/s"),
        (speed, shared, "llama2_7b_70b", "mt_bench", 256, 22.83, "tokens/s"),
        (speed, pearl, LLAMA, "mt_bench", 256, 32.14, "tokens/s"),
        (speed, shared, LLAMA, "mt_bench", 256, 30.78, "tokens/s"),
        (speed, pearl, "deepseek_1b_33b", "humaneval", 1024, 57.76, "tokens/s"),
        (speed, shared, "deepseek_1b_33b", "humaneval", 1024, 53.86, "tokens/s"),
        ("wait of the draft model", "speculative", "codellama_7b_70b", "", None, 0.07, "s"),
        ("wait of the target", "speculative", "codellama_7b_70b", "", None, 0.14, "s"),
    ]


def test_each_table_cites_what_is_of_its_pairs_and_tasks(sweep: Path) -> None:
    assert theirs(beside(sweep, "humaneval")) == {("pearl", LLAMA): 3.87}
    assert theirs(beside(sweep, "languages")) == {
        (LLAMA, "pearl", "en"): 3.81,
        (LLAMA, "pearl", "all, mean of speeds"): 3.95,
    }
    mt_bench = theirs(beside(sweep, "mt_bench"))
    assert mt_bench == {(LLAMA, "pearl", "all, mean of speeds"): 3.59}
    assert theirs(beside(sweep, "resource_competition")) == {
        (f"{LLAMA}, mt_bench", "pearl", "tokens/s"): 32.14,
        (f"{LLAMA}, mt_bench", "pearl_shared", "tokens/s"): 30.78,
    }
    assert not theirs(beside(sweep, "mean_accepted_tokens"))


@pytest.mark.parametrize(("pair", "task"), [("tiny", "humaneval"), (LLAMA, "humaneval_mini")])
def test_nothing_is_cited_beside_another_pair_or_other_prompts(
    tmp_path: Path, pair: str, task: str
) -> None:
    write(tmp_path, pair=pair, task=task)
    frame = load([tmp_path])
    table = TABLES["humaneval"](frame)
    assert with_reported(table, frame) is table


def test_ours_stay_as_they_are_and_alone_contend(sweep: Path) -> None:
    frame = load([sweep])
    for name in ("humaneval", "languages", "mt_bench", "resource_competition"):
        ours = TABLES[name](frame)
        table = with_reported(ours, frame)
        assert [cell for cell in table.cells if cell.section != MARK] == list(ours.cells)
        # The same is bold as without them, though every figure of theirs is greater.
        assert table.markdown().count("**") == ours.markdown().count("**")
        assert table.latex().count("textbf") == ours.latex().count("textbf")


def test_every_format_keeps_the_mark_and_the_source(sweep: Path) -> None:
    table = beside(sweep, "humaneval")
    before, mark, after = table.markdown().partition(f"*{MARK}*")
    assert mark and "3.87" not in before and "| pearl | 3.87× |" in after
    assert f"| decoder | {LLAMA} |" in after  # without a number of prompts
    assert "arXiv 2408.11850" in after and "humaneval to 1024 tokens" in after
    before, mark, after = table.latex().partition(rf"\multicolumn{{3}}{{l}}{{\emph{{{MARK}}}}} \\")
    assert mark and "3.87" not in before and r"pearl & 3.87$\times$ & -- \\" in after
    assert "arXiv 2408.11850" in after
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    (own,) = [row for row in rows if row["section"] == MARK]
    assert (own["value"], own["low"], own["n"], own["runs"]) == ("3.87", "", "", "")
    assert "arXiv 2408.11850" in own["source"]
    assert all(row["runs"] and not row["source"] for row in rows if row is not own)


def test_command_cites_them_on_request(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*arguments: str) -> str:
        program.main(["tables", str(sweep), *arguments])
        return capsys.readouterr().out

    assert MARK not in printed()
    out = printed("--reported", "--cells")
    assert out.count(f"*{MARK}*") == 4
    assert f"    {MARK} / pearl / {LLAMA}: Liu et al." in out
