"""How every command behaves: errors in one line, exit codes, output that hides no error."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from pearl_eval.errors import EquivalenceViolation, UserError
from pearl_eval.shell.streams import nobody_reads, standard_streams

#: Whether whoever runs a command wants to see tracebacks: Hydra's own variable.
FULL_ERROR = "HYDRA_FULL_ERROR"
#: Errors of libraries that are the user's to mend. Looked up among the modules that are there, so
#: that a command need not import any of them; the last is a run of a sweep that was killed.
_MENDABLE = (
    ("hydra.errors", "HydraException"),
    ("omegaconf.errors", "OmegaConfBaseException"),
    ("decoders.process.worker", "WorkerError"),
    ("joblib.externals.loky.process_executor", "TerminatedWorkerError"),
)
_TENSOR_PARALLEL = (
    "Several processes compute a target in vLLM: decoder=vllm engine.tensor_parallel_size=2"
    " (docs/vllm.md)"
)
#: What is said of a setting that there was once, and what there is now.
_GONE = {
    "'runtime/compiled'": "it is called runtime=cuda_graphs now",
    "'compiled', expected one of [auto,": "it is called runtime.forward=cuda_graphs now",
    "no setting runtime.tensor_parallel:": _TENSOR_PARALLEL,
    "'tensor_parallel' not in 'RuntimeConfig'": _TENSOR_PARALLEL,
}
#: What plugins for clusters bring.
_OF_EXTRA = ("hydra/launcher/joblib", "hydra/launcher/submitit_slurm")


class Terminated(SystemExit):
    """A signal asked for the end. Where nothing catches it, it still is one, by its exit code."""

    def __init__(self, signum: int) -> None:
        self.signal_code = 128 + signum
        super().__init__(self.signal_code)


def terminate(signum: int, frame: FrameType | None) -> None:
    """A handler of signals."""
    raise Terminated(signum)


@contextlib.contextmanager
def manners(kept: str = "") -> Iterator[None]:
    """Around a command: how it ends, whatever happens in it.

    It exits with 0; with 1 after an :class:`EquivalenceViolation`; with 2 after an error that is
    the user's to mend, which is told in one line, or any other, which comes with its traceback;
    with 130 or another code above 128 after a signal, of which ``kept`` says what is not lost.
    Output is as :func:`standard_streams` has it.
    """
    with standard_streams():
        try:
            yield
        except (KeyboardInterrupt, Terminated) as end:
            told, code = "interrupted", 130
            if isinstance(end, Terminated):
                told, code = "terminated", end.signal_code
            _print_error(told + kept)
            sys.exit(code)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and nobody_reads(sys.stdout):
                raise
            if os.environ.get(FULL_ERROR) == "1" or not _users_to_mend(error):
                traceback.print_exc()
            _print_error(one_line(error))
            sys.exit(1 if isinstance(error, EquivalenceViolation) else 2)


def one_line(error: BaseException) -> str:
    """What an error says, with its cause where Hydra hides that, without Hydra's search path."""
    text = str(error).split("Config search path:")[0]
    cause = error.__cause__
    if _is(error, *_MENDABLE[0]) and cause and _is(cause, *_MENDABLE[1]):
        text += " " + str(cause).split("full_key:")[0]
    if getattr(error, "missing_cfg_file", None) in _OF_EXTRA:
        text += "; it comes with an extra: pip install --editable '.[cluster]'"
    told = " ".join(text.split())
    for old, now in _GONE.items():
        if old in told:
            told += f"{' ' if told.endswith('?') else '; '}{now}"
    return told or type(error).__name__


def leave_error(file: Path, error: BaseException) -> None:
    """Leave an error in a file of the run that failed by it: one line, then the traceback."""
    trace = "".join(traceback.format_exception(error))
    try:
        file.write_text(f"{one_line(error)}\n\n{trace}", encoding="utf-8")
    except OSError:
        warnings.warn(f"{file} can't be written", stacklevel=2)


def _users_to_mend(error: BaseException) -> bool:
    own = (UserError, EquivalenceViolation, OSError, FloatingPointError)
    return isinstance(error, own) or any(_is(error, *kind) for kind in _MENDABLE)


def _is(error: BaseException, module: str, name: str) -> bool:
    return isinstance(error, getattr(sys.modules.get(module), name, ()))


def _print_error(message: str) -> None:
    from pearl_eval.shell.console import print_error  # late: what goes well has no use for it

    print_error(message)
