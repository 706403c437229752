"""The ``pearl-eval`` command: Hydra composes a run or a sweep, this runs it."""

from __future__ import annotations

import traceback
import warnings
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from decoders import fork_server
from pearl_eval.command import DRAFT_MODULES, hydra_command, one_line
from pearl_eval.config import Names
from pearl_eval.console import print_error, print_table
from pearl_eval.errors import EquivalenceViolation
from pearl_eval.journal import held, replacing
from pearl_eval.records import ERROR, RUN, SUMMARY
from pearl_eval.resume import family_of
from pearl_eval.table import Row


@hydra_command("config", logs=True, dry_run=True)
def main(cfg: DictConfig) -> dict[str, Any] | None:
    """Entry point of ``pearl-eval``: one Hydra job."""
    fork_server.prepare(DRAFT_MODULES)
    # Imported late: it brings torch and transformers, which --help and --cfg have no use for.
    from pearl_eval.evaluation import evaluate
    from pearl_eval.runfiles import AnotherRun, RunInUse

    hydra_config = HydraConfig.get()
    choices = hydra_config.runtime.choices
    directory = Path(hydra_config.runtime.output_dir)
    names = Names(choices["decoder"], choices["pair"], choices["task"])
    sweeping = hydra_config.mode is RunMode.MULTIRUN
    over = (directory / SUMMARY).exists()
    # Before anything is written there.
    with held(directory) as ours:
        try:
            if not ours:
                raise RunInUse(directory)
            _write_config(directory, cfg)
            summary = evaluate(cfg, names, directory, family_of(directory))
        except Exception as error:
            # A run that is over stays so, whatever else is asked for there; but in a sweep's table
            # it would pass for what was asked for.
            anothers = over or isinstance(error, AnotherRun)
            told = sweeping or not anothers or isinstance(error, EquivalenceViolation)
            if told and not isinstance(error, RunInUse):
                _write_error(directory, error)
            if not sweeping:
                raise
            # The sweep's other runs go on; its table names this one, and it exits non-zero.
            print_error(f"{names.decoder}: {one_line(error)}")
            return None
    if not sweeping:
        print_table(f"{names.task}, {names.pair}", [Row(names.decoder, str(directory), summary)])
    return summary


def _write_config(directory: Path, cfg: DictConfig) -> None:
    """Leave the configuration, as Hydra would, unless the run there has one already."""
    folder = directory / ".hydra"
    if (directory / RUN).exists() and folder.exists():
        return
    folder.mkdir(exist_ok=True)
    whole: Any = HydraConfig.instance().cfg
    contents = {"config": cfg, "overrides": whole.hydra.overrides.task, "hydra": whole}
    for name, content in contents.items():
        with replacing(folder / f"{name}.yaml") as unfinished:
            OmegaConf.save(content, unfinished)


def _write_error(directory: Path, error: BaseException) -> None:
    """Leave the error in the run's folder: one line, then the traceback."""
    trace = "".join(traceback.format_exception(error))
    try:
        (directory / ERROR).write_text(f"{one_line(error)}\n\n{trace}", encoding="utf-8")
    except OSError:
        warnings.warn(f"{directory / ERROR} can't be written", stacklevel=2)


if __name__ == "__main__":
    main()
