"""What a draft process may answer, and what is no answer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from decoders.process.drafter import (
    DISTRIBUTION,
    PROPOSAL,
    check_confidence,
    check_seconds,
    check_tokens,
    distribution,
    proposal,
)

VOCAB = 4


def test_proposals() -> None:
    drawn = proposal((PROPOSAL, [0, 3], [0.5, 1.0], 0.25), VOCAB)
    assert (drawn.draft.tokens, drawn.draft.chances, drawn.seconds) == ([0, 3], [0.5, 1.0], 0.25)
    assert proposal((PROPOSAL, [1], [], 0), VOCAB).draft.chances == []
    # A probability of 1, as rounding may leave it.
    assert proposal((PROPOSAL, [1], [1.0005], 0.0), VOCAB).draft.chances == [1.0005]


@pytest.mark.parametrize(
    "answer",
    [
        (DISTRIBUTION, [1], [], 0.0),
        (PROPOSAL, [1], [], 0.0, 0.0),
        (PROPOSAL, [4], [], 0.0),
        (PROPOSAL, [-1], [], 0.0),
        (PROPOSAL, [1.0], [], 0.0),
        (PROPOSAL, ["1"], [], 0.0),
        (PROPOSAL, [1, 2], [0.5], 0.0),
        (PROPOSAL, [1], [0.0], 0.0),
        (PROPOSAL, [1], [1.002], 0.0),
        (PROPOSAL, [1], [-0.5], 0.0),
        (PROPOSAL, [1], [], -1.0),
        (PROPOSAL, [1], [], math.inf),
        (PROPOSAL, [1], [], math.nan),
        (PROPOSAL, [1], [], "1"),
    ],
    ids=str,
)
def test_what_is_no_proposal(answer: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        proposal(answer, VOCAB)


def test_what_is_wrong_with_a_proposal_is_told() -> None:
    for answer, told in (
        ((DISTRIBUTION, [1], [], 0.0), r"drafted tokens \('proposal'\), got 'distribution'$"),
        ((PROPOSAL, [1, 2], [0.5], 0.0), r"for each of 2 drafted tokens, or none, got \[0\.5\]$"),
        ((PROPOSAL, [1, 7], [], 0.0), "expected a token id from 0 to 3, got 7$"),
        ((PROPOSAL, [1], [], -1.0), r"expected a time in seconds, got -1\.0$"),
    ):
        with pytest.raises(ValueError, match=told):
            proposal(answer, VOCAB)


def packed(*row: float) -> tuple[str, str, bytes]:
    return DISTRIBUTION, "float64", torch.tensor(row, dtype=torch.float64).numpy().tobytes()


def test_distributions() -> None:
    assert distribution(packed(0.5, 0.25, 0.25, 0.0), VOCAB).tolist() == [0.5, 0.25, 0.25, 0.0]
    assert distribution(packed(0.5, 0.25, 0.25, 0.009), VOCAB).sum() > 1


@pytest.mark.parametrize(
    "answer",
    [
        (PROPOSAL, *packed(1.0, 0.0, 0.0, 0.0)[1:]),
        packed(0.5, 0.5, 0.0),
        packed(0.5, 0.5, 0.0, 0.0, 0.0),
        packed(1.5, -0.5, 0.0, 0.0),
        packed(0.5, 0.25, 0.25, 0.011),
        packed(0.5, 0.25, 0.239, 0.0),
        packed(math.nan, 1.0, 0.0, 0.0),
    ],
    ids=str,
)
def test_what_is_no_distribution(answer: Any) -> None:
    with pytest.raises(ValueError):
        distribution(answer, VOCAB)


def test_times() -> None:
    check_seconds(0.0, 1, 2.5)
    for wrong in (-0.1, math.inf, math.nan, "1", None):
        with pytest.raises(ValueError):
            check_seconds(0.0, wrong)  # type: ignore[arg-type]


def test_probabilities() -> None:
    """From 0 to 1, as rounding may leave it."""
    for right in (0.0, 0.5, 1.0, 1.0005):
        check_confidence(right)
    for wrong in (-0.1, 1.002, math.nan, 1, "1", None):
        with pytest.raises(ValueError, match="expected a probability, got"):
            check_confidence(wrong)  # type: ignore[arg-type]


def test_tokens() -> None:
    for right in ([], [0], [3, 0]):
        check_tokens(right, VOCAB)
    for wrong in ([4], [0, -1], [1.0], ["1"]):
        with pytest.raises(ValueError, match=f"token id from 0 to 3, got {wrong[-1]!r}"):
            check_tokens(wrong, VOCAB)  # type: ignore[arg-type]
