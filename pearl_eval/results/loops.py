"""Where texts loop: tokens that repeat what the text had before, and how drafts fared there."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from pearl_eval.results.traces import KEY, Traces

#: So many tokens in a row that the text had before are a repetition.
SPAN = 10
_OF_ROUNDS = ["round", "length_before", "verified_length", "wall", "drafted_at", "fates"]


def repeats(ids: Sequence[int], span: int = SPAN) -> list[bool]:
    """Of each token, whether the ``span`` tokens that it ends are in the text before, too.

    The two may overlap: of one token over and over all but the first ``span`` repeat.
    """
    seen: set[tuple[int, ...]] = set()
    found = []
    for end in range(1, len(ids) + 1):
        # Near the beginning it is shorter, and so like none before.
        last = tuple(ids[max(0, end - span) : end])
        found.append(last in seen)
        seen.add(last)
    return found


def by_repetition(traces: Traces) -> pd.DataFrame:
    """Two rows a text: of its tokens that repeat (``repeats``), and of the others.

    Besides what tells the text, its ``warmup`` and its ``speedup``: ``tokens``, how many there are;
    ``judged`` and ``accepted``, how often something drafted for their places was; ``timed`` and
    ``seconds``, tokens that came after the first round, which reads the prompt, and how long they
    took. A round's time is shared evenly by its tokens; that of rounds without one is the next
    one's. Only the output is looked at: what it repeats of the prompt is not in the records.
    """
    of_rounds = dict(list(traces.rounds.groupby(KEY)))
    rows = []
    for record in traces.records.to_dict("records"):
        key = tuple(record[name] for name in KEY)
        marks = repeats(list(record["output_ids"]))
        counts = {mark: dict.fromkeys(("judged", "accepted", "timed"), 0) for mark in (False, True)}
        seconds = {False: 0.0, True: 0.0}
        waited = 0.0
        for one in of_rounds[key][_OF_ROUNDS].to_dict("records"):
            judged: dict[int, bool] = {}
            for place, fate in zip(one["drafted_at"], one["fates"], strict=True):
                # A tree has several tokens for one place, of which one at most is right.
                if place < len(marks) and fate != "discarded":
                    judged[place] = judged.get(place, False) or fate == "accepted"
            for place, accepted in judged.items():
                counts[marks[place]]["judged"] += 1
                counts[marks[place]]["accepted"] += accepted
            new = marks[one["length_before"] : one["verified_length"]]
            if one["round"] == 0:
                continue
            waited += one["wall"]
            for mark in new:
                counts[mark]["timed"] += 1
                seconds[mark] += waited / len(new)
            if new:
                waited = 0.0
        shared = {name: record[name] for name in (*KEY, "warmup", "speedup")}
        rows += [
            shared
            | {"repeats": mark, "tokens": marks.count(mark), "seconds": seconds[mark]}
            | counts[mark]
            for mark in (False, True)
        ]
    return pd.DataFrame(rows)


def by_text(found: pd.DataFrame, beside: Sequence[str] = ()) -> pd.DataFrame:
    """A row a text of what ``by_repetition`` gives: the ``share`` of its tokens that repeats, and
    its ``speedup``.

    ``beside``: columns that tell apart texts of several runs that were put together.
    """
    again = found["tokens"].where(found["repeats"], 0)
    texts = found.assign(again=again).groupby([*beside, *KEY], sort=False)
    sums = texts.agg({"again": "sum", "tokens": "sum", "speedup": "first"})
    return sums.assign(share=sums["again"] / sums["tokens"])
