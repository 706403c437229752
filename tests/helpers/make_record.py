"""Records with chosen values, for tests of what is made from them."""

from __future__ import annotations

from typing import Any

from pearl_eval.results.records import Record


def make_record(index: int = 0, **values: Any) -> Record:
    defaults: dict[str, Any] = {
        "task_id": f"Task/{index}",
        "sample": 0,
        "turn": 0,
        "category": "",
        "synthetic": False,
        "warmup": False,
        "prompt_tokens": 5,
        "output_ids": [1] * 10,
        "text": "text",
        "new_tokens": 10,
        "seconds": 1.0,
        "seconds_prefill": 0.1,
        "reference_seconds": 2.0,
        "reference_output_ids": [1] * 10,
        "speedup": 2.0,
        "target_forwards": 4,
        "draft_forwards": 8,
        "judged": 8,
        "accepted": 5,
        "wait_draft_seconds": 0.0,
        "wait_target_seconds": 0.0,
        "accepted_runs": [3, 2],
        "exact_match": True,
        "first_divergence": None,
        "verdict": "identical",
        "correct": False,
        "reference_correct": False,
        "result": "",
        "finish_reason": "length",
        "violation": "",
        "joules": None,
        "reference_joules": None,
        "tie": "",
        "runner_up_pass_rate": None,
    }
    return Record(**(defaults | values))
