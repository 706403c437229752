"""The paper's figures: what they show of which runs, and what they need."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_frame import write
from written_run import OUTPUT

from analysis import figures
from analysis.frames.frame import load
from analysis.frames.table import NoRuns
from analysis.theory import theory
from analysis.theory.beside_theory import Expectation, beside_theory, pace
from pearl_eval.commands import program
from pearl_eval.figures import palette
from pearl_eval.figures.acceptance import draw_acceptance, judging_runs
from pearl_eval.figures.agreement import draw_agreement
from pearl_eval.figures.loops import draw_loops
from pearl_eval.results.about import about_decoder
from pearl_eval.results.intervals import wilson
from pearl_eval.results.runs import read_runs
from pearl_eval.results.traces import TEXT_STEP


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    timed = {"reference_tokens_per_second": 25.0}
    write(folder / "0", "speculative", speedup=2.0, speedup_ci95=[1.9, 2.1], **timed)
    write(folder / "1", "pearl", speedup=2.5, decoder_settings={"gamma": 3}, **timed)
    write(folder / "2", "pearl", speedup=3.0, decoder_settings={"gamma": 5}, **timed)
    alone: dict[str, Any] = {"draft_forwards": 0, "decoder_settings": {}, "acceptance_rate": None}
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
    assert len({colour for colour, _ in palette.looks(names[:8]).values()}) == 8


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


def test_what_runs_were_made_on_is_below_their_speedups(sweep: Path) -> None:
    frame = load([sweep]).assign(hardware=[None, "A", "B", "A"], dtype=["x", "y", "x", "x"])
    (axes,) = figures.speedups(frame).axes
    assert axes.get_xlabel().endswith("\nunknown devices and A and B, x and y")
    assert axes.get_title() == "Speedup by decoder"


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
    assert names(sweep / "0", other) == ["speculative, humaneval", "speculative, gsm8k"]
    another = write(sweep / "5", "speculative", pair="big", target_forwards=12)
    assert names(other, another) == ["speculative, gsm8k, tiny", "speculative, humaneval, big"]


def test_what_all_runs_share_is_in_the_title(sweep: Path) -> None:
    def title(*runs: Path) -> str:
        return figures.waiting(load(runs)).axes[0].get_title()

    assert title(sweep / "0") == "Waiting for the other model: humaneval, tiny pair"
    other = write(sweep / "4", "speculative", task="gsm8k", target_forwards=12)
    assert title(sweep / "0", other) == "Waiting for the other model: tiny pair"
    another = write(sweep / "5", "speculative", pair="big", task="gsm8k", target_forwards=12)
    assert title(sweep / "0", another) == "Waiting for the other model"


def test_acceptance_is_of_the_pair_with_the_most_decoders_and_of_several_the_first(
    sweep: Path,
) -> None:
    """However many runs another pair has of fewer decoders."""
    for place, gamma in enumerate((3, 4, 5, 6), start=4):
        write(sweep / str(place), "pearl", pair="huge", decoder_settings={"gamma": gamma})
    for place, decoder in ((8, "speculative"), (9, "pearl")):
        write(sweep / str(place), decoder, pair="big")
    figure = figures.acceptance(load([sweep]))
    assert figure.get_suptitle() == "Acceptance: humaneval, tiny pair"
    with pytest.raises(NoRuns, match="was a drafted token judged"):
        figures.acceptance(load([sweep / "3"]))


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


def test_acceptance_along_the_text_is_in_the_middle_of_each_piece(sweep: Path) -> None:
    (run, *_) = read_runs(sweep)
    rows = [(0, 8, 6, 0.75, 3.5), (32, 4, 1, 0.25, 1.5)]
    names = ["start", "judged", "accepted", "rate", "acceptance_length"]
    run.summary["traces"]["by_text_position"] = [dict(zip(names, row, strict=True)) for row in rows]
    figure = draw_acceptance([run], "title")
    text = figure.axes[2]
    (line,) = text.lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([16, 48], [0.75, 0.25])
    assert text.get_xlim() == (0, 64)
    assert [axes.get_title() for axes in figure.axes] == [
        "a drafted token is accepted, if all before it were",
        "all drafted tokens up to this one are accepted",
        "acceptance rate along the text",
        "runs of accepted tokens that are at least so long",
    ]
    assert text.get_xlabel() == "tokens of output, 32 together"


def test_of_many_decoders_the_six_fastest_are_drawn(sweep: Path) -> None:
    """Of more than six runs one of each decoder; what was not timed is the slowest."""
    (run, *_) = read_runs(sweep)
    speeds = {"a": 5.0, "b": 7.0, "c": 1.0, "d": 6.0, "e": 9.0, "f": 3.0, "g": None}
    runs = [
        replace(run, label=name, summary=run.summary | {"decoder": name, "tokens_per_second": one})
        for name, one in speeds.items()
    ]
    assert [one.label for one in judging_runs(runs)] == ["c", "f", "a", "d", "b", "e"]
    assert judging_runs(runs[1:]) == runs[1:]


def test_places_that_were_hardly_judged_are_left_out(sweep: Path) -> None:
    """Below 20 times, but for where all are: there below a twentieth of the first place."""
    run, other = read_runs(sweep)[1:3]
    block = [{"judged": n, "conditional": 0.5, "joint": 0.25} for n in (400, 20, 19)]
    run.summary["traces"]["by_block_position"] = [
        one | {"position": place} for place, one in enumerate(block, start=1)
    ]
    block = [{"judged": n, "conditional": 0.5, "joint": 0.25} for n in (100, 5, 4)]
    other.summary["traces"]["by_block_position"] = [
        one | {"position": place} for place, one in enumerate(block, start=1)
    ]
    conditional, joint, *_ = draw_acceptance([run, other]).axes
    for axes in (conditional, joint):
        assert [line.get_xdata().tolist() for line in axes.lines] == [[1, 2], [1, 2]]
    assert conditional.lines[0].get_ydata().tolist() == [0.5, 0.5]
    assert joint.lines[0].get_ydata().tolist() == [0.25, 0.25]


def test_runs_of_accepted_tokens_are_at_least_so_long(sweep: Path) -> None:
    """Of 200 runs 150 have a token or more, 2 have three: a hundredth. One of 200 is left out."""
    (run, *_) = read_runs(sweep)
    counts = {"0": 50, "2": 148, "3": 1, "9": 1}
    run.summary["traces"]["accepted_run_lengths"] = counts
    lengths = draw_acceptance([run]).axes[3]
    assert lengths.lines[0].get_xdata().tolist() == [0, 1, 2, 3]
    assert lengths.lines[0].get_ydata().tolist() == [1.0, 0.75, 0.75, 0.01]


def agreed(*counts: tuple[int, int]) -> pd.DataFrame:
    """After 0, 1 … accepted tokens: how often the next was judged, and accepted."""
    rows = [(place, *both) for place, both in enumerate(counts)]
    frame = pd.DataFrame(rows, columns=["accepted", "reached", "went_on"])
    frame["chance"] = frame["went_on"] / frame["reached"]
    return frame.assign(share=frame["chance"].cumprod().shift(fill_value=1.0))


def test_agreement_is_beside_a_geometric_distribution_of_the_same_rate() -> None:
    """40 of 100, 30 of 40 and 10 of 19, which are too few to be drawn: 80 of 159."""
    figure = draw_agreement({"a": agreed((100, 40), (40, 30), (19, 10))}, "title")
    shares, chances = figure.axes
    measured, geometric = shares.lines
    assert measured.get_xdata().tolist() == geometric.get_xdata().tolist() == [0, 1]
    assert measured.get_ydata().tolist() == [1.0, 0.4]
    assert geometric.get_ydata().tolist() == pytest.approx([1.0, 80 / 159])
    bars = chances.containers[0]
    assert bars.lines[0].get_ydata().tolist() == [0.4, 0.75]
    assert bars.lines[0].get_xdata().tolist() == pytest.approx([0, 1])
    low, high = (line.get_ydata()[0] for line in bars.lines[1])
    assert (low, high) == pytest.approx(wilson(0.4, 100))
    assert chances.lines[-1].get_ydata()[0] == pytest.approx(80 / 159)
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["a: α = 0.50, 100 runs", "dashed: geometric, of the same α"]


def test_chances_of_several_places_stand_beside_each_other() -> None:
    found = {"a": agreed((40, 20), (20, 5)), "b": agreed((40, 10), (20, 15))}
    figure = draw_agreement(found, "title")
    shares, chances = figure.axes
    own = [line for bars in chances.containers for line in bars.lines[:1]]
    assert [line.get_xdata().tolist() for line in own] == [
        pytest.approx([-0.15, 0.85]),
        pytest.approx([0.15, 1.15]),
    ]
    assert [line.get_ydata().tolist() for line in own] == [[0.5, 0.25], [0.25, 0.75]]
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == [
        "a: α = 0.42, 40 runs",
        "b: α = 0.42, 40 runs",
        "dashed: geometric, of the same α",
    ]
    assert shares.get_yscale() == "log" and chances.get_ylim() == (0, 1.05)


def test_agreement_of_few_runs_and_of_all_tokens_is_drawn() -> None:
    shares, _ = draw_agreement({"a": agreed((4, 4), (4, 2), (1, 0))}, "title").axes
    assert shares.lines[0].get_xdata().tolist() == [0, 1, 2]


def test_agreement_is_of_the_fastest_pearl_of_each_pair_and_task(sweep: Path) -> None:
    write(sweep / "4", "pearl", task="gsm8k", decoder_settings={"gamma": 3})
    frame = load([sweep])
    # What is not the fastest is not read.
    for other in "013":
        (sweep / other / "records.jsonl").unlink()
    said = [text.get_text() for text in figures.agreement(frame).legends[0].get_texts()]
    # Two prompts with runs of 3 and 2 of five tokens accepted, of eight judged.
    assert said[0] == "humaneval, tiny: α = 0.71, 4 runs"
    assert said[-1 - 1].startswith("gsm8k, tiny: ") and len(said) == 3
    with pytest.raises(NoRuns):
        figures.agreement(frame[frame["decoder"] != "pearl"])


def test_agreement_is_of_no_run_that_was_not_timed_where_another_was(sweep: Path) -> None:
    write(sweep / "4", "pearl", speedup=None, decoder_settings={"gamma": 7})
    frame = load([sweep])
    for other in "0134":
        (sweep / other / "records.jsonl").unlink()
    said = [text.get_text() for text in figures.agreement(frame).legends[0].get_texts()]
    assert said[0] == "humaneval, tiny: α = 0.71, 4 runs"


def test_texts_stand_by_how_much_of_them_repeats(sweep: Path) -> None:
    """Of one token twelve times the last two repeat."""
    path = sweep / "0" / "records.jsonl"
    written = path.read_text()
    path.write_text(written.replace(json.dumps(OUTPUT), json.dumps([7] * 12)))
    assert path.read_text() != written
    frame = load([sweep / "0", sweep / "1"])
    first, second = figures.loops(frame).axes
    assert [axes.get_title() for axes in (first, second)] == ["speculative", "pearl"]
    (points,), (others,) = first.collections, second.collections
    # Of the two prompts one is for warming up.
    assert points.get_offsets().tolist() == [[pytest.approx(2 / 12), 2.0]]
    assert others.get_offsets().tolist() == [[0.0, 2.0]]
    with pytest.raises(NoRuns):
        figures.loops(frame.assign(synthetic=True))
    with pytest.raises(NoRuns):
        figures.loops(frame.assign(acceptance_rate=float("nan")))


def test_texts_are_told_apart_by_task_and_pair_where_there_are_several(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(figures, "draw_loops", lambda *given: asked.append(given))
    figures.loops(load([sweep / "0", sweep / "1"]))
    other = write(sweep / "4", "pearl", pair="big")
    figures.loops(load([sweep / "0", other]))
    title = "Speedup of each text by how much of it repeats 10 tokens that it had before"
    assert [one[1] for one in asked] == [f"{title}: humaneval, tiny pair", f"{title}: humaneval"]
    assert list(asked[0][0]["place"]) == ["humaneval"] * 2
    assert list(asked[1][0]["place"]) == ["humaneval, tiny", "humaneval, big"]


def test_the_last_panel_of_each_column_has_an_axis() -> None:
    """Of five the second to the fifth; the other places of the second row are empty."""
    rows = [
        {"label": label, "place": place, "share": 0.25, "speedup": 2.0}
        for label in "abcde"
        for place in ("here", "there")
    ]
    figure = draw_loops(pd.DataFrame(rows), "title")
    assert [axes.get_visible() for axes in figure.axes] == [True] * 5 + [False] * 3
    labels = [axes.get_xlabel() for axes in figure.axes[:5]]
    assert labels == ["", *["share that repeats"] * 4]
    shown = [axes.xaxis.get_tick_params()["labelbottom"] for axes in figure.axes[:5]]
    assert shown == [False, True, True, True, True]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["here", "there"]
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].yaxis.get_major_formatter()(1.5) == "1.5×"
    assert figure.axes[0].xaxis.get_major_formatter()(0.25) == "25 %"


def test_long_names_stand_below_each_other() -> None:
    few, long = agreed((4, 2), (2, 0)), "a controlled pair of this and that depth"
    figures_of = [draw_agreement({name: few}, "title") for name in ("tiny", long)]
    assert [figure.legends[0]._ncols for figure in figures_of] == [2, 1]


def test_chances_are_named_by_what_tells_the_runs_apart(sweep: Path) -> None:
    rows = [{"predicted": 0.25, "judged": 40, "accepted": 10}]
    for number, task in (("4", "humaneval"), ("5", "gsm8k")):
        run = write(sweep / number, "pearl_adaptive", task=task)
        summary = json.loads((run / "summary.json").read_text())
        summary["traces"]["by_chance"] = rows
        (run / "summary.json").write_text(json.dumps(summary))
    (axes,) = figures.calibration(load([sweep])).axes
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said[1:] == ["pearl_adaptive, humaneval", "pearl_adaptive, gsm8k"]
    assert axes.get_title() == "Chances that were foreseen: tiny pair"
    with pytest.raises(NoRuns):
        figures.calibration(load([sweep / "1"]))


def test_a_timeline_names_decoders_and_not_their_folders(sweep: Path) -> None:
    """Though each decoder is there twice, for two tasks."""
    write(sweep / "4", "pearl", task="gsm8k", decoder_settings={"gamma": 3})
    write(sweep / "5", "speculative", task="gsm8k")
    frame = load([sweep / name for name in "0145"])
    figure = figures.timeline(frame)
    said = [text.get_text() for text in figure.findobj(Text)]
    assert "pearl" in said and "speculative" in said


def test_accepted_runs_are_pearls_over_vanillas(sweep: Path) -> None:
    upper, lower = figures.accepted_runs(load([sweep])).axes
    assert upper.get_title(loc="right").startswith("pearl: mean 2.50, longest 3, 4 runs")
    assert lower.get_title(loc="right").endswith("a block ends at 3")
    assert [round(bar.get_height(), 2) for bar in upper.patches] == [0, 0, 0.5, 0.5]
    # Bars stand over their lengths, as the mean does.
    middles = [bar.get_x() + bar.get_width() / 2 for bar in upper.patches]
    assert middles == pytest.approx([0, 1, 2, 3])
    assert upper.lines[0].get_xdata()[0] == 2.5


def test_accepted_runs_are_of_the_fastest_run_of_the_first_place_that_has_both(
    sweep: Path, tmp_path: Path
) -> None:
    """Of PEARL the one with γ = 5, of vanilla speculative decoding the one with γ = 4."""
    other = write(tmp_path / "other", "pearl", pair="big", speedup=9.0)
    write(sweep / "4", "speculative", speedup=2.25, decoder_settings={"gamma": 4})
    write(sweep / "5", "speculative", speedup=None, decoder_settings={"gamma": 7})
    for run, length in (("0", "8"), ("1", "9"), ("2", "6"), ("4", "2"), ("5", "1")):
        path = sweep / run / "summary.json"
        summary = json.loads(path.read_text())
        summary["traces"]["accepted_run_lengths"] = {length: 2}
        path.write_text(json.dumps(summary))
    figure = figures.accepted_runs(load([other, sweep]))
    upper, lower = figure.axes
    assert upper.get_title(loc="right") == "pearl: mean 6.00, longest 6, 2 runs"
    told = "speculative: mean 2.00, longest 2, 2 runs; a block ends at 4"
    assert lower.get_title(loc="right") == told
    assert figure.get_suptitle() == "Runs of accepted tokens: humaneval, tiny pair"


def test_draft_lengths_are_beside_theory_where_there_is_one(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of a decoder with one draft length, nor theory's of PEARL without a barrier."""
    for place, gamma in ((4, 3), (5, 5)):
        write(sweep / str(place), "pearl_async", decoder_settings={"gamma": gamma})
    asked: list[Any] = []
    monkeypatch.setattr(figures, "draw_gamma_sweep", lambda *given: asked.extend(given))
    figures.gamma_sweep(load([sweep]))
    measured, expected, title = asked
    assert {name: list(own["gamma"]) for name, own in measured.items()} == {
        "pearl": [3, 5],
        "pearl_async": [3, 5],
    }
    assert title == "Draft length: humaneval, tiny pair" and list(expected) == ["pearl"]
    speedup, best, said = expected["pearl"]
    assert (best, said) == (3, "c = 2.7, α = 0.875, windows 2.00×")
    assert speedup(5) == pytest.approx(theory.pearl_speedup(8 / 3, 0.875, 5) / 2)


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


