"""How far rounding takes logits, by cases whose right values are worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_pair import make_mixture, make_model
from torch import tensor
from transformers import DynamicCache

from decoders.model.cached_model import CachedModel
from decoders.model.reading import Event, Kept, Reading, TreeReading
from decoders.model.routing import Routers, Routing
from decoders.model.tree import ROOT, Tree
from pearl_eval.checks.rounding import (
    Logits,
    errors,
    exact,
    explained,
    replayed,
    router_ties,
    stepwise,
    with_router_errors,
)

TEXT = [20, 21, 22, 23, 24, 25, 26, 27]


@pytest.fixture(scope="module")
def model() -> CachedModel:
    return CachedModel(make_model(300, layers=2, seed=1))


def test_an_error_common_to_all_logits_of_a_token_does_not_count() -> None:
    precise = Logits(tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    run = Logits(tensor([[2.0, 3.0, 7.0], [3.0, 0.0, 0.0]]))
    # Second token: differences 3, 0, 0, less their mean 1: 2, -1, -1; mean square 6 / 3.
    assert errors(run, precise).tolist() == pytest.approx([0.0, math.sqrt(2)])


def test_tokens_that_a_model_does_not_know_do_not_count() -> None:
    unknown = -math.inf
    precise = Logits(tensor([[1.0, 2.0, unknown]]))
    run = Logits(tensor([[1.0, 4.0, unknown]]))
    # Differences 0, 2, less their mean 1.
    assert errors(run, precise).tolist() == pytest.approx([1.0])
    # Spread of 1 and 2 around 1.5: 0.5.
    eps = 2.0**-7
    assert explained(precise, torch.bfloat16).tolist() == pytest.approx([32 * eps * 0.5])


@pytest.mark.parametrize(
    ("dtype", "factor"),
    [(torch.bfloat16, 2.0**-2), (torch.float16, 2.0**-5), (torch.float32, 2.0**-13)],
)
def test_what_rounding_explains_depends_on_the_dtype_and_the_spread(
    dtype: torch.dtype, factor: float
) -> None:
    # Spreads: of -3 and 3 it is 3, of 5 and 7 it is 1.
    precise = Logits(tensor([[-3.0, 3.0], [5.0, 7.0]]))
    assert explained(precise, dtype).tolist() == pytest.approx([3 * factor, factor])


def test_a_text_in_steps_and_in_higher_precision_is_predicted_token_by_token(
    model: CachedModel,
) -> None:
    rows = CachedModel(model.model).extend(TEXT, len(TEXT))
    for size in (1, 2, 3, 100):
        found = stepwise(model, TEXT, 3, size)
        torch.testing.assert_close(found.rows, rows[2:-1], rtol=1e-4, atol=1e-4)
    wide = exact(model, TEXT, 3, Routing())
    assert wide.rows.dtype == torch.float64
    torch.testing.assert_close(wide.rows.float(), rows[2:-1], rtol=1e-4, atol=1e-4)


class Wide:
    """A model in higher precision, whose logits say after how many tokens they come."""

    one_forward = False

    def __init__(self) -> None:
        self.length = 0

    def in_higher_precision(self) -> Wide:
        return self

    def extend(self, tokens: list[int], rows: int) -> torch.Tensor:
        assert 0 < rows == len(tokens) - self.length <= 256
        self.length = len(tokens)
        return torch.arange(len(tokens) - rows + 1, len(tokens) + 1)[:, None]


@pytest.mark.parametrize("length", [2, 256, 257, 258, 513, 514, 800])
@pytest.mark.parametrize("begin", [1, 2, 3, 255, 256, 257, 258, 513, 700])
def test_long_texts_are_read_in_pieces(length: int, begin: int) -> None:
    """Each of an output's tokens has the logits after the text before it, and its experts."""
    if begin >= length:
        return
    asked: list[tuple[int, int]] = []
    imposed: Any = SimpleNamespace(between=lambda start, end: asked.append((start, end)))
    wide: Any = Wide()
    rows = exact(wide, [0] * length, begin, imposed).rows
    assert rows[:, 0].tolist() == list(range(begin, length))
    ends = [*range(256, length - 1, 256), length - 1]
    assert asked == list(zip([0, *ends], ends, strict=False))


