"""Cells of the paper's tables, each of one run, and the words for what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.frames.table import LOSSY, Cell

SPEEDUP = (
    "Speedup over the autoregressive reference of the same prompts, of total tokens over total"
    " time; in brackets its 95 % interval (over problems); n: problems, without the"
    " warm-up."
)
MEAN = "mean_prompt_tokens_per_second"
#: The column of a speedup that is of such means. The paper's figures of these tasks are.
MEAN_SPEEDUP = "all, mean of speeds"
_MEAN_NOTE = f"{MEAN_SPEEDUP}: of the means of prompts' tokens/s, as the paper's of MGSM, MT-bench."


def cell_of(
    section: str,
    row: tuple[str, ...],
    column: str,
    run: Any,
    figure: str | None,
    over: str = "timed_problems",
    **look: Any,
) -> Cell:
    """The cell of a figure ``over`` so many problems, or prompts."""
    return Cell(
        section,
        row,
        column,
        run[figure] if figure else None,
        # An older version did not count them.
        n=int(run["prompts"] if pd.isna(number := run.get(over)) else number),
        runs=(str(run["run"]),),
        contends=bool(run["lossless"]),
        **look,
    )


def forwards(run: Any, model: str) -> float:
    """Of a model, for each generated token."""
    return float(run[f"{model}_forwards"] / run["new_tokens"])


def speedup(section: str, row: tuple[str, ...], column: str, run: Any) -> Cell:
    interval = {"low": run["speedup_low"], "high": run["speedup_high"]}
    return cell_of(section, row, column, run, "speedup", unit="×", best=1, **interval)


def mean_speedup(section: str, row: tuple[str, ...], run: Any) -> Cell:
    cell = cell_of(section, row, MEAN_SPEEDUP, run, None, unit="×", best=1)
    return replace(cell, value=run[MEAN] / run[f"reference_{MEAN}"])


def mean_notes(cells: Iterable[Cell]) -> list[str]:
    several = any(cell.column == MEAN_SPEEDUP for cell in cells)
    return [SPEEDUP, _MEAN_NOTE] if several else [SPEEDUP]


def draft_length(run: Any) -> str:
    """With what else a run's label says: which seed, which repeat."""
    gamma = f"{float(run['gamma']):g}"
    return gamma + str(run["label"]).removeprefix(str(run["decoder"])).replace(f" γ{gamma}", "")


def decoder(run: Any) -> str:
    return str(run["label"]) + ("" if run["lossless"] else LOSSY)


def place(run: Any, runs: pd.DataFrame) -> str:
    """The pair of a run, and its task where there are several."""
    return f"{run['pair']}, {run['task']}" if runs["task"].nunique() > 1 else str(run["pair"])
