"""What pictures show, drawn of figures that were made up: each bar, line and point where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from pearl_eval.figures import benchmark
from pearl_eval.figures.accepted_runs import draw_accepted_runs
from pearl_eval.figures.benchmark import draw_contest, draw_grid, draw_growth
from pearl_eval.figures.calibration import draw_calibration
from pearl_eval.figures.draft_lengths import draw_gamma_sweep
from pearl_eval.figures.heatmap import draw_heatmap
from pearl_eval.figures.overview import draw_overview
from pearl_eval.figures.palette import BLUE, DRAFT, GREY, IDLE, ORANGE, TARGET
from pearl_eval.figures.prediction import draw_prediction
from pearl_eval.figures.speedups import draw_speedups, draw_waiting
from pearl_eval.results.intervals import wilson
from pearl_eval.results.runs import Run


def bars(axes: Axes) -> list[tuple[float, float, float, str]]:
    """Of bars that lie: the middle of each, where it begins, how long it is, and its colour."""
    return [
        (
            round(bar.get_y() + bar.get_height() / 2, 9),
            round(bar.get_x(), 9),
            round(bar.get_width(), 9),
            to_hex(bar.get_facecolor()).upper(),
        )
        for bar in axes.patches
    ]


def lines(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """Where the lines and points of a picture go: along, and upwards."""
    return [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in axes.lines
    ]


def legend(figure: Figure) -> list[str]:
    (one,) = figure.legends
    return [text.get_text() for text in one.get_texts()]


def contender(
    name: str, speed: float, quartiles: tuple[float, float], share: float | None
) -> dict[str, Any]:
    """So many times as fast as a reference of 40 tokens/s."""
    spread = (0.1, quartiles[0], 1.0, quartiles[1], 99.0)
    return {
        "contender": name, "decoder": name.split()[0], "tokens_per_second": 40 * speed,
        "ratios": {"reference": {"value": speed, "spread": spread}, "best": {"value": 77.0}},
        "round_limit_share": share,
    }  # fmt: skip


def test_a_contests_bars_lines_and_limits() -> None:
    """Limit 1 is 120 over 40 tokens/s. Limit 2 of the second is 2.5 / 0.8, of the third 2 / 0.8889.
    A number stands behind the bar and its quartiles; behind limit 2 where that is less than a tenth
    of limit 1 away."""
    rows = [
        contender("alone", 1.25, (0.75, 1.5), None),
        contender("a γ2", 2.5, (2.0, 2.25), 0.8),
        contender("a γ4", 2.0, (1.5, 2.125), 8 / 9),
        contender("b", 4.0, (3.0, 5.0), None),
    ]
    figure = draw_contest({"rows": rows, "draft_limit": 120.0, "speed_ratio": 4.16}, "pair, task")
    (axes,) = figure.axes
    colours = (GREY, ORANGE, ORANGE, BLUE)
    speeds = (1.25, 2.5, 2.0, 4.0)
    assert bars(axes) == [
        (place, 0, speed, colour)
        for place, (speed, colour) in enumerate(zip(speeds, colours, strict=True))
    ]
    assert lines(axes) == [
        ([0.75, 1.5], [0, 0]),
        ([2.0, 2.25], [1, 1]),
        ([pytest.approx(3.125)], [1]),
        ([1.5, 2.125], [2, 2]),
        ([pytest.approx(2.25)], [2]),
        ([3.0, 5.0], [3, 3]),
        ([1, 1], [0, 1]),
        ([3, 3], [0, 1]),
    ]
    assert [line.get_linestyle() for line in axes.lines[-2:]] == [":", "--"]
    written = [(text.get_text(), text.get_position()) for text in axes.texts]
    assert written == [
        ("  1.25×", (1.5, 0)),
        ("  2.50×", (2.5, 1)),
        ("  2.00×", (pytest.approx(2.25), 2)),
        ("  4.00×", (5.0, 3)),
    ]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["alone", "a γ2", "a γ4", "b"]
    assert axes.yaxis_inverted() and axes.get_xlim() == pytest.approx((0, 1.12 * 5))
    assert figure.get_suptitle() == "pair, task: c = 4.2"
    assert legend(figure) == [
        "limit 2: rounds as long as their forwards",
        "limit 1: a token takes one draft forward",
    ]
    # As far as limit 1, where nobody comes near it.
    content = {"rows": rows[:1], "draft_limit": 400.0, "speed_ratio": 4.0}
    (axes,) = draw_contest(content, "pair, task").axes
    assert axes.get_xlim() == pytest.approx((0, 11.2))


def test_a_benchmark_has_pictures_of_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def drawn(*given: Any) -> Figure:
        asked.append(given)
        return Figure()

    for kind in ("contest", "grid", "growth"):
        monkeypatch.setattr(benchmark, f"draw_{kind}", drawn)
    content = {"contest": {"a": 1}, "grid": [{"b": 2}], "growth": {"c": 3}, "title": "title"}
    names = [f"{kind}.{form}" for kind in ("contest", "grid", "growth") for form in ("png", "svg")]
    assert benchmark.draw_all(content, tmp_path) == names
    assert asked == [({"a": 1}, "title"), ([{"b": 2}],), ({"c": 3},)]
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(names)
    assert benchmark.draw_all(content | {"contest": None, "grid": []}, tmp_path) == names[4:]
    assert benchmark.draw_all(dict.fromkeys(content), tmp_path) == []


def grid_cell(
    depth: int, perturbation: float, c: float, rate: float | None, **speeds: tuple[float, Any]
) -> dict[str, Any]:
    best = [
        {"decoder": name, "drafts": name != "alone", "gamma": gamma}
        | {"ratios": {"reference": {"value": speed}, "best": {"value": 88.0}}}
        for name, (speed, gamma) in speeds.items()
    ]
    dials = {"depth": depth, "perturbation": perturbation}
    return dials | {"speed_ratio": c, "acceptance_rate": rate, "best": best}


def test_a_grids_panels_have_depths_upwards_and_less_perturbed_pairs_to_the_right() -> None:
    figure = draw_grid(
        [
            grid_cell(6, 0.1, 6.0, 0.8, alone=(9.0, None), a=(3.0, 7), b=(2.0, None)),
            grid_cell(2, 0.1, 2.0, 0.9, alone=(9.0, None), a=(1.5, 3), b=(0.75, None)),
            grid_cell(2, 0.5, 2.4, 0.5, alone=(9.0, None), a=(1.25, 2), b=(0.5, None)),
            grid_cell(6, 0.5, 7.0, None, alone=(9.0, None), a=(2.0, 5), b=(1.0, None)),
        ]
    )
    first, second, bar = figure.axes
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]
    values = [axes.images[0].get_array().tolist() for axes in (first, second)]
    assert values == [[[1.25, 1.5], [2.0, 3.0]], [[0.5, 0.75], [1.0, 2.0]]]
    for axes in (first, second):
        assert axes.images[0].get_clim() == (0.5, 3.0) and axes.images[0].origin == "lower"
        # Medians of what the dials gave, of pairs that have it.
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.50", "0.85"]
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["2.2", "6.5"]
    # Black on what is brighter than the middle, 1.75.
    written = [(text.get_text(), text.get_position(), text.get_color()) for text in first.texts]
    assert written == [
        ("1.25×\nγ2", (0, 0), "white"),
        ("1.50×\nγ3", (1, 0), "white"),
        ("2.00×\nγ5", (0, 1), "black"),
        ("3.00×\nγ7", (1, 1), "black"),
    ]
    assert [text.get_text() for text in second.texts] == ["0.50×", "0.75×", "1.00×", "2.00×"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("acceptance rate α", "speed ratio c")
    assert bar.get_ylabel() == "speed ÷ reference"
    # Where all are faster than the reference the colours begin with it all the same.
    (axes, _) = draw_grid([grid_cell(2, 0.1, 2.0, None, a=(3.0, 7))]).axes
    assert axes.images[0].get_clim() == (1.0, 3.0)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["–"]


def test_growth_is_drawn_in_milliseconds_with_a_band() -> None:
    def point(name: str, context: int, *times: float) -> dict[str, Any]:
        own = dict(zip(("median", "least", "most"), times, strict=True))
        return own | {"contender": name, "decoder": name.split()[0], "context": context}

    points = [
        point("a γ2", 100, 0.008, 0.007, 0.010),
        point("a γ2", 200, 0.016, 0.014, 0.020),
        point("a γ4", 100, 0.004, 0.003, 0.005),
        point("b", 100, 0.002, 0.001, 0.003),
    ]
    (axes,) = draw_growth({"points": points}).axes
    assert lines(axes) == [([100, 200], [8, 16]), ([100], [4]), ([100], [2])]
    looks = [(line.get_label(), line.get_color(), line.get_marker()) for line in axes.lines]
    assert looks == [("a γ2", GREY, "o"), ("a γ4", GREY, "s"), ("b", ORANGE, "D")]
    band = axes.collections[0].get_paths()[0].vertices
    ends = [sorted({y for x, y in band if x == context}) for context in (100, 200)]
    assert ends == [[7, 10], [14, 20]]
    assert axes.get_ylim()[0] == 0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("context (tokens)", "time per token (ms)")


def test_a_heat_map_has_the_rate_along_and_the_speed_ratio_upwards() -> None:
    """c / 4 + α − 0.4: at most 14 / 4 + 0.59. Its ends are those of what was measured."""
    predicted = {
        "a": lambda c, rate: c / 4 + rate - 0.4,
        "b": lambda c, rate: rate * c / 4,
    }
    measured = {"a": [(14.0, 0.4, 3.25), (5.0, 0.75, 2.0)], "b": []}
    figure = draw_heatmap(predicted, measured, "made up", steps=3)
    first, second, bar = figure.axes
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]
    mesh = first.collections[0]
    places = mesh.get_coordinates()
    assert places[0, :, 0].tolist() == pytest.approx([0.4, 0.695, 0.99])
    assert places[:, 0, 1].tolist() == pytest.approx([2, 8, 14])
    expected = [[c / 4 + rate - 0.4 for rate in (0.4, 0.695, 0.99)] for c in (2, 8, 14)]
    assert np.asarray(mesh.get_array()).reshape(3, 3) == pytest.approx(np.array(expected))
    levels = [one for one in first.collections if isinstance(one, QuadContourSet)]
    assert [list(one.levels) for one in levels] == [[1, 1.5, 2, 3, 4]]
    ring, points = first.collections[-2:]
    for drawn in (ring, points):
        assert drawn.get_offsets().tolist() == [[0.4, 14.0], [0.75, 5.0]]
    assert points.get_array().tolist() == [3.25, 2.0]
    # One scale of colours for all surfaces and points.
    top = pytest.approx(4.09)
    clims = [one.get_clim() for one in (mesh, points, second.collections[0])]
    assert clims == [(0.5, top)] * 3
    assert len(second.collections) == 2
    assert (first.get_xlabel(), first.get_ylabel()) == ("acceptance rate α", "speed ratio c")
    assert bar.get_ylabel() == "speed ÷ autoregressive"
    assert figure.get_suptitle() == "Speedup at the best draft length\nmade up"
    # Without points: from 2 to 12, and from 0.5 on.
    plain = draw_heatmap(predicted, {}, "made up", steps=2).axes[0].collections[0].get_coordinates()
    assert plain[:, :, 0].tolist() == [[0.5, 0.99], [0.5, 0.99]]
    assert plain[:, :, 1].tolist() == [[2, 2], [12, 12]]
    # What was measured within these ends moves none of them.
    inside = {"a": [(5.0, 0.75, 2.0)]}
    drawn = draw_heatmap(predicted, inside, "made up", 2, 1.5).axes[0].collections[0]
    assert drawn.get_coordinates()[-1, 0].tolist() == [0.5, 12]
    assert drawn.get_coordinates()[0, 0].tolist() == [0.5, 1.5]


def test_predictions_are_over_what_was_measured() -> None:
    """Of a one is predicted 25 % too fast and one 10 % too slow; of b one right."""
    figure = draw_prediction([("a", 2.0, 2.5), ("b", 4.0, 4.0), ("a", 1.0, 0.9)], "so many errors")
    left, right = figure.axes
    diagonal = ([pytest.approx(0.855), pytest.approx(4.2)],) * 2
    assert lines(left) == [diagonal, ([2, 1], [2.5, 0.9]), ([4], [4])]
    assert lines(right)[1:] == [
        ([2, 1], [pytest.approx(0.25), pytest.approx(-0.1)]),
        ([4], [0]),
    ]
    band = left.collections[0].get_paths()[0].vertices
    (low, high) = (sorted({y for x, y in band if x == end}) for end in sorted(set(band[:, 0])))
    assert low == pytest.approx([0.88 * 0.855, 1.12 * 0.855])
    assert high == pytest.approx([0.88 * 4.2, 1.12 * 4.2])
    (span,) = right.patches
    box = span.get_bbox()
    assert (box.y0, box.y1) == pytest.approx((-0.12, 0.12))
    assert list(left.get_xticks()) == list(left.get_yticks()) == [1, 1.5, 2, 3, 4]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["± 12%", "a", "b"]
    assert (left.get_xlabel(), left.get_ylabel()) == ("measured speedup", "predicted speedup")
    assert right.get_ylabel() == "predicted ÷ measured − 1"
    assert right.yaxis.get_major_formatter()(-0.1) == "-10%"
    assert figure.get_suptitle().endswith("not fitted to\nso many errors")


def segments(axes: Axes, number: int = 0) -> list[list[list[float]]]:
    """The intervals of a line of points: from where to where each goes."""
    (drawn,) = axes.containers[number].lines[2]
    return [one.tolist() for one in drawn.get_segments()]


@pytest.mark.parametrize(("best", "near"), [(20, True), (21, False)])
def test_draft_lengths_have_intervals_and_theory_as_far_as_four_times_the_longest(
    best: int, near: bool
) -> None:
    """Theory's best length is on the curve where that is not too far off, and always named."""
    columns = {"gamma": [5, 3], "speedup": [2.0, 1.5]}
    ends = {"speedup_low": [1.75, None], "speedup_high": [3.0, None]}
    measured = {"a": pd.DataFrame(columns | ends), "b": pd.DataFrame(columns | ends)}
    figure = draw_gamma_sweep(measured, {"a": (lambda gamma: gamma / 2, best, "c = 1")}, "title")
    (axes,) = figure.axes
    assert [list(one.lines[0].get_data()[0]) for one in axes.containers] == [[3, 5]] * 2
    assert [list(one.lines[0].get_data()[1]) for one in axes.containers] == [[1.5, 2.0]] * 2
    assert segments(axes) == [[[3, 1.5], [3, 1.5]], [[5, 1.75], [5, 3.0]]]
    (theory,) = (line for line in axes.lines if line.get_linestyle() == "--")
    longest = 21 if near else 6
    assert list(theory.get_xdata()) == list(range(1, longest + 1))
    assert list(theory.get_ydata()) == [gamma / 2 for gamma in range(1, longest + 1)]
    (star,) = (line for line in axes.lines if line.get_marker() == "*")
    assert list(zip(*star.get_data(), strict=True)) == ([(20, 10)] if near else [])
    assert legend(figure) == [
        "a, measured (95 % interval)",
        "a, theory: c = 1",
        f"theory's best: γ = {best}",
        "b, measured (95 % interval)",
    ]
    assert axes.get_ylim()[0] == 0 and axes.get_title() == "title"


