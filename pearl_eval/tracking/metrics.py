"""What of a run is logged as metrics and tables, and under which names."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from decoders.accepted_runs import acceptance_length, acceptance_rate
from pearl_eval.results.records import KEY_FIELDS, Record, biased

#: The x axis of per-prompt metrics: the number of the prompt, from 0.
PROMPT = "prompt"
#: Tables, histogram and pictures of a run. Its figures go by their names in ``summary.json``.
ROUNDS_TABLE = "rounds"
WORST_TABLE = "worst_prompts"
RUNS_HISTOGRAM = "accepted_runs"
AUDIT_TABLE = "audit"
EQUIVALENCE = "equivalence"
TIMELINES = "timelines"

#: What identifies a prompt; a table of rounds is sampled by it.
_KEY = list(KEY_FIELDS)
#: Fields of a record that are too large to be metrics.
_LARGE = {"output_ids", "reference_output_ids", "text", "accepted_runs", "verifications"}
#: Longest text in a table or as the reason of a failed check, in characters.
_LONGEST = 300
#: Most bins that W&B shows of a histogram.
_BINS = 512


def prompt_metrics(record: Record) -> dict[str, Any]:
    """The metrics of one finished prompt, as ``prompt/NAME``; those that it lacks are left out.

    Names are those of a record's fields, and those of ``summary.json`` for rates. What is true or
    false is 1 or 0, so that it can be drawn.
    """
    fields = {k: v for k, v in dataclasses.asdict(record).items() if k not in _LARGE}
    fields["result"] = record.result[:_LONGEST]
    fields |= {
        "tokens_per_second": record.new_tokens / record.seconds,
        "reference_tokens_per_second": len(record.reference_output_ids) / record.reference_seconds,
        "acceptance_rate": acceptance_rate([record]),
        "acceptance_length": acceptance_length(record.verifications or []),
        "mean_accepted_tokens": float(np.mean(record.accepted_runs))
        if record.accepted_runs
        else None,
        **{
            f"wait_fraction_{model}": None if waited is None else waited / record.seconds
            for model, waited in (
                ("draft", record.wait_draft_seconds),
                ("target", record.wait_target_seconds),
            )
        },
        "violation": record.verdict == "violation",
        "tie": record.verdict == "tie",
        "lost": bool(record.lost),
    }
    return {
        f"{PROMPT}/{name}": int(value) if isinstance(value, bool) else value
        for name, value in fields.items()
        if value is not None
    }


def sampled_rounds(rounds: pd.DataFrame, limit: int) -> pd.DataFrame:
    """At most ``limit`` rows: all rounds of prompts evenly spread over the run.

    A table of more rows would be cut by W&B. If one prompt alone has more rounds, those are its
    first. Lists become text, which a cell can hold.
    """
    if len(rounds) > limit:
        prompt = rounds.groupby(_KEY, sort=False).ngroup().to_numpy()
        stride = next(
            step
            for step in itertools.count(2)
            if (prompt % step == 0).sum() <= limit or step > prompt.max()
        )
        rounds = rounds[prompt % stride == 0].head(limit)
    lists = [
        name
        for name in rounds.columns
        if rounds[name].map(lambda cell: isinstance(cell, (list, np.ndarray))).any()
    ]
    as_text = {name: rounds[name].map(lambda cell: " ".join(map(str, cell))) for name in lists}
    return rounds.assign(**as_text)


def worst_prompts(records: Sequence[Record], count: int) -> pd.DataFrame:
    """The ``count`` prompts with the lowest speedup, the lowest first; without the warm-up."""
    timed = sorted((r for r in records if not r.warmup), key=lambda record: record.speedup)
    columns = [*_KEY, "category", "speedup", "acceptance_rate", "new_tokens", "verdict", "text"]
    rows = [
        dataclasses.asdict(record)
        | {"acceptance_rate": acceptance_rate([record]), "text": record.text[:_LONGEST]}
        for record in timed[:count]
    ]
    return pd.DataFrame(rows, columns=columns)


def run_length_histogram(
    records: Sequence[Record],
) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Counts and bin edges of the lengths of accepted runs; ``None`` where there are none.

    A bin is one length, as long as W&B shows so many.
    """
    lengths = [length for record in records for length in record.accepted_runs]
    if not lengths:
        return None
    longest = max(lengths)
    counts, edges = np.histogram(lengths, bins=min(longest + 1, _BINS), range=(-0.5, longest + 0.5))
    return counts, edges


def equivalence_html(summary: dict[str, Any]) -> str:
    """How many outputs are not the target's own: a red number, or a green 0.

    Red, too, where sampled tokens are not distributed as the target's; grey how many differ of a
    decoder that does not claim the target's output.
    """
    number, prompts = summary["violations"], summary["prompts"]
    said = f"of {prompts} outputs are not the target's own"
    colour = "#d32f2f" if number else "#2e7d32"
    lossy = summary["lossy"]
    if not lossy and biased(summary):
        colour, number = "#d32f2f", f"p = {summary['sampling_p_value']:.1e}"
        said = "sampled tokens are not distributed as the target's"
    elif not number and lossy:
        colour, number = "#757575", lossy
        said = f"of {prompts} outputs differ from the target's, which the decoder does not claim"
    return (
        '<div style="font-family:sans-serif;text-align:center">'
        f'<div style="color:{colour};font-size:72px;font-weight:bold">{number}</div>'
        f"<div>{said}</div></div>"
    )
