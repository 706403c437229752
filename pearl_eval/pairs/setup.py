"""A model pair and where it runs: what every command sets up first."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig

from decoders.model.cached_model import CachedModel
from decoders.model.fixed_window import FixedWindowModel
from decoders.process.models import Checkpoint, End, Models
from pearl_eval.config.building import build
from pearl_eval.config.schema import ForwardKind, RuntimeConfig
from pearl_eval.errors import UserError
from pearl_eval.machine import environment
from pearl_eval.machine.devices import Devices, engine_devices
from pearl_eval.machine.placement import Processes
from pearl_eval.pairs.pair import Pair, PairSource
from pearl_eval.sizes.memory import check_fits, model_bytes


@dataclass(frozen=True)
class Places:
    """The devices of the two models, and the processes that run them.

    ``engine``: GPUs of an engine that computes the target in processes of its own.
    """

    devices: Devices
    processes: Processes
    engine: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """A pair, found and checked but not loaded, its devices and the processes that run it.

    ``engine``: see :class:`Places`; ``engine_gpus``: how many GPUs it needs.
    """

    source: PairSource
    pair: Pair
    devices: Devices
    processes: Processes
    runtime: RuntimeConfig
    uses_draft: bool = True
    engine: tuple[str, ...] = ()
    engine_gpus: int = 0
    apart: bool = False

    @classmethod
    def make(
        cls, pair: DictConfig, runtime: RuntimeConfig, uses_draft: bool, apart: bool = False
    ) -> Setup:
        """Find and place a pair. Raises :class:`UserError` for whatever can't work.

        ``apart``: the draft model has a vocabulary of its own.
        """
        source = build("pair", pair, PairSource)
        devices = source.choose_devices(runtime)
        processes = Processes.choose(runtime, devices.all_cpu)
        opened = _opened(source, devices, uses_draft, apart)
        if runtime.fixed_window and opened.synthetic:
            raise UserError(
                "runtime.fixed_window=true: a synthetic pair makes its tokens up, so there is no"
                " arithmetic to keep the same; take another pair"
            )
        return cls(source, opened, devices, processes, runtime, uses_draft, apart=apart)

    @property
    def places(self) -> Places:
        return Places(self.devices, self.processes, self.engine)

    def with_engine(self, gpus: int) -> Setup:
        """The same pair for an engine that needs so many GPUs. UserError where there are fewer."""
        engine = engine_devices(self.devices, gpus, self.runtime.gpus)
        return replace(self, engine=engine, engine_gpus=gpus)

    def places_in(self, runtime: RuntimeConfig) -> Places:
        """Where the pair would go by another runtime."""
        devices = self.source.choose_devices(runtime)
        engine = engine_devices(devices, self.engine_gpus, runtime.gpus)
        return Places(devices, Processes.choose(runtime, devices.all_cpu), engine)

    def moved(self, places: Places) -> Setup:
        """The same pair in other places."""
        devices, pair = places.devices, self.pair
        if devices != self.devices:
            pair = _opened(self.source, devices, self.uses_draft, self.apart)
        return replace(
            self, pair=pair, devices=devices, processes=places.processes, engine=places.engine
        )

    def load_target(self) -> CachedModel:
        """The target model, loaded as the runtime asks for it."""
        target = self.pair.load_target()
        if self.runtime.fixed_window:
            target = FixedWindowModel(target.model, target.vocab_size)
        return _with_forward(target, self.runtime.forward)

    @property
    def load_draft(self) -> Callable[..., CachedModel]:
        """Loads the draft model likewise, in whatever process and on whatever devices."""
        return partial(_load, self.pair.load_draft, self.runtime.forward)

    def models(self, target: CachedModel) -> Models:
        """The pair as a decoder gets it, its target loaded."""
        own = self.pair.draft_tokenizer
        return Models(
            target,
            self.load_draft,
            self.processes.draft,
            self._ends(),
            self.checkpoint,
            self.processes.target,
            self.engine,
            self.devices.draft[0],
            self._encode,
            None if own is None else (self.pair.tokenizer, own),
        )

    def _encode(self, text: str) -> list[int]:
        return self.pair.encode(text, name="decoder.corpus")

    @contextlib.contextmanager
    def checkpoint(self, role: str) -> Iterator[Checkpoint]:
        """A model on disk, while the body of a ``with`` runs: what is made up is saved for it."""
        if role in self.pair.checkpoints:
            yield self.pair.checkpoints[role]
            return
        if self.pair.synthetic:
            raise UserError(
                "a synthetic pair makes its tokens up, so no engine but ours can decode it; take"
                " another pair"
            )
        load = self.pair.load_target if role == "target" else self.pair.load_draft
        with tempfile.TemporaryDirectory(prefix="pearl-eval-") as folder:
            load().model.save_pretrained(folder)
            self.pair.tokenizer.save_pretrained(folder)
            yield Checkpoint(folder)

    def _ends(self) -> tuple[End, ...]:
        load = self.load_draft
        if self.devices.all_cpu:
            return tuple(End(load, options) for options in self.processes.at_ends())
        first, last = self.devices.target[0], self.devices.target[-1]
        return tuple(
            End(partial(load, devices=(device,)), self.processes.draft)
            for device in dict.fromkeys((first, last))
        )

    def describe(self) -> dict[str, Any]:
        """The ``environment`` of what a command writes."""
        return environment.describe(self.source.dtype, self.devices, self.processes)


def _opened(source: PairSource, devices: Devices, uses_draft: bool, apart: bool) -> Pair:
    """The pair, if the models that are used fit the memory of their devices."""
    pair = source.open_apart(devices) if apart else source.open(devices, uses_draft)
    dtype = getattr(torch, source.dtype.value)
    where = {"target": devices.target} | ({"draft": devices.draft} if uses_draft else {})
    check_fits(
        {
            role: (where[role], model_bytes(size, dtype))
            for role, size in pair.sizes.items()
            if role in where
        }
    )
    return pair


def _load(load: Callable[..., CachedModel], forward: ForwardKind, **where: Any) -> CachedModel:
    return _with_forward(load(**where), forward)


def _with_forward(model: CachedModel, forward: ForwardKind) -> CachedModel:
    if forward is ForwardKind.transformers or (
        forward is ForwardKind.auto and model.device.type != "cpu"
    ):
        return model
    try:
        model.fuse(static=forward is ForwardKind.cuda_graphs)
    except ValueError as error:
        if forward is not ForwardKind.auto:
            raise UserError(
                f"runtime.forward={forward.value}: {error}; choose runtime=eager for this pair"
            ) from error
    return model
