"""The loss of a draft model at a step, and how often its first choice is the target's."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest
import torch
from small_pair import make_model

from pearl_eval.training import draft_training
from pearl_eval.training.config import FitConfig
from pearl_eval.training.draft import make_draft
from pearl_eval.training.draft_training import DraftTraining, computes_bf16, rates, schedule
from pearl_eval.training.target_text import TargetText, read, write

WRITTEN = [[3, 4, 5], [6, 7], [8, 9, 10, 11]]


@pytest.fixture(scope="module")
def target() -> Any:
    return make_model(300, 2, 0).eval()


@pytest.fixture(scope="module")
def texts(target: Any) -> list[TargetText]:
    return write(target, WRITTEN, 6, stops=())


def training(
    draft: Any, texts: list[TargetText], head: list[int] | None = None, **config: Any
) -> DraftTraining:
    tokens = None if head is None else torch.tensor(head)
    return DraftTraining(draft, texts, tokens, FitConfig(bf16=False, **config), seed=0)


def test_the_target_itself_has_nothing_to_learn(target: Any, texts: list[TargetText]) -> None:
    same = training(make_draft(target, [0, 1]), texts, first_choice=0.0, hidden=1.0)
    assert float(same.loss(0)) == pytest.approx(0.0, abs=1e-5)
    other = training(make_draft(target, [0]), texts, first_choice=0.0)
    assert float(other.loss(0)) > 0.1


def test_what_was_written_is_expected_whatever_rounding_says(target: Any) -> None:
    """In bfloat16 the same hidden states may have another first choice than when it was written."""
    text = TargetText(torch.tensor([3, 4, 5, 6]), torch.zeros(3, 32), 2)
    (one,) = training(make_draft(target, [0]), [text]).expect({"written": [text]})
    assert (one.first, one.wanted.tolist()) == (1, [5, 6])


def test_its_first_choice_is_the_targets_wherever_it_is_the_target(
    target: Any, texts: list[TargetText]
) -> None:
    kinds = {"written": texts, "read": read(target, [[5, 6, 7, 8, 9]])}
    same = training(make_draft(target, [0, 1]), texts)
    expected = same.expect(kinds)
    assert [one.kind for one in expected] == ["written"] * 3 + ["read"]
    # Of what was written, all that the target wrote; of what was read, what follows each token.
    for one, text in zip(expected, texts, strict=False):
        assert one.wanted.tolist() == text.ids[text.start :].tolist()
        assert one.first == text.start - 1
    assert expected[-1].first == 0 and len(expected[-1].wanted) == 4
    assert same.accepted(expected) == {"written": [(6, 6)] * 3, "read": [(4, 4)]}


def test_a_token_that_a_small_head_lacks_is_never_accepted(
    target: Any, texts: list[TargetText]
) -> None:
    written = [token for text in texts for token in text.ids[text.start :].tolist()]
    assert len(written) == 18
    lacking = max(set(written), key=written.count)
    kept = [token for token in range(300) if token != lacking]
    small = training(make_draft(target, [0, 1]), texts, kept)
    found = rates(small.accepted(small.expect({"written": texts})))
    assert found["written"] == pytest.approx(1 - written.count(lacking) / 18)


def test_the_rate_of_a_kind_is_of_all_its_tokens() -> None:
    assert rates({"a": [(1, 2), (6, 6)], "b": [(0, 5)]}) == {"a": 7 / 8, "b": 0.0}


def test_what_a_target_wrote_weighs_1_and_its_prompt_less() -> None:
    hidden = torch.arange(8.0).reshape(4, 2)
    wrote = TargetText(torch.tensor([9, 8, 7, 6, 5]), hidden, start=3)
    only_read = TargetText(torch.tensor([4, 3, 2]), hidden[:2], start=3)
    made = training(make_model(300, 1, 0), [wrote, only_read], prompt_weight=0.25)
    ids, states, weights = made._padded([wrote, only_read])
    assert ids.tolist() == [[9, 8, 7, 6], [4, 3, 0, 0]]
    assert weights.tolist() == [[0.25, 0.25, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]
    assert states[0].tolist() == hidden.tolist()
    assert states[1, :2].tolist() == hidden[:2].tolist()


def test_the_loss_is_the_mean_by_weight_over_all_texts(target: Any) -> None:
    """Cross-entropy with the first choice, of a head of two tokens that has ln 2 everywhere."""
    draft = make_draft(target, [0])
    for weights in draft.base_model.norm.parameters():
        weights.data.zero_()
    texts = read(target, [[5, 6, 7], [8, 9, 10, 11]])
    made = training(draft, texts, [3, 4], first_choice=1.0, tokens=100)
    assert float(made.loss(0)) == pytest.approx(log(2))


def test_the_loss_is_the_same_however_many_logits_are_made_at_once(
    target: Any, texts: list[TargetText], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of parts in which prompts weigh little or nothing."""
    draft = make_draft(target, [0])
    for weight in (0.0, 0.25):
        made = training(draft, texts, prompt_weight=weight)
        monkeypatch.setattr(draft_training, "_AT_ONCE", 2048)
        whole = float(made.loss(0))
        for count in (1, 3):
            monkeypatch.setattr(draft_training, "_AT_ONCE", count)
            assert float(made.loss(0)) == pytest.approx(whole, rel=1e-5)


