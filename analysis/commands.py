"""The commands of this package: what a list of them and their help pages say.

Their functions are in the modules that are named here, which are imported when a command runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pearl_eval.commands.command import Add, Command, add_output

_GRID = "what pearl-eval bench grid=controlled wrote"


def _directory(add: Add) -> None:
    add("directory", type=Path, help="a sweep's directory, or a run's")


def _sources(add: Add) -> None:
    add("source", nargs="+", help="runs' and sweeps' directories, or wandb:ENTITY/PROJECT")


def _report(add: Add) -> None:
    _directory(add)
    add_output(add, "report.html in DIRECTORY")


REPORT = Command(
    "A run or a sweep as one HTML page with its table and pictures",
    "analysis.report:write_report",
    _report,
    "Speedups, waiting, what each model did when, acceptance by position, cost. The page needs no"
    " network and no other file, so it can be mailed or archived as it is.",
    "pearl-eval report multirun/DATE/TIME",
)


def _timeline(add: Add) -> None:
    add("directory", type=Path, nargs="+", help="a sweep's directory, or runs', the first on top")
    add("--prompt", metavar="TASK_ID", help="which prompt (default: that of the median speedup)")
    add("--from", dest="token", type=_count, metavar="N", help="begin after N tokens of output")
    add("--tokens", type=_some, metavar="N", help="length of the stretch in tokens (default: 16)")
    add("--seconds", type=float, help="length of the stretch, instead of --tokens")
    add_output(add, "timeline in the first DIRECTORY (.png, .svg)")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens")
    return int(text)


def _some(text: str) -> int:
    if not (tokens := _count(text)):
        raise argparse.ArgumentTypeError("a stretch has at least one token")
    return tokens


TIMELINE = Command(
    "What each model did when, in a stretch of one prompt, drawn from real rounds",
    "analysis.timeline:write_timeline",
    _timeline,
    "Drafting, verifying, waiting, and what became of each drafted token. Of a sweep pearl,"
    " speculative and autoregressive are shown, one above the other.",
    "pearl-eval timeline multirun/DATE/TIME\n"
    "pearl-eval timeline outputs/DATE/TIME-pearl --prompt HumanEval/3 --from 20 --tokens 10",
)


def _overview(add: Add) -> None:
    _directory(add)
    add_output(add, "overview.png in DIRECTORY")


OVERVIEW = Command(
    "One picture of a sweep: how fast each run was, and how long each model waited",
    "analysis.overview:write_overview",
    _overview,
    examples="pearl-eval overview multirun/DATE/TIME -o overview.svg",
)


def _tables(add: Add) -> None:
    _sources(add)
    add("--table", action="append", metavar="NAME", help="which (default: all that runs give)")
    add("--format", choices=["markdown", "latex", "csv"], help="default: markdown")
    add("--reported", action="store_true", help="below ours, what the authors report of the same")
    add("--cells", action="store_true", help="below each table, the runs that each cell is from")


TABLES = Command(
    "The paper's tables, of what runs wrote",
    "analysis.tables:print_tables",
    _tables,
    "Tables are humaneval, languages, mt_bench, ablations, gamma_sweep, mean_accepted_tokens,"
    " model_runs and resource_competition. Runs under different conditions are kept apart.",
    "pearl-eval tables multirun/DATE/TIME\n"
    "pearl-eval tables wandb:TEAM/pearl-eval --table humaneval --format latex",
)


def _figures(add: Add) -> None:
    _sources(add)
    add("-o", "--output", type=Path, metavar="FOLDER", help="default: figures")


FIGURES = Command(
    "The paper's figures, of what runs wrote, as pictures in a folder",
    "analysis.figures:write_figures",
    _figures,
    "Runs under different conditions are drawn apart, with numbers after the names.",
    "pearl-eval figures multirun/DATE/TIME -o figures",
)


def _compare(add: Add) -> None:
    add("a", help="a sweep's directory, or wandb:ENTITY/PROJECT")
    add("b", nargs="?", default=None, help="another one: what changed from the first to it")
    add("--format", choices=["markdown", "csv"], help="default: markdown")


COMPARE = Command(
    "Decoders of a sweep, or two sweeps of different commits, compared prompt by prompt",
    "analysis.compare:compare",
    _compare,
    examples="pearl-eval compare multirun/DATE/TIME\n"
    "pearl-eval compare multirun/BEFORE/TIME multirun/AFTER/TIME",
)


def _heatmap(add: Add) -> None:
    add("directory", type=Path, nargs="?", default=None, help=f"{_GRID}; without it, theory alone")
    add_output(add, "heatmap.png")


HEATMAP = Command(
    "Speedups that theory predicts over the speed ratio and the acceptance rate",
    "analysis.theory.heatmap:write_heatmap",
    _heatmap,
    "With the directory of a benchmark's grid, those that the simulator predicts, and the grid's"
    " points.",
    "pearl-eval heatmap -o heatmap.png\npearl-eval heatmap outputs/DATE/TIME-bench",
)


def _predict(add: Add) -> None:
    add("directory", type=Path, help=_GRID)
    add_output(add, "prediction.png in DIRECTORY")
    add("--swap", action="store_true", help="fit on the half that is otherwise predicted")


PREDICT = Command(
    "How well the simulator predicts a benchmark's grid, one half fitted on the other",
    "analysis.theory.prediction:predict_grid",
    _predict,
    examples="pearl-eval predict outputs/DATE/TIME-bench",
)

PAPER_PAIRS = Command(
    "The paper's pairs on A100s, predicted, beside what its authors report",
    "analysis.paper.paper_pairs:print_pairs",
    lambda add: None,
    "Nothing here is measured: forward times follow from the models' shapes and the card's memory"
    " bandwidth (a roofline), and from the waiting that the authors measured. It takes a minute.",
    "pearl-eval paper-pairs",
)
