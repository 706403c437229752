"""What a decoder is given: the pair's target, and how its draft model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from decoders.model.cached_model import CachedModel
from decoders.process.placement import Placement
from decoders.process.worker import WorkerOptions

CPU = "cpu"


@dataclass(frozen=True)
class End:
    """One end of what the target is spread over, where a copy of the draft model can share.

    ``load_draft`` loads one on the device there; ``draft_process`` binds its process to the cores
    there, which are the target's while it computes at this end.
    """

    load_draft: Callable[[], CachedModel]
    draft_process: WorkerOptions


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's weights are: a folder or a hub id, and of that a revision."""

    location: str
    revision: str | None = None


def _nowhere(role: str) -> AbstractContextManager[Checkpoint]:
    raise ValueError(f"the {role} model has no weights on disk")


def _no_text(text: str) -> list[int]:
    raise ValueError("the pair has no tokenizer")


@dataclass(frozen=True)
class Models:
    """The pair as a decoder gets it.

    ``load_draft`` loads the draft model where it is called; it can be pickled, so that a decoder
    may have its draft model in another process. ``draft_process`` says how that process runs.
    ``ends`` is where the draft model shares what the target computes on: the first end of the
    target and its last, or one where that is the same. ``checkpoint`` has a model by its role on
    disk while the body of a ``with`` runs, for an engine that loads it itself; ``target_process``
    is where the target computes. ``engine`` names the GPUs of such an engine, none of which need be
    the target's here, and ``draft_device`` the draft model's device.
    ``encode`` gives the tokens of a text, for a decoder that reads one. ``tokenizers`` are the
    target's and the draft model's, where they differ.
    """

    target: CachedModel
    load_draft: Callable[[], CachedModel]
    draft_process: WorkerOptions
    ends: tuple[End, ...] = ()
    checkpoint: Callable[[str], AbstractContextManager[Checkpoint]] = _nowhere
    target_process: Placement = field(default_factory=Placement)
    engine: tuple[str, ...] = ()
    draft_device: str = CPU
    encode: Callable[[str], list[int]] = _no_text
    tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase] | None = None
