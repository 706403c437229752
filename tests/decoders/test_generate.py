"""Decoders that transformers' own ``generate`` drives."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from decoder_cases import make_decoder
from library_chance import check_distribution
from small_pair import SmallPair, make_model, save_pair

from decoders.assisted import Assisted
from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.generate import Generate
from decoders.generation import Generation
from decoders.model.cached_model import CachedModel
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature, Warping, check_library
from decoders.session import Session
from pearl_eval.config.paths import asset
from pearl_eval.machine.devices import Devices
from pearl_eval.pairs.synthetic import LlamaShape, Synthetic

NAMES = [
    "generate",
    "assisted_constant",
    "assisted_heuristic",
    "assisted_confidence",
    "prompt_lookup",
]
PROMPT = list(range(20, 60))


def start(
    decoder: Decoder,
    target: CachedModel,
    load_draft: Callable[[], CachedModel],
    sampler: Sampler | None = None,
) -> Session:
    return decoder.start(Models(target, load_draft, WorkerOptions()), sampler or Greedy())


def start_on(
    pair: SmallPair, name: str, gamma: int | None = None, sampler: Sampler | None = None
) -> Session:
    return start(make_decoder(name, gamma), pair.load_target(), pair.load_draft, sampler)


def counts(generation: Generation) -> list[tuple[int, int, int, int]]:
    return [(r.drafted, r.judged, r.accepted, r.verified_length) for r in generation.rounds]


@pytest.fixture(scope="module")
def agreeing(tmp_path_factory: pytest.TempPathFactory) -> SmallPair:
    """A pair whose draft is always right."""
    return save_pair(tmp_path_factory.mktemp("agreeing"), noise=0.0)


def test_constant_goes_round_by_round_as_our_own_speculative(small_pair: SmallPair) -> None:
    ours, theirs = (start_on(small_pair, n, 4) for n in ("speculative", "assisted_constant"))
    expected = ours.decode(PROMPT, 48, [])
    assert any(r.accepted < r.judged for r in expected.rounds)
    assert counts(theirs.decode(PROMPT, 48, [])) == counts(expected)


def test_heuristic_drafts_two_more_where_all_was_accepted(agreeing: SmallPair) -> None:
    generation = start_on(agreeing, "assisted_heuristic", 3).decode(PROMPT, 28, [])
    assert [r.drafted for r in generation.rounds] == [3, 5, 7, 9]


def test_heuristic_does_not_depend_on_the_prompts_before(agreeing: SmallPair) -> None:
    decoder = start_on(agreeing, "assisted_heuristic", 3)
    first = decoder.decode(PROMPT, 28, [])
    assert counts(decoder.decode(PROMPT, 28, [])) == counts(first)


def test_confidence_ends_a_draft_at_a_token_it_is_not_sure_of(agreeing: SmallPair) -> None:
    """Random weights are hardly ever sure of a token, so that one is drafted at a time."""
    generation = start_on(agreeing, "assisted_confidence").decode(PROMPT, 28, [])
    assert Counter(r.drafted for r in generation.rounds[:-1]).most_common(1)[0][0] == 1


def test_whether_the_library_moves_the_threshold_is_told(
    small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does where scikit-learn is installed; other schedules have none to move."""
    moves = {}
    for installed in (True, False):
        monkeypatch.setattr("decoders.assisted.is_sklearn_available", lambda said=installed: said)
        for name in ("assisted_confidence", "assisted_constant", "assisted_heuristic"):
            settings = start_on(small_pair, name).settings()
            moves[name, installed] = settings.get("moves_threshold")
    assert moves == {
        ("assisted_confidence", True): True,
        ("assisted_confidence", False): False,
        ("assisted_constant", True): None,
        ("assisted_constant", False): None,
        ("assisted_heuristic", True): None,
        ("assisted_heuristic", False): None,
    }


def test_what_settings_of_assisted_are_where_nothing_is_said() -> None:
    assert Assisted() == Assisted("confidence", 20) == make_decoder("assisted_confidence", 20)


def test_the_library_does_not_warn_of_what_is_done_here(small_pair: SmallPair) -> None:
    """Errors it may tell."""
    log = logging.getLogger("transformers.generation.utils")
    own = log.level
    log.setLevel(logging.NOTSET)
    try:
        start_on(small_pair, "assisted_constant")
        assert log.level == logging.ERROR
    finally:
        log.setLevel(own)


