"""Sweeps on a Slurm that these tests start: arrays, failures, and the table from the files."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import slurm_lab
from slurm_lab import SlurmLab
from small_pair import SmallPair

from pearl_eval import sweep_table
from pearl_eval.reservation import FOLDER_VARIABLE

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(slurm_lab.missing()), reason=slurm_lab.missing()),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    with SlurmLab.started(tmp_path_factory.mktemp("lab")) as started:
        yield started


@pytest.fixture
def submit(
    lab: SlurmLab, small_pair: SmallPair, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a small sweep on the lab, and wait for its end."""
    own = {"PYTHONPATH": str(ROOT), FOLDER_VARIABLE: str(tmp_path / "locks")}
    launcher = "hydra/launcher=slurm_a100 hydra.launcher.mem_gb=2 hydra.launcher.cpus_per_task=2"
    short = "task.limit=2 task.max_new_tokens=8 tracking=none hydra.sweep.dir=sweep"

    def run(
        *arguments: str, meanwhile: Callable[[], None] = lambda: None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pearl_eval.cli", "-m", *launcher.split(), *short.split()]
        with subprocess.Popen(
            [*command, *small_pair.overrides, *arguments],
            cwd=tmp_path,
            env=lab.environment | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            meanwhile()
            out, err = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return run


def accounts(lab: SlurmLab, name: str) -> list[tuple[str, ...]]:
    """What the lab gave to each job of a name, from when to when."""
    form = ["--noheader", "--parsable2", "--allocations", "--format=alloctres,start,end"]
    return [tuple(line.split("|")) for line in lab.run("sacct", f"--name={name}", *form).split()]


def test_each_run_has_the_gpus_its_pair_asks_for_and_one_table_has_them_all(
    lab: SlurmLab, submit: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
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


def test_runs_that_fail_or_are_killed_leave_the_others_alone_and_say_why(
    submit: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    run_command: Callable[..., tuple[int, str, str]],
) -> None:
    kill = "'[ $SLURM_ARRAY_TASK_ID != 1 ] || kill -9 $$'"
    done = submit("decoder.gamma=0,3,2", "+pair.draft.gpus=0", f"hydra.launcher.setup=[{kill}]")
    assert done.returncode == 1
    fate = [Path("sweep", name, "error.txt") for name in "012"]
    assert "decoder.gamma is the draft length" in (tmp_path / fate[0]).read_text()
    assert "_1 ended as FAILED without a result; its log" in (tmp_path / fate[1]).read_text()
    assert not (tmp_path / fate[2]).exists() and "identical 2/2" in done.stdout
    code, out, _ = run_command(sweep_table.main, "sweep")
    assert code == 1 and out.splitlines()[1:] == done.stdout.splitlines()[1:]
    assert out.count("failed: ") == 2


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
    lab: SlurmLab, submit: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = submit("+pair.draft.gpus=0,5")
    assert done.returncode == 2
    assert "Slurm refused 1 run with gpus_per_node=6" in done.stderr.splitlines()[-1]
    assert "RUNNING" not in lab.run("squeue", "--format=%T")
    assert not list(tmp_path.glob("sweep/*/records.jsonl"))


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("way", ["preempted", "requeued"])
def test_a_run_that_had_to_make_way_goes_on_where_it_was(
    lab: SlurmLab,
    submit: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    way: str,
) -> None:
    """Preempted it has a signal's warning; requeued by hand it is killed."""
    run = tmp_path / "sweep" / "0"

    def records() -> list[str]:
        file = run / "records.jsonl"
        return file.read_text().splitlines() if file.exists() else []

    def states() -> dict[str, str]:
        lines = lab.run("squeue", "--noheader", "--partition=main", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def make_way() -> None:
        wait_until(lambda: len(records()) > 2)
        (job,) = states()
        if way == "preempted":
            lab.run("sbatch", "--partition=urgent", "--gres=gpu:2", "--wrap=sleep 1")
        else:
            lab.run("scontrol", "requeue", job)
        wait_until(lambda: states()[job] == "PENDING")
        # Slurm would wait for two minutes.
        lab.run("scontrol", "update", f"jobid={job}", "starttime=now")

    texts = ("task.limit=40", "task.max_new_tokens=60", "protocol=paper")
    done = submit("decoder=speculative", *texts, meanwhile=make_way)
    assert done.returncode == 0, done.stderr
    assert "identical 40/40" in done.stdout and len(records()) == 40
    log = next(tmp_path.glob("sweep/.submitit/*/*_log.err")).read_text()
    assert "this run is there already" not in log
    assert "of 40 are done" in log
