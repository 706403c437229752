"""What a person reads in the terminal: one table, one line per error."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

#: Width of tables where the output is no terminal.
_PLAIN_WIDTH = 150
#: Width from which the table shows all its columns.
_WIDE = 110
_FAILED = ["–"] * 5 + ["[red]failed[/]", "–"]


def console(stderr: bool) -> Console:
    """A console on standard error or output: plain text where that is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PLAIN_WIDTH, highlight=False)


def print_error(message: str) -> None:
    """One line on standard error."""
    line = " ".join(str(message).split())
    console(stderr=True).print(f"[bold red]pearl-eval: error:[/] {escape(line)}", soft_wrap=True)


@dataclass(frozen=True)
class Row:
    """One run of a table: its summary or the error that ended it, what it varies, its folder."""

    label: str
    directory: str
    summary: Mapping[str, Any] | None = None
    error: str = ""


def print_table(title: str, rows: Sequence[Row]) -> None:
    """The table of a run or a sweep, on standard output."""
    out = console(stderr=False)
    accuracy = next((row.summary["accuracy_name"] for row in rows if row.summary), "accuracy")
    accuracy = accuracy.replace(" ", "\n")
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("run", overflow="fold")
    # What a narrow terminal can do without; the rest must never be cut.
    dispensable = ("acceptance\nrate", "waited\ndraft / target")
    headings = ["tokens/s", "speedup\n(95 % CI)", "mean accepted\ntokens", *dispensable]
    headings += ["equivalence", accuracy]
    shown = [out.width >= _WIDE or heading not in dispensable for heading in headings]
    for heading in compress(headings, shown):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = _cells(row.summary) if row.summary else _FAILED
        table.add_row(escape(row.label), *compress(cells, shown))
    out.print(table)
    if any(row.summary and row.summary["by_category"] for row in rows):
        out.print(_category_table(rows, accuracy, wide=out.width >= _WIDE))
    if any(row.summary and row.summary["synthetic"] for row in rows):
        out.print("Synthetic pair: tokens are made up, so only times and counts mean something.")
    for row in rows:
        if row.summary and row.summary["sampled_tokens"]:
            out.print(_sampling_note(row), soft_wrap=True)
    if any(row.summary and row.summary["prompts"] == 1 for row in rows):
        out.print("No speeds: the only prompt was the warm-up. Take task.limit=2 or more.")
    for row in rows:
        failure = f" [red]failed: {escape(row.error)}[/]" if row.summary is None else ""
        out.print(f"{escape(row.label)}: {escape(row.directory)}{failure}", soft_wrap=True)


def _category_table(rows: Sequence[Row], accuracy: str, wide: bool) -> Table:
    """The categories of each run, below its label where there are several."""
    table = Table(title="By category", title_justify="left")
    table.add_column("category", overflow="fold")
    headings = ["tokens/s", "speedup\n(95 % CI)", "mean accepted\ntokens", accuracy]
    for heading in [*headings, *["acceptance\nrate", "prompts"] * wide]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        categories = (row.summary or {}).get("by_category") or {}
        if categories and len(rows) > 1:
            table.add_row(f"[bold]{escape(row.label)}[/]")
        for category, figures in categories.items():
            cells = [
                _number(figures["tokens_per_second"], ".1f"),
                _speedup(figures),
                _number(figures["mean_accepted_tokens"], ".2f"),
                _number(figures["accuracy"], ".3f"),
            ]
            if wide:
                cells += [_number(figures["acceptance_rate"], ".3f"), str(figures["prompts"])]
            table.add_row(escape(category), *cells)
        table.add_section()
    return table


def _speedup(figures: Mapping[str, Any]) -> str:
    text = _number(figures["speedup"], ".2f", "×")
    if figures["speedup_ci95"]:
        low, high = figures["speedup_ci95"]
        text += f" ({low:.2f}–{high:.2f})"
    return text


def _cells(summary: Mapping[str, Any]) -> list[str]:
    uses_draft = summary["draft_forwards"] > 0
    waits = (summary["wait_fraction_draft"], summary["wait_fraction_target"])
    return [
        _number(summary["tokens_per_second"], ".1f"),
        _speedup(summary),
        _number(summary["mean_accepted_tokens"], ".2f"),
        _number(summary["acceptance_rate"], ".3f"),
        " / ".join(_number(wait, ".0%") for wait in waits) if uses_draft else "–",
        _equivalence(summary),
        _number(summary["accuracy"], ".3f"),
    ]


def _equivalence(summary: Mapping[str, Any]) -> str:
    prompts, ties, violations = (summary[key] for key in ("prompts", "ties", "violations"))
    if violations:
        return f"[bold red]VIOLATION {violations}/{prompts}[/]"
    if summary["sampled_tokens"] and summary["exact_match_rate"] != 1:
        return f"sampled, p = {summary['sampling_p_value']:.2g}"
    same = round(summary["exact_match_rate"] * prompts)
    text = f"identical {same}/{prompts}"
    if ties:
        return f"{text}, {ties} tie{'s' if ties > 1 else ''}"
    return text if same == prompts else f"lossy, {text}"


def _sampling_note(row: Row) -> str:
    assert row.summary is not None
    tokens, bias = (row.summary[key] for key in ("sampled_tokens", "sampling_smallest_bias"))
    return (
        f"{escape(row.label)}: {tokens} sampled tokens; a bias of {bias:.1%} of the target's first"
        " choice would have been seen (with 99 % probability, as p < 1e-6)."
    )


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"