def test_lookup_drafts_what_followed_before_and_else_decodes(small_pair: SmallPair) -> None:
    decoder = start_on(small_pair, "prompt_lookup", 3)
    seen = decoder.decode([5, 6, 7, 8, 9, 5, 6], 8, []).rounds[0]
    assert (seen.mode, seen.drafted) == ("verify", 3)
    new = decoder.decode(PROMPT, 8, []).rounds[0]
    assert (new.mode, new.drafted, new.judged) == ("decode", 0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_the_models_come_with_change_nothing(
    small_pair: SmallPair, name: str
) -> None:
    target = small_pair.load_target()
    expected = start_on(small_pair, "autoregressive").decode(PROMPT, 30, []).output_ids
    own = target.model.generation_config
    own.repetition_penalty, own.eos_token_id, own.do_sample = 5.0, expected[3], True
    decoder = start(make_decoder(name), target, small_pair.load_draft)
    assert decoder.decode(PROMPT, 30, []).output_ids == expected
    assert target.model.generation_config is own


@pytest.mark.parametrize("name", NAMES)
def test_padded_and_shorter_vocabularies(name: str) -> None:
    def load_draft() -> CachedModel:
        return CachedModel(make_model(100, layers=1, seed=1), vocab_size=150, known=90)

    target = CachedModel(make_model(300, layers=2, seed=1), vocab_size=150)
    expected = start(Autoregressive(), target, load_draft).decode(PROMPT, 40, []).output_ids
    assert any(token >= 100 for token in expected), "some should be unknown to the draft model"
    sampled = start(make_decoder(name, 3), target, load_draft, Temperature())
    assert max(sampled.decode(PROMPT, 40, []).output_ids) < 150
    decoder = start(make_decoder(name, 3), target, load_draft)
    assert decoder.decode(PROMPT, 40, []).output_ids == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_synthetic_pairs_oracle_speaks_here_too(name: str) -> None:
    shape = LlamaShape(16, 32, 1, 2, 2)
    source = Synthetic(target=shape, draft=shape, vocab_size=3000, acceptance_rate=0.7)
    source.tokenizer.path = asset("tiny/target")
    pair = source.open(Devices(("cpu",), ("cpu",)), uses_draft=True)
    reference = start(Autoregressive(), pair.load_target(), pair.load_draft)
    decoder = start(make_decoder(name, 3), pair.load_target(), pair.load_draft)
    generation = decoder.decode(PROMPT, 40, [])
    assert generation.output_ids == reference.decode(PROMPT, 40, []).output_ids
    if make_decoder(name).uses_draft:
        judged = sum(r.judged for r in generation.rounds)
        assert 0.4 < sum(r.accepted for r in generation.rounds) / judged < 0.95


@pytest.mark.parametrize("name", NAMES)
def test_a_prompts_seed_decides_its_sample(small_pair: SmallPair, name: str) -> None:
    decoder = start_on(small_pair, name, 3, Temperature(temperature=0.8))
    state = torch.get_rng_state()
    first = decoder.decode(PROMPT, 20, [], seed=1)
    assert torch.equal(torch.get_rng_state(), state), "others' random numbers were used up"
    torch.rand(5)
    other = decoder.decode(PROMPT, 20, [], seed=2)
    again = decoder.decode(PROMPT, 20, [], seed=1)
    assert (again.output_ids, counts(again)) == (first.output_ids, counts(first))
    assert other.output_ids != first.output_ids


@pytest.mark.parametrize("name", ["generate", "assisted_constant", "prompt_lookup"])
def test_the_distribution_is_the_targets(name: str) -> None:
    """Every way that chance can go, through the library's real code."""
    sampler = Temperature(0.8, top_k=2)
    target, draft = (CachedModel(make_model(5, layers=1, seed=seed)) for seed in (1, 5))
    decoder = start(make_decoder(name, 2), target, lambda: draft, sampler)
    rounds = check_distribution(decoder, [1, 3, 1], 3, Warping(0.8, 2, 1.0))
    if name != "generate":
        assert {0, 1, 2} == {r.accepted for r in rounds if r.drafted == 2}


def test_the_draft_model_is_warped_once(agreeing: SmallPair) -> None:
    """Where both models are one, so are their warped distributions: all is accepted."""
    decoder = start_on(agreeing, "assisted_constant", 4, Temperature(0.5, 20, 0.9))
    rounds = decoder.decode(PROMPT, 40, []).rounds
    assert all(r.accepted == r.judged for r in rounds)


@pytest.mark.parametrize(
    ("name", "sampler", "word"),
    [
        *itertools.product(NAMES, [Temperature(coupled=True)], ["coupled"]),
        ("assisted_constant", Temperature(draft_temperature=0.5), "draft_temperature"),
        ("assisted_constant", Temperature(draft_top_k=5), "draft_top_k"),
        ("assisted_constant", Temperature(draft_top_p=0.5), "draft_top_p"),
    ],
)
def test_sampling_rules_it_cannot_follow(
    small_pair: SmallPair, name: str, sampler: Sampler, word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        make_decoder(name).check(sampler)
    with pytest.raises(ValueError, match=word):
        start(make_decoder(name), small_pair.load_target(), pytest.fail, sampler)


class Mine(Sampler):
    """A rule of somebody's own."""

    def proposer(self, seed: int, start: int) -> Any:
        """None."""

    def verifier(self, seed: int, start: int) -> Any:
        """None."""


def test_rules_that_are_unknown_to_it() -> None:
    check_library(Greedy(), "it")
    check_library(Temperature(0.5), "it")
    with pytest.raises(
        ValueError, match="it knows sampling=greedy and sampling=temperature, not Mine"
    ):
        check_library(Mine(), "it")


def test_sampling_rules_it_can_follow() -> None:
    make_decoder("assisted_constant").check(Temperature(0.5, draft_temperature=0.5))
    make_decoder("assisted_constant").check(Temperature(top_k=5, draft_top_k=5))
    make_decoder("assisted_constant").check(Temperature(top_p=0.5, draft_top_p=0.5))
    make_decoder("prompt_lookup").check(Temperature(draft_temperature=0.5))
    Generate().check(Greedy())
