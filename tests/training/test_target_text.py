"""What a target writes and reads for a draft model: its own greedy text, its own hidden states."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from small_pair import make_model
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaForCausalLM

from pearl_eval.training import target_text
from pearl_eval.training.grouped_attention import grouped, grouped_attention
from pearl_eval.training.target_text import (
    Drawn,
    TargetText,
    load_texts,
    read,
    save_texts,
    write,
)

PROMPTS = [[3, 4, 5, 6, 7], [9], [11, 12]]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return make_model(300, 2, 0).eval()


@torch.inference_mode()
def alone(model: Any, prompt: list[int], new: int, stops: tuple[int, ...] = ()) -> list[int]:
    text = list(prompt)
    for _ in range(new):
        text.append(int(model(torch.tensor([text])).logits[0, -1].argmax()))
        if text[-1] in stops:
            break
    return text


@torch.inference_mode()
def states(model: Any, text: list[int]) -> torch.Tensor:
    found: torch.Tensor = model.model(torch.tensor([text])).last_hidden_state[0]
    return found


def check(model: Any, made: TargetText, expected: list[int], start: int) -> None:
    assert made.ids.tolist() == expected
    assert made.start == start
    torch.testing.assert_close(made.hidden, states(model, expected)[:-1], atol=1e-5, rtol=1e-4)


def test_each_text_is_the_models_own_whoever_is_beside_it(model: LlamaForCausalLM) -> None:
    made = write(model, PROMPTS, 6, stops=())
    for one, prompt in zip(made, PROMPTS, strict=True):
        check(model, one, alone(model, prompt, 6), len(prompt))


def test_a_text_ends_with_its_first_stop_token(model: LlamaForCausalLM) -> None:
    # The third new token of the first ends it, and the first of the second; the third goes on.
    plain = [alone(model, prompt, 6) for prompt in PROMPTS]
    stops = (plain[0][7], plain[1][1])
    expected = [alone(model, prompt, 6, stops) for prompt in PROMPTS]
    assert [len(one) for one in expected[:2]] == [8, 2]
    for one, prompt, text in zip(write(model, PROMPTS, 6, stops), PROMPTS, expected, strict=True):
        check(model, one, text, len(prompt))


def test_nothing_is_computed_once_all_have_ended(model: LlamaForCausalLM) -> None:
    calls: list[int] = []
    stop = alone(model, PROMPTS[0], 2)[-1]
    hook = model.model.register_forward_hook(lambda *_: calls.append(1))
    write(model, PROMPTS[:1], 50, (stop,))
    hook.remove()
    assert len(calls) == 2


def test_what_is_read_has_no_token_of_the_targets(model: LlamaForCausalLM) -> None:
    for one, text in zip(read(model, PROMPTS), PROMPTS, strict=True):
        check(model, one, text, len(text))


def test_texts_are_saved_as_they_are(tmp_path: Path, model: LlamaForCausalLM) -> None:
    texts = [*write(model, PROMPTS, 4, stops=()), *read(model, [[8, 9, 10]])]
    save_texts(texts, tmp_path / "some.safetensors")
    loaded = list(load_texts(tmp_path / "some.safetensors"))
    assert [one.start for one in loaded] == [5, 1, 2, 3]
    for one, other in zip(loaded, texts, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert torch.equal(one.hidden, other.hidden)
    save_texts([], tmp_path / "none.safetensors")
    assert list(load_texts(tmp_path / "none.safetensors")) == []


def test_tokens_are_drawn_by_their_chances_and_a_seed() -> None:
    # At a temperature of 2: chances of 9 to 1 become 3 to 1.
    logits = torch.tensor([[0.9, 0.1, 1e-30]]).log().expand(4000, 3)
    drawn = Drawn(2.0, seed=5)(logits)
    assert 0.72 < float((drawn == 0).float().mean()) < 0.78
    assert not (drawn == 2).any()
    assert torch.equal(drawn, Drawn(2.0, seed=5)(logits))
    assert not torch.equal(drawn, Drawn(2.0, seed=6)(logits))


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("scaling", [None, 0.5])
@pytest.mark.parametrize("mask", ["none", "seen", "added"])
def test_attention_in_groups_is_pytorchs(tokens: int, scaling: float | None, mask: str) -> None:
    """Two texts, four heads that share two keys, six tokens of which the first two are hidden."""
    torch.manual_seed(0)
    query = torch.randn(2, 4, tokens, 8)
    key, value = torch.randn(2, 2, 6, 8), torch.randn(2, 2, 6, 8)
    seen = torch.ones(2, 1, tokens, 6, dtype=torch.bool)
    seen[1, :, :, :2] = False
    added = torch.zeros(2, 1, tokens, 6).masked_fill(~seen, float("-inf"))
    given = {"none": None, "seen": seen, "added": added}[mask]
    module: Any = SimpleNamespace(num_key_value_groups=2, is_causal=False)
    found, weights = grouped_attention(module, query, key, value, given, scaling)
    whole = (one.repeat_interleave(2, 1) for one in (key, value))
    expected = scaled_dot_product_attention(query, *whole, attn_mask=given, scale=scaling)
    assert weights is None
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_attention_in_groups_is_put_back(model: LlamaForCausalLM) -> None:
    before = model.config._attn_implementation
    assert before == "sdpa"
    with pytest.raises(KeyError), grouped(model):
        assert model.config._attn_implementation != before
        raise KeyError
    assert model.config._attn_implementation == before
    eager = make_model(300, 1, 0)
    eager.set_attn_implementation("eager")
    with grouped(eager):
        assert eager.config._attn_implementation == "eager"


def test_texts_for_which_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"some of them")
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr(target_text, "save_file", full)
    with pytest.raises(OSError, match=r"t\.safetensors can't be written: .*No space left"):
        save_texts([], tmp_path / "t.safetensors")
    assert list(tmp_path.iterdir()) == []
