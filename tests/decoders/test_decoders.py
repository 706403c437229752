"""Every decoder gives the reference's tokens, in its real processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from decoder_cases import NAMES, cases, make_decoder
from exact import in_one_process
from exact import start as start_toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_pair import SmallPair, save_pair
from toy import InlineDrafter

from decoders.assisted_early_exit import AssistedEarlyExit
from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.draft_only import DraftOnly
from decoders.generation import Generation
from decoders.overlap import Overlap
from decoders.pearl import Pearl
from decoders.pearl_adaptive import PearlAdaptive
from decoders.pearl_async import PearlAsync
from decoders.pearl_shared import PearlShared
from decoders.process.drafter import Proposal
from decoders.process.models import End, Models
from decoders.process.placement import Placement, available_cores
from decoders.process.worker import WorkerOptions
from decoders.prompt_lookup import PromptLookup
from decoders.round import Round
from decoders.sampling.sampler import Draft, Greedy
from decoders.session import Session
from decoders.speculative import Speculative
from decoders.vllm_alone import Vllm
from decoders.vllm_pearl import VllmPearl
from decoders.vllm_speculative import VllmSpeculative

GAMMAS = (1, 2, 3, 5, 8)
#: Every draft length for the two that others build on, else the shortest, a middle and the longest.
CASES = [
    (name, gamma)
    for name, gamma in cases(GAMMAS)
    if name in ("speculative", "pearl") or gamma in (None, 1, 3, 8)
]
PROMPT = list(range(20, 60))

Started = Callable[[str, int | None], Session]


def start(pair: SmallPair, decoder: Decoder) -> Session:
    options = WorkerOptions(spin_seconds=0.0005, answer_timeout=60)
    cores = available_cores()
    # Two ends wherever there are two cores: decoders that share them have them to share.
    ends = tuple(
        End(pair.load_draft, replace(options, placement=Placement((core,)), spin_seconds=0.0))
        for core in (cores[0], cores[-1])
    )
    return decoder.start(Models(pair.load_target(), pair.load_draft, options, ends), Greedy())


def decode_once(pair: SmallPair, decoder: Decoder, limit: int) -> Generation:
    """Start a decoder on a pair, decode one text to its limit, and stop it."""
    session = start(pair, decoder)
    try:
        return session.decode(PROMPT, limit, [])
    finally:
        session.stop()


@pytest.fixture(scope="module")
def started(small_pair: SmallPair) -> Iterator[Started]:
    """Decoders on the small pair, each started once; the draft length is then set as ``auto`` does,
    since starting a process for each takes seconds."""
    made: dict[str, Session] = {}

    def get(name: str, gamma: int | None) -> Decoder:
        if name not in made:
            made[name] = start(small_pair, make_decoder(name))
        decoder = made[name]
        if gamma is not None:
            decoder.gamma = gamma
            assert decoder.settings()["gamma"] == gamma
        return decoder

    yield get
    for decoder in made.values():
        decoder.stop()


@pytest.fixture(scope="module")
def reference(small_pair: SmallPair) -> Decoder:
    return start(small_pair, Autoregressive())


def check_counts(name: str, prompt: list[int], generation: Generation) -> None:
    """What the rounds say must add up to the output."""
    rounds, output = generation.rounds, generation.output_ids
    assert all(0 <= r.accepted <= r.judged for r in rounds)
    assert rounds[-1].verified_length == len(output)
    assert [r.start for r in rounds] == sorted(r.start for r in rounds)
    assert sum(generation.accepted_runs) == sum(r.accepted for r in rounds)
    assert generation.target_forwards == sum(r.target_tokens > 0 for r in rounds)
    # All but the last token is read at least once.
    assert sum(one.target_tokens for one in rounds) >= len(prompt) + len(output) - 1
    if not make_decoder(name).uses_draft:
        assert generation.draft_forwards == 0
    ahead = make_decoder(name).overlap is Overlap.across_rounds
    for one in rounds:
        assert one.start <= one.target_start or not one.target_seconds
        assert ahead or one.start <= one.draft_start or not one.draft_seconds
        assert len(one.drafted_ids) == len(one.drafted_at) == len(one.fates) == one.drafted
    fates = [fate for one in rounds for fate in one.fates]
    assert fates.count("accepted") == sum(one.accepted for one in rounds)
    if name != "lookahead":  # several guesses for one place
        assert fates.count("rejected") == sum(one.judged - one.accepted for one in rounds)
    if not ahead:
        assert fates.count("accepted") + sum(one.own_tokens for one in rounds) == len(output)
        check_accepted(rounds, output)


def check_accepted(rounds: list[Round], output: list[int]) -> None:
    """What a round accepted had been drafted, for the place where the output has it; the one that
    it rejected had been drafted for the next place, where the output has another."""
    drafted: set[tuple[int, int]] = set()
    known = 0
    for one in rounds:
        drafted |= set(zip(one.drafted_at, one.drafted_ids, strict=True))
        end = known + one.accepted
        assert drafted >= set(enumerate(output[known:end], start=known))
        if one.judged > one.accepted:
            assert one.judged == one.accepted + 1
            assert any(place == end and token != output[end] for place, token in drafted)
        known = one.verified_length


@pytest.mark.parametrize(("name", "gamma"), CASES)
@pytest.mark.parametrize("limit", [1, 2, 7, 48])
@pytest.mark.parametrize("stops", [False, True], ids=["to-limit", "stops"])
def test_output_is_the_references(
    started: Started, reference: Session, name: str, gamma: int | None, limit: int, stops: bool
) -> None:
    free = reference.decode(PROMPT, limit, []).output_ids
    # A token of the output's own middle, so that the stop falls inside blocks.
    stop_ids = [free[len(free) // 2]] if stops else []
    expected = reference.decode(PROMPT, limit, stop_ids)
    decoder = started(name, gamma)
    generation = decoder.decode(PROMPT, limit, stop_ids)
    assert generation.output_ids == expected.output_ids
    assert generation.finish_reason == expected.finish_reason == ("stop" if stops else "length")
    check_counts(name, PROMPT, generation)


@pytest.mark.parametrize("name", NAMES)
@given(
    prompt=st.lists(st.integers(0, 299), min_size=1, max_size=40),
    limit=st.integers(1, 40),
    gamma=st.sampled_from(GAMMAS),
    stop_ids=st.lists(st.integers(0, 299), max_size=40),
)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_output_is_the_references_for_any_prompt(
    started: Started,
    reference: Session,
    name: str,
    prompt: list[int],
    limit: int,
    gamma: int,
    stop_ids: list[int],
) -> None:
    decoder = started(name, gamma if hasattr(make_decoder(name), "gamma") else None)
    generation = decoder.decode(prompt, limit, stop_ids)
    expected = reference.decode(prompt, limit, stop_ids)
    assert generation.output_ids == expected.output_ids
    assert generation.finish_reason == expected.finish_reason
    check_counts(name, prompt, generation)


class FakeDrafter:
    """Answers as a drafter would, and keeps the order in which things happened."""

    bytes_sent = 0

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def wait_ready(self) -> None:
        pass

    def close(self) -> None:
        pass

    def prepare(self, windows: Sequence[int], start: int, end: int) -> None:
        pass

    def begin(self, seed: int, start: int) -> None:
        pass

    def request(self, keep: int, tail: list[int], count: int, verified: int) -> None:
        self.events.append("request")
        self.count = count

    def collect(self) -> Proposal:
        self.events.append("collect")
        return Proposal(Draft([1] * self.count), 0.1)

    def row(self, position: int) -> torch.Tensor:
        raise AssertionError("greedy decoding needs no distributions")


def test_pearl_runs_the_target_between_asking_and_collecting(
    small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    monkeypatch.setattr("decoders.pearl.Drafter", lambda *_: FakeDrafter(events))
    models = Models(small_pair.load_target(), small_pair.load_draft, WorkerOptions())
    session = Pearl(3).start(models, Greedy())
    extend = session.target.extend

    def noted(*arguments: Any) -> torch.Tensor:
        events.append("target")
        return extend(*arguments)

    monkeypatch.setattr(session.target, "extend", lambda tokens, rows: noted(tokens, rows))
    session.decode(PROMPT, 12, [])
    assert events == ["request", "target", "collect"] * (len(events) // 3)


#: Whether anything is drafted in time by the asynchronous one is up to the machine here; by a clock
#: made by hand it is not, see test_round_fields.py.
DRAFTING = [name for name in NAMES if make_decoder(name).uses_draft and name != "pearl_async"]


@pytest.mark.parametrize("name", DRAFTING)
@pytest.mark.parametrize(
    ("noise", "least", "most"), [(0.0, 1.0, 1.0), (5.0, 0.0, 0.2)], ids=["always", "never"]
)
def test_drafts_always_and_never_right(
    tmp_path_factory: pytest.TempPathFactory, name: str, noise: float, least: float, most: float
) -> None:
    pair = save_pair(tmp_path_factory.mktemp("pair"), noise=noise)
    generation = decode_once(pair, make_decoder(name, 3), 30)
    assert generation.output_ids == start(pair, Autoregressive()).decode(PROMPT, 30, []).output_ids
    judged = sum(r.judged for r in generation.rounds)
    assert judged and least <= sum(r.accepted for r in generation.rounds) / judged <= most


def test_reference_is_what_transformers_generates(reference: Session) -> None:
    generated = reference.target.model.generate(
        torch.tensor([PROMPT]), max_new_tokens=48, do_sample=False, eos_token_id=None
    )
    assert generated[0, len(PROMPT) :].tolist() == reference.decode(PROMPT, 48, []).output_ids


def test_pearl_drafts_on_while_all_is_accepted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A draft that is always right is one unbroken run: gamma tokens a round after the first."""
    pair = save_pair(tmp_path_factory.mktemp("pair"), noise=0.0)
    generation = decode_once(pair, make_decoder("pearl", 4), 41)
    assert [r.mode for r in generation.rounds] == ["pre-verify"] + ["post-verify"] * 10
    assert [r.accepted for r in generation.rounds] == [1] + [4] * 10
    assert generation.accepted_runs == [41]


