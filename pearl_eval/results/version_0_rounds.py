"""Rounds of version 0, which did not record what became of drafted tokens: that is derived here.

It is told from mode names and from times that overlap, as those of the decoders of that time had
them, and from the output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd

from decoders.round import Fate
from pearl_eval.results.additions import with_comparisons
from pearl_eval.results.records import KEY_FIELDS, Key

#: Modes in which the models run at the same time within one round.
_PARALLEL = ("pre-verify", "post-verify")


def upgrade_rounds(rounds: pd.DataFrame, outputs: Mapping[Key, Sequence[int]]) -> pd.DataFrame:
    """Rounds with the columns of version 1.

    Parameters
    ----------
    rounds
        Of one run, in order.
    outputs
        The output of each prompt, as token ids.
    """
    rounds = rounds.copy()
    of_prompt = rounds.groupby(list(KEY_FIELDS), sort=False)
    before = of_prompt["verified_length"].shift(fill_value=0)
    free = _runs_free(rounds)
    draft, target = rounds["draft_seconds"], rounds["target_seconds"]
    parallel = rounds["mode"].isin(_PARALLEL)
    busy = (draft + target).mask(parallel, np.maximum(draft, target)).mask(free, target)
    gained = rounds["verified_length"] - before
    # What runs by itself leaves the last token of each round to the target.
    from_draft = np.minimum(rounds["accepted"], gained - free)
    alone = (target == 0) & (draft > 0) & (rounds["judged"] == 0)
    rounds["busy_seconds"] = busy
    rounds["own_tokens"] = (gained - from_draft).mask(alone, 0)
    # What is read at a round's start was made right before it.
    rounds["draft_start"] = (rounds["draft_start"] - draft.where(free, 0.0)).clip(lower=0.0)
    fates: dict[object, list[str]] = {}
    for key, group in of_prompt:
        known = before.loc[group.index]
        own = outputs.get(cast(Key, key), ())
        made = _fates(group, known, bool(free.loc[group.index].any()), own)
        fates.update(zip(group.index, made, strict=True))
    rounds["fates"] = pd.Series(fates, dtype=object).reindex(rounds.index)
    return with_comparisons(rounds)


def _runs_free(rounds: pd.DataFrame) -> pd.Series[bool]:
    """Rounds whose drafted tokens were made beforehand, by a draft model that runs on by itself."""
    turns = ~rounds["mode"].isin(_PARALLEL)
    overlap = rounds["draft_start"] + rounds["draft_seconds"] > rounds["target_start"]
    return turns & overlap & (rounds["draft_seconds"] > 0) & (rounds["target_seconds"] > 0)


def _fates(
    rounds: pd.DataFrame, before: pd.Series[int], free: bool, output_ids: Sequence[int]
) -> list[list[str]]:
    """What became of each round's drafted tokens, of one prompt."""
    # What runs on by itself was made in the round before, when only what that began with was known.
    known = before.shift(1 if free else 0, fill_value=0)
    fates: list[list[Fate]] = []
    expected, wrong_at = -1, -1
    columns = (rounds[name] for name in ("drafted_ids", "drafted_at", "draft_seconds"))
    for ids, places, seconds, final in zip(*columns, known, strict=True):
        if not seconds:
            fates.append(_guess_fates(ids, places, output_ids))
            continue
        fates.append([])
        for token, place in zip(ids, places, strict=True):
            beyond = place >= len(output_ids)
            agrees = not beyond and token == output_ids[place]
            # What was drafted after a wrong token is discarded until the draft model starts anew:
            # at another place, or once what is final takes that token's place. A model that runs
            # on hears of that up to a token later.
            if place != expected or (wrong_at < final and (agrees or not free)):
                wrong_at = -1
            expected = place + 1
            if beyond or wrong_at >= 0:
                fates[-1].append(Fate.discarded)
            elif agrees:
                fates[-1].append(Fate.accepted)
            else:
                fates[-1].append(Fate.rejected)
                wrong_at = place
    return [[fate.value for fate in one] for one in fates]


def _guess_fates(
    ids: Sequence[int], places: Sequence[int], output_ids: Sequence[int]
) -> list[Fate]:
    """What became of a tree that no model drafted: given depth first, from the text's end on."""
    fates: list[Fate] = []
    latest: dict[int, Fate] = {}
    for token, place in zip(ids, places, strict=True):
        above = Fate.accepted if place == places[0] else latest[place - 1]
        if above is not Fate.accepted or place >= len(output_ids):
            fate = Fate.discarded
        else:
            fate = Fate.accepted if token == output_ids[place] else Fate.rejected
        latest[place] = fate
        fates.append(fate)
    return fates
