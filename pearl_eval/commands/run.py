"""One run, as a Hydra program: Hydra composes it, or each of a sweep, and this runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from decoders.process import fork_server
from pearl_eval.config.schema import Names
from pearl_eval.errors import AnotherRun, EquivalenceViolation, RunInUse
from pearl_eval.results.journal import held, replacing
from pearl_eval.results.labels import labels, of_run
from pearl_eval.results.records import ERROR, RUN, SUMMARY
from pearl_eval.results.runs import sweep_of
from pearl_eval.results.table import Row
from pearl_eval.shell.command import DRAFT_MODULES, hydra_command
from pearl_eval.shell.console import print_table
from pearl_eval.shell.manners import leave_error


@hydra_command("config", logs=True)
def main(cfg: DictConfig) -> dict[str, Any] | None:
    """One Hydra job: a run."""
    hydra_config = HydraConfig.get()
    choices = hydra_config.runtime.choices
    directory = Path(hydra_config.runtime.output_dir)
    names = Names(choices["decoder"], choices["pair"], choices["task"])
    over = (directory / SUMMARY).exists()
    # Before anything is written there.
    with held(directory) as ours:
        if not ours:
            raise RunInUse(directory)
        try:
            _write_config(directory, cfg)
            summary = _evaluate(cfg, names, directory)
        except Exception as error:
            # A run that is over stays so, whatever else is asked for there.
            anothers = over or isinstance(error, AnotherRun)
            if not anothers or isinstance(error, EquivalenceViolation):
                leave_error(directory / ERROR, error)
            raise
    if hydra_config.mode is not RunMode.MULTIRUN:
        (label,) = labels([of_run(names.decoder, summary["decoder_settings"], summary["seed"])])
        print_table(f"{names.task}, {names.pair}", [Row(label, str(directory), summary)])
    return summary


def _evaluate(cfg: DictConfig, names: Names, directory: Path) -> dict[str, Any]:
    fork_server.prepare(DRAFT_MODULES)
    # Imported late: it brings torch and transformers, which --help and --cfg have no use for.
    from pearl_eval.evaluation.evaluation import evaluate

    return evaluate(cfg, names, directory, sweep_of(directory) or directory)


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
