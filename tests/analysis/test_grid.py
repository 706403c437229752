"""A benchmark's grid: read, predicted, fitted, and drawn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from written_run import OUTPUT, autoregressive, pearl, write_run

from analysis.theory import grid, heatmap, prediction, theory
from analysis.theory.grid import MeasuredCell, halves, read_cells, read_grid
from analysis.theory.prediction import Point, errors, fit, noise, predict, table
from pearl_eval.commands import program
from pearl_eval.errors import UserError
from pearl_eval.results.runs import finished_runs
from pearl_eval.simulation import (
    Ahead,
    Alone,
    Costs,
    Lookups,
    Parallel,
    Rate,
    Retrievals,
    Retrieved,
    Schedule,
    Sequential,
)

#: What PEARL's rounds in ``written_run`` say of the tokens that its draft model gets right.
TRACE = "111110111111"
TOKENS = len(TRACE)
SCHEDULES: dict[str, Schedule] = {
    "speculative γ=2": Sequential(2),
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
    forwards |= {"beside": beside, "prompt_length": 16, "sequential": turns}
    own = {"depth": depth, "perturbation": perturbation, "speed_ratio": float(depth)}
    own |= {
        "acceptance_rate": 0.8,
        "forwards": [forwards],
        "folder": f"grid/{depth}-{perturbation}",
    }
    best = {"decoder": "pearl", "ratios": {"reference": {"value": 2.0}}}
    return own | {"best": [best]} | more


def write_bench(folder: Path, grid: list[dict[str, Any]], **seconds: list[float]) -> Path:
    """A benchmark with a grid: three repeats of a prompt in each cell, by decoder.

    The reference takes 2, 4 and 6 s, again 2.1, 4.2 and 6.3 s.
    """
    runs = {"autoregressive": [2.1, 4.2, 6.3], "pearl": [1.0, 2.0, 3.0]} | seconds
    for cell in grid:
        for number, (decoder, times) in enumerate(runs.items()):
            own = folder / cell.get("folder", "grid") / f"{number:02}-{decoder}"
            write_cell_run(own, decoder, times)
    folder.mkdir(exist_ok=True)
    (folder / "bench.json").write_text(json.dumps({"grid": grid}))
    return folder


def write_cell_run(folder: Path, decoder: str, times: list[float]) -> None:
    rounds = pearl() if decoder.startswith("pearl") else autoregressive()
    settings = {"gamma": 2} if decoder == "pearl" else {}
    write_run(folder, decoder, rounds, decoder_settings=settings)
    record = json.loads((folder / "records.jsonl").read_text().splitlines()[0])
    frame = pd.read_parquet(folder / "rounds.parquet")
    frame = frame[frame["task_id"] == record["task_id"]]
    lines = [
        record
        | {"sample": i, "seconds": one, "reference_seconds": 2.0 * (1 + i)}
        | {"prompt_tokens": 16, "reference_output_ids": OUTPUT, "output_ids": OUTPUT}
        for i, one in enumerate(times)
    ]
    (folder / "records.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    frames = [frame.assign(sample=i) for i in range(len(times))]
    pd.concat(frames).to_parquet(folder / "rounds.parquet", index=False)


def simulated(*cells: MeasuredCell) -> list[MeasuredCell]:
    """As if they had been measured, and with what the simulator predicts at ``COSTS``."""
    own = [replace(cell, schedules=SCHEDULES) for cell in cells]
    return [
        replace(cell, measured={label: cell.predicted(label, COSTS) for label in LABELS})
        for cell in own
    ]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[MeasuredCell]:
    folder = tmp_path_factory.mktemp("bench")
    shape = [content(depth, noise) for depth in (2, 6) for noise in (0.2, 0.5)]
    return simulated(*read_grid(write_bench(folder, shape)))


@pytest.fixture
def cell(tmp_path: Path) -> MeasuredCell:
    return read_grid(write_bench(tmp_path / "one", [content()]))[0]


def test_a_cell_is_its_ratios_of_median_times(tmp_path: Path) -> None:
    """A repeat that was odd counts for nothing. The reference is no contender; both of it count:
    the median of 2, 2.1, 4, 4.2, 6, 7.5 s is 4.1 s."""
    odd = {"autoregressive": [2.1, 4.2, 7.5], "pearl": [0.9, 2.0, 3.0]}
    (cell,) = read_grid(write_bench(tmp_path, [content()], **odd))
    assert cell.measured == {"pearl γ=2": pytest.approx(2.05)}
    assert cell.same == pytest.approx(4.0 / 4.2)
    assert (cell.max_new_tokens, cell.prompts, cell.trace.prompts) == (TOKENS, (16,), (TRACE,))
    assert cell.forwards.speed_ratio == pytest.approx(4.0)
    assert cell.forwards.switching(3) == pytest.approx(0.5e-3)
    assert cell.best == {"pearl": 2.0}
    assert cell.schedules == {"autoregressive": Alone(), "pearl γ=2": Parallel(2)}


def test_without_the_reference_again_there_is_no_noise_to_tell(tmp_path: Path) -> None:
    folder = write_bench(tmp_path, [content()])
    shutil.rmtree(folder / "grid" / "4-0.2" / "00-autoregressive")
    (cell,) = read_grid(folder)
    assert (cell.measured, cell.same) == ({"pearl γ=2": pytest.approx(2.0)}, 1.0)


def test_a_prediction_simulates_the_draft_length_of_the_label(
    cell: MeasuredCell,
) -> None:
    cell = replace(cell, schedules=SCHEDULES | {"pearl γ=1": Parallel(1)})
    without = [cell.predicted(f"pearl γ={gamma}", Costs()) for gamma in (1, 4)]
    assert without[0] < without[1] < 5
    assert cell.predicted("pearl γ=4", COSTS) < without[1]
    assert cell.predicted("pearl γ=4", Costs(), Rate(0.0)) < 1.0 < without[1]


def test_a_grid_is_read_or_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bench.json: no such file; give a directory that"):
        read_grid(tmp_path)
    with pytest.raises(UserError, match="no grid was measured"):
        read_grid(write_bench(tmp_path / "none", []))
    old = content()
    del old["folder"]
    with pytest.raises(UserError, match=r"of an older version; run it again"):
        read_grid(write_bench(tmp_path / "old", [old]))
    with pytest.raises(UserError, match=r"lookahead is not simulated, .*a grid without it"):
        read_grid(write_bench(tmp_path / "other", [content()], lookahead=[1.0, 1.0, 1.0]))


def test_what_slows_the_machine_during_one_pair_is_that_pairs_alone(tmp_path: Path) -> None:
    grid = [content(4, perturbation) for perturbation in (0.2, 0.5, 0.6)]
    slow = grid[0]["forwards"][0]
    slow["target"] = {window: 2 * seconds for window, seconds in slow["target"].items()}
    folder = write_bench(tmp_path, [*grid, content(6)])
    # Its runs are its own, too.
    shutil.rmtree(folder / "grid" / "6-0.2" / "00-autoregressive")
    cells = read_grid(folder)
    assert [cell.forwards.speed_ratio for cell in cells] == pytest.approx([8, 4, 4, 6])
    assert [len(cell.schedules) for cell in cells] == [2, 2, 2, 1]


def test_halves_are_the_fields_of_a_chessboard(cells: list[MeasuredCell]) -> None:
    one, other = ([cell.dials for cell in half] for half in halves(cells[::-1]))
    assert sorted(one) == [(2, 0.2), (6, 0.5)] and sorted(other) == [(2, 0.5), (6, 0.2)]


def test_fitted_costs_predict_what_they_were_fitted_on(cells: list[MeasuredCell]) -> None:
    """As far as predictions tell them apart."""
    found = fit(cells)
    assert found.round > 0 and found.crossing > 0
    assert max(abs(point.error) for point in predict(cells, found)) < 0.02
    assert max(abs(point.error) for point in predict(cells, Costs())) > 0.05


def test_errors_are_told_in_a_line_and_by_decoder() -> None:
    points = [
        Point("depth 2, perturbation 0.2", "pearl γ=2", 1.0, 1.1),
        Point("depth 2, perturbation 0.2", "pearl γ=4", 2.0, 1.6),
        Point("depth 6, perturbation 0.5", "pearl_async", 1.0, 1.03),
    ]
    said = errors(points)
    assert "median error 10.0%, worst -20.0% (pearl γ=4, depth 2, perturbation 0.2)" in said
    assert said.endswith("3 predictions")
    assert table(points).splitlines()[2:] == [
        "| pearl | 2 | 15.0% | -20.0% |",
        "| pearl_async | 1 | 3.0% | +3.0% |",
    ]


def test_the_noise_is_what_the_reference_differs_from_itself(cells: list[MeasuredCell]) -> None:
    own = [
        replace(cell, same=same) for cell, same in zip(cells, (0.9, 1.0, 1.02, 1.04), strict=True)
    ]
    assert "off by 3.0% in the median, 10.0% at worst, 4 pairs" in noise(own)


def test_one_half_is_predicted_by_what_was_fitted_on_the_other(
    cells: list[MeasuredCell],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Unless told otherwise it is drawn into the benchmark's folder."""
    fitted: list[Any] = []

    def fit(own: list[MeasuredCell]) -> Costs:
        fitted.append([cell.name for cell in own])
        return COSTS

    monkeypatch.setattr(prediction, "read_cells", lambda *directories: cells)
    monkeypatch.setattr(prediction, "fit", fit)
    prediction.predict_benchmarks([tmp_path])
    prediction.predict_benchmarks([tmp_path], tmp_path / "other.svg", swap=True)
    said = capsys.readouterr().out
    first, second = ([c.name for c in half] for half in halves(cells))
    assert fitted == [first, second]
    assert {path.name for path in tmp_path.iterdir()} == {"prediction.png", "other.svg"}
    for name in ("prediction.png", "other.svg"):
        assert str(tmp_path / name) in said


