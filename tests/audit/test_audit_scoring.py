"""Several texts read at once give what each gives alone."""

from __future__ import annotations

import pytest
import torch
from architectures import KINDS, make_architecture
from small_pair import make_mixture
from tiers import kept

from decoders.model.cache import RollbackCache
from decoders.model.cached_model import CachedModel
from decoders.model.routing import Routing
from pearl_eval.audit.scoring import Scorer, Span, batches
from pearl_eval.checks.rounding import exact

#: Of other lengths, some longer than what is read at once here.
TEXTS = [Span([(7 * i + 3 * n) % 60 for i in range(size)], begin) for n, (size, begin) in enumerate(
    [(5, 2), (30, 12), (31, 1), (9, 8), (2, 1), (30, 29)]
)]  # fmt: skip


def test_batches_are_of_like_lengths_and_not_too_large() -> None:
    assert batches([5, 9, 3, 9], 18) == [[1, 3], [0, 2]]
    assert batches([5, 9, 3, 9], 17) == [[1], [3], [0, 2]]
    assert batches([5, 5, 5], 15) == [[0, 1, 2]]
    assert batches([40, 2], 8) == [[0], [1]]
    assert batches([], 8) == []


def scored(model: CachedModel, room: int) -> list[torch.Tensor]:
    scorer = Scorer(model)
    scorer._room = room
    found: list[list[torch.Tensor]] = [[] for _ in TEXTS]
    for piece in scorer.pieces(TEXTS):
        assert piece.start == sum(map(len, found[piece.index]))
        found[piece.index].append(piece.rows)
    return [torch.cat(rows) for rows in found]


def check(model: CachedModel, room: int) -> None:
    for span, rows in zip(TEXTS, scored(model, room), strict=True):
        text = list(span.text)
        # One token more, as `exact` gives nothing for what follows the last.
        expected = exact(model, [*text, 0], span.begin, Routing()).rows
        assert len(rows) == len(text) - span.begin + 1
        assert rows.dtype == torch.float64
        torch.testing.assert_close(rows, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", kept(KINDS, ["full", "some sliding", "longrope"]))
def test_texts_read_together_give_what_each_gives_alone(kind: str) -> None:
    model = CachedModel(make_architecture(kind), 60)
    for room in (40, 4096):
        check(model, room)


def test_a_mixture_too() -> None:
    check(CachedModel(make_mixture(dtype=torch.float32), 60), 40)


def test_a_forward_of_several_texts_is_not_one_of_fused_layers() -> None:
    model = CachedModel(make_architecture("full"))
    model.fuse()
    with pytest.raises(ValueError, match="only the layers of transformers"):
        model.read_batch(torch.zeros(1, 2, dtype=torch.long), RollbackCache(1, 2), 1)


def test_how_much_is_read_at_once_depends_on_the_vocabulary() -> None:
    model = CachedModel(make_architecture("full"), 60)
    assert Scorer(model)._room == 4096
    model.vocab_size = 2**17
    wide = CachedModel.in_higher_precision(model)
    assert wide.vocab_size == 2**17
    assert Scorer(model)._room == 512
