"""The ``pearl-eval`` command: Hydra composes a run or a sweep, this runs it."""

from __future__ import annotations

import os
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
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pearl_eval.config import Names, register
from pearl_eval.console import Row, print_error, print_table
from pearl_eval.errors import EquivalenceViolation, UserError
from pearl_eval.paths import config_dir
from pearl_eval.sweep import ERROR

_FULL_ERROR = "HYDRA_FULL_ERROR"
#: What ended a single run.
_failures: list[Exception] = []


@hydra.main(config_path=str(config_dir()), config_name="config", version_base="1.3")
def _run(cfg: DictConfig) -> dict[str, Any] | None:
    """Body of one Hydra job."""
    # Imported late: it brings torch and transformers, which --help and --cfg have no use for.
    from pearl_eval.evaluation import evaluate

    hydra_config = HydraConfig.get()
    choices = hydra_config.runtime.choices
    directory = Path(hydra_config.runtime.output_dir)
    names = Names(choices["decoder"], choices["pair"], choices["task"])
    sweeping = hydra_config.mode is RunMode.MULTIRUN
    group = Path(hydra_config.sweep.dir).name if sweeping else directory.name
    try:
        summary = evaluate(cfg, names, group, directory)
    except Exception as error:
        _write_error(directory, error)
        if sweeping:
            # The sweep's other runs go on; its table names this one, and it exits non-zero.
            print_error(f"{names.decoder}: {_one_line(error)}")
        else:
            # Raised again by main: out of here Hydra would add lines of its own.
            _failures.append(error)
        return None
    if not sweeping:
        print_table(f"{names.task}, {names.pair}", [Row(names.decoder, str(directory), summary)])
    return summary


def main() -> None:
    """Entry point of ``pearl-eval``."""
    run_hydra(_run)


def run_hydra(job: Callable[[], Any]) -> None:
    """Run a Hydra program as a command: errors in one line, exit codes, a clean end by signal."""
    full_error = os.environ.get(_FULL_ERROR, "")
    # Makes Hydra hand over its errors instead of printing them over many lines.
    os.environ[_FULL_ERROR] = "1"
    signal.signal(signal.SIGTERM, _terminate)
    register()
    try:
        job()
        if _failures:
            raise _failures.pop()
    except KeyboardInterrupt:
        print_error("interrupted; finished prompts are on disk")
        sys.exit(130)
    except Exception as error:
        if full_error == "1" or not _users_to_mend(error):
            traceback.print_exc()
        print_error(_one_line(error))
        sys.exit(1 if isinstance(error, EquivalenceViolation) else 2)
    finally:
        os.environ[_FULL_ERROR] = full_error


def _terminate(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _users_to_mend(error: BaseException) -> bool:
    """Whether an error is told in one line; any other is ours, and comes with its traceback."""
    kinds: list[type[BaseException]] = [
        UserError,
        EquivalenceViolation,
        HydraException,
        OmegaConfBaseException,
        OSError,
    ]
    if "decoders.drafter" in sys.modules:
        kinds.append(sys.modules["decoders.drafter"].DraftProcessError)
    return isinstance(error, tuple(kinds))


def _one_line(error: BaseException) -> str:
    """What an error says, with its cause where Hydra hides that, without Hydra's search path."""
    text = str(error).split("Config search path:")[0]
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        text += " " + str(cause).split("full_key:")[0]
    return " ".join(text.split()) or type(error).__name__


def _write_error(directory: Path, error: BaseException) -> None:
    """Leave the error in the run's folder: one line, then the traceback."""
    trace = "".join(traceback.format_exception(error))
    try:
        (directory / ERROR).write_text(f"{_one_line(error)}\n\n{trace}")
    except OSError:
        warnings.warn(f"{directory / ERROR} can't be written", stacklevel=2)


if __name__ == "__main__":
    main()
