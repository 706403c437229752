from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from decoders.draft_length import balanced, check_gamma, expected_best

Run = Callable[..., tuple[int, str, str]]


def test_balanced_is_the_speed_ratio_where_the_window_costs_nothing() -> None:
    assert balanced(1.0, dict.fromkeys(range(1, 17), 6.0)) == 6


def test_balanced_grows_with_what_a_wider_window_costs() -> None:
    assert balanced(1.0, {w: 5.0 + 0.25 * w for w in range(1, 17)}) == 7


def test_expected_best_is_what_simulation_says() -> None:
    """c = 5, α = 0.8: (1 − 0.8^(γ+1)) / 0.2 tokens in γ + 5; the best γ by hand is 4."""
    target = dict.fromkeys(range(1, 17), 5.0)
    rates = {g: (1 - 0.8 ** (g + 1)) / 0.2 / (g + 5) for g in range(1, 16)}
    assert expected_best(1.0, target, 0.8) == max(rates, key=lambda g: rates[g])
    assert expected_best(1.0, target, 0.95) > expected_best(1.0, target, 0.5)


def test_expected_best_for_drafts_always_and_never_right() -> None:
    target = dict.fromkeys(range(1, 17), 5.0)
    assert expected_best(1.0, target, 1.0) == 15
    assert expected_best(1.0, target, 0.0) == 1


@pytest.mark.parametrize("gamma", [0, -1, "x", ""])
def test_bad_draft_lengths_are_refused(gamma: int | str) -> None:
    with pytest.raises(ValueError, match=r"decoder\.gamma is the draft length"):
        check_gamma(gamma)


@pytest.mark.parametrize("decoder", ["pearl", "speculative"])
def test_auto_chooses_and_records_a_draft_length(
    run_cli: Run, tmp_path: Path, decoder: str
) -> None:
    code, out, _ = run_cli(
        f"decoder={decoder}",
        "decoder.gamma=auto",
        "task.limit=3",
        "task.max_new_tokens=20",
        "hydra.run.dir=run",
    )
    assert code == 0 and "identical 3/3" in out
    settings = json.loads((tmp_path / "run" / "summary.json").read_text())["decoder_settings"]
    assert 1 <= settings["gamma"] <= 16


def test_profile_prints_the_ratio_and_draws(run_profile: Run, tmp_path: Path) -> None:
    code, out, _ = run_profile("longest=4", "contexts=[16]", "repeats=3", "hydra.run.dir=run")
    assert code == 0
    assert "speed ratio c" in out and "γ that balances" in out and "peak memory" in out
    profile = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert len(profile["timings"]) == 2 * (4 + 1)
    assert (tmp_path / "run" / "profile.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("argument", ["longest=1", "repeats=1", "contexts=[]", "contexts=[0]"])
def test_bad_profiles_are_refused(run_profile: Run, argument: str) -> None:
    code, _, err = run_profile(argument)
    assert code == 2 and "must be at least" in err and len(err.splitlines()) == 1
