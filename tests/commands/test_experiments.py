"""The experiments of conf/experiment: each at mini scale, and what each is at full size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiers import kept

from pearl_eval.config.paths import config_dir
from pearl_eval.config.registry import register
from pearl_eval.shell.jobs import _composed

Run = Callable[..., tuple[int, str, str]]

NAMES = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))
#: These need a draft model of another vocabulary, or a target made for them.
APART = {"assisted_early_exit", "assisted_mtp", "assisted_universal"}
#: Nor is what runs in another engine in any experiment of the paper's.
DECODERS = sorted(
    path.stem
    for path in (config_dir() / "decoder").glob("*.yaml")
    if not path.stem.startswith("vllm") and path.stem not in APART
)
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
#: What stands for each at mini scale.
MINI = {
    "humaneval": "humaneval",
    "gsm8k": "gsm8k_mini",
    "mgsm": "mgsm_mini",
    "mt_bench": "dialogue_mini",
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
@pytest.mark.parametrize(
    "name", kept(FULL, ["paper_mt_bench", "paper_resource_competition_humaneval"])
)
def test_it_runs_at_mini_scale(run_cli: Run, tmp_path: Path, name: str) -> None:
    # Of a sweep of draft lengths the first and the last: what is between is the same job.
    gammas = SWEPT.get(name, [])
    cut = [f"decoder.gamma={gammas[0]},{gammas[-1]}"] if gammas else []
    run_mini(run_cli, tmp_path, name, cut)


@pytest.mark.nightly
@pytest.mark.parametrize("name", SWEPT)
def test_every_draft_length_runs_at_mini_scale(run_cli: Run, tmp_path: Path, name: str) -> None:
    run_mini(run_cli, tmp_path, name, [])


def run_mini(run_cli: Run, tmp_path: Path, name: str, cut: list[str]) -> None:
    """Run an experiment at mini scale, ``cut`` by overrides, and see that every job was run."""
    arguments = (f"experiment={name}", "scale=mini", *SHORT, *cut)
    jobs = jobs_of(*arguments)
    code, _, err = run_cli(*arguments, "hydra.sweep.dir=sweep", small_pair=False)
    assert code == 0, err
    folders = [path.parent for path in tmp_path.glob("sweep/*/.hydra")]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    assert sorted(summary["decoder"] for summary in summaries) == sorted(
        job["decoder"] for job in jobs
    )
    assert {summary["pair"] for summary in summaries} == {"tiny"}
    assert all(summary["new_tokens"] == 8 * summary["prompts"] for summary in summaries)
    shutil.rmtree(tmp_path / "sweep")


@pytest.mark.parametrize("name", FULL)
def test_at_mini_scale_it_has_the_same_grid_on_the_tiny_pair(name: str) -> None:
    _, tasks, decoders = FULL[name]
    assert grid(name, "scale=mini") == sorted(
        ("tiny", MINI[task], decoder, str(gamma))
        for task in tasks
        for decoder in decoders
        for gamma in SWEPT.get(name, [None])
    )


@pytest.mark.parametrize("name", FULL)
def test_at_full_size_it_has_the_papers_grid(name: str) -> None:
    pairs, tasks, decoders = FULL[name]
    assert grid(name) == sorted(
        (pair, task, decoder, str(gamma))
        for pair in pairs
        for task in tasks
        for decoder in decoders
        for gamma in SWEPT.get(name, [None])
    )


def grid(name: str, *more: str) -> list[tuple[str, ...]]:
    """Pair, task, decoder and draft length of each job of an experiment, sorted."""
    values = ("pair", "task", "decoder", "decoder.gamma")
    jobs = jobs_of(f"experiment={name}", *more)
    return sorted(tuple(str(job.get(value)) for value in values) for job in jobs)


def jobs_of(*arguments: str) -> list[dict[str, str]]:
    """The overrides of each job that a command line would run, by name."""
    register()
    # Without the jobs themselves, whose composing takes long.
    with _composed("config", arguments) as (_, _, jobs):
        return [dict(one.split("=") for one in job) for job in jobs]


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_at_full_size_it_follows_the_papers_protocol(
    run_cli: Run, tmp_path: Path, name: str
) -> None:
    (*_, pair), tasks, _ = FULL[name]
    jobs = dry_run(run_cli, f"experiment={name}", f"pair={pair}", "decoder=pearl")["jobs"]
    assert [job["gamma"] for job in jobs[: len(jobs) // len(tasks)]] == SWEPT.get(
        name, [GAMMAS[pair][0]]
    )
    for job in jobs:
        assert (job["prompts"], job["max_new_tokens"]) == TASKS[job["task"]]
        assert job["texts"] == job["prompts"] * (2 if job["task"] == "mt_bench" else 1)
        # As every text is as long as the limit.
        assert not job["at_most"]


@pytest.mark.slow
def test_draft_lengths_are_the_papers(run_cli: Run) -> None:
    jobs = dry_run(run_cli, "experiment=paper_humaneval", "decoder=pearl,speculative")["jobs"]
    assert [(job["pair"], job["gamma"]) for job in jobs] == [
        (pair, gamma) for pair, gammas in GAMMAS.items() for gamma in gammas
    ]


def dry_run(run_cli: Run, *arguments: str) -> dict[str, Any]:
    """What ``pearl-eval --dry-run --json`` prints."""
    code, out, err = run_cli("--dry-run", "--json", *arguments, small_pair=False)
    assert code == 0, err
    return json.loads(out)
