"""What files of version 1 may lack, since it was added later: derived from what they have.

A reader fills it in, so that nothing else knows of files without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from decoders.accepted_runs import verifications
from decoders.round import Round
from pearl_eval.results.latency import Latency
from pearl_eval.results.records import KEY_FIELDS, Record

#: The mode of rounds whose target forward had no drafted token to judge.
_ALONE = "decode"


def with_measures(record: Record, rounds: Sequence[Round]) -> Record:
    """A record with what it lacks of what follows from its rounds."""
    if record.verifications is not None:
        return record
    latency = Latency.of_rounds(rounds, record.seconds)
    return replace(record, verifications=verifications(rounds), **latency.figures())


def with_engine_times(rounds: pd.DataFrame) -> pd.DataFrame:
    """Rounds that say what an engine did when, or that nobody knows."""
    numbers = dict.fromkeys(("step_start", "step_seconds", "wait_start"), 0.0)
    return _with_columns(rounds, numbers, ("drafted_from", "drafted_until"))


def with_choices(rounds: pd.DataFrame) -> pd.DataFrame:
    """Rounds that say what a decoder chose among, or that it did not choose."""
    numbers = dict.fromkeys(("at_hand", "awaited"), 0)
    return _with_columns(rounds, numbers, ("confidences", "chances"))


def with_retrieved(rounds: pd.DataFrame) -> pd.DataFrame:
    """Rounds that say which of their drafts were looked up, and what forwards gave, or that none
    was."""
    return _with_columns(rounds, {"retrieved": 0}, ("guessed", "given"))


def with_foresight(rounds: pd.DataFrame) -> pd.DataFrame:
    """Rounds that say what was prepared for the outcome before them, or that nothing was."""
    numbers = dict.fromkeys(("outcomes", "fan_out", "branch_forwards", "branch_tokens"), 0)
    rounds = _with_columns(rounds, numbers | {"hit": False, "branch_seconds": 0.0}, ())
    # Only whole drafts were prepared.
    return _with_columns(rounds, {"prepared": rounds["drafted"] * rounds["hit"]}, ())


def with_comparisons(rounds: pd.DataFrame) -> pd.DataFrame:
    """Rounds that say which of their tokens were compared with the target's own of before.

    Accepted ones among them are those that did not lengthen the text. How many were judged in all
    is told as far as it says whether the target's forward judged any.
    """
    if "compared" in rounds:
        return rounds
    before = rounds.groupby(list(KEY_FIELDS), sort=False)["verified_length"].shift(fill_value=0)
    from_draft = rounds["verified_length"] - before - rounds["own_tokens"]
    agreed = (rounds["accepted"] - from_draft).clip(lower=0)
    compared = agreed.mask(rounds["mode"] == _ALONE, rounds["judged"])
    return rounds.assign(compared=compared, compared_accepted=agreed)


def _with_columns(
    rounds: pd.DataFrame, numbers: Mapping[str, float | pd.Series[Any]], lists: Iterable[str]
) -> pd.DataFrame:
    """With those of some columns that are missing: of one number each or several, or of empty
    lists."""
    for name, number in numbers.items():
        if name not in rounds:
            rounds = rounds.assign(**{name: number})
    for name in lists:
        if name not in rounds:
            rounds = rounds.assign(**{name: pd.Series([[] for _ in rounds.index], rounds.index)})
    return rounds
