"""``runtime.tensor_parallel``: one command, its files those of one process; what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from program import PROGRAM
from small_pair import SmallPair

from decoders.process.placement import available_cores

Run = Callable[..., tuple[int, str, str]]
SHORT = ("task.limit=2", "task.max_new_tokens=12")
TWO = "runtime.tensor_parallel=2"
#: What differs between runs of the same, in records.
TIMES = ("seconds", "speedup", "memory", "joules", "start")

needs_two_cores = pytest.mark.skipif(len(available_cores()) < 2, reason="a core for each rank")


def read_records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "records.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if not timed(name)}
        for line in lines
    ]


def timed(name: str) -> bool:
    return any(word in name for word in TIMES)


@needs_two_cores
@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["speculative", "lookahead", "pearl"])
def test_files_are_those_of_one_process(run_cli: Run, tmp_path: Path, decoder: str) -> None:
    for folder, more in (("one", []), ("two", [TWO])):
        code, out, err = run_cli(f"decoder={decoder}", *SHORT, *more, f"hydra.run.dir={folder}")
        assert code == 0 and "identical 2/2" in out, err
    one, two = tmp_path / "one", tmp_path / "two"
    assert {file.name for file in one.iterdir()} == {file.name for file in two.iterdir()}
    assert read_records(one) == read_records(two)
    rounds = [pd.read_parquet(folder / "rounds.parquet") for folder in (one, two)]
    untimed = [name for name in rounds[0] if not timed(name) and name != "bytes_sent"]
    pd.testing.assert_frame_equal(rounds[0][untimed], rounds[1][untimed])
    where = [json.loads((f / "summary.json").read_text())["environment"] for f in (one, two)]
    assert where[0]["target_parallel"] is None
    cores = available_cores()
    assert where[1]["target_parallel"] == {
        "by": "tensor",
        "ranks": 2,
        "cores": [cores[:1], cores[1:2]],
    }
    assert where[1]["forward"] == "transformers"


@needs_two_cores
@pytest.mark.slow
def test_a_rank_killed_in_the_middle_ends_the_command_in_one_line(
    tmp_path: Path, small_pair: SmallPair
) -> None:
    """The command as a user starts it; it has no process left then, the draft process included."""
    run = tmp_path / "run"
    command = [
        PROGRAM,
        *small_pair.overrides,
        "tracking=none",
        TWO,
    ]
    process = subprocess.Popen(
        [*command, "task.max_new_tokens=100", f"hydra.run.dir={run}"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "records.jsonl").exists() and read_records(run):
            break
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)
    # Two servers of multiprocessing; the rank is the first process that one of them forked.
    (rank, draft) = sorted(
        (one for one in started if one.ppid() != process.pid), key=lambda one: one.pid
    )
    os.kill(rank.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.splitlines()[-1].endswith(
        f"rank 1 of the target (pid {rank.pid}) was killed by SIGKILL"
    )
    assert "Traceback" not in err
    _, alive = psutil.wait_procs([*started, draft], timeout=20)
    assert not alive


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["runtime.tensor_parallel=0"], "at least 1 and at most 4096, got 0"),
        ([TWO, "runtime.forward=fused"], "choose runtime.forward=auto or transformers"),
        ([TWO, "runtime=cuda_graphs"], "runtime.forward=cuda_graphs: these layers"),
        (["runtime.tensor_parallel=3"], "4 attention heads and 2 heads of keys and values"),
        ([TWO, "runtime.target_cores=[0]"], "1 cores can't be shared out among"),
        (
            [TWO, "runtime.target_threads=4000"],
            "each rank needs runtime.target_threads=4000 cores of its own",
        ),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    several = overrides == ["runtime.tensor_parallel=3"]
    if several:
        monkeypatch.setattr("pearl_eval.machine.placement.available_cores", lambda: [0, 1, 2, 3])
    code, _, err = run_cli(*SHORT, *overrides, "hydra.run.dir=run")
    assert code == 2
    assert message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("pair", ["synthetic", "controlled"])
def test_a_target_without_weights_is_refused(run_cli: Run, pair: str) -> None:
    code, _, err = run_cli(f"pair={pair}", *SHORT, TWO, "hydra.run.dir=run", small_pair=False)
    assert code == 2
    assert f"({pair}) is made up in one process" in err and len(err.splitlines()) == 1


def test_a_model_without_a_plan_is_refused(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.LlamaConfig.base_model_tp_plan", None)
    code, _, err = run_cli(*SHORT, TWO, "hydra.run.dir=run")
    assert code == 2
    assert "a llama model, for which transformers has no plan" in err
