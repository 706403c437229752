"""Jobs of a sweep on Slurm: one array for all that ask for the same."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from submitit.core.utils import FailedJobError, UncompletedJobError

from decoders.decoder import Decoder
from pearl_eval.config.building import build, plain
from pearl_eval.config.schema import ReferenceMode
from pearl_eval.errors import UserError
from pearl_eval.evaluation.identity import reference_key
from pearl_eval.pairs.pair import PairSource
from pearl_eval.results.records import ERROR, OVERRIDES, read_error
from pearl_eval.shell.console import print_error, print_note

#: What Slurm is asked by.
_PROGRAMS = ("sbatch", "srun", "sacct", "scancel")
#: What submitit draws around the traceback of a job.
_DASHES = "\n----------------------\n"
#: Shell commands of every job. W&B's service is the submitting process's, on another machine.
_SETUP = ["unset WANDB_SERVICE"]


@dataclass(frozen=True)
class SweepJob:
    """A job of a sweep: its number, overrides, folder, and what its launcher is to ask for.

    ``reference`` is the same for jobs that read one cached reference; empty where none is read.
    """

    number: int
    overrides: list[str]
    folder: Path
    resources: dict[str, Any]
    reference: str = ""

    @classmethod
    def compose(cls, launcher: SlurmLauncher, overrides: Sequence[str], number: int) -> SweepJob:
        """Compose a job as it will be where it runs: its launcher's values may follow its pair."""
        context, config = launcher.hydra_context, launcher.config
        assert context is not None and config is not None
        job = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(job.hydra.job):
            job.hydra.job.num = number
            job.hydra.job.id = str(number)
        resources = OmegaConf.to_container(job.hydra.launcher, resolve=True)
        assert isinstance(resources, dict)
        folder = Path(job.hydra.sweep.dir) / str(job.hydra.sweep.subdir)
        asked = {str(k): v for k, v in resources.items()}
        made = cls(number, list(overrides), folder, asked, _reference(job))
        made._announce(job)
        return made

    def _announce(self, job: DictConfig) -> None:
        """Make its folder, so that the sweep's table knows of it before it runs."""
        (self.folder / ".hydra").mkdir(parents=True, exist_ok=True)
        # One of an earlier attempt says nothing of this; of a run that is at work there is none.
        (self.folder / ERROR).unlink(missing_ok=True)
        OmegaConf.save(job.hydra.overrides.task, self.folder / OVERRIDES)

    def result(self, job: submitit.Job[JobReturn]) -> JobReturn:
        """Wait for its end. What became of it is in its folder, also where Slurm ended it."""
        try:
            return job.results()[0]
        except Exception as error:  # of any kind: the result of a job is read from its file
            if (told := read_error(self.folder)) is None:
                text = f"{_why(job, error)}; its log: {job.paths.stderr}\n\n{error}\n"
                (self.folder / ERROR).write_text(text, encoding="utf-8")
                told = text.splitlines()
            print_error(told[0])
            # Not as failed: Hydra would raise, and the sweep's table is still to come.
            return JobReturn(overrides=self.overrides, status=JobStatus.COMPLETED)


def _why(job: submitit.Job[JobReturn], error: Exception) -> str:
    """What became of a job that left no result, in a line."""
    if isinstance(error, UncompletedJobError) and not isinstance(error, FailedJobError):
        return f"Slurm job {job.job_id} ended as {job.state} without a result"
    # Between lines of dashes is the traceback from there; its last line says what was raised.
    trace = str(error).split(_DASHES)[1] if _DASHES in str(error) else str(error)
    last = ([line.strip() for line in trace.splitlines() if line.strip()] or [""])[-1]
    return f"Slurm job {job.job_id} failed: {last or type(error).__name__}"


