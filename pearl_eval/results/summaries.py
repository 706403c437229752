"""A run's figures: those of its ``summary.json``, and those that it lacks but its files tell."""

from __future__ import annotations

import contextlib
from pathlib import Path

from decoders.accepted_runs import acceptance_length
from pearl_eval.errors import UserError
from pearl_eval.results.records import ADDED_TRACES, FileObject, read_summary


def whole_summary(folder: Path) -> FileObject:
    """What a run's ``summary.json`` holds, with what those of before lack as its rounds tell it.

    :class:`UserError` where it is damaged. What can't be told is ``None``.
    """
    summary = read_summary(folder)
    if summary["ttft_seconds_p50"] is None and summary["prompts"] > 1:
        with contextlib.suppress(UserError, OSError):
            _derive(summary, folder)
    return summary


def _derive(summary: FileObject, folder: Path) -> None:
    # Imported late, with the libraries it brings: today's runs do without.
    from pearl_eval.results.traces import Traces

    traces = Traces.read(folder)
    figures = traces.figures()
    summary |= traces.latency()
    summary["acceptance_length"] = acceptance_length(traces.verifications())
    summary["traces"] |= {name: figures[name] for name in ADDED_TRACES}
    records = traces.records
    for category, own in (summary["by_category"] or {}).items():
        lists = records.loc[records["category"] == category, "verifications"]
        own["acceptance_length"] = acceptance_length([n for one in lists for n in one])