def test_hidden_states_count_by_how_far_they_are_off_in_units_of_their_own_size(
    target: Any,
) -> None:
    """All 0 where the target's are not: off by their whole size."""
    draft = make_draft(target, [0])
    for weights in draft.base_model.norm.parameters():
        weights.data.zero_()
    texts = read(target, [[5, 6, 7], [8, 9, 10, 11]])
    without, half = (
        float(training(draft, texts, hidden=share, tokens=100).loss(0)) for share in (0.0, 0.5)
    )
    assert half - without == pytest.approx(0.5, rel=1e-4)


def test_only_what_is_between_embeddings_and_head_learns(
    target: Any, texts: list[TargetText]
) -> None:
    draft = make_draft(target, [0])
    training(draft, texts).loss(3).backward()
    learned = {name for name, one in draft.named_parameters() if one.grad is not None}
    assert not any("embed" in name or "lm_head" in name for name in learned)
    assert {"model.norm.weight", "model.layers.0.mlp.up_proj.weight"} <= learned


def test_a_step_has_texts_of_about_one_length_and_as_many_tokens_as_are_wanted() -> None:
    lengths = [*range(2, 42), *[400] * 10]
    texts = [
        TargetText(torch.zeros(n, dtype=torch.long), torch.zeros(n - 1, 2), n) for n in lengths
    ]
    made = training(
        make_model(300, 1, 0), [*texts, TargetText(torch.zeros(1), torch.zeros(0), 1)], tokens=120
    )
    seen: set[int] = set()
    for step in range(200):
        batch = [len(one.ids) for one in made._batch(step)]
        seen |= set(batch)
        assert batch == [len(one.ids) for one in made._batch(step)]
        assert len(batch) == 1 or len(batch) * max(batch) <= 120
    assert seen == set(lengths)


@pytest.mark.parametrize(
    ("first", "drawn"),
    [(20, [14, 15, 16]), (39, [28, 29, 30]), (3, [0, 1, 2])],
)
def test_a_step_draws_from_four_times_as_many_texts_around_one(
    first: int, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three texts of ten tokens, of twelve of like length; of forty there are none beyond."""
    texts = [TargetText(torch.full((10,), n), torch.zeros(9, 2), 10) for n in range(40)]
    made = training(make_model(300, 1, 0), texts, tokens=39)

    class InOrder:
        def integers(self, count: int) -> int:
            assert count == 40
            return first

        def permutation(self, count: int) -> range:
            assert count == 12
            return range(count)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: InOrder())
    assert [int(one.ids[0]) for one in made._batch(5)] == drawn


def test_rates_rise_and_fall_as_half_a_cosine() -> None:
    made = schedule(FitConfig(steps=1000, warmup=0.1, matrix_lr=0.5, other_lr=0.25, every=7))
    assert (made.steps, made.matrix_lr, made.other_lr, made.checkpoint_every) == (
        1000,
        0.5,
        0.25,
        7,
    )
    assert made.scale(0) == pytest.approx(0.01)
    assert made.scale(50) == pytest.approx(0.505)
    assert made.scale(100) == 1.0
    assert made.scale(550) == pytest.approx(0.5, abs=0.01)
    assert made.scale(325) == pytest.approx(0.854, abs=0.01)
    assert made.scale(1000) == pytest.approx(0.0, abs=1e-6)
    assert schedule(FitConfig(steps=1)).scale(0) == 1.0


def test_a_cpu_computes_in_bfloat16_where_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert computes_bf16("cuda")
    for known, expected in (
        ({}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"bf16": True}, True),
        ({"avx512_fp16": True}, False),
        ({"amx_bf16": False}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        assert computes_bf16("cpu") is expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not computes_bf16("cpu")


@pytest.mark.parametrize("able", [True, False])
def test_products_are_in_bfloat16_where_the_device_can_unless_it_is_said(
    able: bool, monkeypatch: pytest.MonkeyPatch, target: Any
) -> None:
    monkeypatch.setattr(draft_training, "computes_bf16", lambda device: able)
    draft = make_draft(target, [0])
    for said, expected in ((None, able), (True, True), (False, False)):
        assert DraftTraining(draft, [], None, FitConfig(bf16=said), 0)._bf16 is expected
