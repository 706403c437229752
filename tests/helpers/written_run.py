"""Runs on disk with chosen rounds, for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from make_record import make_record

from decoders.round import Round
from pearl_eval.evaluation.identity import Identity
from pearl_eval.evaluation.run_files import RunFiles
from pearl_eval.results.about import about_decoder
from pearl_eval.results.traces import Traces

SUMMARY: dict[str, Any] = {
    "task": "humaneval",
    "pair": "tiny",
    "seed": 0,
    "reference": "inline",
    "prompts": 2,
    "tokens_per_second": 300.0,
    "reference_tokens_per_second": 100.0,
    "mean_prompt_tokens_per_second": 330.0,
    "reference_mean_prompt_tokens_per_second": 120.0,
    "speedup": 3.0,
    "speedup_ci95": [2.7, 3.2],
    "mean_accepted_tokens": 4.25,
    "acceptance_rate": 0.875,
    "target_forwards": 30,
    "draft_forwards": 90,
    "wait_fraction_draft": 0.1,
    "wait_fraction_target": 0.2,
    "exact_match_rate": 1.0,
    "ties": 0,
    "violations": 0,
    "lossy": 0,
    "runner_up_pass_rate": None,
    "sampled_tokens": None,
    "sampling_p_value": None,
    "accuracy": 0.5,
    "accuracy_name": "pass@1",
    "by_category": None,
    "data": None,
    "decoder_settings": {},
    "cost": {},
    "traces": {},
    "synthetic": False,
    "environment": {
        "dtype": "float32",
        "target_device": "cpu",
        "torch": "2.13",
        "git_commit": None,
        "target_parallel": None,
        "versions": {},
    },
}
#: Tokens 0 … 11, as every decoder here writes them.
OUTPUT = list(range(100, 112))


def autoregressive() -> list[Round]:
    """A token every 100 ms, after 200 ms for the prompt."""
    starts = [0.0, *(0.1 + 0.1 * i for i in range(1, 12))]
    return [
        Round(
            "decode",
            target_seconds=0.1,
            start=start,
            target_start=start,
            verified_length=length,
            own_tokens=1,
            busy_seconds=0.1,
        )
        for length, start in enumerate(starts, start=1)
    ]


def fates(marks: str) -> list[str]:
    """``a``, ``r`` and ``.``: accepted, rejected, discarded."""
    return [{"a": "accepted", "r": "rejected", ".": "discarded"}[mark] for mark in marks]


def pearl() -> list[Round]:
    """γ = 3, 100 ms a round: 1 accepted; 3 accepted; 1 accepted and 1 rejected; all that is left.

    In the third round token 4 is right and 5 wrong, so what is drafted then is
    discarded.
    """
    blocks = [
        ("pre-verify", [0, 1, 2], OUTPUT[:3], "aaa", 1, 1, 1),
        ("post-verify", [3, 4, 5], [*OUTPUT[3:5], 7], "aar", 3, 3, 4),
        ("post-verify", [6, 7, 8], OUTPUT[6:9], "...", 2, 1, 6),
        ("pre-verify", [6, 7, 8], OUTPUT[6:9], "aaa", 1, 1, 7),
        ("post-verify", [9, 10, 11], OUTPUT[9:], "aaa", 3, 3, 10),
        ("post-verify", [], [], "", 2, 2, 12),
    ]
    return [
        Round(
            mode,
            drafted=len(ids),
            judged=judged,
            accepted=accepted,
            draft_seconds=0.09 if ids else 0.0,
            target_seconds=0.08,
            wait_draft_seconds=0.01,
            wait_target_seconds=0.01,
            start=0.1 * number,
            bytes_sent=100,
            verified_length=length,
            draft_start=0.1 * number,
            target_start=0.1 * number,
            drafted_ids=ids,
            drafted_at=places,
            fates=fates(marks),
            own_tokens=judged - accepted,
            busy_seconds=0.09 if ids else 0.08,
        )
        for number, (mode, places, ids, marks, judged, accepted, length) in enumerate(blocks)
    ]


def write_run(
    directory: Path,
    decoder: str,
    rounds: list[Round],
    finished: bool = True,
    verdict: str = "identical",
    first_divergence: int | None = None,
    identity: Identity | None = None,
    **summary: Any,
) -> Path:
    """A run of two prompts that went alike; without its summary if it is not ``finished``.

    The second has the verdict that is given.
    """
    files = RunFiles(directory, identity or {})
    seconds = rounds[-1].start + 0.1
    for index in range(2):
        record = make_record(
            index,
            warmup=index == 0,
            output_ids=OUTPUT,
            new_tokens=12,
            seconds=seconds,
            verdict=verdict if index else "identical",
            first_divergence=first_divergence if index else None,
        )
        files.append(record, rounds)
    files.close()
    if finished:
        traces = Traces.read(directory).figures()
        files.write_summary(_summary({"decoder": decoder, "traces": traces} | summary))
    return directory


def write_speeds(
    directory: Path,
    decoder: str,
    seconds: list[float],
    identity: Identity,
    reference_seconds: float = 1.0,
    **summary: Any,
) -> Path:
    """A run whose prompts took so many seconds each."""
    files = RunFiles(directory, identity)
    for index, one in enumerate(seconds):
        theirs = {"reference_seconds": reference_seconds, "speedup": reference_seconds / one}
        record = make_record(index, seconds=one, **theirs)
        files.append(record, autoregressive()[: record.target_forwards])
    files.close()
    files.write_summary(_summary({"decoder": decoder} | summary))
    return directory


def _summary(own: dict[str, Any]) -> dict[str, Any]:
    """A whole summary; what is not said of the environment is as everywhere here."""
    environment = SUMMARY["environment"] | own.get("environment", {})
    about = about_decoder(own["decoder"], own.get("decoder_settings", {}))
    return SUMMARY | {"decoder_about": about} | own | {"environment": environment}


def write_overrides(directory: Path, *overrides: str) -> None:
    (directory / ".hydra").mkdir(parents=True, exist_ok=True)
    (directory / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