def test_chances_that_were_foreseen_are_along_and_what_was_accepted_upwards() -> None:
    rows = [
        {"predicted": 0.25, "judged": 40, "accepted": 16},
        {"predicted": 0.875, "judged": 10, "accepted": 10},
    ]
    run = Run("mine", {"traces": {"by_chance": rows}}, Path())
    (axes,) = draw_calibration([run], "title").axes
    assert lines(axes)[0] == ([0, 1], [0, 1])
    points = axes.containers[0].lines[0]
    assert (list(points.get_xdata()), list(points.get_ydata())) == ([0.25, 0.875], [0.4, 1.0])
    (first, second) = segments(axes)
    assert first == [[0.25, pytest.approx(end)] for end in wilson(0.4, 40)]
    assert second == [[0.875, pytest.approx(end)] for end in wilson(1.0, 10)]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["as foreseen", "mine"]
    assert axes.get_title() == "title"


def test_bars_of_speedups_stand_in_groups() -> None:
    """A heading, two runs, a gap; a heading and a run. One was not timed, one has no interval."""
    none = float("nan")
    rows = [
        ("a γ3", "a", "tiny", "x", 2.0, 1.5, 3.0, True),
        ("b", "b", "tiny", "x", none, none, none, True),
        ("a γ5", "a", "big", "y", 0.75, none, none, False),
    ]
    columns = ["label", "decoder", "pair", "task", "speedup"]
    columns += ["speedup_low", "speedup_high", "lossless"]
    (axes,) = draw_speedups(pd.DataFrame(rows, columns=columns), "title", "note").axes
    assert bars(axes) == [(1, 0, 2.0, BLUE), (4.3, 0, 0.75, BLUE)]
    assert lines(axes) == [([1.5, 3.0], [1, 1]), ([1, 1], [0, 1])]
    written = {text.get_text(): text for text in axes.texts}
    assert written["x, tiny pair"].get_position() == (0, 0)
    assert written["y, big pair"].get_position() == (0, pytest.approx(3.3))
    assert written["2.00×"].xy == (3.0, 1)
    assert written["0.75×, not the target's output"].xy == (0.75, pytest.approx(4.3))
    assert list(axes.get_yticks()) == pytest.approx([1, 2, 4.3])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a γ3", "b", "a γ5"]
    assert axes.get_xlim() == pytest.approx((0, 1.35 * 3))
    assert axes.get_ylim() == pytest.approx((5.0, -0.7))
    assert axes.get_xlabel().endswith("95 % interval)\nnote") and axes.get_title() == "title"