def test_what_was_read_is_read_again_and_only_what_had_the_right_text_counts(
    model: CachedModel,
) -> None:
    model.rollback(0)
    first = model.extend(TEXT[:3], 1)
    block = model.extend([*TEXT[:5], 99], 3)
    model.rollback(5)
    again = model.extend([*TEXT[:6]], 1)
    events = list(model.events)
    assert events == [Reading(0, TEXT[:3], 1), Reading(3, [23, 24, 99], 3), Reading(5, [25], 1)]
    found = replayed(model, events, TEXT[:7], 3)
    # The row after 99 says nothing of this text.
    assert torch.equal(found.rows, torch.cat([first, block[:2], again]))
    assert found.missing == []
    lacking = replayed(model, events[:2], TEXT[:7], 3)
    assert lacking.missing == [3]
    assert not lacking.rows[3].any()


def test_what_transformers_read_is_read_again_as_it_reads() -> None:
    """Not by forwards in fewer operations, which may round otherwise."""
    fused = CachedModel(make_model(300, layers=2, seed=1).to(torch.bfloat16))
    fused.fuse()
    cache = DynamicCache()
    rows = []
    with torch.inference_mode():
        for start, end in ((0, 3), (3, 6)):
            ids = torch.tensor([TEXT[start:end]])
            rows.append(fused.model(ids, past_key_values=cache).logits[0])
    events = [Reading(0, TEXT[:3], 1, by_library=True), Reading(3, TEXT[3:6], 3, by_library=True)]
    found = replayed(fused, events, TEXT[:7], 3)
    assert torch.equal(found.rows, torch.cat([rows[0][-1:], rows[1]]))
    assert fused.length == 0 and fused.events == []


@pytest.mark.parametrize("mixture", [False, True])
def test_trees_are_read_again(model: CachedModel, mixture: bool) -> None:
    if mixture:
        model = CachedModel(make_mixture(dtype=torch.float32))
    tree = Tree()
    left = tree.add(90)
    right = tree.add(TEXT[3])
    below = tree.add(TEXT[4], right)
    model.rollback(0)
    rows = model.extend_tree(TEXT[:3], tree, [ROOT, left, right, below])
    model.keep(3, [right, below])
    last = model.extend([*TEXT[:6]], 1)
    events: list[Event] = list(model.events)
    assert isinstance(events[0], TreeReading) and events[1] == Kept(3, [right, below])
    found = replayed(model, events, TEXT[:7], 3)
    assert torch.equal(found.rows, torch.cat([rows[[0, 2, 3]], last]))
    assert found.missing == []
    # Three tokens of the text, the two that were kept of the tree, and one more.
    assert [len(one) for one in found.routing.chosen] == [6, 6, 6] * mixture


def test_a_new_text_begins_a_new_list(model: CachedModel) -> None:
    model.rollback(0)
    model.extend([1, 2], 1)
    before = model.events
    model.rollback(0)
    assert model.events == [] and before == [Reading(0, [1, 2], 1)]


def routing(names: list[str], scores: list[torch.Tensor], chosen: list[torch.Tensor]) -> Routing:
    made = Routing()
    made.routers, made.scores, made.chosen = names, scores, chosen
    return made


