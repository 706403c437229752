"""The figures of docs/real-models.md: ``python docs/smollm2/shown.py RUNS…``.

Of folders of runs, by task: speedups and acceptance, waiting, how much of the texts repeats and is
outside the draft model's head, how long the two models agree, chances that were foreseen, and what
forwards took.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.frames.frame import load
from analysis.frames.markdown import markdown_table
from pearl_eval.config.paths import asset
from pearl_eval.pairs.frequent_tokens import read_frequent
from pearl_eval.results.agreement import agreement
from pearl_eval.results.intervals import mean_ratio_interval, wilson
from pearl_eval.results.loops import by_repetition, by_text
from pearl_eval.results.traces import Traces

#: A column of a table, by the names of its rows.
Column = dict[str, str]
#: Runs of accepted tokens, told apart by their lengths.
_LENGTHS = {"0": (0, 0), "1": (1, 1), "2 or 3": (2, 3), "4 or more": (4, 10**9)}
#: Texts, by the share of their tokens that repeat.
_SHARES = {"less than 10 %": (0.0, 0.1), "10 to 40 %": (0.1, 0.4), "40 % or more": (0.4, 1.1)}
#: Runs of accepted tokens that are long.
_LONG = (8, 16)


@dataclass
class Task:
    """The runs of one task, by decoder: rows of the frame, and their traces."""

    name: str
    runs: dict[str, pd.Series]
    traces: dict[str, Traces]

    @cached_property
    def repetition(self) -> dict[str, pd.DataFrame]:
        """What :func:`by_repetition` gives of each decoder's timed texts."""
        found = {name: by_repetition(own) for name, own in self.traces.items()}
        return {name: own[~own["warmup"].astype(bool)] for name, own in found.items()}

    @property
    def texts(self) -> pd.DataFrame:
        """The records of some run: texts of a lossless decoder are the target's own."""
        return next(iter(self.traces.values())).records


def tasks(folders: Sequence[str]) -> list[Task]:
    """The finished runs in some folders, by task."""
    found = []
    for name, own in load(folders).groupby("task", sort=False):
        runs = {run["decoder"]: run for _, run in own.iterrows()}
        traces = {decoder: Traces.read(Path(run["run"])) for decoder, run in runs.items()}
        found.append(Task(str(name), runs, traces))
    return found


def speedups(task: Task) -> Column:
    """Over the reference, with the 95 % interval over problems."""
    ends = ["speedup", "speedup_low", "speedup_high"]
    return {name: _ratio(*run[ends]) for name, run in task.runs.items()}


def rates(task: Task) -> Column:
    """α, accepted ÷ judged."""
    found = {name: run["acceptance_rate"] for name, run in task.runs.items()}
    return {name: f"{rate:.2f}" for name, rate in found.items() if pd.notna(rate)}


def waiting(task: Task) -> Column:
    """Of decoding time, in which the draft model and the target waited; and drafts thrown away."""
    return {
        name: f"{_share(run['wait_fraction_draft'])} / {_share(run['wait_fraction_target'])},"
        f" {_share(run['wasted_fraction'])}"
        for name, run in task.runs.items()
        if run["draft_forwards"] and pd.notna(run["wait_fraction_draft"])
    }


def texts(task: Task) -> Column:
    """How many there are, how many the model ended, what repeats, what the head lacks."""
    records, repetition = task.texts, next(iter(task.repetition.values()))
    again = repetition.loc[repetition["repeats"], "tokens"].sum() / repetition["tokens"].sum()
    return {
        "texts": str(len(records)),
        "tokens": f"{records['new_tokens'].sum():,}",
        "ended by the model": str((records["finish_reason"] == "stop").sum()),
        "tokens that repeat": _share(again),
        "tokens outside the head": _share(_outside(records["output_ids"].explode())),
    }


def agreed(task: Task) -> Column:
    """How often the next token is accepted after some in a row, and long runs beside a coin's."""
    if "pearl" not in task.traces:
        return {}
    found = agreement(task.traces["pearl"].records)
    rate = found["went_on"].sum() / found["reached"].sum()
    column = {"α": f"{rate:.2f}", "runs": str(found["reached"].iloc[0])}
    for name, (low, high) in _LENGTHS.items():
        own = found.loc[found["accepted"].between(low, high), ["went_on", "reached"]].sum()
        if own["reached"]:
            share = own["went_on"] / own["reached"]
            ends = wilson(share, own["reached"])
            column[name] = f"{share:.2f} ({ends[0]:.2f}–{ends[1]:.2f}), n = {own['reached']}"
    for length in _LONG:
        own = found.loc[found["accepted"] == length, "share"].sum()
        column[f"{length} or more (geometric)"] = f"{own:.1%} ({rate**length:.1%})"
    column["longest"] = str(found.loc[found["went_on"] > 0, "accepted"].max() + 1)
    return column


def along(task: Task) -> Column:
    """α of PEARL in pieces of the text."""
    if "pearl" not in task.traces:
        return {}
    pieces = task.traces["pearl"].by_text_position()
    return {str(one.start): f"{one.rate:.2f}" for one in pieces.itertuples()}


