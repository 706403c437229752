"""What vLLM generates on the CPU, audited: all of it is the target's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from audit_faults import NEW, Bench, Engine, row_of
from tiers import kept
from vllm_tiny import generate

pytest.importorskip("vllm")
Start = Callable[..., AbstractContextManager[Any]]


@pytest.mark.parametrize("dtype", kept([torch.float32, torch.bfloat16], [torch.bfloat16]))
def test_what_vllm_generates_is_the_targets_own(start: Start, dtype: torch.dtype) -> None:
    prompts, bench = Engine(dtype).prompts(), Bench(dtype)
    name = str(dtype).removeprefix("torch.")
    with start(dtype=name, max_model_len=1024) as engine:
        whole = generate(engine, prompts, max_tokens=NEW)
        ended = generate(engine, prompts, max_tokens=NEW, ignore_eos=False)
    rows = [
        row_of(*both, max_tokens=NEW, ignore_eos=True, finish_reason="length")
        for both in zip(prompts, whole, strict=True)
    ]
    rows += [row_of(*both, max_tokens=NEW) for both in zip(prompts, ended, strict=True)]
    judged = bench.judge(rows)
    found = [one.kind for one in judged]
    print(name, {kind: found.count(kind) for kind in sorted(set(found))})
    assert set(found) <= {"identical", "tie"}, [one.why for one in judged]
    assert sum(one.tokens for one in judged) > 50 * NEW
