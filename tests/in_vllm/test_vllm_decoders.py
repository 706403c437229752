"""Decoders that run in vLLM, from the command line to the files of a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from program import PROGRAM

from decoders.vllm.engine import check
from pearl_eval.results.records import read_records, read_summary
from pearl_eval.results.traces import read_rounds

pytest.importorskip("vllm")
SHORT = ["task.limit=3", "task.max_new_tokens=64", "protocol=paper", "tracking=none"]
DECODERS = ["vllm", "vllm_speculative", "vllm_ngram", "vllm_pearl", "vllm_pearl_rounds"]


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=800)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of all, against a reference that the first of them has made."""
    folder = tmp_path_factory.mktemp("sweep")
    arguments = ["engine.max_model_len=512", "hydra.sweep.dir=sweep", "reference=cached"]
    decoders = ",".join(DECODERS)
    made = run(folder, "-m", f"decoder={decoders}", *SHORT, *arguments)
    assert made.returncode == 0, made.stderr
    assert "identical 3/3" in made.stdout
    # What vLLM and its libraries have to say is nobody's matter.
    assert "Triton" not in made.stderr and "Warning" not in made.stderr, made.stderr
    return folder / "sweep"


def of(sweep: Path, decoder: str) -> Path:
    return sweep / str(DECODERS.index(decoder))


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_run_is_judged_and_recorded_as_any_other(sweep: Path, decoder: str) -> None:
    folder = of(sweep, decoder)
    summary = read_summary(folder)
    assert summary["decoder"] == decoder
    assert (summary["exact_match_rate"], summary["violations"]) == (1.0, 0)
    assert summary["decoder_about"]["engine"] == "vLLM"
    assert any(name.startswith("vllm") for name in summary["environment"]["versions"])
    assert summary["lost_from"] is None
    records = list(read_records(folder / "records.jsonl"))
    assert [one["new_tokens"] for one in records] == [64] * 3
    rounds = read_rounds(folder)
    assert rounds["bytes_sent"].isna().all()
    for record in records:
        own = rounds[rounds["task_id"] == record["task_id"]]
        assert own["verified_length"].iloc[-1] == 64
        assert own["target_tokens"].iloc[0] == record["prompt_tokens"]
        assert (own["target_seconds"] > 0).all()
        assert own["target_start"].is_monotonic_increasing
        assert (own["start"] <= own["target_start"]).all()
        assert own["target_seconds"].sum() < record["seconds"]
        follow = own["target_start"] + own["target_seconds"]
        assert follow.max() <= record["seconds"]
        fates = Counter(fate for each in own["fates"] for fate in each)
        assert fates["accepted"] >= own["accepted"].sum()
        assert fates["accepted"] + fates["rejected"] >= own["judged"].sum() > 0 or decoder == "vllm"
        # What was accepted is in the text, where it was drafted for.
        for _, row in own.iterrows():
            for token, at, fate in zip(
                row["drafted_ids"], row["drafted_at"], row["fates"], strict=True
            ):
                if fate == "accepted":
                    assert record["output_ids"][at] == token


def test_each_speculates_in_its_own_way(sweep: Path) -> None:
    def rounds(decoder: str) -> pd.DataFrame:
        return read_rounds(of(sweep, decoder))

    assert (rounds("vllm")["drafted"] == 0).all()
    drafted = rounds("vllm_speculative")
    assert drafted["drafted"].max() == 11  # the tiny pair's best
    assert (drafted.loc[drafted["drafted"] > 0, "draft_seconds"] > 0).all()
    looked_up = rounds("vllm_ngram")
    assert looked_up["drafted"].max() == 8
    assert (looked_up["draft_seconds"] == 0).all()
    ahead = rounds("vllm_pearl")
    assert ahead["judged"].max() <= 12 + 1
    assert ahead["draft_seconds"].sum() > 0
    # In the paper's form a step verifies the other γ - 1, and its own token judges one more.
    assert rounds("vllm_pearl_rounds")["judged"].max() == 9
    for decoder in DECODERS[1:]:
        assert read_summary(of(sweep, decoder))["tokens_per_target_forward"] > 1.1


def test_another_run_takes_the_reference_of_the_same_engine_only(sweep: Path) -> None:
    folder = sweep.parent
    (cache,) = (sweep / "reference").iterdir()
    identity = json.loads((cache / "reference.jsonl").read_text().splitlines()[0])["identity"]
    assert identity["engine"] == "vLLM"
    assert identity["engine.arguments.max_model_len"] == 512
    other = ["decoder=vllm_ngram", "engine.max_model_len=500", f"reference.folder={cache}"]
    made = run(folder, *other, *SHORT, "reference=cached", "hydra.run.dir=other")
    assert made.returncode == 2
    assert "engine.arguments.max_model_len (512 there, 500 here)" in made.stderr