def test_bars_of_waiting_are_of_the_draft_model_above_and_of_the_target_below() -> None:
    frame = pd.DataFrame(
        {"label": ["a", "b"], "wait_fraction_draft": [0.25, 0.5]}
        | {"wait_fraction_target": [0.125, 1.0]}
    )
    figure = draw_waiting(frame, "title")
    (axes,) = figure.axes
    assert bars(axes) == [
        (-0.19, 0, 0.25, DRAFT),
        (0.81, 0, 0.5, DRAFT),
        (0.19, 0, 0.125, TARGET),
        (1.19, 0, 1.0, TARGET),
    ]
    written = [(text.get_text(), text.get_position()[1]) for text in axes.texts]
    assert written == [("25%", -0.19), ("50%", 0.81), ("12%", 0.19), ("100%", 1.19)]
    assert [one.get_text() for one in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_xlim() == (0, 1) and axes.xaxis.get_major_formatter()(0.5) == "50%"
    named = dict(zip(legend(figure), figure.legends[0].get_patches(), strict=True))
    assert {name: to_hex(one.get_facecolor()).upper() for name, one in named.items()} == {
        "the draft model waits": DRAFT,
        "the target model waits": TARGET,
    }


def overview_run(label: str, **own: Any) -> Run:
    environment = {"dtype": "float32", "target_device": "cpu"}
    summary = {
        "task": "x", "pair": "tiny", "prompts": 2, "environment": environment, "speedup": 3.0,
        "speedup_ci95": [2.5, 3.5], "tokens_per_second": 310.4, "draft_forwards": 9,
        "target_forwards": 8, "wait_fraction_draft": 0.125, "wait_fraction_target": 0.25,
    }  # fmt: skip
    return Run(label, summary | own, Path())


def test_bars_of_an_overview() -> None:
    """The draft model works for 7/8 of the time and waits for the rest, the target for 3/4."""
    runs = [
        overview_run("a"),
        overview_run("b", target_forwards=0, speedup_ci95=None, speedup=2.0),
        overview_run("c", speedup=None, speedup_ci95=None, draft_forwards=0),
    ]
    speeds, waits = draw_overview(runs).axes
    assert bars(speeds) == [(0, 0, 3.0, BLUE), (1, 0, 2.0, BLUE)]
    assert lines(speeds) == [([2.5, 3.5], [0, 0]), ([2, 2], [1, 1]), ([1, 1], [0, 1])]
    written = [(text.get_text(), text.xy) for text in speeds.texts]
    assert written == [("3.00× · 310 tokens/s", (3.5, 0)), ("2.00× · 310 tokens/s", (2.0, 1))]
    assert bars(waits) == [
        (-0.16, 0, 0.875, DRAFT),
        (-0.16, 0.875, 0.125, IDLE),
        (0.16, 0, 0.75, TARGET),
        (0.16, 0.75, 0.25, IDLE),
    ]
    told = [(text.get_text(), text.get_position()[1]) for text in waits.texts]
    assert told == [
        ("draft works 88%", -0.16),
        ("target works 75%", 0.16),
        ("draft model alone", 1),
        ("target model alone", 2),
    ]
    assert speeds.get_ylim() == pytest.approx((2.6, -0.6))


def test_long_runs_of_accepted_tokens_share_a_bar() -> None:
    """Up to 80 tokens in no more than 40 bars: three lengths in each."""
    figure = draw_accepted_runs({"a": {0: 1, 80: 3}, "b": {3: 2}}, {"a": None, "b": 3}, "title")
    upper, lower = figure.axes
    tall = [
        (bar.get_x() + bar.get_width() / 2, bar.get_height())
        for bar in upper.patches
        if bar.get_height()
    ]
    assert tall == [(pytest.approx(1), 0.25), (pytest.approx(79), 0.75)]
    assert len(upper.patches) == 27
    assert [line.get_xdata()[0] for line in upper.lines] == [60]
    assert [line.get_xdata()[0] for line in lower.lines] == [3, 3.5]
    assert [line.get_linestyle() for line in lower.lines] == ["--", ":"]
    assert upper.get_title(loc="right") == "a: mean 60.00, longest 80, 4 runs"
    assert upper.yaxis.get_major_formatter()(0.25) == "25%"
    told = "b: mean 3.00, longest 3, 2 runs; a block ends at 3"
    assert lower.get_title(loc="right") == told and figure.get_suptitle() == "title"
    # Up to 39 tokens each length has a bar of its own.
    (axes,) = draw_accepted_runs({"a": {39: 1}}, {}, "title").axes
    assert len(axes.patches) == 40
