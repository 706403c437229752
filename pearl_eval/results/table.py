"""The table of runs as text: the same headings and figures in the terminal and in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pearl_eval.results.about import engine_of
from pearl_eval.results.labels import knows_more
from pearl_eval.results.records import PERCENTILES


@dataclass(frozen=True)
class Row:
    """One run of a table: its summary or the error that ended it, what it varies, its folder."""

    label: str
    directory: str
    summary: Mapping[str, Any] | None = None
    error: str = ""

    @property
    def failed(self) -> bool:
        return self.summary is None

    @property
    def violates(self) -> bool:
        """Whether some output is not the target's own."""
        return bool(self.summary and self.summary["violations"])


_RATE, _WAITS, _REFERENCE = "acceptance\nrate", "waited\ndraft / target", "reference"
_HITS = "drafts\nprepared"
_ACCEPTED, _LENGTH = "mean accepted\ntokens", "acceptance\nlength"
#: What a narrow table can do without, the first of these first.
DISPENSABLE = (_REFERENCE, _HITS, _WAITS, _RATE, _LENGTH, _ACCEPTED, "tokens/s")
#: What heads the columns of latencies after a run's label.
LATENCY_HEADINGS = (
    "tokens/s\nper device",
    *(f"{name} ms\np50 / p95 / p99" for name in ("TTFT", "TPOT", "ITL")),
)
_SPEEDS = ["tokens/s", "speedup\n(95 % CI)"]
#: What a narrow table of categories can do without.
OF_CATEGORIES = (_LENGTH, _RATE, "prompts")
#: Where the reference was measured on all that a decoder computes on.
_EQUAL = "÷ AR on equal\nhardware"


def headings(rows: Sequence[Row]) -> list[str]:
    """What heads the columns after a run's label."""
    engine = ["engine"] if len(_engines(rows)) > 1 else []
    speeds = [*_SPEEDS, *([_EQUAL] if _has_equal(rows) else [])]
    accepted = [_ACCEPTED, _LENGTH, _RATE, *([_HITS] if _has_hits(rows) else [])]
    return [*engine, *speeds, *accepted, _WAITS, "equivalence", _accuracy(rows), _REFERENCE]


def cells(row: Row, rows: Sequence[Row] = ()) -> list[str]:
    """The figures of a run that is one of ``rows``, one for each heading."""
    summary = row.summary
    if summary is None:
        dashes = len(headings(rows)) - 3
        return ["–"] * dashes + ["failed", "–", "–"]
    engine = [engine_of(summary)] if len(_engines(rows)) > 1 else []
    return [*engine, *_figures(summary, _has_equal(rows), _has_hits(rows))]


def _engines(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(engine_of(row.summary) for row in rows if row.summary))


def _has_equal(rows: Sequence[Row]) -> bool:
    return any(row.summary.get("equal_hardware_speedup") for row in rows if row.summary)


def _has_hits(rows: Sequence[Row]) -> bool:
    return any(_hit_rate(row.summary) is not None for row in rows if row.summary)


def _hit_rate(summary: Mapping[str, Any]) -> float | None:
    """The share of drafts that were prepared. Earlier summaries do not say it."""
    rate: float | None = summary.get("traces", {}).get("hit_rate")
    return rate


def _figures(summary: Mapping[str, Any], equal: bool, hits: bool) -> list[str]:
    uses_draft = summary["draft_forwards"] > 0
    waits = (summary["wait_fraction_draft"], summary["wait_fraction_target"])
    return [
        number(summary["tokens_per_second"], ".1f"),
        _speedup(summary),
        *([_speedup(summary, "equal_hardware_speedup")] if equal else []),
        number(summary["mean_accepted_tokens"], ".2f"),
        number(summary.get("acceptance_length"), ".2f"),
        number(summary["acceptance_rate"], ".3f"),
        *([number(_hit_rate(summary), ".0%")] if hits else []),
        " / ".join(number(wait, ".0%") for wait in waits) if uses_draft else "–",
        equivalence_text(summary),
        number(summary["accuracy"], ".3f"),
        summary["reference"],
    ]


def latency_cells(row: Row) -> list[str]:
    """How long a run's tokens took to come, one text for each of ``LATENCY_HEADINGS``.

    Empty where that is not known.
    """
    if row.summary is None or row.summary.get("ttft_seconds_p50") is None:
        return []
    times = (_milliseconds(row.summary, f"{name}_seconds") for name in ("ttft", "tpot", "itl"))
    return [number(row.summary.get("tokens_per_second_per_device"), ".1f"), *times]


def category_headings(rows: Sequence[Row]) -> list[str]:
    """What heads the columns after a category's name."""
    return [*_SPEEDS, _ACCEPTED, _accuracy(rows), *OF_CATEGORIES]


