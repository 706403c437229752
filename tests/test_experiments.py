"""The experiments of conf/experiment: each at mini scale, and what each is at full size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pearl_eval.paths import config_dir

Run = Callable[..., tuple[int, str, str]]

NAMES = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))
DECODERS = sorted(path.stem for path in (config_dir() / "decoder").glob("*.yaml"))
#: Those of the paper's tables that have no other purpose.
COMPARED = [
    name
    for name in DECODERS
    if name not in ("draft_only", "generate") and not name.startswith(("pearl_no", "pearl_shared"))
]
SHORT = ("task.limit=2", "task.max_new_tokens=8")
#: Draft lengths of PEARL and of vanilla speculative decoding, by pair; those of
#: Llama 3.1 are not the paper's, whose scripts have none.
GAMMAS = {
    "codellama_7b_34b": (3, 6),
    "codellama_7b_70b": (5, 10),
    "llama2_7b_70b": (5, 10),
    "llama31_8b_70b": (5, 10),
    "deepseek_1b_33b": (4, 8),
    "deepseek_6b_33b": (3, 6),
}
CODE = ["codellama_7b_34b", "codellama_7b_70b", "deepseek_1b_33b", "deepseek_6b_33b"]
LLAMA = ["llama2_7b_70b", "llama31_8b_70b"]
#: Prompts and longest generation of each task.
TASKS = {
    "humaneval": (164, 1024),
    "gsm8k": (100, 256),
    "mgsm": (100, 256),
    "mt_bench": (80, 256),
}
ABLATED = ["pearl", "pearl_no_post_verify", "pearl_no_pre_verify"]
FULL = {
    "paper_humaneval": (list(GAMMAS), ["humaneval"], DECODERS),
    "paper_gsm8k": (LLAMA, ["gsm8k"], COMPARED),
    "paper_mgsm": (LLAMA, ["mgsm"], COMPARED),
    "paper_mt_bench": (LLAMA, ["mt_bench"], COMPARED),
    "paper_ablations": (CODE[:3], ["humaneval"], ABLATED),
    "paper_ablations_gsm8k": (LLAMA[:1], ["gsm8k"], ABLATED),
    "paper_gamma_sweep": (CODE, ["humaneval"], ["pearl"]),
    "paper_gamma_sweep_llama2": (LLAMA[:1], ["humaneval", "gsm8k", "mt_bench"], ["pearl"]),
    "paper_mean_accepted_tokens": (CODE, ["humaneval"], ["speculative", "pearl"]),
    "paper_resource_competition": (LLAMA, ["mt_bench"], ["pearl", "pearl_shared"]),
    "paper_resource_competition_humaneval": (CODE[2:3], ["humaneval"], ["pearl", "pearl_shared"]),
}
SWEPT = {
    "paper_gamma_sweep": [2, 3, 4, 5, 6],
    "paper_gamma_sweep_llama2": [3, 4, 5, 6, 7],
}


def test_every_experiment_of_the_paper_is_held_against_it() -> None:
    assert set(FULL) == {name for name in NAMES if name.startswith("paper_")}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_at_mini_scale(run_cli: Run, tmp_path: Path, name: str) -> None:
    # Of a sweep of draft lengths the first and the last: what is between is the same job.
    gammas = SWEPT.get(name, [0])
    ends = [f"decoder.gamma={gammas[0]},{gammas[-1]}"] if name in SWEPT else []
    arguments = (f"experiment={name}", "scale=mini", *SHORT, *ends, "hydra.sweep.dir=sweep")
    code, _, err = run_cli(*arguments, small_pair=False)
    assert code == 0, err
    folders = [path.parent for path in tmp_path.glob("sweep/*/.hydra")]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    assert {summary["pair"] for summary in summaries} == {"tiny"}
    assert all(summary["new_tokens"] == 8 * summary["prompts"] for summary in summaries)
    if name in FULL:
        _, tasks, decoders = FULL[name]
        assert len(summaries) == len(tasks) * len(decoders) * (2 if ends else 1)
        assert {summary["decoder"] for summary in summaries} == set(decoders)
    shutil.rmtree(tmp_path / "sweep")


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_at_full_size_it_is_what_the_paper_did(run_cli: Run, tmp_path: Path, name: str) -> None:
    pairs, tasks, decoders = FULL[name]
    jobs = dry_run(run_cli, f"experiment={name}")["jobs"]
    done = sorted((job["pair"], job["task"], job["decoder"], str(job["gamma"])) for job in jobs)
    assert done == sorted(
        (pair, task, decoder, str(gamma))
        for pair in pairs
        for task in tasks
        for decoder in decoders
        for gamma in SWEPT.get(name) or [_gamma(pair, decoder)]
    )
    for job in jobs:
        assert (job["prompts"], job["max_new_tokens"]) == TASKS[job["task"]]
        assert job["texts"] == job["prompts"] * (2 if job["task"] == "mt_bench" else 1)
        # The paper's protocol has every text as long as the limit.
        assert not job["at_most"] or job["decoder"] in ("lookahead", "prompt_lookup")
    assert not any(tmp_path.iterdir())


def _gamma(pair: str, decoder: str) -> int | None:
    if decoder == "prompt_lookup":
        return 10
    if decoder == "assisted_confidence":
        return 20
    if decoder.startswith("pearl") and decoder != "pearl_async":
        return GAMMAS[pair][0]
    if decoder == "speculative" or decoder.startswith("assisted"):
        return GAMMAS[pair][1]
    return None


def dry_run(run_cli: Run, *arguments: str) -> dict[str, Any]:
    """What ``pearl-eval --dry-run=json`` prints."""
    code, out, err = run_cli("--dry-run=json", *arguments, small_pair=False)
    assert code == 0, err
    return json.loads(out)
