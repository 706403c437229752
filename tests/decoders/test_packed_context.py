"""Windows after long texts read copies of keys and values, and compute what they would without."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from decoders.model import cached_model as model_module
from decoders.model import fused as fused_module
from decoders.model import packed_context
from decoders.model.cached_model import CachedModel
from decoders.model.fixed_window import FixedWindowModel
from decoders.model.packed_context import PackedContext, fits, packed_tokens
from decoders.model.tree import Branches, Tree

CONFIG = LlamaConfig(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    initializer_range=0.15,
)
TEXT = torch.randint(0, 64, (120,), generator=torch.Generator().manual_seed(0)).tolist()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each copy that is made has; copies are made of short texts, too."""
    monkeypatch.setattr(packed_context, "BLOCK", 16)
    monkeypatch.setattr(packed_context, "SHORTEST", 32)
    monkeypatch.setattr(model_module, "INITIAL_CAPACITY", 8)
    tokens: list[int] = []
    of = PackedContext.of

    def noted(keys: torch.Tensor, values: torch.Tensor, count: int) -> PackedContext:
        tokens.append(count)
        return of(keys, values, count)

    monkeypatch.setattr(PackedContext, "of", noted)
    return tokens


def plain() -> CachedModel:
    torch.manual_seed(1)
    return CachedModel(AutoModelForCausalLM.from_config(CONFIG))


def fused() -> CachedModel:
    model = plain()
    model.fuse()
    return model


def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("seen", "window", "tokens"),
    [
        (2047, 8, 0),
        (2048, 8, 2048),
        (2559, 8, 2048),
        (2560, 8, 2560),
        (4096, 1, 0),
        (4096, 2, 4096),
        (4096, 16, 4096),
        (4096, 17, 0),
    ],
)
def test_what_is_copied_depends_on_the_shape_alone(seen: int, window: int, tokens: int) -> None:
    assert packed_tokens(seen, window) == tokens


def test_copies_take_no_more_than_their_room() -> None:
    """Keys and values of 4 bytes: 2 × 4 × 16 layers × 16 heads × 64 × 8192 is the room."""
    assert fits(16, 16, 64, 8192)
    assert not fits(16, 16, 64, 8193)


def test_attention_is_that_of_every_query_for_itself() -> None:
    """By PyTorch's own, in float64: 4 heads of queries on 2 of keys, 32 of 37 tokens copied."""
    torch.manual_seed(2)
    queries, keys, values = (
        torch.randn(1, heads, n, 16) for heads, n in ((4, 3), (2, 37), (2, 37))
    )
    context = PackedContext.of(keys, values, 32)
    hidden_from = torch.full((3, 3), -torch.inf).triu_(1)
    visible = torch.ones(3, 37, dtype=torch.bool).tril(34)
    expected = torch.nn.functional.scaled_dot_product_attention(
        queries.double(), keys.double(), values.double(), visible, scale=0.3, enable_gqa=True
    )
    read = context.attend(queries, keys, values, hidden_from, 0.3)
    torch.testing.assert_close(read.double(), expected, rtol=1e-5, atol=1e-5)


def test_windows_of_a_growing_text(made: list[int]) -> None:
    theirs, ours = plain(), fused()
    for end, rows in ((31, 1), (34, 3), (40, 6), (41, 1), (46, 5), (52, 6), (69, 17), (75, 6)):
        close(ours.extend(TEXT[:end], rows), theirs.extend(TEXT[:end], rows))
    # For each of two layers: one of 32 tokens after 34, which serves until 52, and one after 69.
    assert made == [32, 32, 64, 64]


def test_a_copy_ends_where_other_tokens_are_read(made: list[int]) -> None:
    """After a rollback into it, whether a window or a single token comes next."""
    for first in (1, 4):
        theirs, ours = plain(), fused()
        other = [*TEXT[:40], *reversed(TEXT[:40])]
        for model in (theirs, ours):
            model.extend(TEXT[:64], 1)
            model.extend(TEXT[:68], 4)
            model.rollback(40)
            model.extend(other[: 40 + first], first)
            model.extend(other[:66], 1)
        close(ours.extend(other[:70], 4), theirs.extend(other[:70], 4))
    assert made == [64, 64, 64, 64, 64, 64, 32, 32, 64, 64]


def test_a_copy_ends_where_a_tree_or_another_writer_has_been(made: list[int]) -> None:
    model = fused()
    model.extend(TEXT[:64], 1)
    model.extend(TEXT[:68], 4)
    layer = model.cache.layers[0]
    assert layer._packed is not None
    model.rollback(64)
    model.cache.advance(4)
    assert layer._packed is not None
    model.rollback(63)
    model.cache.advance(1)
    assert layer._packed is None
    model.rollback(50)
    tree = Tree()
    branches = Branches(tree)
    for branch in ([1, 2], [3]):
        branches.add(branch)
    theirs = plain()
    for one in (theirs, model):
        one.rollback(0)
        one.extend(TEXT[:50], 1)
        one.extend_tree(TEXT[:51], tree, [0])
        one.keep(51, [2])
    close(model.extend(TEXT[:55], 3), theirs.extend(TEXT[:55], 3))


def test_fixed_windows_are_the_same_bits(made: list[int]) -> None:
    model = FixedWindowModel(plain().model)
    model.fuse()
    block = model.extend(TEXT, len(TEXT))
    model.rollback(30)
    single = [model.extend(TEXT[:end], 1) for end in range(31, len(TEXT) + 1)]
    assert made
    assert torch.equal(torch.cat(single), block[30:])


def test_narrow_types_are_read_as_they_are(made: list[int]) -> None:
    model = CachedModel(plain().model.to(torch.bfloat16))
    model.fuse()
    model.extend(TEXT[:64], 1)
    model.extend(TEXT[:68], 4)
    assert not made


def test_a_single_token_in_float32_reads_by_two_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long text; a narrow type would be rounded between the two."""
    monkeypatch.setattr(fused_module, "TWO_PRODUCTS", 6)
    narrow = CachedModel(plain().model.to(torch.bfloat16))
    narrow.fuse()
    ours, theirs = fused(), plain()
    for model in (narrow, ours, theirs):
        model.extend(TEXT[:5], 1)

    def none(*args: object, **options: object) -> torch.Tensor:
        raise AssertionError("PyTorch's attention was called")

    expected = theirs.extend(TEXT[:6], 1)
    monkeypatch.setattr(fused_module, "scaled_dot_product_attention", none)
    close(ours.extend(TEXT[:6], 1), expected)
    for model, kept, end in ((narrow, 5, 6), (ours, 5, 8), (ours, 4, 5)):
        model.rollback(kept)
        with pytest.raises(AssertionError, match="attention was called"):
            model.extend(TEXT[:end], 1)
