"""The paper's figures: what they show of which runs, and what they need."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from test_frame import write

from analysis import figures
from analysis.frames.frame import load
from analysis.frames.table import NoRuns
from analysis.theory import theory
from analysis.theory.beside_theory import Expectation, beside_theory, pace
from pearl_eval.results.traces import TEXT_STEP


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    timed = {"reference_tokens_per_second": 25.0}
    write(folder / "0", "speculative", speedup=2.0, speedup_ci95=[1.9, 2.1], **timed)
    write(folder / "1", "pearl", speedup=2.5, decoder_settings={"gamma": 3}, **timed)
    write(folder / "2", "pearl", speedup=3.0, decoder_settings={"gamma": 5}, **timed)
    alone: dict[str, Any] = {"draft_forwards": 0, "decoder_settings": {}}
    write(folder / "3", "autoregressive", speedup=1.0, **alone, **timed)
    for run in folder.iterdir():
        path = run / "summary.json"
        path.write_text(path.read_text().replace('"prompts"', '"target_forwards": 12, "prompts"'))
    return folder


def texts(figure: Any) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_speedups_have_intervals_and_figures(sweep: Path) -> None:
    figure = figures.speedups(load([sweep]))
    assert texts(figure) == ["humaneval, tiny pair", "2.00×", "2.50×", "3.00×", "1.00×"]
    (axes,) = figure.axes
    assert [line.get_xdata()[0] for line in axes.lines[:2]] == [1.9, 2.7]
    assert "NVIDIA A100, bfloat16" in axes.get_xlabel()


def test_lossy_output_is_marked(tmp_path: Path) -> None:
    write(tmp_path, "draft_only", exact_match_rate=0.0, lossy=2)
    figure = figures.speedups(load([tmp_path]))
    assert "not the target's output" in texts(figure)[1]
    assert figure.axes[0].patches[0].get_hatch()


def test_waiting_is_of_both_models(sweep: Path) -> None:
    figure = figures.waiting(load([sweep]))
    assert texts(figure) == ["10%"] * 3 + ["20%"] * 3
    with pytest.raises(NoRuns):
        figures.waiting(load([sweep / "3"]))


def test_acceptance_is_of_one_pair_and_task(sweep: Path) -> None:
    write(sweep / "4", "pearl", pair="big", speedup=9.0)
    figure = figures.acceptance(load([sweep]))
    assert figure.get_suptitle() == "Acceptance: humaneval, tiny pair"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["speculative", "pearl γ3", "pearl γ5"]


def test_short_texts_have_an_axis_of_tokens_too(sweep: Path) -> None:
    text = figures.acceptance(load([sweep])).axes[2]
    assert [line.get_xdata().tolist() for line in text.lines] == [[TEXT_STEP / 2]] * 3
    assert text.get_xlim() == (0, TEXT_STEP)


def test_accepted_runs_are_pearls_over_vanillas(sweep: Path) -> None:
    upper, lower = figures.accepted_runs(load([sweep])).axes
    assert upper.get_title(loc="right").startswith("pearl: mean 2.50, longest 3, 4 runs")
    assert lower.get_title(loc="right").endswith("a block ends at 3")
    assert [round(bar.get_height(), 2) for bar in upper.patches] == [0, 0, 0.5, 0.5]
    # Bars stand over their lengths, as the mean does.
    middles = [bar.get_x() + bar.get_width() / 2 for bar in upper.patches]
    assert middles == pytest.approx([0, 1, 2, 3])
    assert upper.lines[0].get_xdata()[0] == 2.5


def test_the_theorys_best_draft_length_is_marked(sweep: Path) -> None:
    frame = load([sweep])
    pearl = frame[frame["decoder"] == "pearl"]
    # Forwards of 80 ms for the target, of 30 ms for each drafted token.
    ratio, window_cost = pace(pearl)
    assert ratio == pytest.approx(8 / 3)
    # A token of the reference takes 40 ms.
    assert window_cost == pytest.approx(2)
    at = Expectation.of(frame, "pearl")
    assert at.best == theory.pearl_gamma(8 / 3, 0.875) == 3
    (axes,) = figures.gamma_sweep(frame).axes
    star = next(line for line in axes.lines if line.get_marker() == "*")
    assert star.get_xdata() == [3] and star.get_ydata() == pytest.approx([at.speedup(3)])
    measured = axes.containers[0].lines[0]
    assert list(measured.get_ydata()) == [2.5, 3.0]


def test_the_legend_of_draft_lengths_fits_and_lies_on_no_curve(sweep: Path) -> None:
    more = {"reference_tokens_per_second": 25.0, "target_forwards": 12}
    write(sweep / "4", "speculative", speedup=2.2, decoder_settings={"gamma": 5}, **more)
    figure = figures.gamma_sweep(load([sweep]))
    (axes,) = figure.axes
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 6
    (left, bottom), (right, top) = legend.get_window_extent().get_points()
    assert left > 0 and right < figure.bbox.width
    assert bottom >= 0 and top <= axes.get_tightbbox().y0


def test_points_of_the_heat_map_are_the_best(sweep: Path) -> None:
    drawn = figures.heatmap(load([sweep])).axes
    panel = next(axes for axes in drawn if axes.get_title() == "pearl")
    points = panel.collections[-1]
    # Of forwards that read one token.
    assert points.get_offsets().tolist() == [[0.875, pytest.approx(4 / 3)]]
    assert points.get_array().tolist() == [3.0]


def test_theory_stands_beside_what_was_measured(sweep: Path) -> None:
    table = beside_theory(load([sweep])).frame.droplevel("section").droplevel("pair")
    row = table.loc["pearl γ5"]
    assert row["accepted tokens"] == 4.25
    assert row["by theory"] == pytest.approx(0.875 / 0.125)
    assert row["window cost"] == pytest.approx(2)
    assert row["speedup by theory"] == pytest.approx(theory.pearl_speedup(8 / 3, 0.875, 5) / 2)
    vanilla = table.loc["speculative", "by theory"]
    assert vanilla == pytest.approx(theory.accepted_in_block(0.875, 3))


def test_runs_of_which_nothing_was_timed_give_no_figures(tmp_path: Path) -> None:
    """As those of one prompt, which is the warm-up."""
    untimed = dict.fromkeys(("speedup", "speedup_ci95", "tokens_per_second"))
    untimed |= dict.fromkeys(("reference_tokens_per_second", "wait_fraction_draft"))
    untimed |= dict.fromkeys(("wait_fraction_target",))
    forwards = {"target_forwards": 12}
    write(tmp_path / "0", "speculative", **untimed, **forwards)
    write(tmp_path / "1", decoder_settings={"gamma": 3}, **untimed, **forwards)
    write(tmp_path / "2", decoder_settings={"gamma": 5}, **untimed, **forwards)
    frame = load([tmp_path])
    for draw in (figures.waiting, figures.gamma_sweep, figures.heatmap, figures.accepted_runs):
        with pytest.raises(NoRuns):
            draw(frame)
    with pytest.raises(NoRuns, match="timed both models"):
        beside_theory(frame)


def test_command_draws_what_there_is(
    sweep: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "figures"
    monkeypatch.setattr(sys, "argv", ["figures", str(sweep / "3"), "-o", str(output)])
    figures.main()
    out = capsys.readouterr().out
    assert [path.name for path in output.iterdir()] == ["speedups.png"]
    assert "no gamma_sweep: no decoder of these runs has several draft lengths" in out
