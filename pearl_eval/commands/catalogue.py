"""The commands of this package: what a list of them and their help pages say.

Their functions are in the modules that are named here, which are imported when a command runs.
"""

from __future__ import annotations

from pearl_eval.commands.command import DIRECTORY, Command, argument, output

AUDIT = Command(
    "Outputs of any engine judged token by token: are they the target's own?",
    "pearl_eval.commands.audit:main",
)
BENCH = Command(
    "Decoders side by side on the same prompts, beside what forwards allow",
    "pearl_eval.commands.bench:main",
)
PROFILE = Command(
    "Times of a pair's forwards, and the draft lengths that follow",
    "pearl_eval.commands.profile:main",
)
DISTILL = Command(
    "A draft model for a target, trained on what the target says",
    "pearl_eval.commands.distill:main",
)
ESTIMATE = Command(
    "The jobs of a run or a sweep, with the GPUs, memory and hours they would need",
    "pearl_eval.commands.estimate:main",
)
TABLE = Command(
    "The table of a sweep or a run, from what its runs have written so far",
    "pearl_eval.commands.table:print_runs",
    [DIRECTORY],
    "On a cluster also while some run or wait, or after the command that started them is gone."
    " Exits with 0; with 1 if a run has failed or is not finished, or an output was not the"
    " target's own; with 2 if there is no run.",
    "pearl-eval table multirun/DATE/TIME",
)
DASHBOARD = Command(
    "A W&B workspace and report over the runs of a project",
    "pearl_eval.commands.dashboard:dashboard",
    [
        argument("--project", help="W&B project (default: WANDB_PROJECT, or pearl-eval)"),
        argument("--entity", help="user or team (default: WANDB_ENTITY, or your own)"),
        output("none; with it both are written as JSON, and no server is asked"),
    ],
    "The workspace shows speedup by task and decoder, acceptance, waiting, equivalence failures,"
    " accuracy beside the reference, every prompt and round; the report has the paper's tables."
    " With no account, or with WANDB_MODE=offline, they are written to dashboard.json instead of"
    " saved. Runs that were logged offline come into the project by `wandb sync`. Each call saves a"
    " new view and a new report.",
    "pearl-eval dashboard --entity TEAM        save both to your project\n"
    "pearl-eval dashboard -o dashboard.json    see what would be saved",
)
