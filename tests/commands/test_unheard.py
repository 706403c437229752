"""A decoder from a folder elsewhere is predicted by what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from unheard import Sprinter, Sprints

from pearl_eval.simulation import (
    ForwardTimes,
    Rate,
    Simulation,
    describe,
    predict_speedup,
    read_schedule,
)

#: 12 texts of 128 tokens, of which all drafted ones are right.
GIVEN = (
    "protocol=paper",
    "task.limit=12",
    "task.max_new_tokens=128",
    "estimate.target_seconds=0.1",
    "estimate.draft_seconds=0.02",
    "estimate.acceptance_rate=1",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine" / "decoder").mkdir(parents=True)
    (tmp_path / "mine" / "decoder" / "sprinter.yaml").write_text("_target_: unheard.Sprinter\n")
    return tmp_path / "mine"


def estimated(run_cli: Command, folder: Path, *arguments: str) -> dict[str, Any]:
    code, out, err = run_cli(
        "--dry-run",
        "--json",
        f"--config-dir={folder}",
        "decoder=sprinter",
        *arguments,
        small_pair=False,
    )
    assert code == 0, err
    (job,) = json.loads(out)["jobs"]
    return dict(job)


def test_its_hours_follow_from_its_own_rounds(run_cli: Command, folder: Path) -> None:
    """A text is 32 rounds of 0.12 s, which give 4 tokens each."""
    job = estimated(run_cli, folder, "pair=tiny", *GIVEN)
    assert job["decoding_seconds"] == pytest.approx(12 * 32 * 0.12)
    assert (job["decoder"], job["at_most"], job["basis"]) == ("sprinter", False, "given")


def test_one_that_is_not_simulated_is_at_most_as_slow_as_the_target(
    run_cli: Command, folder: Path
) -> None:
    job = estimated(run_cli, folder, "pair=tiny", "decoder.told=false", *GIVEN)
    assert job["decoding_seconds"] == pytest.approx(12 * 128 * 0.1)
    assert job["at_most"]


def test_its_gpus_follow_from_where_it_says_its_draft_model_is(
    run_cli: Command, folder: Path
) -> None:
    for shares, gpus in (("false", 3), ("true", 2)):
        arguments = ("pair=llama2_7b_70b", f"decoder.shares={shares}", *GIVEN)
        places = estimated(run_cli, folder, *arguments)["places"]
        assert (places["gpus"], places["competing"]) == (gpus, shares == "true")


def test_what_its_schedule_refuses_is_one_line(run_cli: Command, folder: Path) -> None:
    arguments = ("--dry-run", f"--config-dir={folder}", "decoder=sprinter", "decoder.tokens=0")
    code, _, err = run_cli(*arguments, small_pair=False)
    assert code == 2
    assert "decoder.tokens must be at least 1, got 0" in err and len(err.splitlines()) == 1


def test_it_is_simulated_by_its_own_rounds() -> None:
    """A target forward takes 5 s, a draft forward 1: 4 tokens in 6 s where the target's take 20."""
    schedule = Sprinter(3).simulated_as()
    assert schedule is not None
    times = ForwardTimes.constant(5.0)
    result = Simulation(schedule, times, Rate(1.0), max_new_tokens=8).run()
    assert (result.seconds, result.rounds, result.accepted_runs) == (12.0, 2, [3, 3])
    assert predict_speedup(schedule, times, Rate(1.0), tokens=8, max_new_tokens=8) == pytest.approx(
        20 / 6
    )


def test_what_files_say_of_it() -> None:
    said = Sprinter(4, shares=True).describe()
    assert said == {
        "idea": "one forward, many tokens",
        "engine": "transformers",
        "overlap": "never",
        "draft_ends": 1,
        "schedule": {"_target_": "unheard.Sprints", "tokens": 4},
    }
    assert read_schedule(said["schedule"]) == Sprints(4)
    assert Sprinter(told=False).describe()["schedule"] is None


class Plain:
    """A schedule that is no dataclass has no settings to tell."""

    def rounds(self, machine: object) -> Any:
        yield from Sprints(1).rounds(machine)  # type: ignore[arg-type]

    def ends_run(self, one: object) -> bool:
        return True


def test_a_schedule_may_be_any_object_that_has_rounds() -> None:
    assert list(describe(Plain())) == ["_target_"]
    result = Simulation(Plain(), ForwardTimes.constant(5.0), Rate(1.0), max_new_tokens=4).run()
    assert (result.seconds, result.tokens) == (12.0, 4)
