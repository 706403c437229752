"""Outputs of transformers' ``generate`` on the tiny pair: its own, and with planted faults."""

from __future__ import annotations

import math

import pytest
import torch
from audit_faults import KINDS, PROMPTS, Bench, Engine, Faults, measure, pool, refused, row_of

from pearl_eval.audit.result import fit_of
from pearl_eval.audit.verdicts import JudgedOutput

DTYPES = [torch.float32, torch.bfloat16]


def kinds(judged: list[JudgedOutput]) -> set[str]:
    return {one.kind for one in judged}


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_generate_makes_is_the_targets_own(dtype: torch.dtype) -> None:
    engine, bench = Engine(dtype), Bench(dtype)
    faults = Faults(engine, engine.prompts(3), new=32)
    judged = bench.judge(faults.right())
    assert kinds(judged) <= {"identical", "tie"}, [one.why for one in judged]
    for planted in (faults.skipped(0), faults.stopped(0)):
        assert kinds(bench.judge([one.row for one in planted])) == {"violation"}


def test_text_is_read_in_the_tokens_that_the_target_chose() -> None:
    """A text of the engine's, and one whose tokens are not those that the tokenizer would make."""
    engine, bench = Engine(torch.float32), Bench(torch.float32)
    tokenizer = engine.tokenizer
    prompts = engine.prompts(4)
    made = engine.generate(prompts, 32, stop=True)
    rows = [
        {
            "prompt": tokenizer.decode(prompt),
            "output": tokenizer.decode(output, skip_special_tokens=True),
            "finish_reason": "stop" if output[-1] in (0, 5) else "length",
        }
        for prompt, output in zip(prompts, made, strict=True)
    ]
    judged = bench.judge(rows)
    assert kinds(judged) == {"identical"}, [one.why for one in judged]
    assert all(one.text.retokenised for one in judged)

    # "ab" as two tokens, where the tokenizer has one for both.
    reading = bench.inputs.reading
    whole = next(
        token
        for token in range(300, len(tokenizer))
        if len(tokenizer.decode([token])) == 2 and tokenizer.decode([token]).isalpha()
    )
    said = tokenizer.decode([whole])
    first = tokenizer(said[0], add_special_tokens=False).input_ids[0]
    (text,) = bench.texts([{"prompt": [50], "output": said + " x"}])
    assert text.output[0] == whole
    other = reading.otherwise(text, 0, first)
    assert other is not None
    assert tokenizer.decode(other.output) == said + " x"
    assert other.output[0] == first and len(other.output) == len(text.output) + 1
    assert reading.otherwise(text, 0, whole) is None  # no other than it is
    assert reading.otherwise(text, 0, first + 1) is None  # of another text


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_false_alarm_in_50_prompts_of_128_tokens(dtype: torch.dtype) -> None:
    engine, bench = Engine(dtype), Bench(dtype)
    judged = bench.judge(Faults(engine, engine.prompts()).right())
    assert len(judged) == 2 * PROMPTS
    assert kinds(judged) <= {"identical", "tie"}, [one.why for one in judged]


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_beyond_the_tolerance_is_found(kind: str, dtype: torch.dtype) -> None:
    engine, bench = Engine(dtype), Bench(dtype)
    count = measure(engine, bench, Faults(engine, engine.prompts()), kind)
    assert count.planted >= 200
    assert count.missed == 0
    assert count.found == count.beyond or dtype is torch.bfloat16


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_temperature_of_0_9_that_is_claimed_to_be_1_is_found() -> None:
    engine, bench = Engine(torch.float32), Bench(torch.float32)
    judged = pool(engine, bench, 0.9, 400)
    assert refused(judged, 200, 100) > 190
    assert refused(pool(engine, bench, 1.0, 400), 200, 100) == 0


def test_tokens_of_several_texts_make_one_test() -> None:
    bench = Bench(torch.float32)
    rows = [row_of([50], [60, 70], temperature=1.0), row_of([50, 51], [80], temperature=2.0)]
    judged = bench.judge(rows)
    fit = fit_of(judged)
    assert fit is not None
    assert fit.tokens == 3 == sum(one.sampled.tokens for one in judged)
    assert math.isfinite(fit.p_value)
    greedy = bench.judge([row_of([50], [60])])
    assert fit_of(greedy) is None