def category_cells(figures: Mapping[str, Any]) -> list[str]:
    """A category's figures, one for each heading."""
    return [
        number(figures["tokens_per_second"], ".1f"),
        _speedup(figures),
        number(figures["mean_accepted_tokens"], ".2f"),
        number(figures["accuracy"], ".3f"),
        number(figures.get("acceptance_length"), ".2f"),
        number(figures["acceptance_rate"], ".3f"),
        str(figures["prompts"]),
    ]


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the table must know beside it."""
    summaries = [(row.label, row.summary) for row in rows if row.summary]
    lines = []
    if any(summary["synthetic"] for _, summary in summaries):
        lines.append("Synthetic pair: tokens are made up, so only times and counts mean something.")
    cached = [label for label, summary in summaries if summary["reference"] == "cached"]
    if cached:
        lines.append(
            f"{', '.join(cached)}: against a cached reference, made apart from these runs, so that"
            " what drifts between them does not cancel."
        )
    if len(engines := _engines(rows)) > 1:
        lines.append(
            f"Decoded in {' and '.join(engines)}: each speedup is over autoregressive decoding in"
            " the same engine. Across engines compare tokens/s, not speedups."
        )
    for label, summary in summaries:
        if knows_more(summary.get("decoder_settings", {})):
            what = summary["decoder_about"].get("cache", "a cache")
            lines.append(f"{label}: looks up in more than each prompt's own text: {what}.")
        if summary.get("lost_from"):
            lines.append(
                f"{label}: from {summary['lost_from']} on it had no drafts (records.jsonl"
                " says why, under lost)."
            )
        if summary["ties"] and summary["runner_up_pass_rate"] is not None:
            lines.append(
                f"{label}: {summary['ties']} of {summary['prompts']} outputs differ by rounding"
                f" alone; {summary['runner_up_pass_rate']:.1%} of the target's second choices would"
                " have passed for that, too (records.jsonl has the evidence, under tie)."
            )
        if summary.get("verification") == "block":
            lines.append(
                f"{label}: drafted tokens judged as blocks (sampling.verification=block), by which"
                " more are accepted than one by one."
            )
        if summary["sampled_tokens"]:
            lines.append(
                f"{label}: {summary['sampled_tokens']} sampled tokens; a bias of"
                f" {summary['sampling_smallest_bias']:.1%} of the target's first choice would have"
                " been seen (with 99 % probability, as p < 1e-6)."
            )
    for label, summary in summaries:
        if summary.get("equal_hardware_speedup") and _has_more(summary["devices"]):
            lines.append(_of_equal_hardware(label, summary))
    if any(summary["prompts"] == 1 for _, summary in summaries):
        lines.append("No speeds: the only prompt was the warm-up. Take task.limit=2 or more.")
    return lines


def number(value: float | None, form: str, unit: str = "") -> str:
    """A figure as text; a dash where there is none."""
    return "–" if value is None else f"{value:{form}}{unit}"


def _accuracy(rows: Sequence[Row]) -> str:
    names = dict.fromkeys(row.summary["accuracy_name"] for row in rows if row.summary)
    return ", ".join(map(str, names or ["accuracy"])).replace(" ", "\n")


def _speedup(figures: Mapping[str, Any], name: str = "speedup") -> str:
    text = number(figures.get(name), ".2f", "×")
    if interval := figures.get(f"{name}_ci95"):
        low, high = interval
        text += f" ({low:.2f}–{high:.2f})"
    return text


def _milliseconds(summary: Mapping[str, Any], name: str) -> str:
    found = (summary.get(f"{name}_p{which}") for which in PERCENTILES)
    return " / ".join(number(None if one is None else 1e3 * one, ".1f") for one in found)


def _has_more(devices: Mapping[str, Any]) -> bool:
    return len(devices["decoder"]) > len(devices["reference"])


def _of_equal_hardware(label: str, summary: Mapping[str, Any]) -> str:
    devices = summary["devices"]
    ours, theirs = len(devices["decoder"]), len(devices["reference"])
    what = "GPUs" if devices["decoder"][0].startswith("cuda") else "cores"
    return (
        f"{label}: on {ours} {what}"
        f" {summary['tokens_per_second_per_device']:.1f} tokens/s for each; autoregressive decoding"
        f" has {summary['reference_tokens_per_second']:.1f} tokens/s on {theirs}, and"
        f" {summary['equal_hardware_tokens_per_second']:.1f} on {ours}"
        f" ({summary['equal_hardware_tokens_per_second_per_device']:.1f} for each)."
    )


def equivalence_text(summary: Mapping[str, Any]) -> str:
    prompts, ties, violations = (summary[key] for key in ("prompts", "ties", "violations"))
    if violations:
        return f"VIOLATION {violations}/{prompts}"
    text = f"identical {round(summary['exact_match_rate'] * prompts)}/{prompts}"
    if summary["lossy"]:
        return f"lossy, {text}"
    if summary["sampled_tokens"] and summary["exact_match_rate"] != 1:
        return f"sampled, p = {summary['sampling_p_value']:.2g}"
    return f"{text}, {ties} tie{'s' if ties > 1 else ''}" if ties else text
