"""The end of a sweep: one table over all its runs, made from their files alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pearl_eval.console import print_error, print_table
from pearl_eval.credentials import refuse_credentials
from pearl_eval.errors import UserError
from pearl_eval.journal import held
from pearl_eval.records import ERROR, RECORDS, SUMMARY, launch_order, read_summary
from pearl_eval.resume import FREE, SWEEP, Started
from pearl_eval.table import Row

_MOVE = "; choose another directory, or move that away"
#: Lets go of the directory that this process has for itself.
_held = contextlib.ExitStack()


class SweepReport(Callback):
    """Hydra callback around runs and sweeps.

    Refuses a directory that holds something else, or that another process is at work on, before
    anything is written there. When a sweep is over, prints the table over its runs, and exits with
    1 where one failed.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _refusing():
            directory = Path(config.hydra.run.dir)
            if next(directory.glob(f"*/{RECORDS}"), None):
                raise UserError(f"hydra.run.dir={directory} holds a sweep already{_MOVE}")
            _make(directory, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _refusing():
            refuse_credentials(config)
            directory = Path(config.hydra.sweep.dir)
            if (directory / RECORDS).exists():
                raise UserError(f"hydra.sweep.dir={directory} holds a run already{_MOVE}")
            if (directory / SWEEP).exists():
                there = Started.read(directory / SWEEP).overrides
                before, now = map(_asked, (there, config.hydra.overrides.task))
                if before != now:
                    raise UserError(
                        f"hydra.sweep.dir={directory} holds a sweep already, of {' '.join(before)};"
                        f" this one is of {' '.join(now)}{_MOVE}"
                    )
            _make(directory, "hydra.sweep.dir")
            _hold(directory)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        _held.close()
        try:
            rows = sweep_rows(Path(config.hydra.sweep.dir))
            print_table(f"Sweep {config.hydra.sweep.dir}", rows)
        except Exception as error:
            # Hydra makes a warning of what a callback raises, and goes on to exit with 0.
            print_error(f"the sweep's table can't be made: {error}")
            raise SystemExit(1) from error
        if not rows or any(row.summary is None or row.summary["violations"] for row in rows):
            raise SystemExit(1)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Exit with 2 after any error: Hydra makes a warning of what a callback raises, and goes on."""
    try:
        yield
    except Exception as error:
        print_error(str(error) or type(error).__name__)
        raise SystemExit(2) from error


def _hold(directory: Path) -> None:
    """Have a sweep's directory for this process until it ends; refused where another has it."""
    _held.close()
    if not _held.enter_context(held(directory)):
        raise UserError(
            f"hydra.sweep.dir={directory}: another process is at work on the sweep there: wait for"
            " its end, or choose another directory"
        )


def _asked(overrides: Sequence[str]) -> list[str]:
    """What a sweep's command line asked for, but for what is free to change."""
    return sorted({one for one in overrides if not one.startswith(("tracking=", *FREE))})


def _make(directory: Path, name: str) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name}={directory} can't be written: {error.strerror}") from error


def sweep_rows(directory: Path) -> list[Row]:
    """One row for each run below a sweep's directory, in the order they were launched."""
    folders = [path.parent.parent for path in directory.glob("*/.hydra/overrides.yaml")]
    folders.sort(key=launch_order)
    overrides = [list(OmegaConf.load(f / ".hydra" / "overrides.yaml")) for f in folders]
    return [
        _row(folder, label)
        for folder, label in zip(folders, varying_labels(overrides), strict=True)
    ]


def varying_labels(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Short names for runs from their overrides: what they do not all share.

    The decoder goes by its name alone, as in ``pearl gamma=4``. A run that varies nothing, as the
    only one of a sweep, has no label.
    """
    shared = set(overrides[0]).intersection(*overrides[1:]) if overrides else set()
    labels = []
    for own in overrides:
        varying = sorted(
            (o for o in own if o not in shared), key=lambda o: o.split("=")[0] != "decoder"
        )
        words = [o.removeprefix("decoder=").removeprefix("decoder.") for o in varying]
        labels.append(" ".join(words))
    return labels


def _row(folder: Path, label: str) -> Row:
    summary_file, error_file = folder / SUMMARY, folder / ERROR
    summary = read_summary(folder) if summary_file.exists() else None
    told = error_file.read_text().splitlines() if error_file.exists() else []
    error = told[0] if told else "no result"
    label = label or (summary["decoder"] if summary else folder.name)
    if error_file.exists() and summary and not summary["violations"]:
        # What is there is of an earlier attempt, and not what was asked for now.
        summary = None
    return Row(label, str(folder), summary, error)
