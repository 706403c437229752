"""Decoders that run in vLLM, from the command line to the files of a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from program import PROGRAM
from tiers import kept

from decoders.vllm.engine import check
from pearl_eval.results.records import read_records, read_summary
from pearl_eval.results.traces import read_rounds

pytest.importorskip("vllm")
SHORT = ["task.limit=3", "task.max_new_tokens=64", "protocol=paper", "tracking=none"]
#: Those of every run of the tests, and those of the nightly tier: each starts an engine.
NOW = ["vllm", "vllm_speculative", "vllm_pearl"]
LATER = ["vllm_ngram", "vllm_pearl_rounds"]


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=800)


def made(folder: Path, decoders: list[str], *more: str) -> dict[str, Path]:
    """The folders of a sweep's runs."""
    arguments = ["engine.max_model_len=512", "hydra.sweep.dir=sweep", "reference=cached", *more]
    ended = run(folder, "-m", f"decoder={','.join(decoders)}", *SHORT, *arguments)
    assert ended.returncode == 0, ended.stderr
    assert "identical 3/3" in ended.stdout
    # What vLLM and its libraries have to say is nobody's matter.
    assert "Triton" not in ended.stderr and "Warning" not in ended.stderr, ended.stderr
    return {name: folder / "sweep" / str(number) for number, name in enumerate(decoders)}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs against a reference that the first of them has made."""
    return made(tmp_path_factory.mktemp("sweep"), NOW)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, sweep: dict[str, Path]) -> Callable[[str], Path]:
    """Where a decoder's run is, which is made if it has to be."""
    found = dict(sweep)

    def where(decoder: str) -> Path:
        if decoder not in found:
            (cache,) = (sweep["vllm"].parent / "reference").iterdir()
            folder = request.getfixturevalue("tmp_path_factory").mktemp("later")
            found.update(made(folder, LATER, f"reference.folder={cache}"))
        return found[decoder]

    return where


@pytest.mark.parametrize("decoder", kept([*NOW, *LATER], NOW))
def test_a_run_is_judged_and_recorded_as_any_other(
    runs: Callable[[str], Path], decoder: str
) -> None:
    folder = runs(decoder)
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


def test_each_speculates_in_its_own_way(sweep: dict[str, Path]) -> None:
    def rounds(decoder: str) -> pd.DataFrame:
        return read_rounds(sweep[decoder])

    assert (rounds("vllm")["drafted"] == 0).all()
    drafted = rounds("vllm_speculative")
    assert drafted["drafted"].max() == 11  # the tiny pair's best
    assert (drafted.loc[drafted["drafted"] > 0, "draft_seconds"] > 0).all()
    ahead = rounds("vllm_pearl")
    # Beside those that a step verifies there are some for which the target had chosen itself.
    assert 0 < (ahead["judged"] - ahead["compared"]).max() <= 12
    assert ahead["draft_seconds"].sum() > 0
    for decoder in NOW[1:]:
        assert read_summary(sweep[decoder])["tokens_per_target_forward"] > 1.1


@pytest.mark.nightly
def test_so_do_the_others(runs: Callable[[str], Path]) -> None:
    looked_up = read_rounds(runs("vllm_ngram"))
    assert looked_up["drafted"].max() == 8
    assert (looked_up["draft_seconds"] == 0).all()
    # In the paper's form a step verifies the other γ - 1, and its own token judges one more.
    assert read_rounds(runs("vllm_pearl_rounds"))["judged"].max() == 9
    for decoder in LATER:
        assert read_summary(runs(decoder))["tokens_per_target_forward"] > 1.1


def test_when_each_step_did_what_is_told(sweep: dict[str, Path]) -> None:
    """Steps come one after the other, each with its forward, and with what is drafted meanwhile."""
    for decoder, folder in sweep.items():
        for _, own in read_rounds(folder).groupby("task_id"):
            begin, end = own["step_start"], own["step_start"] + own["step_seconds"]
            forward = own["target_start"] + own["target_seconds"]
            assert (own["step_seconds"] > 0).all()
            assert ((begin <= own["target_start"]) & (forward <= end)).all()
            assert (end.to_numpy()[:-1] <= begin.to_numpy()[1:]).all()
            waits = own[own["wait_start"] > 0]
            # PEARL has nothing to wait for where its draft process is never let run.
            assert decoder == "vllm_pearl" or waits.empty == (decoder == "vllm")
            # It waits in the step before.
            assert (waits["wait_start"] + waits["wait_target_seconds"] < waits["step_start"]).all()
            for _, one in own.iterrows():
                known = one["drafted"] if decoder == "vllm_pearl" else 0
                assert len(one["drafted_from"]) == len(one["drafted_until"]) == known
                assert (one["drafted_from"] < one["drafted_until"]).all()
                assert (one["drafted_until"][:-1] <= one["drafted_from"][1:]).all()