def test_pearl_judges_the_first_token_alone_after_a_rejection(started: Started) -> None:
    rounds = started("pearl", 5).decode(PROMPT, 48, []).rounds
    assert any(r.accepted < r.judged for r in rounds), "the small pair should disagree somewhere"
    for before, after in itertools.pairwise(rounds):
        rejected = before.accepted < before.judged
        assert after.mode == ("pre-verify" if rejected else "post-verify")
        if rejected:
            assert after.judged == 1


@pytest.mark.parametrize(
    ("name", "modes"),
    [
        ("pearl_no_pre_verify", {"draft", "post-verify"}),
        ("pearl_no_post_verify", {"pre-verify", "verify"}),
    ],
)
def test_ablations_switch_one_strategy_off(started: Started, name: str, modes: set[str]) -> None:
    rounds = started(name, 3).decode(PROMPT, 48, []).rounds
    assert {r.mode for r in rounds} == modes
    for one in rounds:
        assert bool(one.judged) == (one.mode != "draft")
        assert bool(one.drafted) == (one.mode != "verify") or one is rounds[-1]


def test_without_post_verify_the_targets_own_token_follows_a_whole_block(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a draft that is always right: five tokens every two rounds, one of them the target's
    own, for which nothing was drafted. Of the eleven the last is drafted alone."""
    monkeypatch.setattr("decoders.pearl.Drafter", InlineDrafter)
    pair = save_pair(tmp_path_factory.mktemp("pair"), noise=0.0)
    generation = decode_once(pair, make_decoder("pearl_no_post_verify", 4), 11)
    rounds = generation.rounds
    block = [("pre-verify", 4, 1, 1), ("verify", 0, 3, 3)]
    assert [(r.mode, r.drafted, r.judged, r.accepted) for r in rounds] == [
        *block,
        *block,
        ("pre-verify", 1, 1, 1),
    ]
    assert [r.verified_length for r in rounds] == [1, 5, 6, 10, 11]
    # The prompt, the block's rest and its first token, the target's own token; and so on.
    assert [r.target_tokens for r in rounds] == [len(PROMPT), 4, 1, 4, 1]
    assert [r.drafted_at for r in rounds] == [[0, 1, 2, 3], [], [5, 6, 7, 8], [], [10]]
    assert generation.accepted_runs == [4, 4, 1]


def test_speculative_stops_a_run_at_each_block(tmp_path_factory: pytest.TempPathFactory) -> None:
    pair = save_pair(tmp_path_factory.mktemp("pair"), noise=0.0)
    generation = decode_once(pair, make_decoder("speculative", 4), 20)
    assert generation.accepted_runs == [4, 4, 4, 4]
    assert generation.target_forwards == 4


@pytest.mark.parametrize(
    ("decoder", "name", "gamma"),
    [
        (AssistedEarlyExit(), "assisted_early_exit", 5),
        (Pearl(), "pearl", 5),
        (Pearl(pre_verify=False), "pearl_no_pre_verify", 5),
        (Pearl(post_verify=False), "pearl_no_post_verify", 5),
        (PearlAdaptive(), "pearl_adaptive", None),
        (PearlAsync(), "pearl_async", None),
        (PearlShared(), "pearl_shared", 5),
        (PearlShared(both_ends=False), "pearl_shared_one_end", 5),
        (PromptLookup(), "prompt_lookup", 10),
        (Speculative(), "speculative", 5),
        (Vllm(), "vllm", None),
        (VllmPearl(gamma=7), "vllm_pearl", 7),
        (VllmSpeculative(), "vllm_speculative", 5),
    ],
    ids=repr,
)
def test_what_settings_are_where_nothing_is_said(
    decoder: Decoder, name: str, gamma: int | None
) -> None:
    assert decoder == make_decoder(name, gamma)


def test_gpus_that_a_pair_takes() -> None:
    """Of a target on three and a draft model on two: none of their own where both share."""
    decoders = Autoregressive(), Pearl(), Speculative(), DraftOnly(), PearlShared()
    assert [one.gpus(3, 2) for one in decoders] == [(3, 0), (3, 2), (3, 2), (3, 2), (3, 0)]
    assert PearlShared(both_ends=False).gpus(3, 2) == (3, 0)


def test_a_session_that_was_stopped_holds_no_draft_model() -> None:
    """It may be stopped again."""
    for decoder in (Speculative(2), DraftOnly()):
        with in_one_process():
            session = start_toy(decoder, Greedy())
        assert "draft" in vars(session)
        for _ in range(2):
            session.stop()
            assert "draft" not in vars(session)


class Forgetful(Greedy):
    """Notes from which position on the draft model's distributions are still asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.forgotten: list[int] = []

    def proposer(self, seed: int, start: int) -> Any:
        made = super().proposer(seed, start)
        made.forget = self.forgotten.append  # type: ignore[method-assign]
        return made


@pytest.mark.parametrize("decoder", [Speculative(2), DraftOnly()], ids=repr)
def test_of_what_is_verified_no_distribution_is_kept(decoder: Decoder) -> None:
    """Of a long text over a large vocabulary they would fill the memory."""
    sampler = Forgetful()
    with in_one_process():
        generation = start_toy(decoder, sampler).decode([1, 3], 9, [])
    verified = [2 + one.verified_length for one in generation.rounds]
    assert len(verified) > 2
    # The draft model alone forgets what it drafted before, and then takes its token.
    expected = verified if isinstance(decoder, Speculative) else [2, *verified[:-1]]
    assert sampler.forgotten == expected
