"""A run or a sweep as one page that needs nothing else."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from pearl_eval.figures.acceptance import draw_acceptance, judging_runs
from pearl_eval.figures.calibration import draw_calibration, foreseeing_runs
from pearl_eval.figures.overview import draw_overview
from pearl_eval.figures.palette import BLUE_INK, GREEN_INK, IDLE, INK
from pearl_eval.figures.timeline import timeline
from pearl_eval.results import table
from pearl_eval.results.runs import Run, finished_runs
from pearl_eval.results.stretch import choose_runs
from pearl_eval.results.table import number
from pearl_eval.results.traces import Traces
from pearl_eval.shell.sweep import table_rows

#: What the page makes of colours in pictures, for light and dark.
_COLOURS = {
    INK: "currentColor",
    IDLE: "var(--idle)",
    GREEN_INK: "var(--green)",
    BLUE_INK: "var(--blue)",
}
#: Figures of the traces: heading, name, how it is written, in what unit.
_TRACES = [
    ("verifications", "verifications", ".0f", ""),
    ("first token fails in pre-verify", "pre_verify_failure_rate", ".0%", ""),
    ("target forwards per token", "target_forwards_per_token", ".2f", ""),
    ("draft forwards per token", "draft_forwards_per_token", ".2f", ""),
    ("drafted tokens wasted", "wasted_fraction", ".0%", ""),
    ("draft waits, per round", "wait_draft_seconds_per_round", ".2f", " ms"),
    ("target waits, per round", "wait_target_seconds_per_round", ".2f", " ms"),
    ("tokens it waits for, per round", "awaited_tokens_per_round", ".2f", ""),
    ("tokens left unjudged, per round", "unjudged_tokens_per_round", ".2f", ""),
    ("drafts that were prepared", "hit_rate", ".0%", ""),
    ("outcomes prepared for, per draft", "outcomes_per_round", ".1f", ""),
    ("tokens read to prepare, per round", "branch_tokens_per_round", ".1f", ""),
    ("preparing, per round", "branch_seconds_per_round", ".2f", " ms"),
    ("neither model runs, per round", "overhead_seconds_per_round", ".2f", " ms"),
    ("bytes sent, per round", "bytes_per_round", ".0f", ""),
]
#: Lists among them, of which so many entries are shown.
_LISTS = (
    "verifications that accept 0, 1, 2 …",
    "share that accept at least 1, 2 …",
    "prepared where 0, 1, 2 … were accepted",
)
_SHOWN = 12
#: Figures of the cost: heading, name. Then what models cost together, beside the reference.
_COSTS = [
    ("FLOPs, target", "target_flops"),
    ("of these wasted", "target_wasted_flops"),
    ("FLOPs, draft", "draft_flops"),
    ("of these wasted", "draft_wasted_flops"),
    ("bytes read, target", "target_bytes"),
    ("bytes read, draft", "draft_bytes"),
]
_TOTALS = ["all FLOPs / reference's", "all bytes / reference's", "energy / reference's"]


@dataclass(frozen=True)
class WrongOutput:
    """An output that is not the target's own, and where it first differs."""

    label: str
    prompt: str
    position: int


def write_report(directory: Path, output: Path | None = None) -> None:
    """Write the page of a run's or a sweep's directory, and print its path."""
    output = output or directory / "report.html"
    output.write_text(report(directory), encoding="utf-8")
    print(output)