def test_what_is_printed_says_which_half_was_fitted_on(
    cells: list[MeasuredCell],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Cells of the second half were measured 25 % faster than predicted, so they are 20 % off."""
    _, second = halves(cells)
    measured = [
        replace(cell, measured={name: 1.25 * one for name, one in cell.measured.items()})
        if cell in second
        else cell
        for cell in cells
    ]
    drawn: list[Any] = []

    def draw(points: Any, said: str) -> Figure:
        drawn.append((points, said))
        return Figure()

    monkeypatch.setattr(prediction, "read_cells", lambda *directories: measured)
    monkeypatch.setattr(prediction, "fit", lambda own: COSTS)
    monkeypatch.setattr(prediction, "draw_prediction", draw)
    prediction.predict_benchmarks([tmp_path])
    first, fitted, predicted, noise, *rest = capsys.readouterr().out.splitlines()
    assert first == "fitted, µs: round 200, crossing 300, publish 20"
    assert fitted.startswith("the half fitted on:  median error 0.0%, worst ")
    assert predicted.startswith("the half predicted:  median error 20.0%, worst -20.0% (")
    assert noise.startswith("the measurement:     autoregressive decoding beside itself")
    assert rest[2] == "| speculative | 2 | 20.0% | -20.0% |"
    ((points, said),) = drawn
    assert {name for name, _, _ in points} == {"speculative", "pearl", "pearl_async"}
    assert [one / two for _, one, two in points] == pytest.approx([1.25] * 8)
    assert said.startswith("median error 20.0%")
    # Cells are predicted by what was fitted on the other half, whichever that is.
    prediction.predict_benchmarks([tmp_path], swap=True)
    _, fitted, predicted, *_ = capsys.readouterr().out.splitlines()
    assert "median error 20.0%" in fitted and "median error 0.0%" in predicted


def test_simulated_surfaces_pass_through_their_own_grid(cells: list[MeasuredCell]) -> None:
    """The middle cell's own forwards at its own c; another c is another target."""
    surfaces = heatmap.simulated(cells, COSTS)
    assert list(surfaces) == ["speculative", "pearl", "pearl_async"]
    middle = replace(cells[2], prompts=cells[2].prompts * 10)
    expected = max(middle.predicted(label, COSTS, Rate(0.8)) for label in LABELS[1:3])
    assert surfaces["pearl"](6.0, 0.8) == pytest.approx(expected)
    assert surfaces["pearl"](2.0, 0.8) < surfaces["pearl"](6.0, 0.8) < surfaces["pearl"](6.0, 0.99)
    # Far from what closed forms promise, as there are costs and the texts end.
    assert surfaces["pearl"](6.0, 0.95) < 0.8 * heatmap.THEORY["Parallel"](6.0, 0.95)


def test_closed_forms_are_at_the_best_draft_length() -> None:
    """At c = 4 and α = 0.8: of vanilla speculative decoding γ = 3, as 2.952 · 4/7 is more than
    2.44 · 4/6 and 3.3616 · 4/8; of PEARL γ = 4."""
    assert list(heatmap.THEORY) == ["Sequential", "Parallel", "Ahead"]
    assert heatmap.THEORY["Sequential"](4.0, 0.8) == pytest.approx(2.952 * 4 / 7)
    # (1 − 0.8⁴) / (0.2 · (1 − 0.8⁴ + 0.8)) tokens in a round of a target forward.
    assert heatmap.THEORY["Parallel"](4.0, 0.8) == pytest.approx(0.5904 / (0.2 * 1.3904))
    assert heatmap.THEORY["Ahead"] is theory.async_speedup


def test_another_speed_ratio_is_another_target(cells: list[MeasuredCell]) -> None:
    """Three times as slow, whatever it reads."""
    known = cells[0].forwards
    made = heatmap._at(known, 3 * known.speed_ratio)
    for before, after in zip(known.target.seconds, made.target.seconds, strict=True):
        assert after == pytest.approx([3 * one for one in before])
    assert replace(made, target=known.target) == known


def test_what_is_drawn_of_theory_and_of_a_grid(
    cells: list[MeasuredCell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def draw(*given: Any) -> Figure:
        asked.append(given)
        return Figure()

    fitted: list[Any] = []

    def fit(own: Any) -> Costs:
        fitted.append(own)
        return COSTS

    monkeypatch.setattr(heatmap, "draw_heatmap", draw)
    monkeypatch.setattr(heatmap, "fit", fit)
    monkeypatch.setattr(heatmap, "read_grid", lambda directory: cells)
    heatmap.write_heatmap(output=tmp_path / "a.png")
    heatmap.write_heatmap(tmp_path, tmp_path / "b.png")
    theoretic, simulated = asked
    assert theoretic[0] is heatmap.THEORY and theoretic[3:] == (60, 2.0)
    assert theoretic[1] == {"Sequential": [], "Parallel": [], "Ahead": []}
    assert "closed forms: no overhead" in theoretic[2]
    # The grid's least c is 2, at which points are to be seen.
    assert simulated[3:] == (12, pytest.approx(1.8)) and fitted == [cells]
    assert f"texts of {TOKENS} tokens" in simulated[2] and "simulation" in simulated[2]
    assert list(simulated[0]) == ["speculative", "pearl", "pearl_async"]
    assert simulated[1] == {
        "speculative": [],
        "pearl": [(one.speed_ratio, 0.8, 2.0) for one in cells],
        "pearl_async": [],
    }
    # Of a grid of slow targets alone the surface begins where theory does.
    monkeypatch.setattr(heatmap, "read_grid", lambda directory: cells[2:])
    heatmap.write_heatmap(tmp_path, tmp_path / "b.png")
    assert asked[2][4] == 2.0
    with pytest.raises(UserError):
        heatmap.write_heatmap(output=tmp_path / "c.xyz")
    assert len(asked) == 3


def test_points_are_the_best_of_each_cell(cells: list[MeasuredCell]) -> None:
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
        program.main(["predict", str(folder)])
    assert "too few pairs for two halves" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "module", "read"),
    [("heatmap", heatmap, "read_grid"), ("predict", prediction, "read_cells")],
)
def test_commands_draw_a_grid(
    name: str,
    module: Any,
    read: str,
    cells: list[MeasuredCell],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, read, lambda *directories: cells)
    monkeypatch.setattr(heatmap, "_SIMULATED_STEPS", 3)
    output = tmp_path / "drawn.png"
    program.main([name, str(tmp_path), "-o", str(output)])
    assert output.stat().st_size > 10_000
    assert capsys.readouterr().out.endswith(f"{output}\n")


def test_a_heat_map_needs_no_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    program.main(["heatmap"])
    assert capsys.readouterr().out == "heatmap.png\n"
    assert (tmp_path / "heatmap.png").stat().st_size > 10_000


def write_contest(folder: Path, **seconds: list[float]) -> Path:
    """A benchmark without a grid, whose contest is the one pair of :func:`write_bench`."""
    own = content()
    del own["depth"], own["perturbation"]
    write_bench(folder, [own], **seconds)
    (folder / "bench.json").write_text(json.dumps({"grid": [], "contest": own}))
    return folder


def give_schedule(run: Path, kind: str, **settings: Any) -> None:
    """What a decoder says of itself."""
    path = run / "summary.json"
    about = {"schedule": {"_target_": kind, **settings}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_about": about}))


def test_what_is_looked_up_is_as_it_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token a round, which is wrong: the target reads the prompt's 16 tokens and it in 10.4 ms,
    then two tokens in 4.2 ms ten times, and the last in 4 ms; alone it takes 10 and 11 · 4 ms."""
    folder = write_contest(tmp_path, prompt_lookup=[2.0, 4.0, 6.0])
    run = folder / "grid" / "4-0.2" / "02-prompt_lookup"
    give_schedule(run, "decoders.schedule.Sequential", gamma=2, free=True)
    write_cell_rounds(run, lambda rounds: rounds.assign(drafted=1, accepted=0))
    (cell,) = read_cells(folder)
    assert list(cell.recorded) == ["prompt_lookup"]
    assert cell.recorded["prompt_lookup"] == Lookups((((1, 0),) * 12,))
    assert cell.predicted("prompt_lookup", Costs()) == pytest.approx(54 / 56.4)
    assert cell.measured["prompt_lookup"] == pytest.approx(4.1 / 4)
    # Of the draft model they say nothing, wherever the run is; nor does α of them.
    run = run.rename(run.with_name("00-a"))
    places = [[place] for place in range(TOKENS)]
    write_cell_rounds(
        run,
        lambda rounds: rounds.assign(
            drafted_at=places * 3, fates=[["rejected"]] * 3 * TOKENS, drafted_ids=places * 3
        ),
    )
    change_records(run, draft_forwards=1)
    assert read_cells(folder)[0].trace.prompts == (TRACE,)
    assert list(heatmap.simulated([cell], COSTS)) == ["pearl"]
    # In a grid it counts as well. A decoder of one's own begins its rounds who knows where.
    beside = write_bench(tmp_path / "grid", [content()], prompt_lookup=[2.0, 4.0, 6.0])
    other = beside / "grid" / "4-0.2" / "02-prompt_lookup"
    give_schedule(other, "decoders.schedule.Sequential", gamma=2, free=True)
    assert list(read_grid(beside)[0].recorded) == ["prompt_lookup"]
    theirs = (Ahead, Sequential)
    monkeypatch.setattr(grid, "drafted_alone", lambda own: not isinstance(own, theirs))
    give_schedule(run, "decoders.schedule.Ahead", ahead=9)
    assert not grid._is_simulated(finished_runs(run)[0])
    give_schedule(other, "decoders.schedule.Ahead", ahead=9)
    with pytest.raises(UserError, match="prompt_lookup is not simulated"):
        read_grid(beside)
    give_schedule(run, "decoders.schedule.Sequential", gamma=9)
    assert grid._is_simulated(finished_runs(run)[0])


def test_what_both_models_read_is_as_it_was_recorded(tmp_path: Path) -> None:
    """After the prompt, which the target reads in 10 ms, it reads a token and a guess of four each
    time (4.8 ms), while the draft model reads a token and a guess of five (5.4 ms) and chooses a
    token after it and one more (0.2 ms, a fifth of 1 ms); the second is given up with the first."""
    folder = write_contest(tmp_path, retrieving=[2.0, 4.0, 6.0])
    timed = json.loads((folder / "bench.json").read_text())
    timed["contest"]["forwards"][0]["read"] = {"6": (5.4e-3, 6.4e-3)}
    (folder / "bench.json").write_text(json.dumps(timed))
    run = folder / "grid" / "4-0.2" / "02-retrieving"
    give_schedule(run, "decoders.schedule.Retrieving", gamma=2, guesses=5)
    first, later = ([0, 0], [1, 1], 16), ([5], [2], 5)
    guessed, given, read = zip(*[first, *[later] * (TOKENS - 1)] * 3, strict=True)
    told = {"drafted": 2, "judged": 1, "accepted": 0, "target_tokens": read}
    write_cell_rounds(run, lambda rounds: rounds.assign(**told, guessed=guessed, given=given))
    (cell,) = read_cells(folder)
    rounds = [Retrieved(1, 0, 1, 0, (0, 0), (1, 1)), *[Retrieved(1, 0, 1, 4, (5,), (2,))] * 11]
    assert cell.recorded == {"retrieving": Retrievals((tuple(rounds),))}
    assert cell.predicted("retrieving", Costs()) == pytest.approx(54 / (10 + 11 * 5.6))
    assert cell.measured["retrieving"] == pytest.approx(4.1 / 4)
    # Of others' texts it says nothing; no rate says what it does.
    assert cell.trace.prompts == (TRACE,)
    assert list(heatmap.simulated([cell], COSTS)) == ["pearl"]
    # Before such forwards were timed: between 1 ms for a token and 2 for 16, less than the target.
    del timed["contest"]["forwards"][0]["read"]
    (folder / "bench.json").write_text(json.dumps(timed))
    (old,) = read_cells(folder)
    assert old.predicted("retrieving", Costs()) == pytest.approx(54 / (10 + 11 * 4.8))
    # And of before rounds said what forwards gave.
    write_cell_rounds(run, lambda rounds: rounds.drop(columns=["guessed", "given"]))
    with pytest.raises(UserError, match=r"bench.json: rounds .* do not say .*; run it again"):
        read_cells(folder)


def test_a_contest_is_a_cell_without_what_is_not_simulated(tmp_path: Path) -> None:
    folder = write_contest(tmp_path / "a", lookahead=[1.0, 1.0, 1.0])
    summary = json.loads((folder / "grid" / "4-0.2" / "02-lookahead" / "summary.json").read_text())
    cells = read_cells(folder, write_bench(tmp_path / "b", [content()]))
    assert [cell.name for cell in cells] == [
        f"{summary['pair']}, {summary['task']}",
        "depth 4, perturbation 0.2",
    ]
    assert cells[0].measured == {"pearl γ=2": pytest.approx(4.1 / 2)} == cells[1].measured
    with pytest.raises(UserError, match="no grid was measured"):
        read_grid(folder)
    for run in (folder / "grid" / "4-0.2").iterdir():
        if not run.name.endswith("lookahead"):
            shutil.rmtree(run)
    with pytest.raises(UserError, match="none of the contest's decoders is simulated"):
        read_cells(folder)


def test_what_is_known_of_a_text_is_what_right_outputs_said_of_it(tmp_path: Path) -> None:
    """Where an output was not the target's, what was accepted in it says nothing of the text. How
    sure the draft model was is taken from the first run that says so."""
    folder = write_contest(tmp_path, pearl_adaptive=[1.0, 2.0, 3.0])
    own = folder / "grid" / "4-0.2"
    give_schedule(own / "02-pearl_adaptive", "decoders.schedule.Adaptive", ahead=96)
    write_cell_rounds(own / "02-pearl_adaptive", lambda rounds: rounds.assign(confidences=[
        [0.5 + place / 100 for place in places] for places in rounds["drafted_at"]
    ]))  # fmt: skip
    (cell,) = read_cells(folder)
    assert cell.trace.prompts == (TRACE,)
    expected = [0.5 + place / 100 for place in range(TOKENS)]
    assert cell.trace.confidences == (pytest.approx(expected),)
    for name in ("01-pearl", "02-pearl_adaptive"):
        change_records(own / name, exact_match=False)
    with pytest.raises(UserError, match="needs a prompt with drafted tokens that were judged"):
        read_cells(folder)
    change_records(own / "02-pearl_adaptive", exact_match=True, draft_forwards=0)
    with pytest.raises(UserError, match="needs a prompt with drafted tokens that were judged"):
        read_cells(folder)


def test_a_run_that_says_no_confidence_has_none(cell: MeasuredCell) -> None:
    assert cell.trace.confidences is None


def test_the_reference_is_over_its_own_tokens(tmp_path: Path) -> None:
    """Of 6 tokens it takes twice as long for each: 4 s for the 12 of a text, twice 2.05 s."""
    folder = write_bench(tmp_path, [content()])
    for run in (folder / "grid" / "4-0.2").iterdir():
        change_records(run, reference_output_ids=OUTPUT[:6])
    (cell,) = read_grid(folder)
    # Its own run has 12 tokens: 2.1, 4.2 and 6.3 s beside 4, 8 and 12 s; the median of all is 5.25.
    assert cell.measured == {"pearl γ=2": pytest.approx(5.25 / 2)}
    assert cell.same == pytest.approx(8 / 4.2)


def change_records(folder: Path, **fields: Any) -> None:
    path = folder / "records.jsonl"
    lines = [json.loads(line) | fields for line in path.read_text().splitlines()]
    path.write_text("".join(f"{json.dumps(one)}\n" for one in lines))


def write_cell_rounds(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / "rounds.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def test_contests_are_halved_in_turn(cell: MeasuredCell) -> None:
    own = [replace(cell, name=name, dials=None) for name in "abc"]
    assert [[one.name for one in half] for half in halves(own)] == [["a", "c"], ["b"]]


def test_each_turn_of_a_dialogue_is_a_text(tmp_path: Path) -> None:
    """Two turns that take 2 and 3 s where the reference takes 2 and 4: √(1 · 4/3)."""
    folder = write_contest(tmp_path)
    for path in folder.rglob("records.jsonl"):
        first = json.loads(path.read_text().splitlines()[0])
        own = {"00": (2.0, 4.0), "01": (2.0, 3.0)}[path.parent.name[:2]]
        turns = [
            first | {"turn": i, "seconds": one, "reference_seconds": (2.0, 4.0)[i]}
            for i, one in enumerate(own)
        ]
        path.write_text("".join(f"{json.dumps(one)}\n" for one in turns))
        rounds = pd.read_parquet(path.with_name("rounds.parquet"))
        rounds = rounds[rounds["sample"] == 0]
        both = pd.concat([rounds, rounds.assign(turn=1)])
        both.to_parquet(path.with_name("rounds.parquet"), index=False)
    (cell,) = read_cells(folder)
    assert cell.measured == {"pearl γ=2": pytest.approx((4 / 3) ** 0.5)}
    assert (cell.prompts, cell.trace.prompts) == ((16, 16), (TRACE, TRACE))


def test_texts_of_several_lengths_are_refused(tmp_path: Path) -> None:
    folder = write_contest(tmp_path)
    for path in folder.rglob("records.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[1]["new_tokens"] = 9
        path.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    with pytest.raises(UserError, match=r"texts are 9 to 12 tokens long, .*protocol=paper"):
        read_cells(folder)


def test_the_cost_of_a_librarys_loop_is_fitted_where_there_is_one(cell: MeasuredCell) -> None:
    schedules: dict[str, Schedule] = {
        "assisted_constant γ=2": Sequential(2, library=True),
        "speculative γ=2": Sequential(2),
    }
    own = replace(cell, schedules=schedules)
    costs = Costs(round=1e-4, library=2e-3)
    slow = {label: own.predicted(label, costs) for label in schedules}
    assert fit([replace(own, measured=slow)]).library == pytest.approx(2e-3, rel=0.1)
    assert fit([replace(own, measured=slow)]).lookup == 0.0
    assert fit([cell]).library == 0.0


def test_the_cost_of_looking_up_is_fitted_where_somebody_does(cell: MeasuredCell) -> None:
    schedules: dict[str, Schedule] = {
        "suffix γ=2": Sequential(2, free=True),
        "speculative γ=2": Sequential(2),
    }
    found = {"suffix γ=2": Lookups((((0, 0),) * TOKENS,))}
    own = replace(cell, schedules=schedules, recorded=found)
    slow = {label: own.predicted(label, Costs(round=1e-4, lookup=3e-4)) for label in schedules}
    fitted = fit([replace(own, measured=slow)])
    assert fitted.lookup == pytest.approx(3e-4, rel=0.1) and fitted.library == 0.0
