from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pearl_eval.bench import Measurement, Results

Run = Callable[..., tuple[int, str, str]]


def test_contenders_are_compared_side_by_side(run_bench: Run, tmp_path: Path) -> None:
    code, out, err = run_bench(
        "decoders=[autoregressive,speculative,pearl]",
        "gammas=[2,3]",
        "task.limit=2",
        "task.max_new_tokens=12",
        "repeats=2",
        "hydra.run.dir=run",
    )
    assert code == 0, err
    labels = ["generate", "autoregressive", "speculative γ=2", "pearl γ=3"]
    assert all(label in out for label in labels)
    assert out.count("4/4") == 6
    measurements = json.loads((tmp_path / "run" / "bench.json").read_text())["measurements"]
    assert len(measurements) == 6 * 4


def test_ratios_are_paired() -> None:
    """Prompts of very different length, always exactly twice as fast: no spread at all."""
    measurements = [
        Measurement(name, prompt, 0, seconds * (prompt + 1), 10, True)
        for prompt in range(6)
        for name, seconds in (("autoregressive", 2.0), ("fast", 1.0))
    ]
    ratio = Results(measurements).ratio("fast", "autoregressive")
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_best_draft_length_is_the_fastest() -> None:
    measurements = [
        Measurement(f"speculative γ={gamma}", 0, 0, seconds, 10, True)
        for gamma, seconds in ((2, 3.0), (4, 1.0), (6, 2.0))
    ]
    results = Results(measurements)
    assert results.best("speculative") == "speculative γ=4"
    assert results.best("pearl") is None


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("decoders=[pearl]", "autoregressive must be among them"),
        ("decoders=[autoregressive,nope]", "there is no decoder nope"),
        ("repeats=1", "too few for a spread"),
        ("task.max_new_tokens=2048", "do not fit"),
    ],
)
def test_bad_input_is_one_clear_line(run_bench: Run, argument: str, message: str) -> None:
    limits = {"task.limit": "2", "task.max_new_tokens": "4"}
    name, _, value = argument.partition("=")
    code, _, err = run_bench(*(f"{k}={v}" for k, v in (limits | {name: value}).items()))
    assert code == 2 and message in err
