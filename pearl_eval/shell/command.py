"""Hydra programs as commands: errors in one line, exit codes, a clean end by signal."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pearl_eval.config.paths import config_dir
from pearl_eval.config.schema import register
from pearl_eval.config.settings import check_settings, no_such_setting
from pearl_eval.errors import EquivalenceViolation, RunInUse, UserError
from pearl_eval.estimate.jobs import whole_configuration
from pearl_eval.results.records import ERROR, OVERRIDES
from pearl_eval.shell.console import print_error
from pearl_eval.shell.credentials import refuse_credentials
from pearl_eval.shell.hub_waits import tell_hub_waits
from pearl_eval.shell.resume import resumed
from pearl_eval.shell.scratch import scratch
from pearl_eval.shell.streams import nobody_reads, standard_streams
from pearl_eval.shell.sweep import print_so_far

_FULL_ERROR = "HYDRA_FULL_ERROR"
#: What a draft process imports, before it loads its model.
DRAFT_MODULES = ("pearl_eval.pairs.setup", "transformers.models.llama.modeling_llama")
#: Hydra has no such flag of its own.
_VERBOSE = ("-v", "--verbose")
_TALKATIVE = "hydra.job_logging.handlers.console.level=INFO"
#: Nor this; the second form is for programs to read.
_DRY_RUN = ("--dry-run", "--dry-run=json")
_HELP = {"-h", "--help"}
#: What plugins for clusters bring.
_OF_EXTRA = ("hydra/launcher/joblib", "hydra/launcher/submitit_slurm")
#: What ended the job: out of a job Hydra would add lines of its own to it.
_failures: list[Exception] = []


def hydra_command(
    config_name: str, folder: str = "", logs: bool = False, dry_run: bool = False
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a function of a composed configuration a command.

    ``folder`` is where its configurations are, below ``conf/``. ``logs``: the command leaves runs
    that can be resumed, with a log, which ``-v`` shows in the terminal as well. ``dry_run``: its
    jobs are runs of decoders, which ``--dry-run`` lists instead.

    It exits with 0; with 1 after an :class:`EquivalenceViolation`; with 2 after an error that is
    the user's to mend, which is told in one line, or any other, which comes with its traceback.
    """

    def decorate(job: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(job)
        def kept(cfg: DictConfig) -> Any:
            try:
                register()  # a job of a sweep may be in another process
                whole: Any = HydraConfig.instance().cfg
                refuse_credentials(cfg, whole)
                _check_launcher(whole.hydra)
                check_settings(cfg)
                tell_hub_waits()
                return job(cfg)
            except (Exception, SystemExit) as error:
                if isinstance(error, _Terminated) or _requeued(error):
                    raise
                return _failed(error, logs)

        program = hydra.main(str(config_dir() / folder), config_name, version_base="1.3")(kept)
        return functools.partial(_run, program, config_name, logs, dry_run)

    return decorate


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
        leave_error(directory, error)
    print_error(f"{hydra_config.runtime.choices.get('decoder')}: {one_line(error)}")


def leave_error(directory: Path, error: BaseException) -> None:
    """Leave an error in the folder of the run that failed by it: one line, then the traceback."""
    trace = "".join(traceback.format_exception(error))
    try:
        (directory / ERROR).write_text(f"{one_line(error)}\n\n{trace}", encoding="utf-8")
    except OSError:
        warnings.warn(f"{directory / ERROR} can't be written", stacklevel=2)


def _run(program: Callable[[], Any], config_name: str, logs: bool, dry_run: bool) -> None:
    with standard_streams():
        _run_program(program, config_name, logs, dry_run)


def _run_program(program: Callable[[], Any], config_name: str, logs: bool, dry_run: bool) -> None:
    full_error = os.environ.get(_FULL_ERROR, "")
    # Makes Hydra hand over its errors instead of printing them over many lines.
    os.environ[_FULL_ERROR] = "1"
    signal.signal(signal.SIGTERM, _terminate)
    register()
    asked = {*_DRY_RUN} & {*sys.argv} if dry_run and not _HELP & {*sys.argv} else set()
    try:
        if logs:
            told = resumed(sys.argv[1:])
            sys.argv[1:] = [_TALKATIVE if one in _VERBOSE else one for one in told]
        if asked:
            # Imported late: it brings torch and transformers.
            from pearl_eval.estimate.cli import list_jobs

            rest = [one for one in sys.argv[1:] if one not in asked]
            list_jobs(config_name, rest, as_json=_DRY_RUN[1] in asked)
            return
        with scratch():
            program()
        if _failures:
            raise _failures.pop()
    except (KeyboardInterrupt, _Terminated) as end:
        how, code = "interrupted", 130
        if isinstance(end, _Terminated):
            how, code = "terminated", end.signal_code
        more = ", and resume=DIR goes on from there" if logs else ""
        print_error(f"{how}; finished prompts are on disk{more}")
        sys.exit(code)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and nobody_reads(sys.stdout):
            raise
        print_so_far()
        if full_error == "1" or not _users_to_mend(error):
            traceback.print_exc()
        print_error(_unknown(error, config_name) or one_line(error))
        sys.exit(1 if isinstance(error, EquivalenceViolation) else 2)
    finally:
        os.environ[_FULL_ERROR] = full_error


def _unknown(error: BaseException, config_name: str) -> str:
    """What to say of a setting that there is not; Hydra's own hint would add one nothing reads."""
    found = re.match(r"Could not override '(.+)'\.\s+To append to your config use \+", str(error))
    if not isinstance(error, ConfigCompositionException) or not found:
        return ""
    name = found[1]
    if name.startswith("hydra."):
        return ""  # there are some that only Hydra or its plugins know
    rest = [one for one in sys.argv[1:] if one.lstrip("+~").partition("=")[0] != name]
    with contextlib.suppress(Exception):
        return no_such_setting(name, whole_configuration(config_name, rest))
    return f"there is no setting {name}: --cfg job shows all there are"


def one_line(error: BaseException) -> str:
    """What an error says, with its cause where Hydra hides that, without Hydra's search path."""
    text = str(error).split("Config search path:")[0]
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        text += " " + str(cause).split("full_key:")[0]
    if isinstance(error, MissingConfigException) and error.missing_cfg_file in _OF_EXTRA:
        text += "; it comes with an extra: pip install --editable '.[cluster]'"
    return " ".join(text.split()) or type(error).__name__


class _Terminated(SystemExit):
    """A signal asked for the end. Where nothing catches it, it still is one, by its exit code."""

    def __init__(self, signum: int) -> None:
        self.signal_code = 128 + signum
        super().__init__(self.signal_code)


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise _Terminated(signum)


def _requeued(error: BaseException) -> bool:
    """Whether it is how submitit leaves a job that it has put back into Slurm's queue."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    where = frames[-1].f_globals.get("__name__", "") if frames else ""
    return isinstance(error, SystemExit) and where.startswith("submitit.")


def _users_to_mend(error: BaseException) -> bool:
    kinds: list[type[BaseException]] = [
        UserError,
        EquivalenceViolation,
        HydraException,
        OmegaConfBaseException,
        OSError,
        FloatingPointError,
    ]
    # Looked up so that commands need not import torch before they know what they are asked.
    if "decoders.process.worker" in sys.modules:
        kinds.append(sys.modules["decoders.process.worker"].DraftProcessError)
    # A run of a sweep that ran out of memory, or was killed.
    workers = sys.modules.get("joblib.externals.loky.process_executor")
    if workers is not None:
        kinds.append(workers.TerminatedWorkerError)
    return isinstance(error, tuple(kinds))
