"""How long the draft model and the target agree: runs of accepted tokens, beside a coin's."""

from __future__ import annotations

import pandas as pd


def agreement(records: pd.DataFrame) -> pd.DataFrame:
    """What came after 0, 1, 2 … accepted tokens in a row, of a run's ``records.jsonl``.

    ``accepted``: how many tokens in a row; ``reached``: how often the token after them was judged;
    ``went_on``: how often it was accepted; ``chance``: the share of these; ``share``: of the runs
    of accepted tokens that are at least so long, as the product of the chances before (Kaplan and
    Meier), so that a run that the end of a text cut off counts as far as it went. Were every token
    accepted with one chance α, whatever came before, ``chance`` would be α and ``share`` α to the
    power of ``accepted``: a geometric distribution.

    Of decoders whose runs end at a rejection alone, as PEARL's do, and at the end of a text.
    """
    ended: list[int] = []
    lengths: list[int] = []
    for runs, judged, accepted in records[["accepted_runs", "judged", "accepted"]].itertuples(
        index=False
    ):
        lengths += runs
        # Each rejection ends a run; if there is one more, it is the last, and was cut off.
        ended += list(runs)[: judged - accepted]
    rows = [
        {
            "accepted": length,
            "reached": ended.count(length) + sum(one > length for one in lengths),
            "went_on": sum(one > length for one in lengths),
        }
        for length in range(max(lengths, default=-1) + 1)
    ]
    frame = pd.DataFrame(rows, columns=["accepted", "reached", "went_on"])
    frame = frame[frame["reached"] > 0]
    frame["chance"] = frame["went_on"] / frame["reached"]
    frame["share"] = frame["chance"].cumprod().shift(fill_value=1.0)
    return frame
