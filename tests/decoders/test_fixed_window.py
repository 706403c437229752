"""With fixed windows a token's logits are the same bits, however decoding came to it."""

from __future__ import annotations

import pytest
import torch
from decoder_cases import OWN_NAMES, make_decoder
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pair import make_model

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.model.cached_model import CachedModel
from decoders.model.fixed_window import WINDOW, FixedWindowModel
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy

PROMPT = list(range(20, 51))
DTYPES = [torch.float32, torch.bfloat16]


def make(dtype: torch.dtype) -> FixedWindowModel:
    return FixedWindowModel(make_model(300, layers=3, seed=1).to(dtype))


def load_draft() -> CachedModel:
    return CachedModel(make_model(300, layers=1, seed=1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_logits_are_those_of_the_model(dtype: torch.dtype) -> None:
    fixed = make(dtype)
    plain = CachedModel(fixed.model)
    ours, theirs = (model.extend(PROMPT, rows=len(PROMPT)) for model in (fixed, plain))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 if dtype == torch.float32 else 0.1)
    assert fixed.length == len(PROMPT)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(cuts=st.lists(st.integers(1, 3 * WINDOW), max_size=8), back=st.integers(0, 12))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_logits_do_not_depend_on_the_steps(dtype: torch.dtype, cuts: list[int], back: int) -> None:
    model = make(dtype)
    text = [(7 * i) % 300 for i in range(sum(cuts) + 5)]
    whole = model.extend(text, rows=len(text)).clone()
    model.rollback(0)
    end = 0
    for cut in [*cuts, 5]:
        end += cut
        rows = model.extend(text[:end], rows=end - model.length)
        assert torch.equal(rows, whole[end - len(rows) : end])
        model.rollback(max(0, end - back))


def test_whole_windows_are_made_ready_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """From that on in which the prompt of 21 tokens ends, to one that goes beyond the text."""
    asked: list[object] = []
    monkeypatch.setattr(CachedModel, "prepare", lambda _, *arguments: asked.append(arguments))
    make(torch.float32).prepare(range(1, 4), 21, 50)
    make(torch.float32).prepare([1], 24, 30)
    assert asked == [([8], 16, 58), ([8], 24, 38)]


def decoded(decoder: Decoder) -> list[list[int]]:
    """What a decoder makes of several prompts, greedily and in bfloat16."""
    options = WorkerOptions(spin_seconds=0.0005)
    session = decoder.start(Models(make(torch.bfloat16), load_draft, options), Greedy())
    try:
        return [session.decode([start, *PROMPT], 100, []).output_ids for start in range(3)]
    finally:
        session.stop()


@pytest.fixture(scope="module")
def expected() -> list[list[int]]:
    """The reference's outputs."""
    return decoded(Autoregressive())


@pytest.mark.parametrize("name", OWN_NAMES)
def test_bfloat16_output_is_the_references(name: str, expected: list[list[int]]) -> None:
    """Where plain forwards of other shapes give other tokens."""
    assert decoded(make_decoder(name, 5)) == expected
