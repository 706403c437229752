"""Runs of accepted tokens are counted in one way, by decoders and by the simulator."""

from __future__ import annotations

import pytest

from decoders.accepted_runs import accepted_runs
from decoders.round import Round
from decoders.session import Session
from pearl_eval.simulation import (
    Alone,
    ForwardTimes,
    Parallel,
    Schedule,
    Sequential,
    Simulation,
    Trace,
)

TIMES = ForwardTimes.constant(4.0)
#: Eight tokens are right, one is wrong, one right, one wrong, and three right until the text ends.
MARKS = "11111111010111"


def rounds(mode: str, *counts: tuple[int, int]) -> list[Round]:
    """Of vanilla speculative decoding's verify rounds the last token is the target's own."""
    own = int(mode == "verify")
    return [
        Round(mode, judged=judged, accepted=accepted, own_tokens=own or judged - accepted)
        for judged, accepted in counts
    ]


def ends_run(one: Round) -> bool:
    """Of all decoders but ``pearl_async``."""
    return Session.ends_run(None, one)  # type: ignore[arg-type]


def test_a_run_of_pearl_goes_on_until_a_rejection_or_the_end_of_the_text() -> None:
    """Of γ = 4: 1 + 4 + 3, then a wrong token; one that was wrong at once; 1 + 2, cut by the end.

    The authors' scripts (``num_acc_tokens``) leave out the last, which no rejection ends.
    """
    text = [
        *rounds("pre-verify", (1, 1)),
        *rounds("post-verify", (4, 4), (4, 3)),
        *rounds("pre-verify", (1, 0), (1, 1)),
        *rounds("draft", (0, 0)),
        *rounds("post-verify", (2, 2)),
    ]
    assert accepted_runs(text, ends_run) == [8, 0, 3]
    assert accepted_runs(text[:4], ends_run) == [8, 0]


def test_a_run_ends_where_the_target_adds_a_token_that_was_not_drafted() -> None:
    blocks = rounds("verify", (4, 4), (4, 2), (4, 4), (0, 0), (1, 1))
    assert accepted_runs(blocks, ends_run) == [4, 2, 4, 1]
    ablation = [
        *rounds("pre-verify", (1, 1)),
        *rounds("verify", (3, 3)),
        *rounds("pre-verify", (1, 1)),
        *rounds("verify", (3, 1)),
        *rounds("pre-verify", (1, 1)),
    ]
    assert accepted_runs(ablation, ends_run) == [4, 2, 1]


def test_without_a_barrier_the_targets_own_token_is_compared_with_the_draft() -> None:
    blocks = rounds("verify", (3, 3), (2, 2), (4, 1), (0, 0), (2, 2))
    assert accepted_runs(blocks, lambda one: False) == [6, 2]


@pytest.mark.parametrize(
    ("schedule", "runs"),
    [
        # Positions 8 and 10 are the target's own.
        (Parallel(3), [8, 1, 3]),
        # Blocks from 0, 4, 8, 9 and 11 on, each followed by a token of the target's own.
        (Sequential(3), [3, 3, 0, 1, 2]),
        (Alone(), []),
    ],
)
def test_the_simulator_counts_by_the_same_definition(schedule: Schedule, runs: list[int]) -> None:
    simulation = Simulation(
        schedule, TIMES, Trace((MARKS,)), max_new_tokens=len(MARKS), prompts=[5]
    )
    result = simulation.run()
    assert result.accepted_runs == runs
    if runs:
        assert result.mean_accepted_tokens == sum(runs) / len(runs)
    else:
        assert result.mean_accepted_tokens is None
