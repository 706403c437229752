"""What this project wants to reach beside what the benchmark measures here. Times are reported,
never asserted: read what this prints (``pytest -m nightly -s tests/commands/test_goals.py``)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from goals import Goal, contest_goals, crossing, goals, grid_goals, run_goals
from make_record import make_record
from written_run import write_run

from decoders.round import Round
from pearl_eval.results.runs import read_runs

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.nightly
def test_the_projects_goals_beside_what_is_measured(run_command: Run, tmp_path: Path) -> None:
    code, out, err = run_command("bench", "grid=controlled", "hydra.run.dir=bench")
    print(out)
    assert code == 0, err
    found = [*goals(tmp_path / "bench"), *run_goals(tmp_path / "run")]
    print(*found, sep="\n")
    assert all(goal.met is not None for goal in found)
    sent = next(goal for goal in found if goal.name == "bytes a round")
    assert sent.met  # no time, and the same wherever it is measured


@pytest.mark.parametrize(("value", "met"), [(0.9, True), (0.899, False), (None, None)])
def test_a_goal_is_met_from_its_threshold_on(value: float | None, met: bool | None) -> None:
    assert Goal("more", value, "≥", 0.9).met is met
    turned = None if value is None else 1.8 - value
    assert Goal("less", turned, "≤", 0.9).met is met


def parallel(start: float, draft: float, target: float, wait: float) -> Round:
    """The target begins 0.1 s after the round, and then waits for the drafted tokens."""
    return Round(
        "post-verify",
        drafted=5,
        draft_seconds=draft,
        target_seconds=target,
        wait_target_seconds=wait,
        start=start,
        draft_start=start,
        target_start=start + 0.1,
        target_tokens=5,
        verified_length=12,
    )


def test_crossing_is_what_a_round_takes_beyond_its_longer_side(tmp_path: Path) -> None:
    """0.1 + 7 + 0.5 − 7 s, and 0.1 + 4 + 1.8 − 5.5 s; the prompt's own round is no part of it."""
    rounds = [parallel(0, 50, 90, 0), parallel(100, 5.5, 7, 0.5), parallel(108, 5.5, 4, 1.8)]
    write_run(tmp_path / "run", "pearl", rounds)
    assert crossing(read_runs(tmp_path / "run")[0]) == pytest.approx((0.6 + 0.4) / 2)


def ratios(**values: float) -> dict[str, Any]:
    spread = [1.0] * 5
    return {
        name.replace("_", " "): {"value": value, "low": None, "high": None, "spread": spread}
        for name, value in values.items()
    }


def test_goals_are_of_the_half_on_which_nothing_was_chosen(tmp_path: Path) -> None:
    contest = {
        "rows": [{"contender": "autoregressive", "ratios": ratios(reference=0.97)}],
        "best": [
            {"decoder": "autoregressive", "ratios": ratios(reference=0.97, generate=1.2)},
            {"decoder": "speculative", "ratios": ratios(reference=2.0, best_assisted=1.1)},
        ],
    }
    found = {str(goal).split(":")[0].strip(): goal for goal in contest_goals(contest, tmp_path)}
    assert [(name, one.value) for name, one in found.items()] == [
        ("met         autoregressive ÷ generate", 1.2),
        ("MISSED      autoregressive ÷ generate", 1.2),
        ("MISSED      speculative ÷ best assisted", 1.1),
        ("not measuredpearl ÷ best assisted", None),
        ("MISSED      A/A, off 1", pytest.approx(0.03)),
    ]


def write_speeds(folder: Path, decoder: str, seconds: list[float]) -> None:
    """A run that took so many seconds for each prompt, of which the reference takes 6 s."""
    folder.mkdir(parents=True)
    records = [make_record(i, seconds=one, reference_seconds=6.0) for i, one in enumerate(seconds)]
    (folder / "records.jsonl").write_text("".join(json.dumps(vars(r)) + "\n" for r in records))
    summary = {"decoder": decoder, "pair": "p", "task": "t", "seed": 0, "prompts": len(seconds)}
    summary |= {"violations": 0, "ties": 0, "environment": {}, "exact_match_rate": 1.0}
    (folder / "summary.json").write_text(json.dumps(summary))


def test_the_best_pair_is_chosen_on_one_half_and_reached_on_the_other(tmp_path: Path) -> None:
    """On the first pair PEARL is fastest on the prompts 0 and 2, and slow on the others."""
    times = {"fickle": [0.5, 12.0, 0.5, 12.0], "steady": [2.0, 2.0, 2.0, 2.0]}
    cells = []
    for name, own in times.items():
        write_speeds(tmp_path / name / "0", "pearl", own)
        write_speeds(tmp_path / name / "1", "speculative", [4.0] * 4)
        cell = {"folder": name, "speed_ratio": 4.0, "depth": 2}
        cells.append(cell | {"best": [{"decoder": "pearl"}, {"decoder": "speculative"}]})
    over_reference, over_speculative = grid_goals(cells, tmp_path)
    assert over_reference.value == pytest.approx(6 / 12)
    assert over_speculative.value == pytest.approx(4 / 12)
    assert grid_goals(cells[1:], tmp_path)[1].value == pytest.approx(2.0)
