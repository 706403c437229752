"""In which order the jobs of a sweep are submitted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from submitit.core.utils import FailedJobError, UncompletedJobError

from pearl_eval.errors import UserError
from pearl_eval.evaluation.slurm import SweepJob, _why, check_programs, first_of_each, groups


def job(number: int, reference: str = "", gpus: int = 1) -> SweepJob:
    return SweepJob(number, [], Path(str(number)), {"gpus_per_node": gpus}, reference)


def test_an_error_of_an_earlier_attempt_is_not_this_ones(tmp_path: Path) -> None:
    """Where Slurm ends a job before it begins, nothing else would remove it."""
    (tmp_path / "error.txt").write_text("mended since\n")
    one = SweepJob(0, [], tmp_path, {}, "")
    one._announce(OmegaConf.create({"hydra": {"overrides": {"task": ["decoder=pearl"]}}}))
    assert not (tmp_path / "error.txt").exists()


def test_jobs_without_a_cached_reference_are_an_array_for_each_need() -> None:
    jobs = [job(0), job(1, gpus=3), job(2)]
    assert first_of_each(jobs) == {}
    assert groups(jobs, {}) == [(None, [jobs[0], jobs[2]]), (None, [jobs[1]])]


def test_the_others_wait_for_the_first_that_reads_the_same_reference() -> None:
    jobs = [job(0, "a"), job(1, "a"), job(2, "b"), job(3, "a", gpus=3), job(4, "b"), job(5, "c")]
    firsts = first_of_each(jobs)
    assert firsts == {"a": 0, "b": 2}
    assert groups(jobs, firsts) == [
        (None, [jobs[0], jobs[2], jobs[5]]),
        (0, [jobs[1]]),
        (0, [jobs[3]]),
        (2, [jobs[4]]),
    ]


def test_without_slurm_it_is_said_what_there_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("sbatch", "sacct", "scancel"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"there is no srun on this machine, .* login node"):
        check_programs()
    (tmp_path / "srun").touch(mode=0o755)
    check_programs()


def test_a_job_that_left_no_result_has_its_reason() -> None:
    job = SimpleNamespace(job_id="7", state="OUT_OF_MEMORY")
    line = "\n----------------------\n"
    said = (
        f"Job failed with trace:{line}  File x\nModuleNotFoundError: No module named 'tasks.task'"
    )
    said += f"\n{line}You can check full logs"
    assert _why(job, FailedJobError(said)) == (
        "Slurm job 7 failed: ModuleNotFoundError: No module named 'tasks.task'"
    )
    assert _why(job, UncompletedJobError("x")) == (
        "Slurm job 7 ended as OUT_OF_MEMORY without a result"
    )
    assert _why(job, EOFError()) == "Slurm job 7 failed: EOFError"
