from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_pair import SmallPair, make_mixture, make_model

from decoders.autoregressive import Autoregressive
from decoders.model.cached_model import CachedModel
from decoders.model.reading import Reading
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Draft, Greedy, Judgement, OwnChoice, Rows, Sampler, no_rows
from decoders.sampling.temperature import Temperature
from decoders.speculative import Speculative
from pearl_eval.checks import equivalence
from pearl_eval.checks.equivalence import EquivalenceChecker
from pearl_eval.checks.rounding import Logits, RouterTie
from pearl_eval.checks.stand_ins import StandIn, allowed_unknown, uneven
from pearl_eval.checks.verdict import Verdict

OWN = Greedy().verifier(0, 0)
PROMPT = [20, 21, 22, 23]
LIMIT = 24
#: Longer than what the check looks at in one piece, which is 256 positions.
LONG_PROMPT = [(7 * i) % 250 for i in range(300)]


@pytest.fixture(scope="module")
def target(small_pair: SmallPair) -> CachedModel:
    return small_pair.load_target()


def greedy(target: CachedModel, prompt: list[int], count: int) -> list[int]:
    text = list(prompt)
    target.rollback(0)
    for _ in range(count):
        text.append(int(target.extend(text, rows=1).argmax()))
    return text[len(prompt) :]


def first_choices(target: CachedModel, text: list[int]) -> list[int]:
    target.rollback(0)
    choices: list[int] = target.extend(text, rows=1)[0].topk(2).indices.tolist()
    return choices


def second_choice(target: CachedModel, text: list[int]) -> int:
    return first_choices(target, text)[1]


def make_tie(target: CachedModel, text: list[int], gap: float) -> None:
    """Shift the output layer so that the first two choices after ``text`` are ``gap`` apart.

    Only the second choice's row changes, along the hidden state at that position.
    """
    with torch.inference_mode():
        hidden = target.model.model(torch.tensor([text])).last_hidden_state[0, -1].clone()
        scores = target.model.lm_head(hidden)
        (top, runner_up), (_, index) = scores.topk(2)
        shift = (top - runner_up - gap) / hidden.square().sum()
        target.model.lm_head.weight[index] += shift * hidden


def test_equal_outputs_are_identical(target: CachedModel) -> None:
    output = greedy(target, PROMPT, LIMIT)
    verdict = EquivalenceChecker(target).compare(PROMPT, output, output, LIMIT, [], OWN)
    assert (verdict.kind, verdict.first_divergence) == ("identical", None)


@pytest.mark.parametrize("position", [0, 11, LIMIT - 1])
def test_a_wrong_token_is_a_violation(target: CachedModel, position: int) -> None:
    reference = greedy(target, PROMPT, LIMIT)
    wrong = second_choice(target, PROMPT + reference[:position])
    head = [*reference[:position], wrong]
    output = head + greedy(target, PROMPT + head, LIMIT - len(head))
    verdict = EquivalenceChecker(target).compare(PROMPT, output, reference, LIMIT, [], OWN)
    assert (verdict.kind, verdict.first_divergence) == ("violation", position)
    assert f"position {position}: token {wrong}" in verdict.why
    assert f"own is {reference[position]}" in verdict.why


@pytest.mark.parametrize("prompt", [PROMPT, LONG_PROMPT], ids=["short", "long"])
def test_scores_within_rounding_are_a_tie_and_later_tokens_are_still_held_to_the_target(
    small_pair: SmallPair, prompt: list[int]
) -> None:
    target = small_pair.load_target()
    position = 5
    prefix = prompt + greedy(target, prompt, position)
    make_tie(target, prefix, gap=1e-7)
    reference = greedy(target, prompt, LIMIT)
    # Which of the two greedy decoding takes is up to rounding, and so to the machine.
    other = set(first_choices(target, prefix)) - {reference[position]}
    head = [*reference[:position], *other]
    output = head + greedy(target, prompt + head, LIMIT - len(head))
    assert len(other) == 1
    checker = EquivalenceChecker(target)
    verdict = checker.compare(prompt, output, reference, LIMIT, [], OWN)
    assert (verdict.kind, verdict.first_divergence) == ("tie", position)

    later = position + 6
    wrong = second_choice(target, prompt + output[:later])
    spoiled = [*output[:later], wrong]
    spoiled += greedy(target, prompt + spoiled, LIMIT - len(spoiled))
    verdict = checker.compare(prompt, spoiled, reference, LIMIT, [], OWN)
    assert verdict.kind == "violation"
    assert f"position {later}" in verdict.why


