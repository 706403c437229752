"""Sweeps on a Slurm that these tests start: arrays, failures, and the table from the files."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import slurm_lab
from program import PROGRAM
from sameness import assert_same
from slurm_lab import SlurmLab
from small_pair import SmallPair
from tiers import kept

from pearl_eval.evaluation.reservation import FOLDER_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(slurm_lab.missing()), reason=slurm_lab.missing()),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    with SlurmLab.started(tmp_path_factory.mktemp("lab")) as started:
        yield started


Done = subprocess.CompletedProcess[str]
SMALL = "hydra.launcher.mem_gb=2 hydra.launcher.cpus_per_task=2 tracking=none hydra.sweep.dir=sweep"
SHORT = "task.limit=2 task.max_new_tokens=8"


@pytest.fixture
def on_lab(lab: SlurmLab, tmp_path: Path) -> Callable[..., Done]:
    """Run a command of ours on the lab, and something in the meantime, and wait for its end."""
    own = {"PYTHONPATH": str(ROOT), FOLDER_VARIABLE: str(tmp_path / "locks")}

    def run(*arguments: str, meanwhile: Callable[[], None] = lambda: None) -> Done:
        command = [PROGRAM, *arguments]
        with subprocess.Popen(
            command,
            cwd=tmp_path,
            env=lab.environment | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            meanwhile()
            out, err = process.communicate()
        return Done(command, process.returncode, out, err)

    return run


@pytest.fixture
def submit(on_lab: Callable[..., Done], small_pair: SmallPair) -> Callable[..., Done]:
    """Run a short sweep of the small pair on the lab."""
    own = ["-m", "hydra/launcher=slurm_a100", *SMALL.split(), *SHORT.split(), *small_pair.overrides]
    return partial(on_lab, *own)


def accounts(lab: SlurmLab, name: str) -> list[tuple[str, ...]]:
    """What the lab gave to each job of a name, from when to when."""
    form = ["--noheader", "--parsable2", "--allocations", "--format=alloctres,start,end"]
    return [tuple(line.split("|")) for line in lab.run("sacct", f"--name={name}", *form).split()]


@pytest.mark.nightly
def test_each_run_has_the_gpus_its_pair_asks_for_and_one_table_has_them_all(
    lab: SlurmLab, submit: Callable[..., Done], tmp_path: Path
) -> None:
    """And who reads a reference begins when it is there."""
    done = submit("+pair.draft.gpus=0,1", "reference=cached", "hydra.launcher.name=by_need")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("identical 2/2") == 2
    assert "against a cached reference" in done.stdout
    assert len(list(tmp_path.glob("sweep/reference/*/reference.jsonl"))) == 1
    (first, _, end), (second, start, _) = sorted(accounts(lab, "by_need"), key=lambda one: one[1])
    assert [one.partition("gres/gpu=")[2][:1] for one in (first, second)] == ["1", "2"]
    assert start >= end


def test_runs_that_fail_leave_the_others_alone_and_say_why(
    submit: Callable[..., Done],
    tmp_path: Path,
    run_command: Callable[..., tuple[int, str, str]],
) -> None:
    done = submit("decoder.gamma=0,2", "+pair.draft.gpus=0")
    assert done.returncode == 1
    assert "decoder.gamma is the draft length" in (tmp_path / "sweep/0/error.txt").read_text()
    assert not (tmp_path / "sweep/1/error.txt").exists() and "identical 2/2" in done.stdout
    code, out, _ = run_command("table", "sweep")
    assert code == 1 and out.splitlines()[1:] == done.stdout.splitlines()[1:]
    assert out.count("failed: ") == 1


@pytest.mark.parametrize("half_way", [False, True])
def test_nothing_of_a_lab_is_left_however_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, half_way: bool
) -> None:
    def fail(lab: SlurmLab) -> None:
        raise KeyError

    monkeypatch.setattr(SlurmLab, "_idle" if half_way else "_cancel_jobs", fail)
    with pytest.raises(KeyError), SlurmLab.started(tmp_path / "lab") as lab:
        lab.run("sbatch", "--wrap=sleep 1000")
        while "RUNNING" not in lab.run("squeue", "--format=%T"):
            time.sleep(0.1)
    lab = SlurmLab(tmp_path / "lab")
    assert not [one for one in psutil.process_iter() if lab._ours(one)]


def test_what_the_cluster_cannot_give_is_refused_before_anything_runs(
    lab: SlurmLab, submit: Callable[..., Done], tmp_path: Path
) -> None:
    done = submit("+pair.draft.gpus=0,5")
    assert done.returncode == 2
    assert "Slurm refused 1 run with gpus_per_node=6" in done.stderr.splitlines()[-1]
    assert not lab.run("squeue", "--noheader", "--states=PENDING,RUNNING")
    assert not list(tmp_path.glob("sweep/*/records.jsonl"))


@pytest.mark.nightly
def test_a_killed_run_of_a_whole_experiment_is_made_by_continuing_its_folder(
    lab: SlurmLab,
    on_lab: Callable[..., Done],
    tmp_path: Path,
    run_command: Callable[..., tuple[int, str, str]],
) -> None:
    once = "[ $SLURM_ARRAY_TASK_ID != 1 ] || [ -e killed ] || { touch killed; kill -9 $$; }"
    experiment = ["experiment=paper_ablations", "scale=mini", "hydra/launcher=slurm_cpu"]
    name = "hydra.launcher.name=whole"
    own = [*SMALL.split(), *SHORT.split(), name, f"hydra.launcher.setup=['{once}']"]
    done = on_lab(*experiment, *own)
    assert done.returncode == 1 and done.stdout.count("identical 2/2") == 2
    killed = (tmp_path / "sweep/1/error.txt").read_text()
    assert "_1 ended as FAILED without a result; its log" in killed
    done = on_lab("resume=sweep")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    ablated = ("pearl", "pearl_no_pre_verify", "pearl_no_post_verify")
    assert all(any(f"│ {one} " in line for line in lines) for one in ablated)
    assert done.stdout.count("identical 2/2") == 3
    # One array of three, and once more: who has a result shows it, who was killed makes it.
    assert len(accounts(lab, "whole")) == 6
    logs = [path.read_text() for path in tmp_path.glob("sweep/.submitit/*/*_log.err")]
    assert sum("this run is there already" in log for log in logs) == 2
    code, out, _ = run_command("table", str(tmp_path / "sweep"))
    assert code == 0 and out.splitlines()[1:] == lines[1:]


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


class OneRun:
    """The files of a sweep's only run, and its job's state in the queue."""

    def __init__(self, lab: SlurmLab, sweep: Path) -> None:
        self.lab, self.sweep, self.folder = lab, sweep, sweep / "0"

    def records(self) -> int:
        file = self.folder / "records.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def states(self) -> dict[str, str]:
        """By the job's number."""
        form = ["--noheader", "--partition=main", "--format=%i %T"]
        return dict(line.split() for line in self.lab.run("squeue", *form).splitlines())

    def run_again(self) -> None:
        """Wait until it is back in the queue, and start it: Slurm would wait for two minutes."""
        (job,) = self.states()
        wait_until(lambda: self.states()[job] == "PENDING")
        self.lab.run("scontrol", "update", f"jobid={job}", "starttime=now")

    def log(self) -> str:
        return next(self.sweep.glob(".submitit/*/*_log.err")).read_text()


