"""A W&B workspace and report over the runs of a project."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pearl_eval.errors import UserError, reason
from pearl_eval.tracking.tracker import PROJECT, quieten_wandb

_MISSING = (
    "pearl-eval dashboard needs wandb-workspaces, which is the extra 'dashboard': in the checkout,"
    " pip install -e '.[dashboard]'"
)
_DEFAULT_OUTPUT = Path("dashboard.json")


def dashboard(project: str = "", entity: str | None = None, output: Path | None = None) -> None:
    """Save it to W&B and print its addresses, or write its specs and print the file's path."""
    project = project or os.environ.get("WANDB_PROJECT") or PROJECT
    entity = os.environ.get("WANDB_ENTITY", "") if entity is None else entity
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
        raise UserError(
            f"W&B did not take the dashboard, -o FILE writes it instead: {reason(error)}"
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