def test_ties_of_routers() -> None:
    """Two routers, three tokens, four experts of which two are chosen."""
    precise = [
        tensor([[[0.4, 0.3, 0.2, 0.1]], [[0.4, 0.25, 0.24, 0.11]], [[0.1, 0.2, 0.3, 0.4]]]),
        tensor([[[0.4, 0.3, 0.2, 0.1]]] * 3),
    ]
    chosen = [tensor([[[1, 0]], [[0, 2]], [[3, 2]]]), tensor([[[0, 1]], [[0, 1]], [[0, 3]]])]
    # The first router's single tokens err by 0.02, 0, 0: root mean square over all 0.02 / √3.
    single = [precise[0].clone(), precise[1] + 0.03]
    single[0][0] += 0.02
    found = router_ties(
        routing(["a", "b"], precise, chosen),
        routing(["a", "b"], precise, chosen),
        routing(["a", "b"], single, chosen),
        routing(["a", "b"], precise, chosen),
        factor=10.0,
    )
    # Where the same two were chosen, in whatever order, there is no tie. Router a, token 1: expert
    # 2 (0.24) for 1 (0.25). Router b, token 2: expert 3 (0.1) for 1 (0.3).
    assert [(tie.router, tie.position) for tie in found] == [("b", 2), ("a", 1)]
    assert [tie.gap for tie in found] == pytest.approx([0.2, 0.01])
    assert [tie.tolerance for tie in found] == pytest.approx([0.3, 0.2 / math.sqrt(3)])


@pytest.mark.parametrize(("factor", "order"), [(2.0, [0, 1]), (0.0, [1, 0])])
def test_ties_of_a_router_that_chooses_twice_for_a_token(factor: float, order: list[int]) -> None:
    """Two tokens, of which one expert of three is chosen twice each. For the first the choices are
    0.05 and 0.5 below the best, for the second 0.3 and 0.6.

    Single tokens err by 0.06 at one of six scores of the second: its mean square is 0.0006, and
    0.0003 over both. So the first tie is the farther one from what is allowed, unless nothing is.
    A token more was read than in higher precision.
    """
    scores = tensor([[[0.1, 0.15, 0.0], [0.8, 0.3, 0.2]], [[0.2, 0.7, 0.4], [0.9, 0.1, 0.3]]])
    off = torch.zeros(3, 2, 3)
    off[1, 1, 0] = 0.06
    longer = torch.cat([scores, torch.full((1, 2, 3), 9.0)])
    chosen = tensor([[[0], [1]], [[2], [2]], [[0], [0]]])
    precise = routing(["r"], [scores], [chosen[:2]])
    single = routing(["r"], [longer + off], [chosen])
    made = routing(["r"], [longer], [chosen])
    found = router_ties(made, precise, single, precise, factor)
    assert [tie.position for tie in found] == order
    by_place = {tie.position: (tie.gap, tie.tolerance) for tie in found}
    assert by_place[0] == pytest.approx((0.5, factor * math.sqrt(0.0003)), rel=1e-4)
    assert by_place[1] == pytest.approx((0.6, factor * math.sqrt(0.0006)), rel=1e-4)


def test_scores_of_experts_that_can_not_be_chosen_are_no_error() -> None:
    """Single tokens err by 0.02 at one of two experts, and where none has a score there is none."""
    none = -math.inf
    precise = [tensor([[[0.5, 0.25, none]]])]
    single = [tensor([[[0.5, 0.27, none]]])]
    chosen = [tensor([[[1]]])]
    made = routing(["r"], precise, chosen)
    (found,) = router_ties(made, made, routing(["r"], single, chosen), made, factor=3.0)
    assert found.gap == pytest.approx(0.25)
    # Root mean square over the three: 0.02 / √3.
    assert found.tolerance == pytest.approx(0.06 / math.sqrt(3), rel=1e-4)


