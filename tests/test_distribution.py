"""The test of sampled tokens: what it lets pass, and what it sees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_pair import SmallPair

from decoders.model import CachedModel
from decoders.temperature import Temperature
from pearl_eval.distribution import DistributionCheck, Fit
from pearl_eval.records import SIGNIFICANCE

SAMPLER = Temperature(temperature=0.7)
PROMPT = list(range(20, 40))


@pytest.fixture(scope="module")
def target(small_pair: SmallPair) -> CachedModel:
    return small_pair.load_target()


def sample(target: CachedModel, tokens: int, change: Any, seed: int = 0) -> Fit:
    """The fit of texts drawn from the target's distribution as ``change`` makes it."""
    check = DistributionCheck(target, SAMPLER.probabilities)
    generator = torch.Generator().manual_seed(seed)
    for start in range(tokens // 50):
        prompt = [*PROMPT, start]
        text = list(prompt)
        target.rollback(0)
        for _ in range(50):
            row = change(SAMPLER.probabilities(target.extend(text, rows=1))[0].double())
            text.append(int(torch.multinomial(row, 1, generator=generator)))
        check.add(prompt, text[len(prompt) :])
    return check.fit()


def test_the_targets_own_samples_fit(target: CachedModel) -> None:
    values = [sample(target, 500, lambda row: row, seed).p_value for seed in range(8)]
    assert min(values) > 1e-3
    assert max(values) > 0.3


def shifted(row: torch.Tensor, bias: float) -> torch.Tensor:
    """Takes ``bias`` from the most probable token, or all it has, for the second."""
    first, second = row.topk(2).indices.tolist()
    moved = min(bias, float(row[first]))
    row[first] -= moved
    row[second] += moved
    return row


def test_the_bias_that_is_named_is_seen(target: CachedModel) -> None:
    named = sample(target, 1500, lambda row: row).smallest_bias
    assert 0.01 < named < 0.1
    for seed in range(3):
        assert sample(target, 1500, lambda row: shifted(row, named), seed).refused


def test_more_tokens_show_a_smaller_bias(target: CachedModel) -> None:
    few, many = (sample(target, tokens, lambda row: row).smallest_bias for tokens in (400, 1600))
    assert many == pytest.approx(few / 2, rel=0.25)


def test_random_numbers_used_twice_are_seen(target: CachedModel) -> None:
    """Each token's own distribution is right, but two and two draw with one number."""
    check = DistributionCheck(target, SAMPLER.probabilities)
    generator = torch.Generator().manual_seed(0)
    for start in range(30):
        prompt = [*PROMPT, start]
        text = list(prompt)
        target.rollback(0)
        for i in range(50):
            if i % 2 == 0:
                number = torch.rand(1, generator=generator, dtype=torch.float64)
            row = SAMPLER.probabilities(target.extend(text, rows=1))[0].double()
            text.append(int(torch.searchsorted(row.cumsum(-1), number).clamp(max=299)))
        check.add(prompt, text[len(prompt) :])
    assert check.fit().refused


def test_a_token_that_can_not_come_again_and_again(target: CachedModel) -> None:
    """Where there is no choice there is nothing to test."""
    check = DistributionCheck(target, Temperature(top_k=1).probabilities)
    output: list[int] = []
    target.rollback(0)
    for _ in range(20):
        output.append(int(target.extend([*PROMPT, *output], rows=1).argmax()))
    check.add(PROMPT, output)
    assert check.fit() == Fit(20, 1.0, 1.0)
    assert SIGNIFICANCE < 1e-3
