"""Sampling in the decoders' real processes: reproducible, coupled, and distributed as the target.

The exact proof, on a toy pair, is in ``test_lossless.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from decoder_cases import FITTING, NAMES, OWN_NAMES, make_decoder
from small_pair import SmallPair
from tiers import kept

from decoders.decoder import Decoder
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.chance import Chance, SharedNoise
from decoders.sampling.sampler import BLOCK, TOKEN, Greedy
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


def foretold(*numbers: float) -> Chance:
    """Random numbers that are foretold, each from 0 to 1."""
    chance: Any = Chance(0, "draft")
    chance._random = SimpleNamespace(random=list(reversed(numbers)).pop)
    return chance


def test_each_index_has_its_part_of_all_weights() -> None:
    """Of 0, 1, 0, 3 the first quarter is 1's, the rest 3's, each with its begin and without its
    end; whatever rounding puts at the very end is still 3's, and not that of the 0 after it."""
    weights = torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0])
    chance = foretold(0.0, 0.2499, 0.25, 0.9999, 1.0)
    assert [chance.draw(weights) for _ in range(5)] == [1, 1, 3, 3, 3]


def test_events_happen_below_their_probability() -> None:
    chance = foretold(0.0, 0.0, 0.4999, 0.5, 0.9999)
    assert [chance.happens(one) for one in (0.0, 0.1, 0.5, 0.5, 1.0)] == [
        False, True, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, math.inf], [1.0, math.nan]])
def test_of_weights_that_are_none_nothing_is_drawn(weights: list[float]) -> None:
    with pytest.raises(FloatingPointError, match="by which no token can be chosen"):
        Chance(0, "target").draw(torch.tensor(weights))


def test_what_is_skipped_is_as_if_it_had_been_drawn() -> None:
    logits = torch.zeros(1, 1000)
    drawn, skipped = (Temperature().proposer(4, 0) for _ in range(2))
    for position in range(3):
        drawn.propose(logits, position)
    skipped.skip(3)
    assert skipped.propose(logits, 3) == drawn.propose(logits, 3)


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


def test_noise_of_places_that_were_never_asked_for_is_not_thrown_away() -> None:
    """It is made in the order of the places, so that of those before has to be made as well."""
    like = torch.zeros(7)
    ours, theirs = SharedNoise(3, 10), SharedNoise(3, 10)
    ours.row(11, like)
    ours.forget(20)
    assert torch.equal(ours.row(20, like), theirs.row(20, like))
    ours.forget(9)
    assert torch.equal(ours.row(20, like), theirs.row(20, like))


def test_noise_chooses_as_often_as_a_token_is_probable() -> None:
    """The largest of log p and noise is a draw from p."""
    noise = SharedNoise(0, 0)
    logits = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
    chosen = [noise.choose(logits, position) for position in range(4000)]
    for token, share in enumerate((0.6, 0.3, 0.1)):
        assert abs(chosen.count(token) / 4000 - share) < 0.03
    assert noise.row(0, logits).dtype == torch.float64


@pytest.mark.parametrize("one", [math.nan, math.inf])
def test_noise_chooses_nothing_by_what_is_no_number(one: float) -> None:
    with pytest.raises(FloatingPointError, match="by which no token can be chosen"):
        SharedNoise(0, 0).choose(torch.tensor([0.0, one]), 0)


def test_noise_of_what_is_verified_is_not_kept() -> None:
    verifier: Any = Temperature(coupled=True).verifier(3, 5)
    logits = torch.zeros(3, 7)
    verifier.scores(logits, 5)
    verifier.reduce(logits, 7)
    with pytest.raises(LookupError):
        verifier.scores(logits, 6)


#: Tokens whose chances are 8, 4, 2 and 1 of 15.
LOGITS = torch.tensor([[8.0, 4.0, 2.0, 1.0]]).log()


