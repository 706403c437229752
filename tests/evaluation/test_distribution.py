"""The test of sampled tokens: what it lets pass, and what it sees."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.stats import chi2, ncx2, norm
from small_pair import SmallPair
from toy import VOCAB, TableModel, table

from decoders.model.cached_model import CachedModel
from decoders.sampling.temperature import Temperature
from pearl_eval.checks.distribution import DistributionCheck, Fit, SampledTokens
from pearl_eval.results.records import SIGNIFICANCE

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


@pytest.mark.parametrize("length", [2, 256, 257, 258, 513])
def test_every_token_of_a_text_is_counted_once_however_long_it_is(length: int) -> None:
    """It is read in pieces of 256 tokens."""
    check = DistributionCheck(TableModel(table(0, VOCAB)), SAMPLER.probabilities)  # type: ignore[arg-type]
    check.add([1], [2] * (length - 1))
    assert check.fit().tokens == length - 1


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


def long_texts(change_from: int) -> Fit:
    """The fit of ten texts of 400 tokens that are drawn rightly up to a position; from there on the
    most probable token is taken."""
    model = TableModel(table(seed=4, possible=VOCAB))
    check = DistributionCheck(model, Temperature().probabilities)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        text = [1, 2]
        model.rollback(0)
        for position in range(400):
            row = model.extend(text, rows=1)[0].exp()
            drawn = int(torch.multinomial(row, 1, generator=generator))
            text.append(drawn if position < change_from else int(row.argmax()))
        check.add(text[:2], text[2:])
    return check.fit()


def test_a_bias_at_the_end_of_long_texts_is_seen() -> None:
    """The check reads 256 positions in one piece."""
    rightly, wrongly = long_texts(400), long_texts(256)
    assert rightly.tokens == wrongly.tokens == 4000
    assert rightly.p_value > 1e-3
    assert wrongly.refused


class Coin:
    """A model of two tokens, whose first one comes with a chance of 3/4 whatever was before."""

    def rollback(self, length: int) -> None:
        self.length = length

    def extend(self, tokens: list[int], rows: int) -> torch.Tensor:
        return torch.tensor([[0.75, 0.25]], dtype=torch.float64).log().repeat(rows, 1)


@pytest.mark.parametrize(("second", "deviation"), [(43, 7.0), (63, 13.0), (84, 34.0)])
def test_figures_by_hand(second: int, deviation: float) -> None:
    """200 tosses of which 50 should be the second token, with a variance of 200 × 3/16 = 37.5.

    One degree of freedom: z² of a normal deviate. To see a bias with 99 % probability at a false
    alarm rate of one in a million, the mean must be so many standard deviations off.
    """
    check = DistributionCheck(Coin(), Temperature().probabilities)  # type: ignore[arg-type]
    tosses = [0] * (200 - second) + [1] * second
    check.add([0], tosses)
    fit = check.fit()
    assert fit.tokens == 200
    assert fit.p_value == pytest.approx(2 * norm.sf(deviation / 37.5**0.5), rel=1e-6)
    assert fit.refused == (deviation == 34.0)
    off = norm.isf(SIGNIFICANCE / 2) + norm.isf(0.01)
    assert fit.smallest_bias == pytest.approx(off * 37.5**0.5 / 200, rel=1e-3)
    assert chi2.isf(SIGNIFICANCE, 1) == pytest.approx(norm.isf(SIGNIFICANCE / 2) ** 2)


def test_what_is_refused_is_less_likely_than_one_in_a_million() -> None:
    assert SIGNIFICANCE == 1e-6
    assert Fit(9, 0.99e-6, 0.1).refused and not Fit(9, 1.01e-6, 0.1).refused


class Dice:
    """A model of eight tokens, the less probable the larger, whatever was before."""

    def __init__(self, *hundredths: int) -> None:
        self.chances = torch.tensor(hundredths, dtype=torch.float64) / 100

    def rollback(self, length: int) -> None:
        self.length = length

    def extend(self, tokens: list[int], rows: int) -> torch.Tensor:
        return self.chances.log().repeat(rows, 1)


TARGET, DRAFT = Dice(20, 17, 15, 13, 11, 9, 8, 7), Dice(20, 17, 15, 13, 1, 8, 18, 8)


@pytest.mark.parametrize(
    ("less", "more", "draft", "seen"),
    [
        (0, 0, None, False),
        (0, 0, DRAFT, False),
        # Of another rank: the first, and the third or fourth.
        (0, 2, None, True),
        # Both of ranks 5 to 8, but one with an even id.
        (4, 5, None, True),
        # The draft model finds 6 and 7 more probable than the target does.
        (4, 6, DRAFT, True),
    ],
)
def test_what_tokens_are_told_apart_by(
    less: int, more: int, draft: Dice | None, seen: bool
) -> None:
    """1,000 tokens, of which 7 in 100 are another one than they should be."""
    chances = TARGET.chances.clone()
    chances[less] -= 0.07
    chances[more] += 0.07
    generator = torch.Generator().manual_seed(1)
    drawn = torch.multinomial(chances, 1000, replacement=True, generator=generator).tolist()
    check = DistributionCheck(TARGET, Temperature().probabilities, draft)  # type: ignore[arg-type]
    check.add([0], drawn)
    assert check.fit().refused is seen


#: Hundredths by id: the probabilities of tokens, and those of a draft model.
MIXED = [17, 10, 12, 24, 9, 13, 8, 4, 0, 3], [11, 8, 12, 28, 9, 13, 10, 6, 0, 3]
EVEN = [25, 0, 15, 0, 30, 0, 10, 0, 20], [25, 0, 15, 0, 30, 0, 10, 0, 20]


@pytest.mark.parametrize(
    ("hundredths", "counts", "cells"),
    [
        # Ranks 1, 2, 3 and 4, 5 and more, each with odd ids and even ones; of the last ranks the
        # draft model finds 6 and 7 more probable than the target does.
        (
            MIXED,
            [40, 17, 21, 52, 22, 23, 13, 7, 0, 5],
            [[3], [0], [5], [2], [1, 9], [4], [6], [7]],
        ),
        # Ids 8 and 2 are of ranks 3 and 4.
        (EVEN, [61, 0, 26, 0, 52, 0, 24, 0, 37], [[4], [0], [8, 2], [6]]),
    ],
)
def test_cells_by_hand(
    hundredths: tuple[list[int], list[int]], counts: list[int], cells: list[list[int]]
) -> None:
    """200 tokens, none with one before it: Pearson's chi-square over the cells."""
    p, q = (torch.tensor(one, dtype=torch.float64) / 100 for one in hundredths)
    check = SampledTokens()
    for token, count in enumerate(counts):
        for _ in range(count):
            check.count(p, q, token, 0.0)
    seen = [sum(counts[i] for i in cell) for cell in cells]
    expected = [sum(2 * hundredths[0][i] for i in cell) for cell in cells]
    statistic = sum((a - b) ** 2 / b for a, b in zip(seen, expected, strict=True))
    fit = check.fit()
    assert fit.tokens == sum(counts) == 200
    assert fit.p_value == pytest.approx(chi2.sf(statistic, len(cells) - 1), rel=1e-6)
    # What is named: an error of the most probable token's probability, times 200, in units of the
    # standard deviation of how often that token comes.
    top = max(hundredths[0])
    off = (200 * fit.smallest_bias) ** 2 / (200 * top / 100 * (1 - top / 100))
    limit = chi2.isf(SIGNIFICANCE, len(cells) - 1)
    assert ncx2.sf(limit, len(cells) - 1, off) == pytest.approx(0.99, abs=1e-6)


