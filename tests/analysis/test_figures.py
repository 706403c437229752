"""The paper's figures: what they show of which runs, and what they need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_frame import write

from analysis import figures
from analysis.frames.frame import load
from analysis.frames.table import NoRuns
from analysis.theory import theory
from analysis.theory.beside_theory import Expectation, beside_theory, pace
from pearl_eval.commands import program
from pearl_eval.figures import palette
from pearl_eval.results.about import about_decoder
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


def test_a_decoder_looks_the_same_wherever_it_stands_and_like_no_other() -> None:
    names = [f"decoder {number}" for number in range(20)]
    looks = palette.looks(names)
    assert looks == palette.looks([*names[::-1], *names])
    assert len(set(looks.values())) == 20
    # Bars have a colour alone: those of a few decoders differ.
    assert len({colour for colour, _ in palette.looks(names[:7]).values()}) == 7


def test_decoders_of_ones_own_are_figures_of_the_theory_too(sweep: Path) -> None:
    """By their schedules: what is called pearl here takes turns, mine is PEARL."""
    for name, run, schedule in (("pearl", "0", "Sequential"), ("mine", "1", "Parallel")):
        about = about_decoder("none", {}) | {
            "schedule": {"_target_": f"decoders.schedule.{schedule}", "gamma": 3}
        }
        path = sweep / run / "summary.json"
        own = json.loads(path.read_text()) | {"decoder": name, "decoder_about": about}
        path.write_text(json.dumps(own))
    frame = load([sweep / "0", sweep / "1"])
    upper, lower = figures.accepted_runs(frame).axes
    assert upper.get_title(loc="right").startswith("mine: ")
    assert lower.get_title(loc="right").startswith("pearl: ")
    at = [Expectation.of(frame[frame["decoder"] == name]) for name in ("mine", "pearl")]
    assert [one.accepted(3) for one in at] == [
        theory.accepted_run(0.875),
        theory.accepted_in_block(0.875, 3),
    ]


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


def test_runs_of_several_tasks_are_named_with_theirs_where_they_wait(sweep: Path) -> None:
    def names(*runs: Path) -> list[str]:
        return [tick.get_text() for tick in figures.waiting(load(runs)).axes[0].get_yticklabels()]

    assert names(sweep / "0", sweep / "3") == ["speculative"]
    other = write(sweep / "4", "speculative", task="gsm8k", target_forwards=12)
    assert names(sweep / "0", other) == ["speculative, humaneval, tiny", "speculative, gsm8k, tiny"]


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
    at = Expectation.of(pearl)
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
    panel = next(axes for axes in drawn if axes.get_title() == "Parallel")
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
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "figures"
    program.main(["figures", str(sweep / "3"), "-o", str(output)])
    out = capsys.readouterr().out
    assert [path.name for path in output.iterdir()] == ["speedups.png"]
    assert "no gamma_sweep: no decoder of these runs has several draft lengths" in out
