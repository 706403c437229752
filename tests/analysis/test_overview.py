from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from written_run import SUMMARY

from pearl_eval.commands import program
from pearl_eval.errors import UserError
from pearl_eval.figures.overview import draw_overview
from pearl_eval.figures.saving import save_figure
from pearl_eval.results.runs import read_runs

AUTOREGRESSIVE = SUMMARY | {
    "decoder": "autoregressive",
    "prompts": 12,
    "speedup": 1.0,
    "speedup_ci95": [0.98, 1.02],
    "draft_forwards": 0,
    "wait_fraction_draft": 0.0,
    "wait_fraction_target": 0.0,
}
PEARL = SUMMARY | {"decoder": "pearl", "prompts": 12}


def write_sweep(directory: Path, *summaries: dict) -> None:
    for number, summary in enumerate(summaries):
        folder = directory / str(number)
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps(summary))


def test_runs_come_in_launch_order_and_are_told_apart(tmp_path: Path) -> None:
    write_sweep(tmp_path, AUTOREGRESSIVE, *[PEARL] * 10)
    labels = [run.label for run in read_runs(tmp_path)]
    assert labels == ["autoregressive", *(f"pearl ({number})" for number in range(1, 11))]


def test_folders_with_names_come_in_the_order_of_these(tmp_path: Path) -> None:
    for name in ("pearl", "assisted_constant", "10", "9"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(PEARL))
    found = [run.directory.name for run in read_runs(tmp_path)]
    assert found == ["9", "10", "assisted_constant", "pearl"]


def test_runs_of_several_draft_lengths_are_named_by_them(tmp_path: Path) -> None:
    settings = [PEARL | {"decoder_settings": {"gamma": gamma}} for gamma in (3, 5, 5)]
    write_sweep(tmp_path, AUTOREGRESSIVE, *settings)
    labels = [run.label for run in read_runs(tmp_path)]
    assert labels == ["autoregressive", "pearl γ3", "pearl γ5 (2)", "pearl γ5 (3)"]


def test_picture_shows_each_speedup_and_each_wait(tmp_path: Path) -> None:
    write_sweep(tmp_path, AUTOREGRESSIVE, PEARL)
    speeds, waits = draw_overview(read_runs(tmp_path)).axes
    assert [text.get_text().split()[0] for text in speeds.texts] == ["1.00×", "3.00×"]
    assert [text.get_text() for text in waits.texts] == [
        "target model alone",
        "draft works 90%",
        "target works 80%",
    ]


def test_a_run_of_the_warm_up_alone_has_two_models_all_the_same(tmp_path: Path) -> None:
    untimed = dict.fromkeys(("speedup", "speedup_ci95", "tokens_per_second"))
    untimed |= dict.fromkeys(("wait_fraction_draft", "wait_fraction_target"))
    write_sweep(tmp_path, PEARL | untimed)
    _, waits = draw_overview(read_runs(tmp_path)).axes
    assert [text.get_text() for text in waits.texts] == ["nothing timed: one prompt, the warm-up"]


def test_what_differs_is_told_of_each_run_and_no_title_of_all(tmp_path: Path) -> None:
    other = {"task": "gsm8k", "environment": {"dtype": "bfloat16", "target_device": "cpu"}}
    write_sweep(tmp_path, PEARL, PEARL | other)
    figure = draw_overview(read_runs(tmp_path))
    assert figure.get_suptitle() == "tiny pair, 12 prompts"
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["pearl task=humaneval\nfloat32 on cpu", "pearl task=gsm8k\nbfloat16 on cpu"]


def test_a_pair_that_a_label_says_is_not_told_again(tmp_path: Path) -> None:
    write_sweep(tmp_path, PEARL, PEARL | {"pair": "other"})
    labels = draw_overview(read_runs(tmp_path)).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["pearl pair=tiny", "pearl pair=other"]


def test_a_pair_whose_name_is_a_part_of_a_label_is_told(tmp_path: Path) -> None:
    write_sweep(tmp_path, AUTOREGRESSIVE, PEARL | {"pair": "pea"})
    labels = draw_overview(read_runs(tmp_path)).axes[0].get_yticklabels()
    assert [one.get_text() for one in labels] == ["autoregressive\ntiny pair", "pearl\npea pair"]


def test_a_task_that_no_label_says_is_told_of_each_run(tmp_path: Path) -> None:
    write_sweep(tmp_path, AUTOREGRESSIVE, PEARL | {"task": "gsm8k"})
    labels = draw_overview(read_runs(tmp_path)).axes[0].get_yticklabels()
    names = [label.get_text() for label in labels]
    assert names == ["autoregressive\nhumaneval", "pearl\ngsm8k"]


def test_command_writes_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path, PEARL)
    program.main(["overview", str(tmp_path)])
    picture = tmp_path / "overview.png"
    assert capsys.readouterr().out.strip() == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_directory_without_runs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(["overview", str(tmp_path)])
    assert "there is no run there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "written"), [("a.svg", "a.svg"), ("a", "a.png"), ("a.PNG", "a.PNG")]
)
def test_a_picture_has_the_format_its_name_says(tmp_path: Path, name: str, written: str) -> None:
    assert save_figure(Figure(), tmp_path / name) == tmp_path / written
    begins = (tmp_path / written).read_bytes()[:5]
    assert begins == (b"<?xml" if name.endswith("svg") else b"\x89PNG\r")


@pytest.mark.parametrize("name", ["a.foo", "a.1", ""])
def test_a_format_that_there_is_not_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"picture's name ends by|the name of a picture"):
        save_figure(Figure(), tmp_path / name if name else Path(name))
    assert not list(tmp_path.iterdir())
