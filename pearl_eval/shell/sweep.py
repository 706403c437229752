"""The end of a sweep: one table over all its runs, made from their files alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from pearl_eval.config.settings import check_settings
from pearl_eval.errors import UserError
from pearl_eval.results.journal import held
from pearl_eval.results.labels import labels, of_overrides
from pearl_eval.results.records import (
    BENCH,
    OVERRIDES,
    RECORDS,
    SUMMARY,
    SWEEP,
    FileObject,
    read_error,
    read_yaml,
)
from pearl_eval.results.runs import finished_runs, run_folders
from pearl_eval.results.summaries import whole_summary
from pearl_eval.results.table import Row
from pearl_eval.shell.console import print_error, print_note, print_table
from pearl_eval.shell.credentials import refuse_credentials
from pearl_eval.shell.resume import FREE, Started

_MOVE = "; choose another directory, or move that away"
#: Longest name of a folder, in bytes, on the file systems there are.
_LONGEST = 255
#: Lets go of the directory that this process has for itself.
_held = contextlib.ExitStack()
#: The sweep that this process is at work on, until its end.
_under_way: list[Path] = []


class SweepReport(Callback):
    """Hydra callback around runs and sweeps.

    Refuses a directory that holds something else, or that another process is at work on, before
    anything is written there. When a sweep is over, prints the table over its runs, and exits with
    1 where one failed.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _under_way.clear()
        with _refusing():
            directory = Path(config.hydra.run.dir)
            if (directory / BENCH).exists():
                raise UserError(f"hydra.run.dir={directory} holds a benchmark already{_MOVE}")
            if (directory / SWEEP).exists() or next(directory.glob(f"*/{RECORDS}"), None):
                raise UserError(f"hydra.run.dir={directory} holds a sweep already{_MOVE}")
            _make(directory, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _refusing():
            refuse_credentials(config)
            check_settings(config)
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
            _under_way[:] = [directory]

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        _held.close()
        _under_way.clear()
        try:
            rows = sweep_rows(Path(config.hydra.sweep.dir))
            if not rows:
                raise UserError(f"there is no run in {config.hydra.sweep.dir}")
            print_table(f"Sweep {config.hydra.sweep.dir}", rows)
        except Exception as error:
            # Hydra makes a warning of what a callback raises, and goes on to exit with 0.
            print_error(f"the sweep's table can't be made: {error}")
            raise SystemExit(2) from error
        if any(row.summary is None or row.summary["violations"] for row in rows):
            raise SystemExit(1)


def print_so_far() -> None:
    """The table of a sweep that was broken off here: what has finished is not lost."""
    for directory in _under_way:
        _held.close()
        with contextlib.suppress(UserError, OSError):
            rows = sweep_rows(directory)
            if rows:
                print_table(f"Sweep {directory}, broken off", rows)
                print_note(f"resume={directory} goes on with what is not finished")
    _under_way.clear()


def check_job(job: DictConfig, others: Sequence[Path]) -> Path:
    """Refuse a job of a sweep that has settings nothing reads, or no folder of its own.

    ``others`` are the folders of the jobs before it; its own is what comes back.
    """
    with open_dict(job.hydra.job):
        job.hydra.job.num = len(others)
        job.hydra.job.id = str(len(others))
    check_settings(job)
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(job)
        sweep, subdir = (os.path.abspath(job.hydra.sweep.dir), str(job.hydra.sweep.subdir))
    except OmegaConfBaseException as error:
        raise UserError(f"hydra.sweep.subdir: {str(error).splitlines()[0]}") from error
    finally:
        HydraConfig.instance().cfg = before
    folder = Path(os.path.abspath(os.path.join(sweep, subdir)))
    if Path(sweep) not in folder.parents:
        raise UserError(
            f"hydra.sweep.subdir={subdir} is not below hydra.sweep.dir, where the runs of a sweep"
            " are looked for"
        )
    if folder in others:
        raise UserError(
            f"hydra.sweep.subdir={subdir} is the folder of run {others.index(folder)} and of run"
            f" {len(others)}: each needs one of its own; add ${{hydra.job.num}} to it"
        )
    longest = max((os.fsencode(part) for part in folder.parts), key=len)
    if len(longest) > _LONGEST:
        raise UserError(
            f"hydra.sweep.subdir={subdir}: a folder's name may have {_LONGEST} bytes, and this has"
            f" {len(longest)}"
        )
    return folder


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
    folders = [one for one in run_folders(directory) if (one / OVERRIDES).exists()]
    if folders == [directory]:  # a run's own
        return []
    summaries = [_summary(folder) for folder in folders]
    known = [
        of_overrides(
            map(str, read_yaml(folder / OVERRIDES) or ()),
            summary["decoder"] if summary else folder.name,
            summary["decoder_settings"] if summary else None,
        )
        for folder, summary in zip(folders, summaries, strict=True)
    ]
    return [
        Row(label, str(folder), summary, (read_error(folder) or ["no result"])[0])
        for folder, label, summary in zip(folders, labels(known), summaries, strict=True)
    ]


def table_rows(directory: Path) -> list[Row]:
    """A row for each run of a sweep, finished or not, or the one of a run's own directory."""
    return sweep_rows(directory) or [
        Row(run.label, str(run.directory), run.summary) for run in finished_runs(directory)
    ]


def _summary(folder: Path) -> FileObject | None:
    """The figures of a run that has some, and did not fail."""
    failed = read_error(folder) is not None
    summary = None
    if (folder / SUMMARY).exists():
        # One that is damaged may be why the run failed.
        with contextlib.suppress(*((UserError,) if failed else ())):
            summary = whole_summary(folder)
    if failed and summary and not summary["violations"]:
        # What is there is of an earlier attempt, and not what was asked for now.
        return None
    return summary
