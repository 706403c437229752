"""``pearl-eval-dashboard``: a W&B workspace and report over the runs of a project."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pearl_eval.errors import UserError
from pearl_eval.shell.console import print_error
from pearl_eval.shell.streams import standard_streams
from pearl_eval.tracking.tracker import PROJECT, quieten_wandb

_HELP = """\
Build a W&B workspace (speedup by task and decoder, acceptance, waiting, equivalence failures,
accuracy beside the reference, every prompt and round) and a report with the paper's tables, over
the runs that pearl-eval logged to a project.

  Save both to your project:       pearl-eval-dashboard --entity TEAM
  See what would be saved:         pearl-eval-dashboard -o dashboard.json

With no account, or with WANDB_MODE=offline, the second is done. Runs that were logged offline come
into the project by `wandb sync`. Each call saves a new view and a new report.
"""
_MISSING = (
    "pearl-eval-dashboard needs wandb-workspaces, which is the extra 'dashboard': in the checkout,"
    " pip install -e '.[dashboard]'"
)
_DEFAULT_OUTPUT = Path("dashboard.json")


@standard_streams()
def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``pearl-eval-dashboard``: 0 if saved or written, 2 after an error."""
    parser = argparse.ArgumentParser(
        prog="pearl-eval-dashboard",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    project, entity = os.environ.get("WANDB_PROJECT") or PROJECT, os.environ.get("WANDB_ENTITY", "")
    parser.add_argument("--project", default=project, help=f"W&B project (default: {project})")
    parser.add_argument("--entity", default=entity, help="user or team (default: your own)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write the specs as JSON, ask no server"
    )
    options = parser.parse_args(arguments)
    try:
        _run(options.entity, options.project, options.output)
    except UserError as error:
        print_error(str(error))
        sys.exit(2)


def _run(entity: str, project: str, output: Path | None) -> None:
    quieten_wandb()
    panels = _panels()
    try:
        if output is None and not _has_account():
            output = _DEFAULT_OUTPUT
        if output is None:
            for url in _save(panels, entity, project):
                print(url)
            return
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"W&B did not take the dashboard, -o FILE writes it instead: {reason}"
        ) from error
    try:
        output.write_text(json.dumps(panels.spec(entity, project), indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{output} can't be written: {error.strerror}") from error
    print(output)


def _panels() -> Any:
    """The module that builds the views; it needs a library that not everybody has."""
    try:
        from pearl_eval.tracking import panels
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("wandb_workspaces"):
            raise
        raise UserError(_MISSING) from error
    return panels


def _has_account() -> bool:
    """Whether there are credentials for W&B, and it is not turned off."""
    import wandb

    return os.environ.get("WANDB_MODE", "online") == "online" and wandb.login(prompt=False)


def _save(panels: Any, entity: str, project: str) -> list[str]:
    """Save both to W&B; their addresses. The report makes the project where there is none."""
    import wandb

    entity = entity or wandb.Api().default_entity or ""
    return [build(entity, project).save().url for build in (panels.report, panels.workspace)]


if __name__ == "__main__":
    main()