def check_programs() -> None:
    """Refuse to begin on a machine that has no Slurm."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"hydra/launcher: there is no {' and no '.join(missing)} on this machine, by which jobs"
            " are given to Slurm: start the sweep on a login node of the cluster (module load slurm"
            " there, where it needs that), or choose hydra/launcher=basic or joblib"
        )


def launch(
    setup: dict[str, Any], job_overrides: Sequence[Sequence[str]], first: int
) -> list[JobReturn]:
    """Submit the jobs of a sweep and wait for the end of all, whatever becomes of each."""
    check_programs()
    launcher = SlurmLauncher()
    launcher.setup(**setup)
    jobs = [SweepJob.compose(launcher, one, first + i) for i, one in enumerate(job_overrides)]
    firsts = first_of_each(jobs)
    submitted: dict[int, submitit.Job[JobReturn]] = {}
    for awaited, group in groups(jobs, firsts):
        before = submitted[awaited].job_id if awaited is not None else None
        try:
            handles = _submit(launcher, group, before)
        except FailedJobError as error:
            for handle in submitted.values():
                handle.cancel()
            why = str(error.__cause__ or error).rstrip(".")
            raise UserError(f"Slurm refused {_asked(group)}: {why}; no run was started") from error
        submitted |= {job.number: handle for job, handle in zip(group, handles, strict=True)}
        print_note(f"Slurm job {_array(handles[0])}: {_asked(group)}")
    try:
        return [job.result(submitted[job.number]) for job in jobs]
    except KeyboardInterrupt:
        ids = dict.fromkeys(map(_array, submitted.values()))
        print_note(
            f"the jobs go on without this command; to end them: scancel {' '.join(ids)};"
            f" their table, at any time: pearl-eval table {setup['config'].hydra.sweep.dir}"
        )
        raise


def first_of_each(jobs: Sequence[SweepJob]) -> dict[str, int]:
    """The number of the job that measures each cached reference that several jobs read.

    The others would hold their GPUs while they wait for it, so they begin after it.
    """
    readers: dict[str, list[int]] = {}
    for job in jobs:
        if job.reference:
            readers.setdefault(job.reference, []).append(job.number)
    return {reference: numbers[0] for reference, numbers in readers.items() if len(numbers) > 1}


def groups(
    jobs: Sequence[SweepJob], firsts: dict[str, int]
) -> list[tuple[int | None, list[SweepJob]]]:
    """Jobs that ask for the same and begin after the same job, if after one; those none first."""
    groups: dict[tuple[int | None, str], list[SweepJob]] = {}
    for job in jobs:
        first = firsts.get(job.reference)
        awaited = None if first == job.number else first
        groups.setdefault((awaited, repr(sorted(job.resources.items()))), []).append(job)
    ordered = sorted(groups.items(), key=lambda item: item[0][0] is not None)
    return [(awaited, group) for (awaited, _), group in ordered]


def _reference(job: DictConfig) -> str:
    """The same for jobs that read the same reference. What can't be says so where it runs."""
    if OmegaConf.select(job, "reference.mode") is not ReferenceMode.cached:
        return ""
    with contextlib.suppress(UserError, OmegaConfBaseException):
        own = OmegaConf.masked_copy(job, [str(name) for name in job if name != "hydra"])
        decoder = build("decoder", job.decoder, Decoder)
        return reference_key(plain(own), build("pair", job.pair, PairSource), decoder)
    return ""


def _submit(
    launcher: SlurmLauncher, group: Sequence[SweepJob], before: str | None
) -> list[submitit.Job[JobReturn]]:
    """Submit jobs that ask for the same, after job ``before`` if that is given: as an array where
    there are several."""
    resources = dict(group[0].resources)
    del resources["_target_"]
    if before is not None:
        resources["dependency"] = f"afterany:{before}"
    executor = submitit.AutoExecutor(
        folder=resources.pop("submitit_folder"),
        cluster="slurm",  # else submitit looks around for what there is
        slurm_max_num_timeout=resources.pop("max_num_timeout"),
    )
    resources["setup"] = [*_SETUP, *(resources["setup"] or ())]
    general = BaseQueueConf.__dataclass_fields__
    executor.update_parameters(
        **{name if name in general else f"slurm_{name}": v for name, v in resources.items()}
    )
    arguments: Iterable[tuple[Any, ...]] = (
        (job.overrides, "hydra.sweep.dir", job.number, str(job.number), Singleton.get_state())
        for job in group
    )
    return executor.map_array(launcher, *zip(*arguments, strict=True))


def _array(handle: submitit.Job[JobReturn]) -> str:
    return handle.job_id.split("_")[0]


def _asked(group: Sequence[SweepJob]) -> str:
    resources = group[0].resources
    asked = ", ".join(
        f"{name}={resources[name]}"
        for name in ("partition", "gpus_per_node", "cpus_per_task", "mem_gb", "timeout_min")
        if resources.get(name) is not None
    )
    return f"{len(group)} run{'s' if len(group) > 1 else ''} with {asked}"
