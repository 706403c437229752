"""What launchers ask for, by the decoder, its engine and the pair."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]

#: Two GPUs for its target, one for its draft model.
PAIR = "pair=llama2_7b_70b"


def asked(run_cli: Run, name: str, *arguments: str) -> int:
    """What a launcher asks for by a name."""
    code, out, err = run_cli("--cfg=all", "--resolve", *arguments, small_pair=False)
    assert code == 0, err
    return int(re.findall(rf"{name}: (\d+)$", out, flags=re.MULTILINE)[0])


@pytest.mark.parametrize(
    ("arguments", "gpus"),
    [
        ("decoder=autoregressive", 2),
        ("decoder=pearl", 3),
        ("decoder=pearl_shared", 2),
        ("decoder=pearl pair.target.gpus=4 pair.draft.gpus=2", 6),
        # Each model of a pair that does not say has one.
        ("decoder=pearl pair=tiny", 2),
        # What can't be says so where it runs.
        ("decoder=pearl decoder.gamma=0", 3),
        ("decoder=vllm", 1),
        ("decoder=vllm engine.tensor_parallel_size=4", 4),
        ("decoder=vllm engine.tensor_parallel_size=2 engine.pipeline_parallel_size=3", 6),
        ("decoder=vllm_pearl engine.tensor_parallel_size=4", 5),
        ("decoder=vllm_pearl engine.pipeline_parallel_size=4", 5),
        ("decoder=vllm_pearl pair.draft.gpus=2", 2),
        ("decoder=vllm_pearl pair.draft.gpus=0", 1),
        ("decoder=vllm_pearl pair.target.gpus=0 engine.tensor_parallel_size=4", 1),
        ("decoder=vllm_speculative engine.tensor_parallel_size=4", 4),
        ("decoder=vllm_ngram engine.tensor_parallel_size=2", 2),
    ],
)
def test_gpus_of_a_job_on_slurm(run_cli: Run, arguments: str, gpus: int) -> None:
    launcher = "hydra/launcher=slurm_a100"
    assert asked(run_cli, "gpus_per_node", launcher, PAIR, *arguments.split()) == gpus


@pytest.mark.parametrize(
    ("arguments", "cores"),
    [
        ("decoder=pearl runtime.target_threads=2 runtime.draft_threads=3", 5),
        ("decoder=vllm", 2),
        # A core for each rank; the cores that there are for threads are theirs.
        ("decoder=vllm engine.tensor_parallel_size=3", 4),
        ("decoder=vllm engine.tensor_parallel_size=2 runtime.target_threads=4", 5),
        ("decoder=pearl decoder.gamma=0 runtime.target_threads=2", 3),
    ],
)
def test_cores_of_a_job_on_slurm(run_cli: Run, arguments: str, cores: int) -> None:
    launcher = "hydra/launcher=slurm_cpu"
    assert asked(run_cli, "cpus_per_task", launcher, *arguments.split()) == cores


@pytest.mark.parametrize(
    ("arguments", "at_once"),
    [
        ("decoder=vllm engine.tensor_parallel_size=4", 2),
        ("decoder=vllm_pearl engine.tensor_parallel_size=4", 1),
        ("decoder=pearl pair.target.gpus=0 pair.draft.gpus=0", 8),
    ],
)
def test_runs_at_once_in_eight_gpus(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch, arguments: str, at_once: int
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    own = ("hydra/launcher=joblib", PAIR, *arguments.split())
    assert asked(run_cli, "n_jobs", *own) == at_once


def test_runs_at_once_have_a_core_for_each_rank(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decoders.process.placement.available_cores", lambda: list(range(8)))
    own = ("hydra/launcher=joblib", "decoder=vllm", "engine.tensor_parallel_size=3")
    assert asked(run_cli, "n_jobs", *own) == 2
