"""In which order the jobs of a sweep are submitted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf
from submitit.core.utils import FailedJobError, UncompletedJobError

from pearl_eval.errors import UserError
from pearl_eval.evaluation import slurm
from pearl_eval.evaluation.slurm import (
    SweepJob,
    _asked,
    _submit,
    _why,
    check_programs,
    first_of_each,
    groups,
    launch,
)


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


class Executor:
    """Stands for submitit's; notes what it is asked."""

    def __init__(self, **given: Any) -> None:
        self.given = given

    def update_parameters(self, **parameters: Any) -> None:
        self.parameters = parameters

    def map_array(self, *columns: Any) -> list[Any]:
        self.columns = columns
        return [SimpleNamespace(job_id="7_0")]


@pytest.mark.parametrize("before", [None, "5_0"])
def test_what_slurm_is_asked_for(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Executor] = []

    def executor(**given: Any) -> Executor:
        made.append(Executor(**given))
        return made[0]

    monkeypatch.setattr(slurm.submitit, "AutoExecutor", executor)
    monkeypatch.setattr(slurm.Singleton, "get_state", lambda: "state")
    resources = {
        "_target_": "some.Launcher", "submitit_folder": "logs", "max_num_timeout": 3,
        "setup": ["module load x"], "partition": "gpu", "timeout_min": 60, "gpus_per_node": 2,
    }  # fmt: skip
    jobs = [SweepJob(n, [f"seed={n}"], Path(str(n)), dict(resources)) for n in (4, 9)]
    launcher: Any = "launcher"
    _submit(launcher, jobs, before)
    (one,) = made
    assert one.given == {"folder": "logs", "cluster": "slurm", "slurm_max_num_timeout": 3}
    own = {"slurm_setup": ["unset WANDB_SERVICE", "module load x"], "slurm_partition": "gpu"}
    own |= {"timeout_min": 60, "gpus_per_node": 2}
    after = {} if before is None else {"slurm_dependency": "afterany:5_0"}
    assert one.parameters == own | after
    assert one.columns == (
        "launcher",
        (["seed=4"], ["seed=9"]),
        ("hydra.sweep.dir",) * 2,
        (4, 9),
        ("4", "9"),
        ("state",) * 2,
    )
    assert jobs[0].resources == resources


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Three jobs from 3 on, of which the first two read one reference."""
    return Cluster(monkeypatch, [job(3, "a"), job(4, "a"), job(5)])


class Cluster:
    """Takes jobs as Slurm does, and gives each job's number for its result."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, jobs: list[SweepJob]) -> None:
        self.asked: list[tuple[list[int], str | None]] = []
        self.cancelled: list[str] = []
        self.refuses = False

        def compose(cls: type, launcher: Any, overrides: list[str], number: int) -> SweepJob:
            assert overrides == [str(number)]
            return jobs[number - 3]

        monkeypatch.setattr(slurm, "check_programs", lambda: None)
        monkeypatch.setattr(
            slurm, "SlurmLauncher", lambda: SimpleNamespace(setup=lambda **setup: None)
        )
        monkeypatch.setattr(SweepJob, "compose", classmethod(compose))
        monkeypatch.setattr(slurm, "_submit", self.submit)

    def submit(self, launcher: Any, group: list[SweepJob], before: str | None) -> list[Any]:
        if self.asked and self.refuses:
            raise FailedJobError("no such partition.")
        self.asked.append(([one.number for one in group], before))
        array = 10 + len(self.asked)
        return [
            SimpleNamespace(
                job_id=f"{array}_{place}",
                results=lambda number=one.number: [number],
                cancel=lambda name=f"{array}_{place}": self.cancelled.append(name),
            )
            for place, one in enumerate(group)
        ]


def test_a_sweep_is_submitted_in_arrays_and_waited_for(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Any = launch({}, [["3"], ["4"], ["5"]], 3)
    assert found == [3, 4, 5]
    assert cluster.asked == [([3, 5], None), ([4], "11_0")]
    said = " ".join(capsys.readouterr().err.split())
    assert "Slurm job 11: 2 runs with gpus_per_node=1" in said
    assert "Slurm job 12: 1 run with gpus_per_node=1" in said
    assert not cluster.cancelled


def test_who_does_not_wait_is_told_what_goes_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(one: SweepJob, handle: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SweepJob, "result", interrupt)
    sweep = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir="the/sweep")))
    with pytest.raises(KeyboardInterrupt):
        launch({"config": sweep}, [["3"], ["4"], ["5"]], 3)
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "to end them: scancel 11 12; their table, at any time: pearl-eval table the/sweep" in said
    )
    assert not cluster.cancelled


def test_what_became_of_a_job_is_in_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the run itself has left there says more."""

    def fail() -> None:
        raise UncompletedJobError("gone")

    handle: Any = SimpleNamespace(
        job_id="7", state="TIMEOUT", results=fail, paths=SimpleNamespace(stderr="logs/7.err")
    )
    one = SweepJob(4, ["seed=1"], tmp_path, {})
    found = one.result(handle)
    assert (found.overrides, found.status) == (["seed=1"], JobStatus.COMPLETED)
    said = "Slurm job 7 ended as TIMEOUT without a result; its log: logs/7.err"
    assert (tmp_path / "error.txt").read_text() == f"{said}\n\ngone\n"
    assert said in " ".join(capsys.readouterr().err.split())
    (tmp_path / "error.txt").write_text("the draft process died\n\nTraceback\n")
    one.result(handle)
    assert (tmp_path / "error.txt").read_text() == "the draft process died\n\nTraceback\n"
    err = capsys.readouterr().err
    assert "the draft process died" in err and "Traceback" not in err and "Slurm job" not in err


def test_what_is_asked_of_slurm_is_told_in_a_line() -> None:
    resources = {"partition": None, "gpus_per_node": 2, "cpus_per_task": 3, "mem_gb": 0}
    resources |= {"timeout_min": 60, "name": "x"}
    one = SweepJob(0, [], Path("0"), resources)
    told = "gpus_per_node=2, cpus_per_task=3, mem_gb=0, timeout_min=60"
    assert [_asked([one] * count) for count in (1, 2)] == [
        f"1 run with {told}",
        f"2 runs with {told}",
    ]


def test_what_slurm_refuses_ends_what_it_has_taken(cluster: Cluster) -> None:
    cluster.refuses = True
    told = "Slurm refused 1 run with gpus_per_node=1: no such partition; no run was started"
    with pytest.raises(UserError, match=told):
        launch({}, [["3"], ["4"], ["5"]], 3)
    assert cluster.cancelled == ["11_0", "11_1"]


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
