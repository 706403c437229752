"""What a decoder is given: the pair's target, and how its draft model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from decoders.model.cached_model import CachedModel
from decoders.process.worker import WorkerOptions


@dataclass(frozen=True)
class End:
    """One end of what the target is spread over, where a copy of the draft model can share.

    ``load_draft`` loads one on the device there; ``draft_process`` binds its process to the cores
    there, which are the target's while it computes at this end.
    """

    load_draft: Callable[[], CachedModel]
    draft_process: WorkerOptions


@dataclass(frozen=True)
class Models:
    """The pair as a decoder gets it.

    ``load_draft`` loads the draft model where it is called; it can be pickled, so that a decoder
    may have its draft model in another process. ``draft_process`` says how that process runs.
    ``ends`` is where the draft model shares what the target computes on: the first end of the
    target and its last, or one where that is the same.
    """

    target: CachedModel
    load_draft: Callable[[], CachedModel]
    draft_process: WorkerOptions
    ends: tuple[End, ...] = ()