def report(directory: Path) -> str:
    """The page, as HTML. :class:`UserError` where nothing finished is there."""
    runs = finished_runs(directory)
    rows = table_rows(directory)
    labels = {Path(row.directory): row.label for row in rows}
    runs = [Run(labels.get(r.directory, r.label), r.summary, r.directory) for r in runs]
    environment = Environment(
        loader=PackageLoader("pearl_eval", "assets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["latency_cells"] = table.latency_cells
    environment.filters["flat"] = lambda heading: heading.replace("\n", " ")
    return environment.get_template("report.html.jinja").render(
        title=_title(runs),
        directory=directory.name,
        rows=rows,
        table=table,
        failures=[failure for run in runs for failure in failures(run)],
        errors=[(row.label, row.error) for row in rows if row.failed],
        overview=svg(draw_overview(runs), "overview"),
        timelines=[svg(figure, f"timeline{i}") for i, figure in enumerate(timelines(runs))],
        acceptances=[svg(figure, f"acceptance{i}") for i, figure in enumerate(acceptances(runs))],
        calibrations=[svg(figure, f"chances{i}") for i, figure in enumerate(calibrations(runs))],
        traces=trace_table(runs),
        costs=cost_table(runs),
        facts=facts(runs),
    )


def _title(runs: Sequence[Run]) -> str:
    """Tasks, then pairs."""
    whole = (run.summary[what] for what in ("task", "pair") for run in runs)
    return ", ".join(dict.fromkeys(whole))


def failures(run: Run) -> Iterator[WrongOutput]:
    """The outputs of a run that are not the target's own."""
    if run.summary["violations"]:
        records = Traces.read(run.directory).records
        for one in records[records["verdict"] == "violation"].to_dict("records"):
            turn = f", turn {one['turn']}" if one["turn"] else ""
            yield WrongOutput(run.label, f"{one['task_id']}{turn}", int(one["first_divergence"]))


def timelines(runs: Sequence[Run]) -> Iterator[Figure]:
    """One for each pair and task."""
    for own, _ in _alike(runs):
        yield timeline(choose_runs(own))


def acceptances(runs: Sequence[Run]) -> Iterator[Figure]:
    """Likewise, where drafted tokens were judged."""
    for own, title in _alike(runs):
        if judging := judging_runs(own):
            yield draw_acceptance(judging, title)


def calibrations(runs: Sequence[Run]) -> Iterator[Figure]:
    """Likewise, where a decoder foresaw what becomes of drafted tokens."""
    for own, title in _alike(runs):
        if foreseeing := foreseeing_runs(own):
            yield draw_calibration(foreseeing, title)


def _alike(runs: Sequence[Run]) -> Iterator[tuple[list[Run], str]]:
    """Runs that can be compared, together; with their task and pair where that is not all runs."""
    left = list(runs)
    while left:
        own = [run for run in left if not run.differences(left[0])]
        summary = own[0].summary
        yield own, f"{summary['task']}, {summary['pair']} pair" if len(own) < len(runs) else ""
        left = [run for run in left if run.differences(left[0])]


def trace_table(runs: Sequence[Run]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """What the rounds of each run say: headings, and each run's label and cells."""
    rows = []
    for run in runs:
        traces = run.summary["traces"]
        modes = (f"{mode} {share:.0%}" for mode, share in traces["mode_shares"].items())
        # Those of earlier versions do not have all of them.
        cells = [_written(traces.get(name), form, unit) for _, name, form, unit in _TRACES]
        counts, rates = traces["accepted_per_verification"], traces["acceptance_by_position"]
        # Those of earlier versions do not have it either.
        hits = {
            one["accepted"]: one["hits"] / one["rounds"] for one in traces.get("by_outcome") or ()
        }
        by_length = [hits.get(length) for length in range(max(hits, default=-1) + 1)]
        accepted = [_listed(counts, ".0f"), _listed(rates, ".2f"), _listed(by_length, ".0%")]
        rows.append((run.label, [*cells, *accepted, ", ".join(modes) or "–"]))
    return [*(heading for heading, *_ in _TRACES), *_LISTS, "rounds"], rows


def cost_table(runs: Sequence[Run]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """What a generated token of each run costs, and of its reference: headings, labels and cells.

    No rows where no run says it; energy only where one has counted it.
    """
    costs = [(run.label, cost) for run in runs if (cost := run.summary["cost"])]
    energy = any("joules_per_token" in cost for _, cost in costs)
    headings = [heading for heading, _ in _COSTS]
    rows = []
    for label, cost in costs:
        cells = [_si(cost.get(f"{name}_per_token")) for _, name in _COSTS]
        reference = cost["reference"]
        for kind in ("flops", "bytes"):
            own, theirs = (
                sum(one.get(f"{role}_{kind}_per_token", 0) for role in ("target", "draft"))
                for one in (cost, reference)
            )
            ratio = f" = {own / theirs:.2f}×" if theirs else ""
            cells.append(f"{_si(own)} / {_si(theirs)}{ratio}")
        if energy:
            joules = (one.get("joules_per_token") for one in (cost, reference))
            cells.append(" / ".join(number(one, ".3g", " J") for one in joules))
        rows.append((label, cells))
    return [*headings, *_TOTALS[: 3 if energy else 2]], rows


def facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The environment of runs: each fact once where they share it."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, value in run.summary["environment"].items():
            found.setdefault(name, {})[_plain(value)] = None
    return [(name.replace("_", " "), " / ".join(values)) for name, values in found.items()]


def svg(figure: Figure, name: str) -> Markup:
    """A figure as an element of a page, in colours that follow the page's.

    ``name`` keeps its ids apart from those of other figures.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    text = re.sub(r' (xmlns(:\w+)?|width|height)="[^"]*"', "", opening) + ">" + rest
    for colour, own in _COLOURS.items():
        text = text.replace(colour.lower(), own)
    return Markup(text)


def _written(value: float | None, form: str, unit: str) -> str:
    return number(1e3 * value if value is not None and unit == " ms" else value, form, unit)


def _listed(values: Sequence[float | None] | None, form: str) -> str:
    """As ``11 14 3``; a long list is cut."""
    if not values:
        return "–"
    shown = [number(value, form) for value in values[:_SHOWN]]
    return " ".join([*shown, *(["…"] if len(values) > _SHOWN else [])])


def _si(value: float | None) -> str:
    """A count with a prefix for its size, as ``15.5 M``."""
    return "–" if value is None else EngFormatter(places=1)(value).strip()


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "–" if value is None else str(value)
