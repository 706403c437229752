"""A target over two ranks says what the same target says in one process, to whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from decoder_cases import NAMES, make_decoder
from small_pair import SmallPair
from torch.distributed.tensor import DTensor

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.model.cached_model import CachedModel
from decoders.model.fixed_window import FixedWindowModel
from decoders.model.tree import ROOT, Tree
from decoders.process.models import Models
from decoders.process.tensor_parallel import led
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy
from decoders.session import Session
from pearl_eval.checks.equivalence import EquivalenceChecker
from pearl_eval.pairs.pretrained import ModelConfig, load_model

OPTIONS = WorkerOptions(spin_seconds=0.0, answer_timeout=60)
PROMPT = list(range(20, 40))


def share(folder: Path, ranks: int) -> partial[CachedModel]:
    """Loads a rank's share of a saved model."""
    return partial(load_model, ModelConfig(str(folder)), "float32", ("cpu",), 300, ranks=ranks)


@pytest.fixture(scope="module")
def target(small_pair: SmallPair) -> Iterator[CachedModel]:
    with led(share(small_pair.folder / "target", 2), (OPTIONS,), ("cpu", "cpu")) as model:
        yield model


def start(decoder: Decoder, target: CachedModel, pair: SmallPair) -> Session:
    return decoder.start(Models(target, pair.load_draft, OPTIONS), Greedy())


@pytest.fixture(scope="module")
def expected(small_pair: SmallPair) -> list[int]:
    alone = start(Autoregressive(), small_pair.load_target(), small_pair)
    return alone.decode(PROMPT, 16, []).output_ids


@pytest.mark.parametrize("name", NAMES)
def test_every_decoder_gives_the_tokens_of_one_process(
    target: CachedModel, small_pair: SmallPair, expected: list[int], name: str
) -> None:
    decoder = start(make_decoder(name), target, small_pair)
    try:
        assert decoder.decode(PROMPT, 16, []).output_ids == expected
    finally:
        decoder.stop()


def test_each_rank_has_half_of_the_weights(target: CachedModel) -> None:
    parts = dict(target.model.named_parameters())
    held = {name: part.to_local() for name, part in parts.items() if isinstance(part, DTensor)}
    assert all(part.numel() == parts[name].numel() // 2 for name, part in held.items())
    # Seven products a layer, the embedding and the output; norms are whole everywhere.
    assert len(held) == 2 * 7 + 2


def test_what_is_kept_of_a_tree_is_kept_by_every_rank(
    target: CachedModel, small_pair: SmallPair
) -> None:
    tree = Tree()
    nodes = [tree.add(50, ROOT), tree.add(60, ROOT)]
    path = [nodes[1], tree.add(61, nodes[1])]

    def logits(model: CachedModel) -> torch.Tensor:
        model.rollback(0)
        model.extend_tree(PROMPT, tree, [ROOT, *path])
        model.keep(len(PROMPT), path)
        return model.extend([*PROMPT, 60, 61, 62], rows=1)

    torch.testing.assert_close(logits(target), logits(small_pair.load_target()))


def test_higher_precision_is_that_of_one_process(
    target: CachedModel, small_pair: SmallPair
) -> None:
    whole = small_pair.load_target()
    for _ in range(2):
        ranks, alone = (model.in_higher_precision() for model in (target, whole))
        for text in (PROMPT[:8], PROMPT):
            ours, theirs = (model.extend(text, rows=3) for model in (ranks, alone))
            assert ours.dtype == torch.float64
            # Norms compute in float32 whatever the dtype; between them all is far more exact.
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    target.rollback(0)
    assert target.extend(PROMPT, rows=3).dtype == torch.float32


def test_outputs_are_judged_as_of_one_process(target: CachedModel, expected: list[int]) -> None:
    checker = EquivalenceChecker(target)
    wrong = [*expected[:5], (expected[5] + 1) % 300, *expected[6:]]
    verdict = checker.compare(PROMPT, wrong, expected, 16, [], Greedy().verifier(0, len(PROMPT)))
    assert (verdict.kind, verdict.first_divergence) == ("violation", 5)


def test_a_fixed_window_gives_the_same_bits_in_one_step_and_in_many(target: CachedModel) -> None:
    window = FixedWindowModel(target.model, target.vocab_size)
    at_once = window.extend(PROMPT, rows=4)
    window.rollback(0)
    steps = [window.extend(PROMPT[:end], rows=1) for end in range(1, len(PROMPT) + 1)]
    assert torch.equal(at_once, torch.cat(steps[-4:]))


def test_another_text_must_be_read_from_its_beginning(
    target: CachedModel, small_pair: SmallPair
) -> None:
    target.rollback(0)
    target.extend(PROMPT, rows=1)
    other = CachedModel(target.model)
    other.extend(PROMPT[:4], rows=1)
    with pytest.raises(ValueError, match="one text at a time"):
        target.extend([*PROMPT, 7], rows=1)
    target.rollback(0)
    whole = small_pair.load_target()
    torch.testing.assert_close(target.extend(PROMPT, rows=1), whole.extend(PROMPT, rows=1))


def test_nobody_else_can_reach_the_ranks(target: CachedModel) -> None:
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [c.laddr.ip for p in processes for c in p.net_connections() if c.status == "LISTEN"]
    assert listening and set(listening) == {"127.0.0.1"}


def test_the_memory_of_the_other_ranks_is_counted(target: CachedModel) -> None:
    assert target.memory_elsewhere() > 10_000_000
