"""The notebooks run, on a small sweep, and show what they are for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from small_pair import SmallPair

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
