"""Runs of a W&B project, downloaded: each as the directory it was logged from."""

from __future__ import annotations

from pathlib import Path

from pearl_eval.errors import UserError, reason
from pearl_eval.results.records import SUMMARY

_KIND = "evaluation"
#: Seconds to wait for an answer of the server.
_TIMEOUT = 30


def download(project: str, folder: Path) -> list[Path]:
    """The directories of a project's finished runs (``ENTITY/PROJECT``), below ``folder``.

    Of each run it fetches the artifact that the run logged of its own files; what is there already
    is not fetched again. Raises :class:`UserError` where that can't be had.
    """
    import wandb

    if project.count("/") != 1:
        raise UserError(f"wandb:{project} is no project: name it as wandb:ENTITY/PROJECT")
    try:
        api = wandb.Api(timeout=_TIMEOUT)
        found = []
        for run in api.runs(project):
            own = folder / run.id
            if not (own / SUMMARY).exists():
                name = f"{project}/evaluation-{run.id}:latest"
                if not api.artifact_exists(name, type=_KIND):
                    continue
                # A download that is broken off leaves nothing that looks like a run.
                part = folder / f"{run.id}.part"
                api.artifact(name, type=_KIND).download(root=str(part))
                part.rename(own)
            found.append(own)
    except Exception as error:
        raise UserError(f"W&B's project {project} can't be read: {reason(error)}") from error
    if not found:
        raise UserError(f"W&B's project {project} has no finished run with its files")
    return found