def test_times_to_tokens_are_those_at_which_the_engine_told_of_them(
    sweep: dict[str, Path],
) -> None:
    for folder in sweep.values():
        rounds = read_rounds(folder)
        for record in read_records(folder / "records.jsonl"):
            own = rounds[rounds["task_id"] == record["task_id"]]
            ends = own["end"].to_list()
            assert record["ttft_seconds"] == ends[0]
            assert record["tpot_seconds"] == pytest.approx((ends[-1] - ends[0]) / 63)
            assert record["itl_seconds_p50"] == pytest.approx(own["end"].diff().median())
            assert 0 < ends[0] < ends[-1] <= record["seconds"]


def test_another_run_takes_the_reference_of_the_same_engine_only(sweep: dict[str, Path]) -> None:
    folder = sweep["vllm"].parents[1]
    (cache,) = (folder / "sweep" / "reference").iterdir()
    identity = json.loads((cache / "reference.jsonl").read_text().splitlines()[0])["identity"]
    assert identity["engine"] == "vLLM"
    assert identity["engine.arguments.max_model_len"] == 512
    other = ["decoder=vllm_ngram", "engine.max_model_len=500", f"reference.folder={cache}"]
    ended = run(folder, *other, *SHORT, "reference=cached", "hydra.run.dir=other")
    assert ended.returncode == 2
    assert "engine.arguments.max_model_len (512 there, 500 here)" in ended.stderr


def test_pictures_and_tables_take_runs_in_vllm(sweep: dict[str, Path]) -> None:
    folder = sweep["vllm"].parents[1]
    drawn = [str(sweep["vllm_speculative"]), str(sweep["vllm_pearl"])]
    ended = run(folder, "timeline", *drawn, "-o", "timeline.png")
    assert ended.returncode == 0, ended.stderr
    assert (folder / "timeline.png").stat().st_size > 10_000
    assert "the engine's other work" in (folder / "timeline.svg").read_text()
    ended = run(folder, "table", str(folder / "sweep"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("identical 3/3") == len(NOW)


@pytest.mark.nightly
def test_a_draft_process_that_is_killed_costs_speed_and_nothing_else(tmp_path: Path) -> None:
    command = [PROGRAM, "decoder=vllm_pearl", "task.limit=40", "protocol=paper", "tracking=none"]
    command += ["task.max_new_tokens=64", "engine.max_model_len=512", "hydra.run.dir=run"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        records = tmp_path / "run" / "records.jsonl"
        while process.poll() is None and not (records.is_file() and records.stat().st_size):
            time.sleep(0.02)
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
    """Alone, as the reference, and with PEARL."""
    arguments = ["engine.tensor_parallel_size=2", "engine.max_model_len=512", "reference=cached"]
    arguments += ["runtime.target_cores=[0,1]", "hydra.run.dir=run"]
    ended = run(tmp_path, "decoder=vllm_pearl", *SHORT, *arguments)
    assert ended.returncode == 0, ended.stderr
    summary = read_summary(tmp_path / "run")
    assert summary["violations"] == 0
    assert summary["acceptance_rate"] > 0.3
    assert summary["environment"]["target_parallel"] == {"by": "tensor", "ranks": 2}


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


@pytest.mark.nightly
def test_sampled_tokens_are_distributed_as_the_targets(tmp_path: Path) -> None:
    arguments = ["sampling=temperature", "decoder=vllm_pearl", "engine.max_model_len=512"]
    ended = run(
        tmp_path, *arguments, "task.limit=24", "task.max_new_tokens=64", "tracking=none",
        "protocol=paper", "hydra.run.dir=run",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    summary = read_summary(tmp_path / "run")
    assert summary["sampled_tokens"] == 24 * 64
    assert summary["sampling_p_value"] > 1e-6
    # With so many tokens a bias of this size would have been seen.
    assert summary["sampling_smallest_bias"] < 0.1
    assert summary["acceptance_rate"] > 0.2


def test_the_decoders_are_all_there_are() -> None:
    folder = Path(__file__).resolve().parents[2] / "conf" / "decoder"
    there = {path.stem for path in folder.glob("vllm*.yaml")}
    assert there - {*NOW, *LATER} == {"vllm_suffix"}  # needs another package


def test_several_requests_at_once_are_each_the_targets_own(tmp_path: Path) -> None:
    arguments = ["concurrency.decoders=[vllm,vllm_pearl]", "concurrency.requests=[1,4]"]
    arguments += ["concurrency.prompts=4", "concurrency.max_new_tokens=48", "concurrency.repeats=1"]
    ended = run(
        tmp_path, "bench", "contest=false", "concurrency=vllm", *arguments, "prompts=4",
        "engine.max_model_len=512", "engine.kv_cache_memory_bytes=134217728",
        "hydra.run.dir=bench",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    points = json.loads((tmp_path / "bench" / "bench.json").read_text())["concurrency"]
    assert [(one["contender"], one["requests"]) for one in points] == [
        ("vllm", 1), ("vllm", 4), ("vllm_pearl", 1), ("vllm_pearl", 4),
    ]  # fmt: skip
    assert all(one["identical"] + one["ties"] == 4 for one in points)
