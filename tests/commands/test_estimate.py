"""What a dry run says of jobs, and that it does nothing else."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_pair import SmallPair

from pearl_eval.config.registry import register
from pearl_eval.estimate.config import EstimateConfig
from pearl_eval.estimate.job import estimate_job
from pearl_eval.estimate.known import Knowledge
from pearl_eval.estimate.table import Estimate
from pearl_eval.shell.jobs import compose_jobs

Run = Callable[..., tuple[int, str, str]]

#: 12 texts of 128 tokens, by a target that takes 0.1 s a forward.
GIVEN = (
    "protocol=paper",
    "task.limit=12",
    "task.max_new_tokens=128",
    "estimate.target_seconds=0.1",
    "estimate.draft_seconds=0.02",
    "estimate.acceptance_rate=1",
)
TEXTS_HOURS = 12 * 128 * 0.1 / 3600


def listed(run_cli: Run, *arguments: str) -> list[dict[str, Any]]:
    code, out, err = run_cli("--dry-run", "--json", *arguments, small_pair=False)
    assert code == 0, err
    return json.loads(out)["jobs"]


def test_a_dry_run_needs_no_network_and_leaves_nothing(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a dry run has no use for a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    code, out, _ = run_cli(
        "--dry-run", "-m", "pair=llama2_7b_70b", "task=gsm8k,mt_bench", small_pair=False
    )
    assert code == 0
    assert "2 jobs: " in out and "derived" in out and "assumed" in out
    assert "decodes every prompt.\n" in out
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_gpus_and_memory_follow_decoder_and_pair(run_cli: Run) -> None:
    """The 70B model has 138 GB of weights, the 7B one 13.5 GB, and there are keys and values."""
    decoders = "decoder=autoregressive,pearl,pearl_shared,pearl_shared_one_end"
    jobs = listed(run_cli, "-m", decoders, "pair=llama2_7b_70b")
    assert [job["places"]["gpus"] for job in jobs] == [2, 3, 2, 2]
    gigabytes = [job["places"]["memory"] / 1e9 for job in jobs]
    assert gigabytes[0] == gigabytes[1] == pytest.approx(69, abs=1.5)
    assert gigabytes[2] == gigabytes[3] == pytest.approx(69 + 13.5 + 2.1, abs=1.5)
    (one_card,) = listed(run_cli, "decoder=pearl_shared", "pair=deepseek_1b_33b")
    assert one_card["places"]["gpus"] == 1 and one_card["places"]["competing"]
    (here,) = listed(run_cli, "decoder=pearl", "pair=tiny")
    assert here["places"]["gpus"] == 0


IN_VLLM = ("decoder=vllm,vllm_pearl,vllm_speculative,vllm_ngram", "pair=llama2_7b_70b")


def test_gpus_in_vllm_are_those_of_the_engine_and_of_a_draft_process(run_cli: Run) -> None:
    """The pair's two GPUs for its target are not what counts; its draft model may be within."""
    jobs = listed(run_cli, "-m", *IN_VLLM)
    assert [job["places"]["gpus"] for job in jobs] == [1, 2, 1, 1]
    gigabytes = [job["places"]["memory"] / 1e9 for job in jobs]
    assert gigabytes[0] == gigabytes[1] == gigabytes[3] == pytest.approx(138, abs=3)
    assert gigabytes[2] == pytest.approx(138 + 13.5 + 2.1, abs=3)

    size = ("engine.tensor_parallel_size=3", "engine.pipeline_parallel_size=2")
    jobs = listed(run_cli, "-m", *IN_VLLM, *size)
    assert [job["places"]["gpus"] for job in jobs] == [6, 7, 6, 6]
    gigabytes = [job["places"]["memory"] / 1e9 for job in jobs]
    assert gigabytes[0] == gigabytes[1] == gigabytes[3] == pytest.approx(138 / 6, abs=0.5)
    assert gigabytes[2] == pytest.approx((138 + 13.5 + 2.1) / 6, abs=0.5)


def test_ranks_read_their_share_of_the_weights_and_stages_take_turns(run_cli: Run) -> None:
    seconds = []
    for size in ("tensor_parallel_size=1", "tensor_parallel_size=4", "pipeline_parallel_size=4"):
        (job,) = listed(run_cli, "decoder=vllm_pearl", IN_VLLM[1], f"engine.{size}")
        seconds.append([job["forwards"][role]["seconds"] for role in ("target", "draft")])
    (target, draft), ranks, stages = seconds
    assert ranks == [pytest.approx(target / 4), draft]
    assert stages == [target, draft]


