from __future__ import annotations

from collections.abc import Callable


def test_bench_compares_with_transformers_generate(
    run_bench: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, err = run_bench("task.limit=2", "task.max_new_tokens=12", "repeats=2")
    assert code == 0, err
    assert "autoregressive ÷ transformers generate: median" in out
    assert "same tokens: 4/4" in out