def test_the_correlation_with_the_token_before_by_hand() -> None:
    """A coin's second side comes with 1/4; the quantiles are -1/8 and 3/8, whose variance is 3/64.

    After 1/2 it comes 35 times of 100, after -1/2 20 times. It came 5 times more often than it
    should, with a variance of 37.5; and quantiles times those before them add up to 3.75, with a
    variance of 200 / 4 * 3/64 = 2.34375. Together 25 / 37.5 + 3.75² / 2.34375 = 20 / 3, and with
    two degrees of freedom the chance of more is e^(-10/3).
    """
    p = torch.tensor([0.75, 0.25], dtype=torch.float64)
    check = SampledTokens()
    for before, second in ((0.5, 35), (-0.5, 20)):
        for toss in range(100):
            quantile = check.count(p, p, int(toss < second), before)
            assert quantile == (0.375 if toss < second else -0.125)
    fit = check.fit()
    assert fit.p_value == pytest.approx(math.exp(-10 / 3), rel=1e-6)
    off = (200 * fit.smallest_bias) ** 2 / 37.5
    assert ncx2.sf(chi2.isf(SIGNIFICANCE, 2), 2, off) == pytest.approx(0.99, abs=1e-6)


@pytest.mark.parametrize(("tosses", "known"), [(4, False), (5, True)])
def test_below_a_standard_deviation_of_more_than_one_token_nothing_is_said(
    tosses: int, known: bool
) -> None:
    """Of a fair coin always the first side, which varies by √(tosses) / 2: 1 for four tosses.

    The smallest bias of five would be 7.2 × 1.1 / 5, and no probability is wrong by more than 1.
    """
    check = SampledTokens()
    p = torch.tensor([0.5, 0.5], dtype=torch.float64)
    for _ in range(tosses):
        check.count(p, p, 0, 0.0)
    fit = check.fit()
    # Five of five where 2.5 should be: 2.5² / 1.25.
    assert fit.p_value == pytest.approx(chi2.sf(5.0, 1) if known else 1.0)
    assert (fit.tokens, fit.smallest_bias) == (tosses, 1.0)


