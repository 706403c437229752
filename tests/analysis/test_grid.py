"""A benchmark's grid: read, predicted, fitted, and drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.theory import heatmap, prediction
from analysis.theory.grid import Cell, halves, read_grid
from analysis.theory.prediction import Point, errors, fit, noise, predict, table
from pearl_eval.commands import commands
from pearl_eval.errors import UserError
from pearl_eval.simulation import Ahead, Costs, Parallel, Rate, Schedule, Turns

TOKENS = 24
TRACE = "111011110111111101111111"
SCHEDULES: dict[str, Schedule] = {
    "speculative γ=2": Turns(2),
    "pearl γ=2": Parallel(2),
    "pearl γ=4": Parallel(4),
    "pearl_async": Ahead(96),
}
LABELS = tuple(SCHEDULES)
COSTS = Costs(round=2e-4, crossing=3e-4, publish=2e-5)


def content(depth: int = 4, perturbation: float = 0.2, **more: Any) -> dict[str, Any]:
    """A cell whose target takes ``depth`` ms a forward, and its draft model 1."""
    target = {"1": 1e-3 * depth, "5": 1.2e-3 * depth}
    forwards = {"context": 20, "draft": 1e-3, "target": target, "prompt": (0.01, 0.002)}
    beside = {window: (seconds, 1e-3) for window, seconds in target.items()}
    # Of 3 draft forwards, and one of the target that reads 4 tokens.
    turns = {"3": 3.5e-3 + 1.15e-3 * depth}
    forwards |= {"beside": beside, "prompt_length": 16, "turns": turns}
    own = {"depth": depth, "perturbation": perturbation, "speed_ratio": float(depth)}
    own |= {"acceptance_rate": 0.8, "forwards": [forwards], "traces": [TRACE]}
    timed = [("autoregressive", 2.0), ("autoregressive again", 2.1), ("pearl γ=2", 1.0)]
    measurements = [
        {"contender": name, "prompt": 0, "repeat": repeat, "tokens": TOKENS}
        | {"seconds": seconds * (1 + repeat)}
        for name, seconds in timed
        for repeat in range(3)
    ]
    return own | {"measurements": measurements} | more


def simulated(*cells: Cell) -> list[Cell]:
    """As if they had been measured, and with what the simulator predicts at ``COSTS``."""
    own = [replace(cell, schedules=SCHEDULES) for cell in cells]
    return [
        replace(cell, measured={label: cell.predicted(label, COSTS) for label in LABELS})
        for cell in own
    ]


@pytest.fixture
def cells() -> list[Cell]:
    shape = [(depth, noise) for depth in (2, 6) for noise in (0.2, 0.5)]
    return simulated(*(Cell.of(content(*one)) for one in shape))


def write_bench(folder: Path, grid: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "bench.json").write_text(json.dumps({"grid": grid}))
    return folder


def test_a_cell_is_its_ratios_of_median_times() -> None:
    """A repeat that was odd counts for nothing. The reference is no contender; both of it count."""
    spoilt = content()
    for index, factor in ((2, 1.2), (6, 0.9)):  # the slowest of one, the fastest of another
        spoilt["measurements"][index]["seconds"] *= factor
    cell = Cell.of(spoilt)
    assert cell.measured == {"pearl γ=2": pytest.approx(2.05)}
    assert cell.same == pytest.approx(2.0 / 2.1)
    assert (cell.limit, cell.prompts, cell.trace.prompts) == (TOKENS, (16,), (TRACE,))
    assert cell.forwards.speed_ratio == pytest.approx(4.0)
    assert cell.forwards.turning(3) == pytest.approx(0.5e-3)


def test_a_prediction_is_a_simulation_with_the_draft_length_of_the_label() -> None:
    cell = replace(Cell.of(content()), schedules=SCHEDULES | {"pearl γ=1": Parallel(1)})
    without = [cell.predicted(f"pearl γ={gamma}", Costs()) for gamma in (1, 4)]
    assert without[0] < without[1] < 5
    assert cell.predicted("pearl γ=4", COSTS) < without[1]
    assert cell.predicted("pearl γ=4", Costs(), Rate(0.0)) < 1.0 < without[1]


def test_a_grid_is_read_or_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file; run pearl-eval bench grid=controlled"):
        read_grid(tmp_path)
    with pytest.raises(UserError, match="no grid was measured"):
        read_grid(write_bench(tmp_path, []))
    with pytest.raises(UserError, match=r"no acceptance traces.*run it again"):
        read_grid(write_bench(tmp_path, [content(traces=[])]))
    other = {"contender": "lookahead", "prompt": 0, "repeat": 0, "tokens": TOKENS, "seconds": 1.0}
    with pytest.raises(UserError, match=r"lookahead is not simulated, .*a grid without it"):
        measurements = [*content()["measurements"], other]
        read_grid(write_bench(tmp_path, [content(measurements=measurements)]))
    (cell,) = read_grid(write_bench(tmp_path, [content()]))
    assert cell == Cell.of(content())
    # By its name, where the file says no more; else as it says.
    assert cell.schedules == {"pearl γ=2": Parallel(2)}
    said = {"pearl γ=2": {"_target_": "decoders.schedule.Turns", "gamma": 7}}
    assert Cell.of(content(schedules=said)).schedules == {"pearl γ=2": Turns(7)}
    with pytest.raises(UserError, match=r"no schedule none\.Turns .*run it again"):
        said["pearl γ=2"]["_target_"] = "none.Turns"
        read_grid(write_bench(tmp_path, [content(schedules=said)]))


def test_what_slows_the_machine_during_one_pair_is_that_pairs_alone(tmp_path: Path) -> None:
    grid = [content(4, perturbation) for perturbation in (0.2, 0.5, 0.6)]
    slow = grid[0]["forwards"][0]
    slow["target"] = {window: 2 * seconds for window, seconds in slow["target"].items()}
    cells = read_grid(write_bench(tmp_path, [*grid, content(6)]))
    assert [cell.forwards.speed_ratio for cell in cells] == pytest.approx([8, 4, 4, 6])


def test_a_speedup_is_the_mean_over_its_prompts() -> None:
    two = content()
    two["measurements"] += [
        one | {"prompt": 1, "seconds": one["seconds"] * (4 if "auto" in one["contender"] else 1)}
        for one in two["measurements"]
    ]
    assert Cell.of(two).measured == {"pearl γ=2": pytest.approx(2 * 2.05)}


def test_halves_are_the_fields_of_a_chessboard(cells: list[Cell]) -> None:
    one, other = (
        [(cell.depth, cell.perturbation) for cell in half] for half in halves(cells[::-1])
    )
    assert sorted(one) == [(2, 0.2), (6, 0.5)] and sorted(other) == [(2, 0.5), (6, 0.2)]


def test_fitted_costs_predict_what_they_were_fitted_on(cells: list[Cell]) -> None:
    """As far as predictions tell them apart."""
    found = fit(cells)
    assert found.round > 0 and found.crossing > 0
    assert max(abs(point.error) for point in predict(cells, found)) < 0.02
    assert max(abs(point.error) for point in predict(cells, Costs())) > 0.05


def test_errors_are_told_in_a_line_and_by_decoder() -> None:
    points = [
        Point(2, 0.2, "pearl γ=2", 1.0, 1.1),
        Point(2, 0.2, "pearl γ=4", 2.0, 1.6),
        Point(6, 0.5, "pearl_async", 1.0, 1.03),
    ]
    said = errors(points)
    assert "median error 10.0%, worst -20.0% (pearl γ=4, depth 2, perturbation 0.2)" in said
    assert said.endswith("3 predictions")
    assert table(points).splitlines()[2:] == [
        "| pearl | 2 | 15.0% | -20.0% |",
        "| pearl_async | 1 | 3.0% | +3.0% |",
    ]


def test_the_noise_is_what_the_reference_differs_from_itself(cells: list[Cell]) -> None:
    own = [
        replace(cell, same=same) for cell, same in zip(cells, (0.9, 1.0, 1.02, 1.04), strict=True)
    ]
    assert "off by 3.0% in the median, 10.0% at worst, 4 pairs" in noise(own)


def test_simulated_surfaces_pass_through_their_own_grid(cells: list[Cell]) -> None:
    """The middle cell's own forwards at its own c; another c is another target."""
    surfaces = heatmap.simulated(cells, COSTS)
    assert list(surfaces) == ["speculative", "pearl", "pearl_async"]
    middle = replace(cells[2], prompts=cells[2].prompts * 10)
    expected = max(middle.predicted(label, COSTS, Rate(0.8)) for label in LABELS[1:3])
    assert surfaces["pearl"](6.0, 0.8) == pytest.approx(expected)
    assert surfaces["pearl"](2.0, 0.8) < surfaces["pearl"](6.0, 0.8) < surfaces["pearl"](6.0, 0.99)
    # Far from what closed forms promise, as there are costs and the texts end.
    assert surfaces["pearl"](6.0, 0.95) < 0.8 * heatmap.THEORY["Parallel"](6.0, 0.95)


