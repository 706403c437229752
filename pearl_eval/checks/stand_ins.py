"""Ways of reading a text that stand in for forwards that are not known, and what they allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from decoders.model.cached_model import CachedModel
from pearl_eval.checks.rounding import (
    CHUNK,
    Logits,
    errors,
    exact,
    explained,
    squared_errors,
    stepwise,
    with_router_errors,
)

#: How many times as much as single tokens a decoder's forwards may err on average. (Seen: 0.9 to
#: 1.1 where nothing is wrong, 3.8 and more with rotary positions off by one.)
_FORWARD_LIMIT = 3.0
#: In how many tokens at a time a text is read where a decoder's own forwards are not known; of a
#: mixture, and of a dense model.
_STAND_INS = (CHUNK, 8, 4, 2, 1)
_DENSE_STAND_INS = (CHUNK, 1)
#: How often experts are drawn that an engine may have chosen.
_DRAWS = 24
#: How many times the error that is measured is allowed, unless a run says otherwise.
FACTOR = 10.0


@dataclass(frozen=True)
class StandIn:
    """A way of reading a text, where it is not known how that was read: what it gives, and what
    higher precision gives by the same experts."""

    run: Logits
    precise: Logits

    @cached_property
    def errors(self) -> torch.Tensor:
        """Those of its logits, ``[output tokens]``."""
        return errors(self.run, self.precise)


def stand_ins(target: CachedModel, text: list[int], begin: int) -> list[StandIn]:
    """Ways of reading a text whose output begins at ``begin``.

    Of a mixture of experts there are more than of a dense model, since how many tokens are read in
    a forward may change which experts are chosen.
    """
    many = stepwise(target, text, begin, CHUNK)
    found = [StandIn(many, exact(target, text, begin, many.routing))]
    for size in (_STAND_INS if many.routing else _DENSE_STAND_INS)[1:]:
        run = stepwise(target, text, begin, size)
        precise = exact(target, text, begin, run.routing) if run.routing else found[0].precise
        found.append(StandIn(run, precise))
    return found


def other_experts(
    target: CachedModel, text: list[int], begin: int, known: StandIn
) -> Iterator[Logits]:
    """What a text gives in higher precision by other experts that rounding may make routers choose.

    They are drawn: routers choose by scores that are off by as much as those of a ``known`` way of
    reading the text. None of a dense model.
    """
    if known.run.routing:
        both = zip(known.run.routing.scores, known.precise.routing.scores, strict=True)
        sizes = [float(squared_errors(*scores).mean().sqrt()) for scores in both]
        for seed in range(_DRAWS):
            yield with_router_errors(target, text, begin, sizes, seed)


def allowed_unknown(
    found: Sequence[StandIn], dtype: torch.dtype, factor: float = FACTOR
) -> torch.Tensor:
    """How far two logits may be off by rounding in forwards that are not known, ``[tokens]``.

    What rounding explains of any model; or, where this one makes more of it in that place (some
    texts have tokens that it does), ``factor`` times the error that is seen there. The latter only
    if forwards of several tokens and of single ones err alike, by no more than rounding explains:
    else what is seen is not rounding alone (:func:`uneven`).
    """
    by_rounding = explained(found[0].precise, dtype)
    if uneven(found, dtype):
        return by_rounding
    in_place = torch.stack([one.errors for one in found]).amax(0)
    return torch.maximum(by_rounding, factor * in_place)


def uneven(found: Sequence[StandIn], dtype: torch.dtype) -> str:
    """What is wrong with the target's forwards, the first of which read many tokens at once and the
    last of which single ones; empty where rounding accounts for all."""
    *several, single = (one.errors for one in found)
    worst = max(several, key=lambda one: float(one.mean()), default=single)
    return average_fault(worst, single, explained(found[-1].precise, dtype))


def average_fault(several: torch.Tensor, single: torch.Tensor, by_rounding: torch.Tensor) -> str:
    """What the errors of forwards of several tokens and of single ones say is wrong.

    All are ``[tokens]``; ``by_rounding`` is what rounding explains of the latter.
    """
    many, one, most = (float(part.mean()) for part in (several, single, by_rounding))
    # There is no average over a single token.
    limit = _FORWARD_LIMIT if len(several) > 1 else FACTOR
    if one > most:
        return f"single tokens err by {one:.2g} logits, rounding explains {most:.2g}"
    if not one / limit <= many <= one * limit:
        return (
            f"forwards of several tokens err by {many:.2g} logits on average,"
            f" those of single tokens by {one:.2g} (factor allowed: {limit:g})"
        )
    return ""
