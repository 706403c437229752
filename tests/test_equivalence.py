from __future__ import annotations

import pytest
import torch
from small_pair import SmallPair

from decoders.decoder import Decoder
from decoders.model import CachedModel
from pearl_eval.equivalence import EquivalenceChecker

PROMPT = [20, 21, 22, 23]
LIMIT = 24


@pytest.fixture(scope="module")
def target(small_pair: SmallPair) -> CachedModel:
    return small_pair.load_target()


def greedy(target: CachedModel, prompt: list[int], count: int) -> list[int]:
    text = list(prompt)
    target.rollback(0)
    for _ in range(count):
        text.append(int(target.extend(text, rows=1).argmax()))
    return text[len(prompt) :]


def second_choice(target: CachedModel, text: list[int]) -> int:
    target.rollback(0)
    return int(target.extend(text, rows=1)[0].topk(2).indices[1])


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
    verdict = EquivalenceChecker(target).compare(PROMPT, output, output, LIMIT, [])
    assert (verdict.kind, verdict.first_divergence) == ("identical", None)


@pytest.mark.parametrize("position", [0, 11, LIMIT - 1])
def test_a_wrong_token_is_a_violation(target: CachedModel, position: int) -> None:
    reference = greedy(target, PROMPT, LIMIT)
    wrong = second_choice(target, PROMPT + reference[:position])
    head = [*reference[:position], wrong]
    output = head + greedy(target, PROMPT + head, LIMIT - len(head))
    verdict = EquivalenceChecker(target).compare(PROMPT, output, reference, LIMIT, [])
    assert (verdict.kind, verdict.first_divergence) == ("violation", position)
    assert f"position {position}: token {wrong}" in verdict.why
    assert f"own is {reference[position]}" in verdict.why


def test_scores_within_rounding_are_a_tie_and_later_tokens_are_still_held_to_the_target(
    small_pair: SmallPair,
) -> None:
    target = small_pair.load_target()
    position = 5
    prefix = PROMPT + greedy(target, PROMPT, position)
    make_tie(target, prefix, gap=1e-7)
    reference = greedy(target, PROMPT, LIMIT)
    head = [*reference[:position], second_choice(target, PROMPT + reference[:position])]
    output = head + greedy(target, PROMPT + head, LIMIT - len(head))
    assert output != reference
    checker = EquivalenceChecker(target)
    verdict = checker.compare(PROMPT, output, reference, LIMIT, [])
    assert (verdict.kind, verdict.first_divergence) == ("tie", position)

    later = position + 6
    wrong = second_choice(target, PROMPT + output[:later])
    spoiled = [*output[:later], wrong]
    spoiled += greedy(target, PROMPT + spoiled, LIMIT - len(spoiled))
    verdict = checker.compare(PROMPT, spoiled, reference, LIMIT, [])
    assert verdict.kind == "violation"
    assert f"position {later}" in verdict.why


def test_bfloat16_has_a_wider_tolerance_than_float32(small_pair: SmallPair) -> None:
    target = small_pair.load_target()
    target.model.to(torch.bfloat16)
    reference = greedy(target, PROMPT, LIMIT)
    wrong = second_choice(target, PROMPT)
    output = [wrong, *greedy(target, [*PROMPT, wrong], LIMIT - 1)]
    assert EquivalenceChecker(target).compare(PROMPT, output, reference, LIMIT, []).kind in (
        "tie",
        "violation",
    )
    far = int(target.extend(PROMPT[:0] + PROMPT + output, rows=1)[0].argmin())
    output = [far, *greedy(target, [*PROMPT, far], LIMIT - 1)]
    verdict = EquivalenceChecker(target).compare(PROMPT, output, reference, LIMIT, [])
    assert verdict.kind == "violation"


@pytest.mark.parametrize("length", [0, 10])
def test_an_output_that_ends_early_is_a_violation(target: CachedModel, length: int) -> None:
    reference = greedy(target, PROMPT, LIMIT)
    verdict = EquivalenceChecker(target).compare(PROMPT, reference[:length], reference, LIMIT, [])
    assert (verdict.kind, verdict.first_divergence) == ("violation", length)


def test_tokens_after_a_stop_are_a_violation(target: CachedModel) -> None:
    output = greedy(target, PROMPT, LIMIT)
    stop = output[10]
    reference = output[: output.index(stop) + 1]
    verdict = EquivalenceChecker(target).compare(PROMPT, output, reference, LIMIT, [stop])
    assert verdict.kind == "violation"


def test_looking_leaves_the_decoder_unharmed(target: CachedModel, small_pair: SmallPair) -> None:
    """The check uses the run's own target; the next prompt must not see it."""
    from decoders.autoregressive import Autoregressive
    from decoders.sampler import Greedy

    decoder: Decoder = Autoregressive()
    decoder.target, decoder.sampler = target, Greedy()
    reference = decoder.decode(PROMPT, LIMIT, []).output_ids
    wrong = [second_choice(target, PROMPT), *reference[1:]]
    EquivalenceChecker(target).compare(PROMPT, wrong, reference, LIMIT, [])
    assert decoder.decode(PROMPT, LIMIT, []).output_ids == reference