def verdicts(
    target: CachedModel, draft: CachedModel, sampler: Sampler, count: int, known: bool = True
) -> list[Verdict]:
    """Verdicts on speculative decoding by ``sampler``; ``known``: with what its forwards read."""
    reference, decoder, checker = Autoregressive(), Speculative(5), EquivalenceChecker(target)
    models = Models(target, lambda: draft, WorkerOptions())
    reference = reference.start(models, Greedy())
    session = decoder.start(models, sampler)
    found = []
    for seed in range(count):
        prompt = [(seed * 31 + 7 * i) % 250 for i in range(12)]
        expected = reference.decode(prompt, LIMIT, []).output_ids
        made = session.decode(prompt, LIMIT, [])
        events = made.events if known else ()
        found.append(checker.compare(prompt, made.output_ids, expected, LIMIT, [], OWN, events))
    return found


def differing(*pair: CachedModel, known: bool = True) -> list[Verdict]:
    """Verdicts on outputs that are not the reference's. How soon there is one differs by CPU."""
    for count in (8, 40):
        found = [v for v in verdicts(*pair, Greedy(), count, known) if v.kind != "identical"]
        if found:
            break
    return found


def dense_pair(small_pair: SmallPair) -> tuple[CachedModel, CachedModel]:
    """In bfloat16."""
    models = small_pair.load_target(), small_pair.load_draft()
    for model in models:
        model.model.to(torch.bfloat16)
    return models


def mixture_pair(small_pair: SmallPair) -> tuple[CachedModel, CachedModel]:
    """In bfloat16."""
    return CachedModel(make_mixture()), CachedModel(make_mixture(noise=0.02))


Pair = Callable[[SmallPair], tuple[CachedModel, CachedModel]]
PAIRS = pytest.mark.parametrize("pair", [dense_pair, mixture_pair])


@pytest.mark.parametrize(
    ("pair", "known"), [(dense_pair, True), (dense_pair, False), (mixture_pair, True)]
)
def test_a_bfloat16_run_of_other_shapes_is_no_violation(
    pair: Pair, known: bool, small_pair: SmallPair
) -> None:
    """Judging blocks rounds otherwise than decoding tokens; over many texts some differ."""
    found = verdicts(*pair(small_pair), Greedy(), 20, known)
    kinds = [verdict.kind for verdict in found]
    assert set(kinds) == {"identical", "tie"}, found
    told = [verdict for verdict in found if verdict.kind == "tie"]
    rates = [verdict.runner_up_pass_rate for verdict in told]
    assert all(rate is not None for rate in rates)
    # Only where two tokens have the very same score does another pass than the decoder's own.
    low, high = (0, 0.2) if known else (0.2, 0.99)
    assert all(low <= rate < high for rate in rates)  # type: ignore[operator]
    source = "made again in the same shapes" if known else "own forwards are not known"
    assert all(source in verdict.why for verdict in told)


