"""Forwards made again, and held against higher precision: how far rounding takes logits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from decoders.model.cached_model import CachedModel
from decoders.model.reading import Event, Kept, Reading
from decoders.model.routing import Routers, Routing
from decoders.model.tree import ROOT

#: Tokens that are read in one forward, which bounds the memory of a check.
CHUNK = 256
#: What rounding may do to the difference of two logits, in units of the dtype's epsilon times the
#: spread of the logits. For the narrow types products are summed in float32, so that only what is
#: stored is rounded; in float32 the sums are, too. docs/validity.md has what was seen.
EXPLAINED = {torch.float32: 1024.0, torch.bfloat16: 32.0, torch.float16: 32.0}


#: Makes of the scores of a router, by its number, those that it is to choose by.
Disturbed = Callable[[int, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Logits:
    """What forwards gave for the tokens of an output.

    ``rows`` are ``[output tokens, vocab]``. ``routing`` is that of the whole text, as of when each
    of its tokens was last read. ``missing`` are the output tokens, from 0, for which no forward had
    read just the text before them; their rows are zero.
    """

    rows: torch.Tensor
    routing: Routing = field(default_factory=Routing)
    missing: Sequence[int] = ()


def replayed(target: CachedModel, events: Sequence[Event], text: list[int], begin: int) -> Logits:
    """The forwards that a decoder made, made again in the same shapes over the same tokens.

    The output begins at position ``begin`` of ``text``. A forward's logits count for one of its
    tokens if they came after just the tokens that the text has before it; where several forwards'
    do, the last one's.
    """
    if any(isinstance(event, Reading) and event.by_library for event in events):
        target = target.as_library()
    found: dict[int, torch.Tensor] = {}
    routing = Routing()
    content: list[int] = []
    for event in events:
        if isinstance(event, Kept):
            path = [content[event.length + node] for node in event.nodes]
            content = content[: event.length] + path
            target.keep(event.length, event.nodes)
            routing.keep(event.length, event.nodes)
            continue
        target.rollback(event.start)
        content = content[: event.start] + list(event.tokens)
        if isinstance(event, Reading):
            with _noted(routing, target, len(event.tokens)):
                logits = target.extend(content, event.rows)
            before = [content[: len(content) - i] for i in reversed(range(event.rows))]
        else:
            tree = event.tree
            with _noted(routing, target, len(event.tokens) + len(tree)):
                logits = target.extend_tree(content, tree, event.nodes)
            before = [content + ([] if n == ROOT else tree.path(n)) for n in event.nodes]
            content = content + tree.tokens
        for row, read in zip(logits, before, strict=True):
            if begin <= len(read) < len(text) and read == text[: len(read)]:
                found[len(read) - begin] = row
    count = len(text) - begin
    nothing = torch.zeros(target.vocab_size, dtype=target.model.dtype, device=target.device)
    rows = torch.stack([found.get(index, nothing) for index in range(count)])
    return Logits(rows, routing, [index for index in range(count) if index not in found])


def stepwise(target: CachedModel, text: list[int], begin: int, size: int) -> Logits:
    """The output read ``size`` tokens at a time, and what is before it at once."""
    rows: list[torch.Tensor] = []
    routing = Routing()
    target.rollback(0)
    last = len(text) - 1
    for end in [begin, *range(begin + size, last, size), last]:
        unseen = end - target.length
        if unseen:
            with _noted(routing, target, unseen):
                rows.append(target.extend(text[:end], unseen if rows else 1))
    return Logits(torch.cat(rows), routing)


def exact(target: CachedModel, text: list[int], begin: int, routing: Routing) -> Logits:
    """The output read in higher precision, where its experts were chosen by ``routing``."""
    return _precise(target, text, begin, routing)


def with_router_errors(
    target: CachedModel, text: list[int], begin: int, sizes: Sequence[float], seed: int
) -> Logits:
    """The output read in higher precision, but that routers choose by scores that are off.

    By random errors with standard deviations of ``sizes``, one for each router.
    """
    chance = torch.Generator(device=target.device).manual_seed(seed)

    def disturbed(router: int, scores: torch.Tensor) -> torch.Tensor:
        off = torch.empty_like(scores).normal_(generator=chance)
        return scores + sizes[router] * off

    return _precise(target, text, begin, Routing(), disturbed)


def _precise(
    target: CachedModel,
    text: list[int],
    begin: int,
    routing: Routing,
    disturbed: Disturbed | None = None,
) -> Logits:
    wide = target.in_higher_precision()
    rows: list[torch.Tensor] = []
    own = Routing()
    for start in range(0, len(text) - 1, CHUNK):
        end = min(start + CHUNK, len(text) - 1)
        with _noted(own, wide, end - start, routing.between(start, end), disturbed):
            logits = wide.extend(text[:end], end - start)
        rows.append(logits[max(0, begin - 1 - start) :])
    return Logits(torch.cat(rows), own)


@contextlib.contextmanager
def _noted(
    routing: Routing,
    model: CachedModel,
    tokens: int,
    imposed: Sequence[torch.Tensor] = (),
    disturbed: Disturbed | None = None,
) -> Iterator[None]:
    """Note in ``routing`` what is chosen by the forward in the body, which reads ``tokens``."""
    if not model.one_forward:
        yield
        return
    start = model.length
    with Routers(model.model, tokens, imposed, disturbed) as routers:
        yield
    routing.add(start, routers)


def errors(run: Logits, precise: Logits) -> torch.Tensor:
    """Root mean square error of the logits of each token, ``[output tokens]``.

    What is added to all logits of a token alike changes no choice, and does not count.
    """
    return _spread(run.rows.to(precise.rows.dtype) - precise.rows)


def explained(precise: Logits, dtype: torch.dtype) -> torch.Tensor:
    """How far rounding in ``dtype`` may move two logits of each token apart, ``[output tokens]``.

    It depends on the dtype and the spread of the logits alone, on no forward in that dtype.
    """
    return EXPLAINED[dtype] * torch.finfo(dtype).eps * _spread(precise.rows)


def _spread(values: torch.Tensor) -> torch.Tensor:
    """Standard deviation of each row; what is not finite, of tokens a model lacks, is left out."""
    known = values.isfinite()
    count = known.sum(-1)
    finite = torch.where(known, values, 0)
    mean = finite.sum(-1, keepdim=True) / count[:, None]
    return (torch.where(known, finite - mean, 0).square().sum(-1) / count).sqrt()


@dataclass(frozen=True)
class RouterTie:
    """A token for which a router chose other experts than in higher precision.

    ``position`` is the token's in the text, the prompt's included. ``gap`` is how much higher the
    best expert that was left out scores than the worst that was chosen, and ``tolerance`` how far
    rounding may take that.
    """

    router: str
    position: int
    gap: float
    tolerance: float


def squared_errors(scores: torch.Tensor, precise: torch.Tensor) -> torch.Tensor:
    """Mean square error of a router's scores, ``[tokens of both]``.

    Both are ``[tokens, groups, experts]``. What is not finite, of experts that can't be chosen, is
    no error.
    """
    wrong = scores[: len(precise)].to(precise.dtype) - precise
    return wrong.masked_fill(~wrong.isfinite(), 0).square().flatten(1).mean(-1)


def router_ties(
    chosen: Routing, precise: Routing, single: Routing, precise_single: Routing, factor: float
) -> list[RouterTie]:
    """Where routers chose otherwise than in higher precision, the least excusable first.

    Parameters
    ----------
    chosen, precise
        What the forwards in question chose, and the scores in higher precision where that was
        imposed.
    single, precise_single
        The same of forwards of single tokens, which the tolerance is measured with.
    factor
        How many times those forwards' error is allowed: the typical one, or the one in this place.
    """
    found: list[RouterTie] = []
    for index, router in enumerate(precise.routers):
        scores = precise.scores[index]
        # The last token of a text is read in some forwards and not in others.
        tokens = len(scores)
        experts = chosen.chosen[index][:tokens]
        own = torch.ones_like(scores, dtype=torch.bool).scatter_(-1, experts, False)
        left_out = scores.masked_fill(~own, -torch.inf).amax(-1)
        gaps = (left_out - scores.gather(-1, experts).amin(-1)).amax(-1)
        squares = squared_errors(single.scores[index], precise_single.scores[index])
        allowed = factor * torch.maximum(squares, squares.mean()).sqrt()
        found += [
            RouterTie(router, place, float(gaps[place]), float(allowed[place]))
            for place in (gaps > 0).nonzero()[:, 0].tolist()
        ]
    return sorted(found, key=lambda tie: tie.gap / max(tie.tolerance, 1e-300), reverse=True)
