"""A sweep that was made before files said a version: whatever reads runs reads it.

``tests/data/version_0`` is what seven decoders left on the tiny pair, against a cached reference,
at the last commit without versions; without Hydra's own copy of the command line, and without what
it said of the machine.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from analysis.figures import FIGURES
from analysis.frames.frame import load, prompts, rounds
from analysis.frames.table import NoRuns
from analysis.paper.paper_tables import TABLES
from analysis.report import report
from analysis.significance.significance import changes, decoders
from pearl_eval.figures.overview import draw_overview
from pearl_eval.figures.timeline import find_runs, timeline
from pearl_eval.results.formats import versioned
from pearl_eval.results.records import read_run, read_summary
from pearl_eval.results.runs import read_runs
from pearl_eval.results.table import cells, headings, latency_cells, notes
from pearl_eval.results.traces import Traces
from pearl_eval.shell.sweep import sweep_rows

OLD = Path(__file__).parents[1] / "data" / "version_0"
DECODERS = ["autoregressive", "speculative", "pearl", "pearl_async", "lookahead", "draft_only"]
DECODERS += ["assisted_heuristic"]


def test_nothing_there_says_a_version() -> None:
    for path in (one for one in OLD.rglob("*.json*") if one.is_file()):
        assert "format_version" not in path.read_text(), path
    assert len(list(OLD.rglob("rounds.parquet"))) == 7


def test_its_table() -> None:
    rows = sweep_rows(OLD)
    assert [row.label for row in rows] == DECODERS
    verdicts = [cells(row, rows)[headings(rows).index("equivalence")] for row in rows]
    assert verdicts == ["identical 3/3"] * 5 + ["lossy, identical 0/3", "identical 3/3"]
    assert cells(rows[2])[2:5] == ["4.92", "3.46", "0.868"]
    # What was not written follows from rounds: the first prompt is the warm-up.
    summary = rows[2].summary
    assert summary is not None and latency_cells(rows[2])[0] == "–"
    assert summary["traces"]["verifications"] == sum(summary["traces"]["accepted_per_verification"])
    records = Traces.read(OLD / "2").records
    assert summary["ttft_seconds_p50"] == records["ttft_seconds"][1:].median()
    assert (records["ttft_seconds"] < records["seconds"]).all()
    assert len(notes(rows)) == 1 and "against a cached reference" in notes(rows)[0]


def test_its_pictures(tmp_path: Path) -> None:
    found = read_runs(OLD)
    assert isinstance(draw_overview(found), Figure)
    assert isinstance(timeline(find_runs([OLD])), Figure)
    # pearl_async's draft model runs on by itself, lookahead's tokens are guessed by none.
    assert isinstance(timeline(found[3:]), Figure)
    frame = load([OLD])
    # None of them foresaw what becomes of a drafted token.
    left = [name for name in FIGURES if name not in ("gamma_sweep", "calibration")]
    for name in left:
        assert isinstance(FIGURES[name](frame), Figure)
    with pytest.raises(NoRuns, match="no decoder of these runs foresees"):
        FIGURES["calibration"](frame)


def test_its_report() -> None:
    page = report(OLD)
    assert page.count("identical 3/3") == 6 and "draft_only" in page and "pre-verify" in page


def test_its_frames() -> None:
    frame = load([OLD])
    assert list(frame["decoder"]) == DECODERS
    assert list(frame["lossless"]) == [True] * 5 + [False, True]
    assert frame["code"].nunique() == 1 and frame["gamma"][2] == 9
    assert len(prompts(frame)) == 21 and len(rounds(frame)) == 68 + 13 + 24 + 25 + 54 + 56 + 15
    assert TABLES["humaneval"](frame).markdown().count("\n") > 7


def test_it_is_compared_with_what_is_made_now(tmp_path: Path) -> None:
    """A copy that says version 1, and of another digest of the code, stands for that."""
    new = tmp_path / "new"
    shutil.copytree(OLD, new)
    for path in new.rglob("run.json"):
        summary, about = read_summary(path.parent), read_run(path.parent)
        assert about is not None
        about["identity"]["code"] = "0123456789abcdef"
        path.write_text(json.dumps(versioned(about)))
        path.with_name("summary.json").write_text(json.dumps(versioned(summary)))
    before, after = load([OLD]), load([new])
    assert set(changes(before, after)["label"]) == set(DECODERS)
    assert set(changes(before, after)["ratio"]) == {1.0}
    assert len(decoders(before)) == 21
