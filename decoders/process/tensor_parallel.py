"""A target that several processes compute together, each with a share of every layer.

The layers are divided by transformers' own plan for the model. Rank 0 is the process that decodes.
Before each of its forwards it tells the other ranks what to read after how much text; they read the
same beside it, and what they add up to comes out at rank 0. So whatever runs the model, a decoder's
:class:`CachedModel` or transformers' ``generate``, need not know of it.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, cast

import torch

from decoders.model.cache import RollbackCache
from decoders.model.cached_model import INITIAL_CAPACITY, CachedModel
from decoders.process.channel import Channel
from decoders.process.ranks import Ranks
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Sampler

# Messages to a rank: a forward, with its fields; of what lies beyond a position of the text, keep
# only some entries, see :meth:`RollbackCache.keep`.
_FORWARD = "forward"
_KEEP = "keep"


@dataclass(slots=True)
class ForwardMessage:
    """A message that tells a rank to read ``ids`` after the first ``seen`` tokens of the text.

    ``rows``: for how many of the last, or for which of them, logits are computed. ``wide``: in
    higher precision. ``positions`` and ``visible``, the bytes of ``[ids, ids]`` truth values, are
    given where the tokens do not just follow each other: see :meth:`CachedModel.branching`.
    """

    seen: int
    ids: list[int]
    rows: int | list[int]
    wide: bool
    positions: list[int] | None = None
    visible: bytes | None = None


class MirroredCache(RollbackCache):
    """Rank 0's cache, which tells the other ranks of changes that no forward tells them of."""

    def __init__(self, layers: int, capacity: int, ranks: Ranks) -> None:
        super().__init__(layers, capacity)
        self._ranks = ranks

    def keep(self, length: int, entries: Sequence[int]) -> None:
        self._ranks.send((_KEEP, length, list(entries)))
        super().keep(length, entries)


@contextlib.contextmanager
def led(
    load: Callable[[], CachedModel],
    options: Sequence[WorkerOptions],
    devices: tuple[str, ...],
) -> Iterator[CachedModel]:
    """A model over several ranks, of which this process is rank 0, while the body runs.

    Parameters
    ----------
    load
        Loads a rank's share of the model, in its process; must be picklable.
    options
        How the process of each rank from 1 on starts, where it runs, how long is waited for it.
    devices
        The device of each rank, 0 included.

    Raises
    ------
    WorkerError
        A rank failed, died or did not answer; also within the body, from the model's forwards.
    """
    ranks = Ranks(load, options, devices, follow)
    try:
        model = ranks.load()
        lead(model, ranks)
        yield model
    finally:
        ranks.close()


def lead(model: CachedModel, ranks: Ranks) -> None:
    """Let forwards of a model, whoever runs them, be those of all its ranks."""
    model.cache = MirroredCache(len(model.cache.layers), INITIAL_CAPACITY, ranks)
    model.memory_elsewhere = ranks.peak_memory_bytes
    model.one_forward = False
    forward = model.model.forward
    text_of: Callable[[], Any] = lambda: None  # noqa: E731

    @functools.wraps(forward)
    def mirrored(**arguments: Any) -> Any:
        nonlocal text_of
        cache = arguments.get("past_key_values")
        seen = cache.get_seq_length() if cache is not None else 0
        if seen and cache is not text_of():
            raise ValueError(
                "a model over several ranks has one text at a time; another must be read from its"
                " first token on"
            )
        text_of = weakref.ref(cache) if cache is not None else lambda: None
        ranks.send((_FORWARD, *astuple(_told(arguments, seen))))
        with ranks.explained():
            return forward(**arguments)

    cast(Any, model.model).forward = mirrored


def _told(arguments: dict[str, Any], seen: int) -> ForwardMessage:
    """What the other ranks need to know of a forward."""
    cache, rows = arguments.get("past_key_values"), arguments.get("logits_to_keep", 0)
    wide = isinstance(cache, RollbackCache) and cache.wide
    message = ForwardMessage(
        seen,
        arguments["input_ids"][0].tolist(),
        rows if isinstance(rows, int) else rows.tolist(),
        wide,
    )
    mask = arguments.get("attention_mask")
    masks: list[Any] = list(mask.values()) if isinstance(mask, dict) else [mask]
    # A mask of two dimensions says which tokens are padding, and none is here.
    if masks[0] is not None and masks[0].dim() == 4:
        message.positions = arguments["position_ids"][0].tolist()
        # What some layer sees: the ranks know what each kind of layer sees of that.
        visible = torch.stack([one[0, 0, :, seen:] == 0 for one in masks]).any(dim=0)
        message.visible = visible.cpu().numpy().tobytes()
    return message


@torch.inference_mode()
def follow(channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    """What a rank from 1 on does: the forwards that rank 0 tells it of, until that is gone."""
    wide = model
    while True:
        name, *fields = channel.receive()
        if name == _KEEP:
            model.cache.keep(*fields)
            continue
        told = ForwardMessage(*fields)
        if told.wide and not told.seen:
            wide = model.in_higher_precision()
        _read(wide if told.wide else model, told)


def _read(model: CachedModel, told: ForwardMessage) -> None:
    model.rollback(told.seen)
    rows = told.rows
    options: dict[str, Any] = {
        "logits_to_keep": rows if isinstance(rows, int) else torch.tensor(rows, device=model.device)
    }
    if told.visible is not None and told.positions is not None:
        count = len(told.ids)
        own = torch.frombuffer(bytearray(told.visible), dtype=torch.bool).view(count, count)
        visible = torch.cat([torch.ones(count, told.seen, dtype=torch.bool), own], dim=1)
        options |= model.branching(visible, told.positions)
    model.run(told.ids, **options)
