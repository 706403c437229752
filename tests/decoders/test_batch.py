"""Several texts drafted at once, each as it would be alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from small_pair import make_mixture, make_model

from decoders.model import batch as batch_module
from decoders.model.batch import Batch
from decoders.model.cached_model import CachedModel

Load = Callable[[], CachedModel]


def dense(fused: bool = True) -> CachedModel:
    model = CachedModel(make_model(300, layers=2, seed=1))
    if fused:
        model.fuse()
    return model


def mixture() -> CachedModel:
    return CachedModel(make_mixture(dtype=torch.float32))


def alone(load: Load, prompt: list[int], count: int) -> list[int]:
    """What a model drafts for one text, by the class that does so elsewhere."""
    model, text = load(), list(prompt)
    for _ in range(count):
        text.append(int(model.extend(text, rows=1)[0].argmax()))
    return text


PROMPTS = [list(range(5, 9)), list(range(40, 90)), [7], list(range(200, 220))]


def begun(load: Load, prompts: list[list[int]]) -> tuple[Batch, list[list[int]]]:
    """Prompts in slots, each read and with its first token."""
    batch, texts = Batch(load()), copy.deepcopy(prompts)
    for slot, text in enumerate(texts):
        text.append(batch.read(slot, text).token)
    return batch, texts


def draft(batch: Batch, texts: list[list[int]], count: int) -> None:
    """So many tokens more of each."""
    for _ in range(count):
        for text, guess in zip(texts, batch.step(range(len(texts)), texts), strict=True):
            text.append(guess.token)


@pytest.mark.parametrize("load", [dense, mixture])
def test_texts_are_drafted_together_as_each_is_alone(load: Load) -> None:
    batch, texts = begun(load, PROMPTS)
    draft(batch, texts, 9)
    assert texts == [alone(load, prompt, 10) for prompt in PROMPTS]


def test_slots_between_those_asked_for_stay_as_they_are() -> None:
    batch, texts = begun(dense, PROMPTS)
    for slots in ([0, 2], [1, 3], [3, 0], [0, 1, 2, 3], [2, 0, 3]):
        for slot, guess in zip(slots, batch.step(slots, [texts[s] for s in slots]), strict=True):
            texts[slot].append(guess.token)
    drafted = [5, 3, 4, 5]
    assert [len(text) - len(prompt) for text, prompt in zip(texts, PROMPTS, strict=True)] == drafted
    assert texts == [
        alone(dense, prompt, count) for prompt, count in zip(PROMPTS, drafted, strict=True)
    ]


def test_a_text_is_rolled_back_for_itself() -> None:
    batch, texts = begun(dense, PROMPTS[:3])
    draft(batch, texts, 4)
    # After two of its drafts text 1 goes on with other tokens.
    other = [*texts[1][:52], 17, 18]
    batch.rollback(1, 52)
    assert [batch.length(slot) for slot in range(3)] == [8, 52, 5]
    texts[1] = [*other, batch.read(1, other).token]
    draft(batch, texts, 3)
    assert texts[1] == alone(dense, other, 4)
    assert texts[0] == alone(dense, PROMPTS[0], 8)
    assert texts[2] == alone(dense, PROMPTS[2], 8)


def test_room_grows_with_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "INITIAL_CAPACITY", 6)
    batch, texts = begun(dense, PROMPTS)
    draft(batch, texts, 70)
    assert texts == [alone(dense, prompt, 71) for prompt in PROMPTS]


def test_a_slot_can_be_used_again() -> None:
    batch = Batch(dense())
    batch.read(0, PROMPTS[1])
    batch.read(1, PROMPTS[3])
    batch.rollback(0, 0)
    text = [*PROMPTS[0], batch.read(0, PROMPTS[0]).token]
    assert text == alone(dense, PROMPTS[0], 1)
    assert (batch.length(0), batch.length(1)) == (4, 20)


def test_tokens_that_the_model_does_not_know_are_read_and_never_chosen() -> None:
    def short() -> CachedModel:
        model = CachedModel(make_model(300, layers=2, seed=1), vocab_size=320, known=150)
        model.fuse()
        return model

    prompts = [[5, 310, 7], [160, 8, 9, 10]]
    batch, texts = Batch(short()), copy.deepcopy(prompts)
    assert batch.vocab_size == 320
    for slot, text in enumerate(texts):
        text.extend([batch.read(slot, text).token, 305])
        batch.read(slot, text[:-1])
    firsts = [text[-2] for text in texts]
    for _ in range(6):
        for text, guess in zip(texts, batch.step([0, 1], texts), strict=True):
            text.append(guess.token)
    for prompt, first, text in zip(prompts, firsts, texts, strict=True):
        assert text == alone(short, [*prompt, first, 305], 6)
        assert max(text[-6:]) < 150


def test_a_model_beside_another_has_the_same_weights_and_its_own_text() -> None:
    model = dense()
    beside = model.beside(copy.deepcopy(model.cache))
    model.extend([1, 2, 3], rows=1)
    assert (model.length, beside.length) == (3, 0)
    assert (len(model.events), beside.events) == (1, [])
    assert beside.model is model.model
    assert (model.take_tokens(), beside.take_tokens()) == (3, 0)


@pytest.mark.parametrize("load", [dense, mixture])
def test_it_says_how_probable_it_finds_its_tokens_where_it_is_asked(load: Load) -> None:
    batch, model = Batch(load(), confides=True), load()
    guesses = [batch.read(slot, prompt) for slot, prompt in enumerate(PROMPTS[:2])]
    texts = [[*prompt, one.token] for prompt, one in zip(PROMPTS, guesses, strict=False)]
    for read, found in ((PROMPTS, guesses), (texts, batch.step([0, 1], texts))):
        for text, guess in zip(read, found, strict=False):
            model.rollback(0)
            probabilities = model.extend(text, rows=1)[0].softmax(-1)
            assert guess.token == int(probabilities.argmax())
            assert guess.confidence == pytest.approx(float(probabilities.max()), rel=1e-4)
    assert Batch(load()).read(0, PROMPTS[0]).confidence == 1.0