def test_points_are_the_best_of_each_cell(cells: list[Cell]) -> None:
    """As the benchmark has chosen them, on other prompts."""
    cell = replace(cells[0], best={"pearl": 2.5, "pearl_async": 9.0})
    assert heatmap.best([cell], "pearl") == [(2.0, 0.8, 2.5)]
    assert heatmap.best([cell], "speculative") == []
    assert heatmap.best([replace(cell, acceptance_rate=None)], "pearl") == []


def test_one_pair_has_no_half_to_predict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_bench(tmp_path / "one", [content()])
    with pytest.raises(SystemExit, match="2"):
        commands.main(["predict", str(folder)])
    assert "too few pairs for two halves" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "module"), [("heatmap", heatmap), ("predict", prediction)])
def test_commands_draw_a_grid(
    name: str,
    module: Any,
    cells: list[Cell],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "read_grid", lambda directory: cells)
    monkeypatch.setattr(heatmap, "_SIMULATED_STEPS", 3)
    output = tmp_path / "drawn.png"
    commands.main([name, str(tmp_path), "-o", str(output)])
    assert output.stat().st_size > 10_000
    assert capsys.readouterr().out.endswith(f"{output}\n")


def test_a_heat_map_needs_no_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands.main(["heatmap"])
    assert capsys.readouterr().out == "heatmap.png\n"
    assert (tmp_path / "heatmap.png").stat().st_size > 10_000
