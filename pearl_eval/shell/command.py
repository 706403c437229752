"""Hydra programs as commands: checks before each job, and how errors and exit codes are told."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pearl_eval.config.paths import config_dir
from pearl_eval.config.registry import register
from pearl_eval.config.settings import check_settings, no_such_setting
from pearl_eval.errors import RunInUse, UserError
from pearl_eval.results.records import ERROR, OVERRIDES
from pearl_eval.shell.console import print_error
from pearl_eval.shell.credentials import refuse_credentials
from pearl_eval.shell.hub_waits import tell_hub_waits
from pearl_eval.shell.jobs import parsed, whole_configuration
from pearl_eval.shell.manners import (
    FULL_ERROR,
    Terminated,
    leave_error,
    manners,
    one_line,
    terminate,
)
from pearl_eval.shell.resume import parted, resumed
from pearl_eval.shell.scratch import scratch
from pearl_eval.shell.sweep import print_so_far

#: What a draft process imports, before it loads its model.
DRAFT_MODULES = ("pearl_eval.pairs.setup", "transformers.models.llama.modeling_llama")
#: Hydra has no such flag of its own.
_VERBOSE = ("-v", "--verbose")
_TALKATIVE = "hydra.job_logging.handlers.console.level=INFO"
#: What ended the job: out of a job Hydra would add lines of its own to it.
_failures: list[Exception] = []

#: What a command that was broken off has done.
_KEPT = "finished prompts are on disk"

#: A function of a command line: by default this process's own.
Main = Callable[..., None]


def hydra_command(
    config_name: str, folder: str = "", logs: bool = False, kept: str = _KEPT
) -> Callable[[Callable[[DictConfig], Any]], Main]:
    """Make a function of a composed configuration a command, a function of its command line.

    ``folder`` is where its configurations are, below ``conf/``. ``logs``: the command leaves runs
    that can be resumed, with a log, which ``-v`` shows in the terminal as well. ``kept``: what is
    said to be there still, when it is broken off.
    """

    def decorate(job: Callable[[DictConfig], Any]) -> Main:
        @functools.wraps(job)
        def guarded(cfg: DictConfig) -> Any:
            try:
                register()  # a job of a sweep may be in another process
                whole: Any = HydraConfig.instance().cfg
                refuse_credentials(cfg, whole)
                _check_launcher(whole.hydra)
                check_settings(cfg)
                tell_hub_waits()
                return job(cfg)
            except (Exception, SystemExit) as error:
                if isinstance(error, Terminated) or _requeued(error):
                    raise
                return _failed(error, logs)

        program = hydra.main(str(config_dir() / folder), config_name, version_base="1.3")(guarded)

        def main(arguments: Sequence[str] | None = None) -> None:
            own = sys.argv[1:] if arguments is None else arguments
            with composing(config_name, own, logs, kept) as words, scratch():
                parsed(words)
                sys.argv[1:] = words
                program()
                if _failures:
                    raise _failures.pop()

        return main

    return decorate


@contextlib.contextmanager
def composing(
    config_name: str, arguments: Sequence[str], logs: bool, kept: str = _KEPT
) -> Iterator[list[str]]:
    """Around a command that composes configurations; gives its command line as Hydra takes it.

    ``logs``: it is of runs that can be resumed, with a log. ``kept``: as in ``hydra_command``.
    """
    with manners(f"; {kept}" + ", and resume=DIR goes on from there" * logs):
        full_error = os.environ.get(FULL_ERROR, "")
        # Makes Hydra hand over its errors instead of printing them over many lines.
        os.environ[FULL_ERROR] = "1"
        signal.signal(signal.SIGTERM, terminate)
        register()
        words = list(arguments)
        try:
            if logs:
                words = [_TALKATIVE if one in _VERBOSE else one for one in resumed(words)]
            # Flags first: Hydra's parser takes no override after a flag after an override.
            flags, overrides = parted(words)
            words = [*flags, *overrides]
            yield words
        except Exception as error:
            print_so_far()
            if isinstance(error, ConfigCompositionException):
                _explain(error, config_name, words)
            raise
        finally:
            os.environ[FULL_ERROR] = full_error


def _check_launcher(settings: Any) -> None:
    """Refuse one that Hydra would not ask: the run would begin right here."""
    choice = settings.runtime.choices["hydra/launcher"]
    if settings.mode is RunMode.RUN and choice != "basic":
        raise UserError(
            f"hydra/launcher={choice} is for sweeps, and without -m the run would start on this"
            " machine: add -m, for a single run as well"
        )


def _failed(error: BaseException, logs: bool) -> None:
    """Account for a job that failed, whatever in it did; a sweep's others go on."""
    if isinstance(error, SystemExit):
        error = RuntimeError(f"something in it ended the program, with exit code {error.code}")
    assert isinstance(error, Exception)
    hydra_config = HydraConfig.get()
    if hydra_config.mode is not RunMode.MULTIRUN:
        _failures.append(error)
        return
    if not logs:
        raise error  # Hydra hands it on when the others are over, also from another process
    # The sweep's table names this one, and it exits non-zero.
    directory = Path(hydra_config.runtime.output_dir)
    if not isinstance(error, RunInUse):
        with contextlib.suppress(OSError):
            (directory / OVERRIDES).parent.mkdir(exist_ok=True)
            if not (directory / OVERRIDES).exists():
                OmegaConf.save(hydra_config.overrides.task, directory / OVERRIDES)
        leave_error(directory / ERROR, error)
    print_error(f"{hydra_config.runtime.choices.get('decoder')}: {one_line(error)}")


def _explain(error: Exception, config_name: str, words: Sequence[str]) -> None:
    """Raise what to say of a setting that there is not; Hydra's hint would add one in vain."""
    found = re.match(r"Could not override '(.+)'\.\s+To append to your config use \+", str(error))
    if not found or found[1].startswith("hydra."):
        return  # there are some that only Hydra or its plugins know
    name = found[1]
    rest = [one for one in words if one.lstrip("+~").partition("=")[0] != name]
    told = f"there is no setting {name}: --cfg job shows all there are"
    with contextlib.suppress(Exception):
        told = no_such_setting(name, whole_configuration(config_name, rest))
    raise UserError(told) from error


def _requeued(error: BaseException) -> bool:
    """Whether it is how submitit leaves a job that it has put back into Slurm's queue."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    where = frames[-1].f_globals.get("__name__", "") if frames else ""
    return isinstance(error, SystemExit) and where.startswith("submitit.")