@pytest.mark.parametrize(
    ("settings", "own", "drafts"),
    [
        ({}, [8, 4, 2, 1], [8, 4, 2, 1]),
        ({"temperature": 0.5}, [64, 16, 4, 1], [64, 16, 4, 1]),
        ({"draft_temperature": 0.5}, [8, 4, 2, 1], [64, 16, 4, 1]),
        ({"temperature": 0.5, "draft_temperature": 1.0}, [64, 16, 4, 1], [8, 4, 2, 1]),
        ({"top_k": 2}, [8, 4, 0, 0], [8, 4, 0, 0]),
        ({"top_k": 1}, [1, 0, 0, 0], [1, 0, 0, 0]),
        ({"draft_top_k": 3}, [8, 4, 2, 1], [8, 4, 2, 0]),
        ({"top_k": 3, "draft_top_k": 0}, [8, 4, 2, 0], [8, 4, 2, 1]),
        ({"top_p": 0.5}, [1, 0, 0, 0], [1, 0, 0, 0]),
        ({"draft_top_p": 0.6}, [8, 4, 2, 1], [8, 4, 0, 0]),
        ({"top_p": 0.6, "draft_top_p": 1.0}, [8, 4, 0, 0], [8, 4, 2, 1]),
    ],
    ids=str,
)
def test_what_either_model_draws_from(
    settings: dict[str, Any], own: list[int], drafts: list[int]
) -> None:
    """The draft model from the target's distribution, but for what is set for it alone."""
    sampler = Temperature(**settings)
    for chances, found in (
        (own, sampler.probabilities(LOGITS)),
        (drafts, sampler.draft_probabilities(LOGITS)),
    ):
        assert found[0].tolist() == pytest.approx([one / sum(chances) for one in chances])
    proposer = sampler.proposer(0, 0)
    token, chance = proposer.propose(LOGITS, 0)
    assert chance == pytest.approx(drafts[token] / sum(drafts))
    torch.testing.assert_close(proposer.row(0), sampler.draft_probabilities(LOGITS)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_how_sure_a_draft_model_is_of_a_token(dtype: torch.dtype) -> None:
    """By its own distribution, however it is warped for drawing, and however large logits are."""
    for more, sampler in ((0, Greedy()), (128, Temperature(0.5, top_k=1))):
        proposer = sampler.proposer(0, 0)
        logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).to(dtype) + more
        found = [proposer.confidence(logits, token) for token in range(4)]
        assert found == pytest.approx([0.6439, 0.2369, 0.0871, 0.0321], abs=1e-4)
        assert all(type(one) is float for one in found)


def test_a_cut_that_is_moved() -> None:
    """So that so much more or less of the probability is cut off; all but one token at most."""
    cut = Warping(0.5, 3, 0.9)
    assert cut.with_tail(0.0)._settings == pytest.approx((0.5, 3, 0.9))
    assert cut.with_tail(math.log(2))._settings == pytest.approx((0.5, 3, 0.8))
    assert cut.with_tail(-math.log(2))._settings == pytest.approx((0.5, 3, 0.95))
    assert Warping(1.0, 0, 0.9).with_tail(1e6)(LOGITS).isfinite().tolist() == [
        [True, False, False, False]
    ]


def test_how_far_scores_err_is_a_matter_of_the_temperature() -> None:
    """At temperature 0.5 logits of 1 and 0.9 are 2 and 1.8, and with noise 2 and 1.95: the second
    is chosen if logits are off by 0.025 each."""
    verifier: Any = Temperature(0.5, coupled=True).verifier(0, 0)
    verifier._noise._rows = [torch.tensor([0.0, 0.15, 0.0])]
    row = torch.tensor([[1.0, 0.9, -1.0]])
    assert verifier.could_choose(1, row, 0, 0.03)
    assert not verifier.could_choose(1, row, 0, 0.02)
    assert verifier.could_choose(0, row, 0, 0.0)
    assert not verifier.could_choose(2, row, 0, 0.03)


@pytest.mark.parametrize(
    ("top_p", "token"),
    [
        # The third is kept if its chance is up to 0.1009, and what is cut off from 0.1005 on.
        (0.8985, 2),
        # And cut off, so that the first is chosen, if its chance is from 0.0985 on, and what is cut
        # off up to 0.0990.
        (0.902, 0),
    ],
)
def test_where_top_p_cuts_is_up_to_rounding(top_p: float, token: int) -> None:
    """Chances are 0.6, 0.3 and 0.1. Noise makes the third token the best of those that are kept."""
    verifier: Any = Temperature(top_p=top_p, coupled=True).verifier(0, 0)
    verifier._noise._rows = [torch.tensor([0.0, 0.0, 9.0])]
    row = torch.tensor([[0.6, 0.3, 0.1]]).log()
    assert int(verifier.scores(row, 0).argmax()) == 2 - token
    assert verifier.could_choose(token, row, 0, 0.01)
    assert not verifier.could_choose(token, row, 0, 0.005)


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
        ({"temperature": 0.0009}, "sampling.temperature must be between"),
        ({"temperature": 1000.5}, "sampling.temperature must be between"),
        ({"temperature": float("nan")}, "sampling.temperature must be between"),
        ({"draft_temperature": 0.0}, "sampling.draft_temperature must be between"),
        ({"top_k": -1}, "sampling.top_k must be"),
        ({"draft_top_k": -1}, "sampling.draft_top_k must be"),
        ({"top_p": 0.0}, "sampling.top_p must be"),
        ({"top_p": 1.01}, "sampling.top_p must be"),
        ({"draft_top_p": 0.0}, "sampling.draft_top_p must be"),
        ({"draft_top_p": 1.5}, "sampling.draft_top_p must be"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, float], message: str) -> None:
    (value,) = settings.values()
    with pytest.raises(ValueError, match=f"{message} .*, got {value}"):
        Temperature(**settings)  # type: ignore[arg-type]


def test_settings_at_the_edge_of_what_means_something() -> None:
    Temperature(0.001, 0, 1.0, draft_temperature=1000.0, draft_top_k=0, draft_top_p=1e-9)
    Temperature(1000.0, top_p=1e-9, draft_temperature=0.001, draft_top_p=1.0)
