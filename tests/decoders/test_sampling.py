"""Sampling in the decoders' real processes: reproducible, coupled, and distributed as the target.

The exact proof, on a toy pair, is in ``test_lossless.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from decoder_cases import FITTING, NAMES, OWN_NAMES, make_decoder
from small_pair import SmallPair
from tiers import kept

from decoders.decoder import Decoder
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.chance import Chance, SharedNoise
from decoders.sampling.sampler import BLOCK, TOKEN
from decoders.sampling.temperature import Temperature, Warping
from decoders.session import Session
from pearl_eval.checks.distribution import DistributionCheck

SAMPLER = Temperature(temperature=0.8, top_p=0.95)
PROMPT = list(range(20, 60))

Started = Callable[[str, Temperature], Session]


@pytest.fixture(scope="module")
def started(small_pair: SmallPair) -> Iterator[Started]:
    """Sampling decoders on the small pair, each started once."""
    made: dict[tuple[str, str], Session] = {}

    def get(name: str, sampler: Temperature) -> Decoder:
        key = name, repr(sampler)
        if key not in made:
            options = WorkerOptions(spin_seconds=0.0005, answer_timeout=60)
            models = Models(small_pair.load_target(), small_pair.load_draft, options)
            made[key] = make_decoder(name, 3).start(models, sampler)
        return made[key]

    yield get
    for decoder in made.values():
        decoder.stop()


@pytest.mark.parametrize("name", FITTING)
def test_the_seed_decides_the_output(started: Started, name: str) -> None:
    decoder = started(name, SAMPLER)
    outputs = [decoder.decode(PROMPT, 30, [], seed).output_ids for seed in (1, 2, 1, 3)]
    assert outputs[0] == outputs[2]
    assert outputs[0] != outputs[1] != outputs[3]


@pytest.mark.parametrize("name", OWN_NAMES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_coupled_output_is_the_references(started: Started, name: str, seed: int) -> None:
    coupled = Temperature(temperature=0.8, top_p=0.95, coupled=True)
    expected = started("autoregressive", coupled).decode(PROMPT, 40, [], seed).output_ids
    generation = started(name, coupled).decode(PROMPT, 40, [], seed)
    assert generation.output_ids == expected


#: Decoders, and how they judge what is drafted.
JUDGING = kept(
    [(name, TOKEN) for name in NAMES] + [(name, BLOCK) for name in ("speculative", "pearl")],
    [(name, TOKEN) for name in ("speculative", "pearl", "pearl_async", "generate")],
)


@pytest.mark.slow
@pytest.mark.parametrize("way", JUDGING, ids="-".join)
def test_tokens_are_distributed_as_the_targets(
    started: Started,
    small_pair: SmallPair,
    way: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Thousands of tokens from the real processes; the deterministic seeds make it repeatable."""
    name, verification = way
    decoder = started(name, replace(SAMPLER, verification=verification))
    check = DistributionCheck(
        small_pair.load_target(), SAMPLER.probabilities, small_pair.load_draft()
    )
    for seed in range(60):
        prompt = [*PROMPT, seed]
        check.add(prompt, decoder.decode(prompt, 50, [], seed).output_ids)
    fit = check.fit()
    with capsys.disabled():
        seen = f"a bias of {fit.smallest_bias:.1%} would be seen"
        print(f"\n{name}, {verification}: p = {fit.p_value:.2g}; {seen}")
    assert fit.p_value > 1e-4


def test_draws_follow_the_weights() -> None:
    chance = Chance(0, "target")
    weights = torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0])
    drawn = [chance.draw(weights) for _ in range(4000)]
    assert set(drawn) == {1, 3}
    assert abs(drawn.count(3) / 4000 - 0.75) < 0.03


def test_processes_draw_independently() -> None:
    draft, target = Chance(5, "draft"), Chance(5, "target")
    same = sum(draft.happens(0.5) == target.happens(0.5) for _ in range(2000))
    assert abs(same / 2000 - 0.5) < 0.05


def test_shared_noise_is_the_same_in_both_processes_whatever_was_asked_first() -> None:
    like = torch.zeros(7)
    ours, theirs = SharedNoise(3, 10), SharedNoise(3, 10)
    ours.row(14, like)
    ours.forget(12)
    assert torch.equal(ours.row(12, like), theirs.row(12, like))
    assert not torch.equal(ours.row(12, like), ours.row(13, like))
    for gone in (9, 11):
        with pytest.raises(LookupError):
            ours.row(gone, like)


def test_warping_is_what_transformers_generates_with(started: Started) -> None:
    """Same logits, same settings: the scores that ``generate`` samples from."""
    target = started("autoregressive", SAMPLER).target
    result = target.model.generate(
        torch.tensor([PROMPT]), max_new_tokens=1, do_sample=True, temperature=0.6, top_k=20,
        top_p=0.7, output_scores=True, return_dict_in_generate=True, eos_token_id=None,
    )  # fmt: skip
    target.rollback(0)
    logits = target.extend(PROMPT, rows=1)
    torch.testing.assert_close(Warping(0.6, 20, 0.7)(logits), result.scores[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "sampling.temperature must be between"),
        ({"temperature": float("nan")}, "sampling.temperature must be between"),
        ({"top_k": -1}, "sampling.top_k must be"),
        ({"top_p": 0.0}, "sampling.top_p must be"),
        ({"draft_top_p": 1.5}, "sampling.draft_top_p must be"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Temperature(**settings)  # type: ignore[arg-type]