def test_in_vllm_as_well_a_pair_that_needs_no_gpu_gets_none(run_cli: Run) -> None:
    size = ("engine.tensor_parallel_size=2", "engine.pipeline_parallel_size=2")
    jobs = listed(run_cli, "-m", IN_VLLM[0], "pair=tiny", *size)
    assert [job["places"]["gpus"] for job in jobs] == [0, 0, 0, 0]


def test_of_a_gpu_vllm_has_the_share_that_it_is_given(run_cli: Run) -> None:
    """On two GPUs there are 69 GB, or 64.5 GiB, of the target on each."""

    def marked(*settings: str) -> bool:
        size = "engine.tensor_parallel_size=2"
        code, out, err = run_cli(
            "--dry-run", "decoder=vllm", IN_VLLM[1], size, *settings, small_pair=False
        )
        assert code == 0, err
        return "!: more than one GPU" in out

    assert not marked()  # 0.92 of 80 GiB, vLLM's default
    assert marked("engine.gpu_memory_utilization=0.8")
    assert not marked("engine.gpu_memory_utilization=0.8", "estimate.gpu_memory=82")
    assert marked("estimate.gpu_memory=70") and not marked("estimate.gpu_memory=71")


def test_what_only_a_run_can_know_of_vllm_is_no_matter_but_its_own_arguments_are(
    run_cli: Run,
) -> None:
    code, _, err = run_cli("--dry-run", "decoder=vllm", "engine.model=x")
    assert code == 2 and "engine.model follows from the run's pair" in err


def test_hours_follow_what_was_given(run_cli: Run) -> None:
    """The reference decodes every text, too; PEARL then has a round of 0.1 s for five tokens."""
    decoders = "decoder=autoregressive,pearl,lookahead"
    jobs = listed(run_cli, "-m", decoders, "pair=tiny", "pair.gamma.pearl=5", *GIVEN)
    hours = [job["hours"] for job in jobs]
    assert hours[0] == pytest.approx(2 * TEXTS_HOURS, rel=0.02)
    assert hours[1] == pytest.approx(1.2 * TEXTS_HOURS, rel=0.05)
    assert hours[2] == pytest.approx(2 * TEXTS_HOURS, rel=0.02)
    assert [job["at_most"] for job in jobs] == [False, False, True]
    assert {job["basis"] for job in jobs} == {"given"}
    # On equal hardware the reference decodes them once more, where there is more of that.
    jobs = listed(
        run_cli, "-m", decoders, "pair=tiny", "pair.gamma.pearl=5", *GIVEN,
        "reference.hardware=all",
    )  # fmt: skip
    more = [job["hours"] - before for job, before in zip(jobs, hours, strict=True)]
    assert more == pytest.approx([0, TEXTS_HOURS, 0], rel=0.02)


def test_a_shared_reference_is_counted_once() -> None:
    register()
    config, rest = EstimateConfig.split([*GIVEN, "estimate.load_bandwidth=1e30"])
    totals = {}
    for mode in ("inline", "cached"):
        arguments = ["-m", "decoder=autoregressive,generate", f"reference={mode}", *rest]
        jobs = compose_jobs("config", arguments)
        estimates = [estimate_job(job, config, Knowledge(config)) for job in jobs]
        totals[mode] = Estimate(estimates, config).totals()
    assert totals["inline"]["hours"] == pytest.approx(4 * TEXTS_HOURS, rel=0.02)
    assert totals["cached"]["hours"] == pytest.approx(3 * TEXTS_HOURS, rel=0.02)
    assert (totals["inline"]["references"], totals["cached"]["references"]) == (0, 1)


@pytest.mark.parametrize(("swept", "references"), [("runtime.draft_threads", 1), ("seed", 2)])
def test_jobs_share_a_reference_where_runs_do(run_cli: Run, swept: str, references: int) -> None:
    jobs = listed(run_cli, "-m", f"{swept}=1,2", "reference=cached")
    assert len({job["reference"] for job in jobs}) == references