def test_cells_that_can_hardly_be_entered_are_left_out() -> None:
    """5 · 2²⁷ tokens, of which 6.7 should be of a cell and none is: it varies by 2.6, which is less
    than a thousandth of how much the others do, 12,690. The others are as they should be."""
    p = torch.tensor([0.6, 0.4 - 1e-8, 1e-8], dtype=torch.float64)
    check = SampledTokens()
    for token in (0, 0, 0, 1, 1):
        check.count(p, p, token, 0.0)
    for _ in range(27):
        check.merge(check)
    fit = check.fit()
    assert fit.tokens == 5 * 2**27
    assert fit.p_value > 0.99 and fit.smallest_bias < 0.001


class Places:
    """A model whose row says after how many tokens it comes, and of which model."""

    def __init__(self, name: int) -> None:
        self.name, self.length = name, -1

    def rollback(self, length: int) -> None:
        self.length = length

    def extend(self, tokens: list[int], rows: int) -> torch.Tensor:
        assert rows > 0 and self.length == len(tokens) - rows
        self.length = len(tokens)
        return torch.tensor([[i + 1, self.name] for i in range(len(tokens) - rows, len(tokens))])


@pytest.mark.parametrize("prompt", [1, 3, 256, 257, 300])
@pytest.mark.parametrize("drafted", [False, True])
def test_each_token_is_counted_with_what_was_said_after_the_text_before_it(
    prompt: int, drafted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Any] = []

    def count(check: Any, p: Any, q: Any, token: int, before: float) -> float:
        counted.append((p.tolist(), q.tolist(), token, before))
        return float(token)

    monkeypatch.setattr(SampledTokens, "count", count)
    check = DistributionCheck(
        Places(1),  # type: ignore[arg-type]
        lambda rows: rows * 10,
        Places(2) if drafted else None,  # type: ignore[arg-type]
        (lambda rows: rows * 100) if drafted else None,
    )
    for output in ([7], [5, 6, 7], list(range(1, 400))):
        counted.clear()
        check.add([0] * prompt, output)
        places = range(prompt, prompt + len(output))
        p = [[10.0 * place, 10.0] for place in places]
        q = [[100.0 * place, 200.0] for place in places] if drafted else p
        # The first has none before it.
        assert counted == list(zip(p, q, output, [0.0, *output], strict=False))


def test_what_a_draft_models_tokens_are_drawn_from_is_the_targets_unless_said() -> None:
    check = DistributionCheck(TARGET, Temperature(0.5).probabilities, DRAFT)  # type: ignore[arg-type]
    assert check._draft_probabilities == check._probabilities