def test_routers_are_recorded_and_imposed() -> None:
    mixture = CachedModel(make_mixture(dtype=torch.float32))
    with Routers(mixture.model, 4) as free:
        rows = mixture.extend(TEXT[:4], 1)
    assert free.routers == [f"model.layers.{i}.mlp.gate" for i in range(3)]
    assert [tuple(one.shape) for one in free.scores] == [(4, 1, 8)] * 3
    assert [tuple(one.shape) for one in free.chosen] == [(4, 1, 2)] * 3
    assert torch.equal(free.chosen[0], free.scores[0].topk(2).indices)
    mixture.rollback(0)
    with Routers(mixture.model, 4, free.chosen):
        assert torch.equal(mixture.extend(TEXT[:4], 1), rows)
    others = [(one + 1) % 8 for one in free.chosen]
    mixture.rollback(0)
    with Routers(mixture.model, 4, others) as imposed:
        changed = mixture.extend(TEXT[:4], 1)
    assert all(map(torch.equal, imposed.chosen, others))
    assert not torch.allclose(changed, rows, atol=1e-2)


def test_a_router_may_ask_for_the_largest_in_either_way() -> None:
    """Of three experts; what is asked otherwise is no choice, and nothing is one afterwards."""
    scores = tensor([[1.0, 3.0, 2.0]])
    with Routers(torch.nn.Linear(1, 1), 1) as found:
        torch.topk(scores, 2)
        scores.topk(1)
        scores.max(-1)
    torch.topk(scores, 3)
    assert [one.tolist() for one in found.chosen] == [[[[1, 2]]], [[[1]]]]
    assert [one.tolist() for one in found.scores] == [[scores.tolist()]] * 2


def test_routers_choose_by_scores_that_are_off() -> None:
    """What they choose is weighed by what it scores all the same."""
    mixture = CachedModel(make_mixture(dtype=torch.float32))
    text = [(7 * i) % 250 for i in range(40)]
    routing = stepwise(mixture, text, 10, 1).routing
    own = exact(mixture, text, 10, routing)
    count = len(routing.routers)
    alike = with_router_errors(mixture, text, 10, [0.0] * count, seed=1)
    torch.testing.assert_close(alike.rows, own.rows, rtol=0, atol=1e-9)
    assert all(map(torch.equal, alike.routing.chosen, own.routing.chosen))
    # Only the last router errs, so much that it chooses at random.
    sizes = [*[0.0] * (count - 1), 1e3]
    off = with_router_errors(mixture, text, 10, sizes, seed=1)
    same = [torch.equal(*both) for both in zip(off.routing.chosen, own.routing.chosen, strict=True)]
    assert same == [True] * (count - 1) + [False]
    imposed = exact(mixture, text, 10, off.routing)
    torch.testing.assert_close(off.rows, imposed.rows, rtol=0, atol=1e-9)
    again, other = (with_router_errors(mixture, text, 10, sizes, seed=seed) for seed in (1, 2))
    assert torch.equal(again.rows, off.rows) and not torch.equal(other.rows, off.rows)


def test_a_dense_model_has_no_routers(model: CachedModel) -> None:
    assert not stepwise(model, TEXT, 3, 1).routing
    mixture = CachedModel(make_mixture(dtype=torch.float32))
    found = stepwise(mixture, TEXT, 3, 2).routing
    # All but the last token are read.
    assert [len(one) for one in found.chosen] == [7, 7, 7]


def test_routing_follows_the_text() -> None:
    def forward(*experts: int) -> Routers:
        one = Routers(torch.nn.Module(), len(experts))
        one.routers = ["r"]
        one.scores = [tensor([[[float(e)]] for e in experts])]
        one.chosen = [tensor([[[e]] for e in experts])]
        return one

    made = Routing()
    made.add(0, forward(1, 2, 3))
    made.add(2, forward(4, 5, 6, 7))
    assert made.chosen[0].flatten().tolist() == [1, 2, 4, 5, 6, 7]
    assert made.scores[0].flatten().tolist() == [1.0, 2.0, 4.0, 5.0, 6.0, 7.0]
    made.keep(3, [0, 2])
    assert made.chosen[0].flatten().tolist() == [1, 2, 4, 5, 7]
    assert made.scores[0].flatten().tolist() == [1.0, 2.0, 4.0, 5.0, 7.0]
    assert made.between(1, 3)[0].flatten().tolist() == [2, 4]
