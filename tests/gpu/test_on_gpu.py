"""What has to be right on a GPU. ``make gpu-check`` runs these; without a GPU each is skipped.

They use nothing of the suite's settings and helpers, so that they need few libraries. In a
rehearsal of the check they run on the CPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.generation import Generation
from decoders.model.tree import ROOT, Branches, Tree
from decoders.pearl import Pearl
from decoders.pearl_async import PearlAsync
from decoders.process.drafter import Drafter
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature
from decoders.speculative import Speculative
from gpu_check.rows import REHEARSAL
from gpu_check.setups import prompts_of, tiny
from pearl_eval.checks.equivalence import EquivalenceChecker
from pearl_eval.pairs.setup import Setup

_NONE = not torch.cuda.is_available() and not os.environ.get(REHEARSAL)
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(_NONE, reason="needs a GPU")]

_TOKENS = 48
#: Of logits in float32, whose sums are made in another order.
CLOSE: dict[str, float] = {"rtol": 1e-3, "atol": 1e-3}


def text_of(setup: Setup, length: int) -> list[int]:
    (prompt,) = prompts_of(setup, 1)
    return (prompt * (1 + length // len(prompt)))[:length]


@pytest.mark.parametrize("forward", ["transformers", "fused", "cuda_graphs"])
def test_rollback(forward: str) -> None:
    """What was read after a text that is rolled back to leaves nothing behind."""
    setup = tiny("float32", forward)
    text = text_of(setup, 60)
    other = [*text[:30], *reversed(text[:9])]
    model = setup.load_target()
    model.extend(text, rows=1)
    model.rollback(30)
    after = model.extend(other, rows=9)
    model.rollback(0)
    model.extend(other[:30], rows=1)
    anew = model.extend(other, rows=9)
    torch.testing.assert_close(after, anew, **CLOSE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("forward", ["fused", "cuda_graphs"])
def test_logits_are_those_of_transformers_layers(forward: str, dtype: str) -> None:
    """Of a prompt, of single tokens and of windows, across the next bucket and a larger cache."""
    plain_setup, setup = tiny(dtype, "transformers"), tiny(dtype, forward)
    text = text_of(setup, 1100)
    close = CLOSE if dtype == "float32" else {"rtol": 0.1, "atol": 1.0}
    plain = plain_setup.load_target()
    ours = setup.load_target()
    ours.prepare([1, 2, 7], 200, 300)
    for end, rows in ((200, 1), (201, 1), (208, 7), (254, 1), (258, 4), (300, 3), (332, 32)):
        expected = plain.extend(text[:end], rows)
        torch.testing.assert_close(ours.extend(text[:end], rows), expected, **close)
    for model in (plain, ours):
        model.rollback(210)
    for end, rows in ((217, 7), (1050, 1), (1051, 1), (1060, 9)):
        expected = plain.extend(text[:end], rows)
        torch.testing.assert_close(ours.extend(text[:end], rows), expected, **close)


def test_a_graph_that_is_replayed_leaves_what_it_gave_before() -> None:
    setup = tiny("float32", "cuda_graphs")
    text = text_of(setup, 44)
    model = setup.load_target()
    model.extend(text[:40], rows=1)
    first = model.extend(text[:41], rows=1)
    kept = first.clone()
    second = model.extend(text[:42], rows=1)
    assert torch.equal(first, kept) and not torch.equal(first, second)


@pytest.mark.parametrize("forward", ["transformers", "cuda_graphs"])
def test_a_tree_is_read_as_its_paths_are(forward: str) -> None:
    setup = tiny("float32", forward)
    text = text_of(setup, 40)
    tree = Tree()
    branches = Branches(tree)
    for branch in (text[3:6], text[7:9]):
        branches.add(branch)
    nodes = [ROOT, *range(len(tree))]
    model = setup.load_target()
    model.extend(text[:30], rows=1)
    at_once = model.extend_tree(text, tree, nodes)
    model.rollback(len(text))
    rows = []
    for node in nodes:
        model.rollback(len(text) - 1)
        rows.append(model.extend([*text, *tree.path(node)], rows=1))
    torch.testing.assert_close(at_once, torch.cat(rows), **CLOSE)


@contextlib.contextmanager
def drafting(setup: Setup, sampler: Sampler) -> Iterator[Drafter]:
    drafter = Drafter(setup.load_draft, sampler, setup.processes.draft)
    with contextlib.closing(drafter):
        drafter.wait_ready()
        yield drafter


def test_the_draft_process_drafts_on_the_same_card_what_the_model_does_here() -> None:
    """Tokens, the chances they were drawn with, and a row of chances that crosses as a whole."""
    setup = tiny("float32")
    text = text_of(setup, 40)
    sampler = Temperature(temperature=1.0)
    here = setup.load_draft()
    proposer = sampler.proposer(7, len(text))
    tokens, chances = list(text), []
    for _ in range(6):
        token, chance = proposer.propose(here.extend(tokens, rows=1), len(tokens))
        tokens.append(token)
        chances.append(chance)
    with drafting(setup, sampler) as drafter:
        drafter.begin(7, len(text))
        drafter.request(0, text, 6)
        proposal = drafter.collect()
        row = drafter.row(len(text) + 5)
        # Another text, from a point before what was drafted.
        drafter.request(len(text) - 10, text[-10:], 0)
        drafter.collect()
    assert proposal.draft.tokens == tokens[len(text) :]
    assert proposal.draft.chances == pytest.approx(chances, rel=1e-4)
    expected = proposer.row(len(text) + 5).cpu()
    torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-6)
    if torch.cuda.is_available():
        assert here.device.type == "cuda"


@dataclass
class Decoded:
    """What a decoder and the target alone made of the same prompts."""

    ours: list[Generation]
    alone: list[Generation]
    verdicts: list[str]


def decode(decoder: Decoder, dtype: str, forward: str, **runtime: Any) -> Decoded:
    setup = tiny(dtype, forward, **runtime)
    prompts = prompts_of(setup, 3)
    sampler = Greedy()
    target = setup.load_target()
    made: list[list[Generation]] = []
    for one in (decoder, Autoregressive()):
        session = one.start(setup.models(target), sampler)
        try:
            stop = setup.pair.stop_ids
            made.append([session.decode(prompt, _TOKENS, stop) for prompt in prompts])
        finally:
            session.stop()
    checker = EquivalenceChecker(target)
    verdicts = [
        checker.compare(
            prompt,
            mine.output_ids,
            other.output_ids,
            _TOKENS,
            setup.pair.stop_ids,
            sampler.verifier(0, len(prompt)),
            mine.events,
        )
        for prompt, mine, other in zip(prompts, *made, strict=True)
    ]
    return Decoded(*made, [verdict.kind for verdict in verdicts])


@pytest.mark.parametrize(
    ("decoder", "forward"),
    [(Pearl(6), "cuda_graphs"), (PearlAsync(), "cuda_graphs"), (Pearl(6), "transformers")],
    ids=["pearl", "pearl_async", "pearl by transformers' layers"],
)
def test_outputs_are_identical_in_float32(decoder: Decoder, forward: str) -> None:
    done = decode(decoder, "float32", forward)
    assert done.verdicts == ["identical"] * 3
    judged = sum(one.judged for made in done.ours for one in made.rounds)
    accepted = sum(one.accepted for made in done.ours for one in made.rounds)
    assert 0 < accepted <= judged
    # What is timed is in the time of its prompt.
    for made in done.ours:
        assert 0 < sum(one.target_seconds for one in made.rounds) <= made.seconds


@pytest.mark.parametrize(
    ("decoder", "forward"),
    [(Speculative(6), "transformers"), (Pearl(6), "cuda_graphs")],
    ids=["speculative", "pearl"],
)
def test_verdicts_in_bfloat16(decoder: Decoder, forward: str) -> None:
    verdicts = decode(decoder, "bfloat16", forward).verdicts
    assert set(verdicts) <= {"identical", "tie"}


def test_fixed_window_gives_the_same_bits_in_bfloat16() -> None:
    setup = tiny("bfloat16", "transformers", fixed_window=True)
    text = text_of(setup, 45)
    model = setup.load_target()
    at_once = model.extend(text, rows=20)
    model.rollback(0)
    model.extend(text[:26], rows=1)
    singly = [model.extend(text[:end], rows=1) for end in range(27, 46)]
    model.rollback(31)
    in_blocks = [model.extend(text[:end], rows=7) for end in (38, 45)]
    assert torch.equal(at_once[1:], torch.cat(singly))
    assert torch.equal(at_once[6:], torch.cat(in_blocks))
    done = decode(Pearl(6), "bfloat16", "transformers", fixed_window=True)
    assert [one.output_ids for one in done.ours] == [one.output_ids for one in done.alone]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_models_have_a_card_each() -> None:
    """And graphs are recorded on the card of each, also of both models in one process."""
    setup = tiny("float32", "cuda_graphs")
    assert (setup.devices.target, setup.devices.draft) == (("cuda:1",), ("cuda:0",))
    for decoder in (Pearl(6), Speculative(6)):
        assert decode(decoder, "float32", "cuda_graphs").verdicts == ["identical"] * 3