def test_pictures_and_tables_take_runs_in_vllm(sweep: Path) -> None:
    runs = [str(of(sweep, "vllm_speculative")), str(of(sweep, "vllm_pearl"))]
    made = run(sweep.parent, "timeline", *runs, "-o", "timeline.png")
    assert made.returncode == 0, made.stderr
    assert (sweep.parent / "timeline.png").stat().st_size > 10_000
    made = run(sweep.parent, "table", str(sweep))
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("identical 3/3") == len(DECODERS)


def test_a_draft_process_that_is_killed_costs_speed_and_nothing_else(tmp_path: Path) -> None:
    command = [PROGRAM, "decoder=vllm_pearl", "task.limit=40", "protocol=paper", "tracking=none"]
    command += ["task.max_new_tokens=64", "engine.max_model_len=512", "hydra.run.dir=run"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        records = tmp_path / "run" / "records.jsonl"
        while process.poll() is None and not (records.is_file() and records.stat().st_size):
            os.sched_yield()
        found = subprocess.run(
            ["pgrep", "-f", "decoders.vllm.draft_process"], capture_output=True, text=True
        )
        for pid in found.stdout.split():
            environment = Path(f"/proc/{pid}/cmdline").read_bytes()
            if str(tmp_path).encode() in environment:
                os.kill(int(pid), signal.SIGKILL)
        _, errors = process.communicate(timeout=800)
    assert process.returncode == 0, errors
    summary = read_summary(tmp_path / "run")
    assert summary["exact_match_rate"] == 1.0
    lost = [bool(one["lost"]) for one in read_records(records)]
    first = lost.index(True)
    assert first > 0 and all(lost[first:])
    assert summary["lost_from"] == f"HumanEval/{first}"
    assert f"from HumanEval/{first} on without drafts" in errors
    assert "was killed by SIGKILL" in errors
    rounds = read_rounds(tmp_path / "run")
    last = rounds[rounds["task_id"] == "HumanEval/39"]
    assert (last["drafted"] == 0).all()


def test_two_ranks_decode_as_one(tmp_path: Path) -> None:
    arguments = ["engine.tensor_parallel_size=2", "engine.max_model_len=512", "reference=cached"]
    arguments += ["runtime.target_cores=[0,1]", "hydra.sweep.dir=sweep"]
    made = run(tmp_path, "-m", "decoder=vllm,vllm_pearl", *SHORT, *arguments)
    assert made.returncode == 0, made.stderr
    for number in (0, 1):
        summary = read_summary(tmp_path / "sweep" / str(number))
        assert summary["violations"] == 0
    assert read_summary(tmp_path / "sweep" / "1")["acceptance_rate"] > 0.3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_model_ln": 5}, "engine.max_model_ln: vLLM's engine has no such argument"),
        ({"model": "x"}, "engine.model follows from the run's pair"),
        ({"max_model_len": 5}, None),
    ],
)
def test_arguments_that_vllm_does_not_know_are_refused(
    arguments: dict[str, Any], said: str | None
) -> None:
    if said is None:
        check(arguments)
        return
    with pytest.raises(ValueError, match=said):
        check(arguments)


def test_sampled_tokens_are_distributed_as_the_targets(tmp_path: Path) -> None:
    arguments = ["sampling=temperature", "decoder=vllm_pearl", "engine.max_model_len=512"]
    made = run(
        tmp_path, *arguments, "task.limit=24", "task.max_new_tokens=64", "tracking=none",
        "protocol=paper", "hydra.run.dir=run",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    summary = read_summary(tmp_path / "run")
    assert summary["sampled_tokens"] == 24 * 64
    assert summary["sampling_p_value"] > 1e-6
    # With so many tokens a bias of this size would have been seen.
    assert summary["sampling_smallest_bias"] < 0.1
    assert summary["acceptance_rate"] > 0.2


def test_the_decoders_are_all_there_are() -> None:
    folder = Path(__file__).resolve().parents[2] / "conf" / "decoder"
    there = {path.stem for path in folder.glob("vllm*.yaml")}
    assert there - set(DECODERS) == {"vllm_suffix"}  # needs another package


def test_several_requests_at_once_are_each_the_targets_own(tmp_path: Path) -> None:
    arguments = ["concurrency.decoders=[vllm,vllm_pearl]", "concurrency.requests=[1,4]"]
    arguments += ["concurrency.prompts=4", "concurrency.max_new_tokens=48", "concurrency.repeats=1"]
    made = run(
        tmp_path, "bench", "contest=false", "concurrency=vllm", *arguments, "prompts=4",
        "engine.max_model_len=512", "engine.kv_cache_memory_bytes=134217728",
        "hydra.run.dir=bench",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    points = json.loads((tmp_path / "bench" / "bench.json").read_text())["concurrency"]
    assert [(one["contender"], one["requests"]) for one in points] == [
        ("vllm", 1), ("vllm", 4), ("vllm_pearl", 1), ("vllm_pearl", 4),
    ]  # fmt: skip
    assert all(one["identical"] + one["ties"] == 4 for one in points)