def test_the_pace_of_runs_is_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drafted token takes 10, 20 and 90 ms, a target forward 50, 100 and 900 ms, a token of the
    reference 50, 33.3 and 10 ms. Rounds without a forward say nothing of it."""
    columns = {"draft_forwards": 9, "target_forwards": 9}
    frame = pd.DataFrame(columns | {"reference_tokens_per_second": [20.0, 30.0, 100.0]})
    times = {"draft_seconds": [0.02, 0.02, 0.09, 0.0, 0.0], "drafted": [2, 1, 1, 0, 3]}
    times |= {"target_seconds": [0.05, 0.9, 0.1, 0.0, 0.0]}
    rounds = pd.DataFrame(times)
    monkeypatch.setattr("analysis.theory.beside_theory.timed_rounds", lambda own: rounds)
    assert pace(frame) == pytest.approx((0.1 / 0.02, 0.1 * 30))
    for name in ("draft_seconds", "target_seconds"):
        idle = rounds.assign(**{name: 0.0})
        monkeypatch.setattr(
            "analysis.theory.beside_theory.timed_rounds", lambda own, idle=idle: idle
        )
        with pytest.raises(NoRuns, match="no round in which both models were timed"):
            pace(frame)
    for model in ("draft", "target"):
        with pytest.raises(NoRuns, match="both a draft model and a target"):
            pace(frame.assign(**{f"{model}_forwards": 0}))


def test_theory_stands_beside_what_was_measured(sweep: Path) -> None:
    table = beside_theory(load([sweep])).frame.droplevel("section").droplevel("pair")
    row = table.loc["pearl γ5"]
    # A target forward of 80 ms, a drafted token in 30 ms.
    assert (row["c"], row["α"], row["γ"]) == (pytest.approx(8 / 3), 0.875, 5)
    assert (row["theory's best γ"], row["speedup"]) == (3, 3.0)
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


def test_runs_under_other_conditions_are_drawn_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "0")
    write(tmp_path / "1", environment={"dtype": "float32"})
    monkeypatch.setattr(figures, "FIGURES", {"speedups": lambda frame: Figure()})
    output = tmp_path / "figures"
    figures.write_figures([str(tmp_path)], output)
    assert capsys.readouterr().out.splitlines() == [
        "dtype bfloat16:",
        str(output / "speedups-1.png"),
        "dtype float32:",
        str(output / "speedups-2.png"),
    ]
    assert len(list(output.iterdir())) == 2


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