class Lenient(OwnChoice):
    """Accepts a token whose logit is up to 0.25 below the best."""

    def scores(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        return logits

    def reduce(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        return logits

    def own(self, target: torch.Tensor, index: int) -> int:
        return int(target[index].argmax())

    def judge(self, target: torch.Tensor, candidates: Draft, rows: Rows = no_rows) -> Judgement:
        for index, token in enumerate(candidates):
            if target[index].max() - target[index][token] > 0.25:
                return Judgement(candidates.tokens[:index], True, self.own(target, index))
        return Judgement(candidates.tokens, False, self.own(target, len(candidates)))


class LenientSampler(Greedy):
    def verifier(self, seed: int, start: int) -> OwnChoice:
        return Lenient()


@PAIRS
def test_a_decoder_that_takes_nearly_the_best_is_a_violation_in_bfloat16(
    pair: Pair, small_pair: SmallPair
) -> None:
    found = verdicts(*pair(small_pair), LenientSampler(), 12)
    wrong = [verdict for verdict in found if verdict.kind != "identical"]
    assert len(wrong) >= 6
    assert {verdict.kind for verdict in wrong} == {"violation"}, wrong
    assert all("own forward, made again in the same shape, gives" in one.why for one in wrong)


@PAIRS
def test_a_forward_of_several_tokens_that_is_wrong_is_a_violation_that_says_so(
    pair: Pair, small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotary positions off by one in all but the prompt: each token is its first choice."""
    run = CachedModel.run

    def shifted(self: CachedModel, unseen: list[int], **options: Any) -> torch.Tensor:
        if 1 < len(unseen) < 10:
            positions = torch.arange(self.length, self.length + len(unseen)) + 1
            options["position_ids"] = positions[None]
        return run(self, unseen, **options)

    monkeypatch.setattr(CachedModel, "run", shifted)
    found = [v for v in verdicts(*pair(small_pair), Greedy(), 6) if v.kind != "identical"]
    assert {verdict.kind for verdict in found} == {"violation"}
    assert all("forward is what is wrong, not the decoder" in one.why for one in found)
    assert any("forwards of several tokens err by" in one.why for one in found)


def test_single_tokens_that_are_wrong_are_seen_as_well(
    small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The yardstick of a decoder's forwards is held to what rounding explains."""
    run = CachedModel.run

    def shifted(self: CachedModel, unseen: list[int], **options: Any) -> torch.Tensor:
        if len(unseen) == 1 and self.length > 12:
            options["position_ids"] = torch.tensor([[self.length + 1]])
        return run(self, unseen, **options)

    monkeypatch.setattr(CachedModel, "run", shifted)
    target, draft = small_pair.load_target(), small_pair.load_draft()
    found = [one for one in verdicts(target, draft, Greedy(), 4) if one.kind != "identical"]
    assert found and {verdict.kind for verdict in found} == {"violation"}
    assert all("single tokens err by" in verdict.why for verdict in found)


@PAIRS
def test_a_forward_that_is_wrong_does_not_widen_what_it_is_held_to(
    pair: Pair, small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a decoder's forwards are not known, the target's own errors stand in for theirs: here
    rotary positions are off by one when many tokens of an output are read at once."""
    run = CachedModel.run

    def shifted(self: CachedModel, unseen: list[int], **options: Any) -> torch.Tensor:
        if len(unseen) >= 10 and self.length and self.model.dtype == torch.bfloat16:
            positions = torch.arange(self.length, self.length + len(unseen)) + 1
            options["position_ids"] = positions[None]
        return run(self, unseen, **options)

    monkeypatch.setattr(CachedModel, "run", shifted)
    found = differing(*pair(small_pair), known=False)
    assert found and {verdict.kind for verdict in found} == {"violation"}
    assert all("forward is what is wrong, not the decoder" in one.why for one in found)
    assert all("forwards of several tokens err by" in one.why for one in found)


def stand_in(off: float, spread: float = 1.0) -> StandIn:
    """Of three tokens whose logits have a standard deviation of ``spread``, and an error of ``off``
    at the first and of a tenth of that at the others."""
    precise = torch.tensor([[spread, -spread]] * 3, dtype=torch.float64)
    wrong = torch.tensor([[off, -off], [off / 10, -off / 10], [off / 10, -off / 10]])
    return StandIn(Logits((precise + wrong).float()), Logits(precise))


def first_of(one: StandIn) -> StandIn:
    return StandIn(Logits(one.run.rows[:1]), Logits(one.precise.rows[:1]))


def test_how_far_logits_may_be_off_in_forwards_that_are_not_known() -> None:
    """32 epsilons of bfloat16, 1/128 each: 0.25; or ten times what is seen there."""
    bound = 0.25
    few = allowed_unknown([stand_in(0.001), stand_in(0.002)], torch.bfloat16)
    assert few.tolist() == pytest.approx([bound] * 3)
    one = allowed_unknown([stand_in(0.06), stand_in(0.05)], torch.bfloat16)
    assert one.tolist() == pytest.approx([0.6, bound, bound], rel=1e-4)
    other = allowed_unknown([stand_in(0.05), stand_in(0.06)], torch.bfloat16, factor=20.0)
    assert other.tolist() == pytest.approx([1.2, bound, bound], rel=1e-4)
    # Averages are 0.4 of the first's. Thrice as much as single tokens is allowed, and no more.
    alike = allowed_unknown([stand_in(0.14), stand_in(0.05)], torch.bfloat16)
    assert alike.tolist() == pytest.approx([1.4, bound, bound], rel=1e-4)
    for several, single in ((0.16, 0.05), (0.05, 0.16)):
        found = [stand_in(several), stand_in(single)]
        assert allowed_unknown(found, torch.bfloat16).tolist() == pytest.approx([bound] * 3)
        assert "forwards of several tokens err by" in uneven(found, torch.bfloat16)
    # 0.28 on average, where rounding explains 0.25.
    found = [stand_in(0.7), stand_in(0.7)]
    assert allowed_unknown(found, torch.bfloat16).tolist() == pytest.approx([bound] * 3)
    assert uneven(found, torch.bfloat16).startswith("single tokens err by 0.28 logits, rounding")
    # Of one token there is no average, and ten times as much is allowed.
    for several, single, wrong in ((0.19, 0.02, False), (0.02, 0.19, False), (0.21, 0.02, True)):
        found = [first_of(stand_in(several)), first_of(stand_in(single))]
        assert bool(uneven(found, torch.bfloat16)) is wrong
    # Of a mixture, the worst of several ways counts.
    found = [stand_in(0.05), stand_in(0.2), stand_in(0.05)]
    assert uneven(found, torch.bfloat16) and not uneven([found[0], found[2]], torch.bfloat16)


def test_what_no_forward_had_read_is_a_violation(target: CachedModel) -> None:
    """A decoder that did not roll back judged by the logits after another text."""
    reference = greedy(target, PROMPT, LIMIT)
    wrong = second_choice(target, PROMPT + reference[:5])
    head = [*reference[:5], wrong]
    output = head + greedy(target, PROMPT + head, LIMIT - 6)
    events = [Reading(0, PROMPT, 1)]
    events += [Reading(4 + i, [token], 1) for i, token in enumerate(reference[:-1])]
    verdict = EquivalenceChecker(target).compare(PROMPT, output, reference, LIMIT, [], OWN, events)
    assert verdict.kind == "violation"
    assert "position 5" in verdict.why or "position 6" in verdict.why


def test_a_router_that_chose_what_rounding_can_not_explain_is_a_violation(
    small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = RouterTie("model.layers.1.mlp.gate", position=7, gap=0.5, tolerance=0.1)
    monkeypatch.setattr(equivalence, "router_ties", lambda *_: [far])
    found = differing(*mixture_pair(small_pair))
    assert {verdict.kind for verdict in found} == {"violation"}
    said = "by model.layers.1.mlp.gate for token 7 of prompt and output (scores 0.5 apart"
    assert all(said in verdict.why for verdict in found)


def test_a_tie_of_a_router_is_told_with_its_evidence(small_pair: SmallPair) -> None:
    found = verdicts(*mixture_pair(small_pair), Greedy(), 20)
    told = [one.why for one in found if "given the experts chosen" in one.why]
    assert told
    assert all(re.search(r"by model\.layers\.\d\.mlp\.gate for token \d+", why) for why in told)


def test_a_tie_on_a_mixture_in_float32(small_pair: SmallPair) -> None:
    """Its experts are not computed by what takes no float64."""
    target = CachedModel(make_mixture(dtype=torch.float32))
    prefix = PROMPT + greedy(target, PROMPT, 5)
    make_tie(target, prefix, gap=1e-7)
    reference = greedy(target, PROMPT, LIMIT)
    other = set(first_choices(target, prefix)) - {reference[5]}
    head = [*reference[:5], *other]
    output = head + greedy(target, PROMPT + head, LIMIT - len(head))
    verdict = EquivalenceChecker(target).compare(PROMPT, output, reference, LIMIT, [], OWN)
    assert (verdict.kind, verdict.first_divergence) == ("tie", 5)
    assert target.model.get_experts_implementation()[""] != "eager"


@pytest.mark.parametrize("cut", [{"top_p": 0.7}, {"top_k": 4}])
def test_nor_is_one_that_draws_from_a_cut_distribution(
    small_pair: SmallPair, cut: dict[str, float]
) -> None:
    """Which tokens a cut keeps is up to rounding at its edge."""
    target, draft = small_pair.load_target(), small_pair.load_draft()
    target.model.to(torch.bfloat16)
    draft.model.to(torch.bfloat16)
    sampler = Temperature(**cut, coupled=True)  # type: ignore[arg-type]
    reference, decoder, checker = Autoregressive(), Speculative(5), EquivalenceChecker(target)
    models = Models(target, lambda: draft, WorkerOptions())
    reference = reference.start(models, sampler)
    session = decoder.start(models, sampler)
    for seed in range(40):
        prompt = [(seed * 31 + 7 * i) % 250 for i in range(12)]
        expected = reference.decode(prompt, LIMIT, [], seed).output_ids
        made = session.decode(prompt, LIMIT, [], seed)
        verifier = sampler.verifier(seed, len(prompt))
        assert isinstance(verifier, OwnChoice)
        verdict = checker.compare(
            prompt, made.output_ids, expected, LIMIT, [], verifier, made.events
        )
        assert verdict.kind in ("identical", "tie"), verdict


EDGES = [
    ({"top_k": 2}, [2.0, 1.0, 0.999, -9.0]),
    ({"top_p": 0.8995}, [math.log(p) for p in (0.6, 0.3, 0.0999, 0.0001)]),
]


def position_of(best: int, second: int, logits: list[float]) -> int:
    """A position whose noise puts these two tokens first, were nothing cut off."""
    free = Temperature(coupled=True).verifier(0, 0)
    assert isinstance(free, OwnChoice)
    for position in range(200):
        order = free.scores(torch.tensor([logits]), position)[0].argsort(descending=True)
        if order[:2].tolist() == [best, second]:
            return position
    raise LookupError


@pytest.mark.parametrize(("cut", "logits"), EDGES)
def test_a_token_just_outside_a_cut_could_be_chosen(
    cut: dict[str, float], logits: list[float]
) -> None:
    verifier = Temperature(**cut, coupled=True).verifier(0, 0)  # type: ignore[arg-type]
    assert isinstance(verifier, OwnChoice)
    row, position = torch.tensor([logits]), position_of(2, 0, logits)
    assert int(verifier.scores(row, position).argmax()) == 0
    assert verifier.could_choose(2, row, position, 0.01)
    assert not verifier.could_choose(2, row, position, 0.0001)
    assert not verifier.could_choose(3, row, position, 0.01)


@pytest.mark.parametrize(
    ("cut", "logits"), [EDGES[0], ({"top_p": 0.9005}, [math.log(p) for p in (0.6, 0.3, 0.1)])]
)
def test_a_token_could_be_chosen_where_a_better_one_is_just_inside_the_cut(
    cut: dict[str, float], logits: list[float]
) -> None:
    verifier = Temperature(**cut, coupled=True).verifier(0, 0)  # type: ignore[arg-type]
    assert isinstance(verifier, OwnChoice)
    edge = 1 if "top_k" in cut else 2
    row, position = torch.tensor([logits]), position_of(edge, 0, logits)
    assert int(verifier.scores(row, position).argmax()) == edge
    assert verifier.could_choose(0, row, position, 0.01)
    assert not verifier.could_choose(0, row, position, 0.0001)


@pytest.fixture(scope="module")
def long_text() -> tuple[CachedModel, list[int]]:
    """A target and 400 tokens that it says."""
    target = CachedModel(make_model(300, layers=1, seed=1))
    return target, greedy(target, PROMPT, 400)


@pytest.mark.parametrize("position", [251, 252, 300, 399])
def test_a_wrong_token_is_a_violation_wherever_in_a_long_text(
    long_text: tuple[CachedModel, list[int]], position: int
) -> None:
    """Also where the first of 256 positions that are looked at in one piece ends."""
    target, reference = long_text
    wrong = second_choice(target, PROMPT + reference[:position])
    output = [*reference[:position], wrong, *reference[position + 1 :]]
    verdict = EquivalenceChecker(target).compare(PROMPT, output, reference, 400, [], OWN)
    assert (verdict.kind, verdict.first_divergence) == ("violation", position)
    assert f"position {position}: token {wrong} " in verdict.why
    assert f"own is {reference[position]} " in verdict.why


def test_a_long_prompt_is_not_judged_and_what_follows_it_is(target: CachedModel) -> None:
    reference = greedy(target, LONG_PROMPT, LIMIT)
    wrong = [second_choice(target, LONG_PROMPT), *reference[1:]]
    verdict = EquivalenceChecker(target).compare(LONG_PROMPT, wrong, reference, LIMIT, [], OWN)
    assert (verdict.kind, verdict.first_divergence) == ("violation", 0)
    assert "position 0: " in verdict.why and f"own is {reference[0]} " in verdict.why


@pytest.mark.parametrize("length", [0, 10])
def test_an_output_that_ends_early_is_a_violation(target: CachedModel, length: int) -> None:
    reference = greedy(target, PROMPT, LIMIT)
    verdict = EquivalenceChecker(target).compare(
        PROMPT, reference[:length], reference, LIMIT, [], OWN
    )
    assert (verdict.kind, verdict.first_divergence) == ("violation", length)


def test_tokens_after_a_stop_are_a_violation(target: CachedModel) -> None:
    output = greedy(target, PROMPT, LIMIT)
    stop = output[10]
    reference = output[: output.index(stop) + 1]
    verdict = EquivalenceChecker(target).compare(PROMPT, output, reference, LIMIT, [stop], OWN)
    assert verdict.kind == "violation"


def test_looking_leaves_the_decoder_unharmed(target: CachedModel, small_pair: SmallPair) -> None:
    """The check uses the run's own target; the next prompt must not see it."""
    models = Models(target, small_pair.load_draft, WorkerOptions())
    session = Autoregressive().start(models, Greedy())
    reference = session.decode(PROMPT, LIMIT, []).output_ids
    wrong = [second_choice(target, PROMPT), *reference[1:]]
    EquivalenceChecker(target).compare(PROMPT, wrong, reference, LIMIT, [], OWN)
    assert session.decode(PROMPT, LIMIT, []).output_ids == reference
