"""How long two models agree, on runs of accepted tokens with chosen lengths."""

from __future__ import annotations

import pandas as pd
import pytest

from pearl_eval.results.agreement import agreement


def test_what_came_after_so_many_accepted_tokens() -> None:
    """Of the second text one token was rejected, so its last run was cut off: 4 and maybe more."""
    records = pd.DataFrame(
        {"accepted_runs": [[2, 0, 3], [1, 4]], "judged": [8, 6], "accepted": [5, 5]}
    )
    found = agreement(records)
    assert found["accepted"].tolist() == [0, 1, 2, 3]
    assert found["reached"].tolist() == [5, 4, 3, 2]
    assert found["went_on"].tolist() == [4, 3, 2, 1]
    assert found["chance"].tolist() == pytest.approx([4 / 5, 3 / 4, 2 / 3, 1 / 2])
    assert found["share"].tolist() == pytest.approx([1, 4 / 5, 3 / 5, 2 / 5])
    # As often as tokens were judged, and accepted.
    assert found[["reached", "went_on"]].sum().tolist() == [14, 10]


def test_the_longest_run_may_end_by_a_rejection() -> None:
    records = pd.DataFrame({"accepted_runs": [[2, 0]], "judged": [4], "accepted": [2]})
    found = agreement(records)
    assert found["reached"].tolist() == [2, 1, 1]
    assert found["went_on"].tolist() == [1, 1, 0]
    assert found["share"].tolist() == pytest.approx([1, 1 / 2, 1 / 2])


def test_where_nothing_was_judged_there_is_nothing() -> None:
    records = pd.DataFrame({"accepted_runs": [[]], "judged": [0], "accepted": [0]})
    assert agreement(records).empty
