from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from by_hand import Decode, by_hand

from decoders.draft_length import balanced, check_gamma, expected_best
from decoders.pearl import Pearl
from decoders.round import Round
from decoders.speculative import Speculative

__all__ = ["by_hand"]

Run = Callable[..., tuple[int, str, str]]


def test_balanced_is_the_speed_ratio_where_the_window_costs_nothing() -> None:
    assert balanced(1.0, dict.fromkeys(range(1, 17), 6.0)) == 6


def test_balanced_grows_with_what_a_wider_window_costs() -> None:
    assert balanced(1.0, {w: 5.0 + 0.25 * w for w in range(1, 17)}) == 7


def test_expected_best_for_a_constant_speed_ratio() -> None:
    """c = 5, α = 0.8: γ = 3, 4, 5, 6 give 0.369, 0.3735, 0.3689, 0.359 tokens per draft
    forward; at α = 0.95 it is γ = 10, with 0.575."""
    target = dict.fromkeys(range(1, 17), 5.0)
    assert expected_best(1.0, target, 0.8) == 4
    assert expected_best(1.0, target, 0.95) == 10


@pytest.mark.parametrize("cheap", [2, 3, 4])
def test_expected_best_counts_the_window_of_the_added_token(cheap: int) -> None:
    """Wider windows are much dearer, so as many drafts and one's own token do not pay."""
    target = {window: 5.0 if window <= cheap else 50.0 for window in range(1, 7)}
    assert expected_best(1.0, target, 0.8) == cheap - 1


def test_expected_best_for_drafts_always_and_never_right() -> None:
    target = dict.fromkeys(range(1, 17), 5.0)
    assert expected_best(1.0, target, 1.0) == 15
    assert expected_best(1.0, target, 0.0) == 1


@pytest.mark.parametrize("gamma", [0, -1, "x", ""])
def test_bad_draft_lengths_are_refused(gamma: int | str) -> None:
    with pytest.raises(ValueError, match=rf"decoder\.gamma is the draft length.*, got {gamma!r}$"):
        check_gamma(gamma)


@pytest.mark.parametrize("gamma", [1, 2, 99, "auto"])
def test_good_draft_lengths_are_taken(gamma: int | str) -> None:
    check_gamma(gamma)


@pytest.mark.parametrize(
    ("decoder", "chooser"),
    [
        ("pearl", "decoders.pearl.choose_balanced"),
        ("speculative", "decoders.speculative.choose_expected_best"),
    ],
)
def test_auto_uses_and_records_what_it_chooses(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: str, chooser: str
) -> None:
    monkeypatch.setattr(chooser, lambda *arguments: 7)
    command = ("decoder.gamma=auto", "task.limit=3", "task.max_new_tokens=20", "hydra.run.dir=run")
    code, out, _ = run_cli(f"decoder={decoder}", *command)
    assert code == 0 and "identical 3/3" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["decoder_settings"]["gamma"] == 7
    assert summary["decoder_about"]["schedule"]["gamma"] == 7
    rounds = pd.read_parquet(tmp_path / "run" / "rounds.parquet")
    assert rounds[rounds["task_id"] != "HumanEval/0"]["drafted"].max() == 7


def test_draft_lengths_are_chosen_by_measured_forwards(
    by_hand: Decode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target forward over n tokens takes 10 + n s, a draft forward 3 s.

    Drafting 5 tokens takes as long as verifying them, 15 s. Of vanilla speculative decoding with
    nine of ten accepted, a round of γ = 4 gives 4.095 tokens in 27 s (0.1517 a second), γ = 3 gives
    3.439 in 23 s (0.1495) and γ = 5 gives 4.686 in 31 s (0.1512).
    """
    monkeypatch.setattr("decoders.draft_length.LONGEST", 8)
    monkeypatch.setattr("decoders.draft_length._CONTEXT", 16)
    text = list(range(10, 20))
    by_hand(Pearl("auto"), text, text)
    pearl = by_hand.session
    assert pearl.gamma == pearl.settings()["gamma"] == 5
    first = by_hand(Speculative("auto"), text, text).rounds[0]
    speculative = by_hand.session
    assert first.drafted == 5 == speculative.gamma, "of the first prompt, which measures α"
    blocks = [Round(judged=4, accepted=3), Round(judged=6, accepted=6)]
    speculative.after_warmup(blocks)
    assert speculative.gamma == speculative.settings()["gamma"] == 4
    # With nothing accepted, whatever is drafted is time lost.
    speculative.after_warmup([Round("verify", judged=4, accepted=0)])
    assert speculative.gamma == 1


def test_a_given_draft_length_is_not_chosen_anew(by_hand: Decode) -> None:
    by_hand(Speculative(3), [10, 11], [10, 11])
    speculative = by_hand.session
    speculative.after_warmup([Round("verify", judged=4, accepted=0)])
    assert speculative.gamma == 3


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