@pytest.mark.slow
def test_measured_speeds_come_before_derived_ones(
    run_cli: Run, tmp_path: Path, small_pair: SmallPair
) -> None:
    code, _, err = run_cli(
        "decoder=pearl", "task.limit=3", "task.max_new_tokens=16", "hydra.run.dir=run"
    )
    assert code == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    code, out, err = run_cli(
        "--dry-run",
        "--json",
        "-m",
        "decoder=pearl,speculative",
        "task.limit=10",
        "task.max_new_tokens=100",
        "estimate.runs=run",
    )
    assert code == 0, err
    pearl, speculative = json.loads(out)["jobs"]
    assert pearl["decoding_seconds"] == pytest.approx(1000 / summary["tokens_per_second"])
    assert pearl["basis"] == speculative["basis"] == "measured"
    assert speculative["acceptance_rate"]["value"] == summary["acceptance_rate"]
    # Of other settings of that decoder nothing was measured as a whole.
    (other,) = listed(run_cli, "decoder=pearl", "decoder.gamma=2", "estimate.runs=run")
    assert other["decoding_seconds"] != pearl["decoding_seconds"]
    # Of a target in ranks, as there were once, or in another engine, nothing else is known by it;
    # its draft model and its text are the same.
    for engine, ranks in (("transformers", 2), ("vLLM", 1)):
        summary["decoder_about"]["engine"] = engine
        summary["environment"]["target_parallel"] = {"by": "tensor", "ranks": ranks}
        (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
        (here,) = listed(run_cli, "decoder=pearl", "estimate.runs=run", *small_pair.overrides)
        assert here["basis"] == "derived + measured", engine
        assert here["forwards"]["target"]["source"] == "derived", engine
        assert here["acceptance_rate"]["source"] == "measured", engine


@pytest.mark.slow
def test_a_profile_gives_the_forward_times_of_its_pair(
    run_cli: Run, run_profile: Run, tmp_path: Path
) -> None:
    code, _, err = run_profile("longest=3", "repeats=3", "contexts=[64]", "hydra.run.dir=profile")
    assert code == 0, err
    timings = json.loads((tmp_path / "profile" / "profile.json").read_text())["timings"]
    median = next(t["median"] for t in timings if (t["model"], t["together"]) == ("draft", False))
    file = "estimate.profile=profile/profile.json"
    code, out, err = run_cli("--dry-run", "--json", file)
    assert code == 0, err
    (job,) = json.loads(out)["jobs"]
    assert job["forwards"]["draft"] == {"seconds": median, "source": "measured"}
    (other,) = listed(run_cli, "pair=controlled", file)
    assert other["forwards"]["draft"]["source"] == "derived"
    content = json.loads((tmp_path / "profile" / "profile.json").read_text())
    content["environment"]["target_parallel"] = {"by": "tensor", "ranks": 2, "cores": [[0], [1]]}
    (tmp_path / "profile" / "of_ranks.json").write_text(json.dumps(content))
    (other,) = listed(run_cli, "estimate.profile=profile/of_ranks.json")
    sources = [other["forwards"][role]["source"] for role in ("target", "draft")]
    assert sources == ["derived", "measured"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m", "decoder=pearl", "decoder.gamma=3,-1"], "decoder.gamma=-1: decoder.gamma is the"),
        (["-m", "decoder=pearl,nope"], "Available options in 'decoder'"),
        (["task=gsm8k_mini", "task.data=none.jsonl"], "No such file or directory: 'none.jsonl'"),
        (["estimate.acceptance_rate=2"], "acceptance_rate is a probability, from 0 to 1, got 2"),
        (["estimate.gpu_memory=0"], "estimate.gpu_memory must be more than 0, got 0"),
        (["estimate.speed=2"], "estimate.speed: Key 'speed' not in"),
        (["estimate.profile=none.json"], "estimate.profile=none.json: expected a profile.json"),
        (["estimate.runs=none"], "there is no run there"),
        (["--cfg=job"], "leave out the flag that shows something else"),
        (["--config-dir=none"], "there is no such folder"),
    ],
)
def test_what_can_not_be_is_one_line(
    run_cli: Run, tmp_path: Path, arguments: list[str], said: str
) -> None:
    code, out, err = run_cli("--dry-run", *arguments, small_pair=False)
    assert (code, out) == (2, "")
    assert said in err and len(err.splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_the_estimate_command_is_a_dry_run(run_command: Run, tmp_path: Path) -> None:
    code, out, _ = run_command("estimate", "decoder=autoregressive", *GIVEN)
    assert code == 0 and "given" in out
    # 12 texts of 128 tokens, twice, at 0.1 s: hours that are few are not told as none.
    assert "1 job: 0.00 GPU-hours; 0.09 hours one after the other, 0.09 all at once." in out
    code, out, _ = run_command("estimate", "-m", "decoder.gamma=2,3", *GIVEN)
    assert code == 0 and "every prompt; reference=cached makes jobs share it." in out
    code, out, _ = run_command("estimate", "--help")
    assert code == 0 and "estimate.bandwidth" in out
    assert not any(tmp_path.iterdir())
