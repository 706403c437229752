"""The commands of this package: what a list of them and their help pages say.

Their functions are in the modules that are named here, which are imported when a command runs.
"""

from __future__ import annotations

from pathlib import Path

from pearl_eval.commands.command import DIRECTORY, Command, argument, count, output

_SOURCES = argument(
    "source", nargs="+", help="runs' and sweeps' directories, or wandb:ENTITY/PROJECT"
)
_GRID = "what pearl-eval bench grid=controlled wrote"

REPORT = Command(
    "A run or a sweep as one HTML page with its table and pictures",
    "analysis.report:write_report",
    [DIRECTORY, output("report.html in DIRECTORY")],
    "Speedups, waiting, what each model did when, acceptance by position, cost. The page needs no"
    " network and no other file, so it can be mailed or archived as it is.",
    "pearl-eval report multirun/DATE/TIME",
)

TIMELINE = Command(
    "What each model did when, in a stretch of one prompt, drawn from real rounds",
    "analysis.timeline:write_timeline",
    [
        argument("directory", type=Path, nargs="+", help="a sweep's, or runs', the first on top"),
        argument("--prompt", metavar="TASK_ID", help="default: that of the median speedup"),
        argument("--from", dest="token", type=count(0), metavar="N", help="begin after N tokens"),
        argument("--tokens", type=count(1), metavar="N", help="length in tokens (default: 16)"),
        argument("--seconds", type=float, help="length of the stretch, instead of --tokens"),
        output("timeline in the first DIRECTORY (.png, .svg)"),
    ],
    "Drafting, verifying, waiting, and what became of each drafted token. Of a sweep it shows the"
    " fastest decoder whose models work at the same time, the fastest whose models take turns, and"
    " the target alone, one above the other.",
    "pearl-eval timeline multirun/DATE/TIME\n"
    "pearl-eval timeline outputs/DATE/TIME-pearl --prompt HumanEval/3 --from 20 --tokens 10",
)

OVERVIEW = Command(
    "One picture of a sweep: how fast each run was, and how long each model waited",
    "analysis.overview:write_overview",
    [DIRECTORY, output("overview.png in DIRECTORY")],
    examples="pearl-eval overview multirun/DATE/TIME -o overview.svg",
)

TABLES = Command(
    "The paper's tables, of what runs wrote",
    "analysis.tables:print_tables",
    [
        _SOURCES,
        argument("--table", action="append", metavar="NAME", help="default: all that runs give"),
        argument("--format", choices=["markdown", "latex", "csv"], help="default: markdown"),
        argument("--reported", action="store_true", help="also what the authors report"),
        argument("--cells", action="store_true", help="also the runs that each cell is from"),
    ],
    "Tables are humaneval, languages, mt_bench, spec_bench, speed_bench, prompts, ablations,"
    " gamma_sweep, mean_accepted_tokens, acceptance, latency, equal_hardware, model_runs,"
    " resource_competition and loops. Runs under different conditions are kept apart.",
    "pearl-eval tables multirun/DATE/TIME\n"
    "pearl-eval tables wandb:TEAM/pearl-eval --table humaneval --format latex",
)

FIGURES = Command(
    "The paper's figures, of what runs wrote, as pictures in a folder",
    "analysis.figures:write_figures",
    [_SOURCES, output("figures", "FOLDER")],
    "Runs under different conditions are drawn apart, with numbers after the names.",
    "pearl-eval figures multirun/DATE/TIME -o figures",
)

COMPARE = Command(
    "Decoders of a sweep, or two sweeps of different commits, compared prompt by prompt",
    "analysis.compare:compare",
    [
        argument("a", help="a sweep's directory, or wandb:ENTITY/PROJECT"),
        argument("b", nargs="?", default=None, help="another: what changed from the first to it"),
        argument("--format", choices=["markdown", "csv"], help="default: markdown"),
    ],
    examples="pearl-eval compare multirun/DATE/TIME\n"
    "pearl-eval compare multirun/BEFORE/TIME multirun/AFTER/TIME",
)

HEATMAP = Command(
    "Speedups that theory predicts over the speed ratio and the acceptance rate",
    "analysis.theory.heatmap:write_heatmap",
    [
        argument("directory", type=Path, nargs="?", default=None, help=_GRID),
        output("heatmap.png"),
    ],
    "With the directory of a benchmark's grid, those that the simulator predicts, and the grid's"
    " points.",
    "pearl-eval heatmap -o heatmap.png\npearl-eval heatmap outputs/DATE/TIME-bench",
)

PREDICT = Command(
    "How well the simulator predicts a benchmark, one half of its pairs fitted on the other",
    "analysis.theory.prediction:predict_benchmarks",
    [
        argument(
            "directories",
            metavar="DIRECTORY",
            type=Path,
            nargs="+",
            help="a benchmark's: its grid, or its contest; of contests take at least two",
        ),
        output("prediction.png in the first DIRECTORY"),
        argument("--swap", action="store_true", help="fit on the half that is else predicted"),
    ],
    examples="pearl-eval predict outputs/DATE/TIME-bench\n"
    "pearl-eval predict HUMANEVAL_BENCH GSM8K_BENCH",
)

MAP = Command(
    "A map of the fastest decoder, predicted over the speed ratio and the acceptance rate",
    "analysis.map:write_map",
    [
        argument("directory", type=Path, nargs="*", help="what pearl-eval bench wrote"),
        output("map.png"),
    ],
    "Each decoder is simulated at the best of its settings, for several costs of a wide draft"
    " forward. The paper's pairs on A100s and H100s are marked, and of benchmarks it shows which"
    " decoder was the fastest. It takes about five minutes.",
    "pearl-eval map\npearl-eval map outputs/DATE/TIME-bench -o map.svg",
)
