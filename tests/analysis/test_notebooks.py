"""The notebooks run, on a small sweep, and show what they are for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from jupyter_client import KernelManager
from matplotlib.figure import Figure
from nbclient import NotebookClient
from nbformat import NotebookNode
from small_pair import SmallPair

from analysis import notebook
from analysis.frames.table import Cell, NoRuns, Table
from pearl_eval.commands import program

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))


@pytest.fixture(scope="module")
def sweep(small_pair: SmallPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both decoders with two draft lengths each, really run."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        decoders = ["decoder=speculative,pearl", "decoder.gamma=3,5"]
        task = ["task=gsm8k_mini", "task.limit=3", "task.max_new_tokens=16"]
        here = f"hydra.sweep.dir={folder}"
        alone = ["tracking=none", "runtime.share_devices=true"]
        arguments = ["-m", *small_pair.overrides, *decoders, *task, *alone, here]
        program.main(arguments)
    return folder


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs_and_has_no_logic(path: Path) -> None:
    cells = read(path).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert not any(word in cell.source for cell in code for word in ("def ", "class ", "while "))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_the_docs_show_is_of_this_notebook(path: Path) -> None:
    """Where not, ``make notebooks``."""
    shown = (ROOT / "docs" / "notebooks" / f"{path.stem}.md").read_text()
    assert all(cell.source in shown for cell in read(path).cells)


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook shows: texts, and that there is a picture."""
    shown: list[str] = []
    monkeypatch.setattr(notebook, "Markdown", str)
    monkeypatch.setattr(notebook, "Image", lambda data: f"picture of {data[1:4].decode()}")
    monkeypatch.setattr(notebook, "display", shown.append)
    return shown


def test_a_figure_is_shown_for_each_set_of_conditions_that_gives_one(
    displayed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(part: Any) -> Figure:
        if part in ("bad", "worse"):
            raise NoRuns(f"{part} runs")
        return Figure()

    parts = [("dtype x", "good"), ("dtype y", "bad")]
    monkeypatch.setattr(notebook, "sections", lambda frame: parts)
    notebook.show_figure(draw, pd.DataFrame(), "Speed")
    assert displayed == ["picture of PNG", "*Speed (dtype x)*"]
    displayed.clear()
    parts[:] = [("", "good")]
    notebook.show_figure(draw, pd.DataFrame(), "Speed")
    assert displayed == ["picture of PNG", "*Speed*"]
    displayed.clear()
    parts[:] = [("dtype x", "bad"), ("dtype y", "worse")]
    notebook.show_figure(draw, pd.DataFrame(), "Speed")
    assert displayed == ["*No such figure: bad runs.*"]


def test_a_table_is_shown_with_what_is_reported_on_demand_only(
    displayed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [Cell("", ("a",), "x", 1.0)]
    table = Table("one", "One", ("row",), cells)
    monkeypatch.setattr(
        notebook, "with_reported", lambda table, frame: replace(table, title="With theirs")
    )
    notebook.show_table(lambda frame: table, pd.DataFrame())
    notebook.show_table(lambda frame: table, pd.DataFrame(), reported=True)
    assert [one.splitlines()[0] for one in displayed] == ["**One**", "**With theirs**"]
    displayed.clear()

    def none(frame: pd.DataFrame) -> Table:
        raise NoRuns("none is of this")

    notebook.show_table(none, pd.DataFrame())
    assert displayed == ["*No such table: none is of this.*"]


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="kernel-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_its_pictures(
    path: Path, sweep: Path, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEARL_EVAL_RUNS", str(sweep))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = read(path)
    # By the file system, not by a port.
    manager = KernelManager(transport="ipc", ip=str(sockets / "kernel"))
    where = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, km=manager, timeout=120, resources=where).execute()
    outputs = [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    data = [output.data for output in outputs if "data" in output]
    pictures = [one["image/png"] for one in data if "image/png" in one]
    assert len(pictures) == {"paper_tables": 1, "theory": 3, "acceptance_and_waiting": 6}[path.stem]
    shown = "\n".join(one.get("text/markdown", "") for one in data)
    expected = {
        "paper_tables": "| tiny | pearl γ3 |",
        "theory": "speedup by theory",
        "acceptance_and_waiting": "*Share of decoding time",
    }
    assert expected[path.stem] in shown