def chances(task: Task) -> Column:
    """What ``pearl_adaptive`` foresaw of drafted tokens, and what became of them."""
    if "pearl_adaptive" not in task.traces:
        return {}
    kinds = task.traces["pearl_adaptive"].by_chance()
    accepted, judged = kinds["accepted"] / kinds["judged"], kinds["judged"]
    distance = np.average((accepted - kinds["predicted"]).abs(), weights=judged)
    column = {
        "judged": f"{judged.sum():,}",
        "foreseen": f"{np.average(kinds['predicted'], weights=judged):.2f}",
        "accepted": f"{kinds['accepted'].sum() / judged.sum():.2f}",
        "distance": f"{distance:.3f}",
    }
    for one, share in zip(kinds.itertuples(), accepted, strict=True):
        column[f"from {one.low:.1f}"] = f"{one.predicted:.2f}, {share:.2f}, n = {one.judged}"
    return column


def forwards(task: Task) -> Column:
    """What they took, alone and while the other model was at work: medians in ms."""

    def median(decoder: str, tokens: int | None, both: bool) -> str:
        if decoder not in task.traces:
            return "–"
        rounds = task.traces[decoder].rounds
        own = rounds[(rounds["round"] > 0) & ~rounds["warmup"].astype(bool)]
        own = own[(own["draft_seconds"] > 0) == both]
        drafting = own[own["drafted"] > 0]
        times = (
            drafting["draft_seconds"] / drafting["drafted"]
            if tokens is None
            else own.loc[own["target_tokens"] == tokens, "target_seconds"]
        )
        return f"{1e3 * times.median():.2f}"

    return {
        "target, 1 token, alone": median("autoregressive", 1, both=False),
        "target, 1 token, beside the draft model": median("pearl", 1, both=True),
        "target, 4 tokens, alone": median("speculative", 4, both=True),
        "draft model, a token, alone": median("speculative", None, both=True),
        "draft model, a token, beside the target": median("pearl", None, both=True),
    }


def each_text(task: Task) -> Column:
    """Tokens, how many of them the head lacks, and α of PEARL."""
    own = task.traces.get("pearl", next(iter(task.traces.values()))).records
    return {
        f"{one['task_id']}, turn {one['turn']}": f"{one['new_tokens']},"
        f" {_share(_outside(pd.Series(one['output_ids'])))},"
        f" {one['accepted'] / one['judged'] if one['judged'] else float('nan'):.2f}"
        for one in own.to_dict("records")
    }


def by_share(found: Sequence[Task]) -> Iterator[list[str]]:
    """Rows of speedups of all tasks' texts, by how much of them repeats."""
    for decoder in dict.fromkeys(name for task in found for name in task.runs):
        own = pd.concat(
            task.repetition[decoder].assign(task=task.name)
            for task in found
            if decoder in task.repetition
        )
        of_text = by_text(own, ["task"])
        row = [decoder]
        for low, high in _SHARES.values():
            speed = of_text.loc[of_text["share"].between(low, high, inclusive="left"), "speedup"]
            if speed.empty:
                row.append("–")
                continue
            of_problem = np.log(speed).groupby(["task", "task_id"]).mean()
            ends = mean_ratio_interval(np.exp(of_problem)) or (None, None)
            row.append(f"{_ratio(np.exp(of_problem.mean()), *ends)}, n = {len(of_problem)}")
        yield row


#: By what is said above each table.
TABLES: Mapping[str, Callable[[Task], Column]] = {
    "Speedup": speedups,
    "α": rates,
    "Waiting of draft model / target, drafts thrown away": waiting,
    "Texts": texts,
    "The next token is accepted after … in a row": agreed,
    "α of PEARL along the text": along,
    "Chances foreseen, accepted": chances,
    "Forwards, ms": forwards,
    "Each text: tokens, outside the head, α of PEARL": each_text,
}


@cache
def _head() -> frozenset[int]:
    """The tokens that the draft model can propose."""
    tokens = read_frequent(Path(asset("smollm2")))
    assert tokens is not None
    return frozenset(tokens.tolist())


def _outside(ids: pd.Series) -> float:
    """The share of tokens that the draft model's head does not have."""
    return float((~ids.isin(_head())).mean())


def _share(share: float) -> str:
    return f"{share:.1%}"


def _ratio(value: float, low: float | None, high: float | None) -> str:
    ends = "" if low is None or pd.isna(low) else f" ({low:.2f}–{high:.2f})"
    return f"{value:.2f}×{ends}"


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="folders of runs")
    found = tasks(parser.parse_args().runs)
    records = pd.concat(traces.records for task in found for traces in task.traces.values())
    verdicts = ", ".join(f"{n} {name}" for name, n in records["verdict"].value_counts().items())
    print(f"{len(records)} outputs of {records['new_tokens'].sum():,} tokens: {verdicts}")
    for title, column in TABLES.items():
        columns = {task.name: column(task) for task in found}
        names = dict.fromkeys(name for own in columns.values() for name in own)
        rows = [[name, *(own.get(name, "–") for own in columns.values())] for name in names]
        print(f"\n{title}\n\n{markdown_table(['', *columns], rows)}")
    print(f"\nSpeedup by what repeats\n\n{markdown_table(['', *_SHARES], by_share(found))}")


if __name__ == "__main__":
    main()