@pytest.mark.parametrize("way", kept(["preempted", "requeued"], ["requeued"]))
def test_a_run_that_had_to_make_way_goes_on_where_it_was(
    lab: SlurmLab, submit: Callable[..., Done], tmp_path: Path, way: str
) -> None:
    """Preempted it has a signal's warning; requeued by hand it is killed seconds later."""
    run = OneRun(lab, tmp_path / "sweep")

    def make_way() -> None:
        wait_until(lambda: run.records() > 2)
        (job,) = run.states()
        if way == "preempted":
            lab.run("sbatch", "--partition=urgent", "--gres=gpu:2", "--wrap=sleep 1")
        else:
            lab.run("scontrol", "requeue", job)
        run.run_again()

    # More than can be decoded until it is killed.
    texts = ("task.limit=120", "task.max_new_tokens=60", "protocol=paper")
    done = submit("decoder=speculative", *texts, meanwhile=make_way)
    assert done.returncode == 0, done.stderr
    assert "identical 120/120" in done.stdout and run.records() == 120
    assert "this run is there already" not in run.log()
    assert "of 120 are done" in run.log()


@pytest.mark.nightly
def test_a_run_that_hits_its_time_limit_is_finished_as_an_unbroken_one(
    lab: SlurmLab, submit: Callable[..., Done], tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    """Its limit is two minutes, and what it does takes longer: it is put back until it is done."""
    run = OneRun(lab, tmp_path / "sweep")

    def is_over() -> bool:
        return any((run.folder / name).exists() for name in ("summary.json", "error.txt"))

    def until_it_is_over() -> None:
        wait_until(run.records)
        while not is_over():
            wait_until(lambda: is_over() or "PENDING" in run.states().values())
            if not is_over():
                run.run_again()
                wait_until(lambda: "PENDING" not in run.states().values())

    texts = ["decoder=pearl", "task.max_new_tokens=400", "task.limit=164", "protocol=paper"]
    limit = ["timeout_min=2", "signal_delay_s=20", "max_num_timeout=20"]
    limits = [f"hydra.launcher.{one}" for one in limit]
    done = submit(*texts, *limits, meanwhile=until_it_is_over)
    assert done.returncode == 0, done.stderr
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary["environment"]["attempts"] > 1
    assert run.log().count("of 164 are done") == summary["environment"]["attempts"] - 1
    assert run_cli(*texts, "hydra.run.dir=unbroken")[0] == 0
    assert_same(run.folder, tmp_path / "unbroken")
