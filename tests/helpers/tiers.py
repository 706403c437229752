"""Which of many alike cases every run of the tests has; the others are of the nightly tier."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def kept(cases: Iterable[Any], now: Collection[Any]) -> list[Any]:
    """``cases`` as parameters, of which only those in ``now`` are run each time."""
    cases = list(cases)
    missing = [one for one in now if one not in cases]
    assert not missing, f"{missing} are no cases"
    return [one if one in now else pytest.param(one, marks=pytest.mark.nightly) for one in cases]
