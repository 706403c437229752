"""A run whose sampled tokens are not the target's ends as one with a violation does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bugs import BUGS
from planting import planted

Run = Callable[..., tuple[int, str, str]]
SAMPLED = (
    "decoder=speculative",
    "sampling=temperature",
    "sampling.draft_temperature=0.4",
    "task.limit=10",
    "task.max_new_tokens=120",
)
RESAMPLED = "after a rejection drawn from p, not the residual"


@pytest.mark.parametrize("wrong", [False, True])
def test_a_wrong_rule_of_resampling_fails_the_run(
    wrong: bool, run_cli: Run, tmp_path: Path
) -> None:
    """It shows in tokens that the draft model finds more probable than the target does."""
    (bug,) = [one for one in BUGS if one.name == RESAMPLED]
    if wrong:
        with planted(bug):
            code, _, err = run_cli(*SAMPLED, "hydra.run.dir=run")
    else:
        code, _, err = run_cli(*SAMPLED, "hydra.run.dir=run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["sampled_tokens"] > 800
    assert (code, summary["sampling_p_value"] < 1e-6) == (int(wrong), wrong)
    assert ("sampled tokens are not distributed as the target's" in err) is wrong
