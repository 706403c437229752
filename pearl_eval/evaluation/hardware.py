"""What the decoders of a run compute on, and the reference on all of that.

By the paper's rule the reference has the target's devices alone, while PEARL's draft model has some
of its own beside. On equal hardware the reference has those, too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.overlap import Overlap
from decoders.process.models import Models
from decoders.process.placement import Placement
from decoders.sampling.sampler import Sampler
from decoders.session import Session
from pearl_eval.config.schema import ReferenceHardware
from pearl_eval.errors import UserError
from pearl_eval.machine.devices import Devices
from pearl_eval.machine.placement import placed
from pearl_eval.pairs.setup import Setup
from pearl_eval.results.about import OWN_ENGINE
from pearl_eval.sizes.memory import check_fits, model_bytes

#: Seconds after which threads that wait for work, on cores that others get, no longer spin.
_QUIET = 0.02


@dataclass(frozen=True)
class UsedDevices:
    """The devices that the reference and the decoder under test compute on.

    ``core 1`` or ``cuda:1``, the target's first; ``rule`` is what was asked for.
    """

    rule: ReferenceHardware
    reference: tuple[str, ...]
    decoder: tuple[str, ...]

    @classmethod
    def of(cls, setup: Setup, decoder: Decoder, rule: ReferenceHardware) -> UsedDevices:
        """Of a run. With the rule ``all`` a decoder that has a draft model uses what either model
        may: one that has both in one process has the cores of both."""
        devices, processes = setup.devices, setup.processes
        # An engine has the target on GPUs of its own choice.
        on = (setup.engine if decoder.engine_gpus else ()) or devices.target
        target = _named(on, processes.target, "target")
        draft = _named(devices.draft, processes.draft.placement, "draft")
        if decoder.draft_ends:
            # Copies of the draft model are where the target is; on CPUs the second end is a core
            # that the draft process would have.
            both = devices.all_cpu and decoder.draft_ends > 1 and len(processes.at_ends()) > 1
        else:
            apart = devices.draft != ("cpu",) or decoder.overlap is not Overlap.never
            both = decoder.uses_draft and (apart or rule is ReferenceHardware.all)
        return cls(rule, target, tuple(dict.fromkeys((*target, *(draft if both else ())))))

    def describe(self) -> dict[str, Any]:
        """The ``devices`` of ``summary.json``."""
        return {
            "rule": self.rule.value,
            "decoder": list(self.decoder),
            "reference": list(self.reference),
        }


class Everything:
    """All that the decoder under test computes on, for whoever decodes there.

    Parameters
    ----------
    hardware
        What that is.
    setup
        The run's pair and places.
    models
        The pair, its target loaded.
    sampler
        How tokens are chosen.
    in_this_process
        Whether the decoder under test has both models in this process, which then has all cores.
    """

    def __init__(
        self,
        hardware: UsedDevices,
        setup: Setup,
        models: Models,
        sampler: Sampler,
        in_this_process: bool = False,
    ) -> None:
        #: Whether it is more than the reference has by the paper's rule.
        self.more = hardware.decoder != hardware.reference
        self._in_this_process = in_this_process
        self._placement = all_cores(setup) if setup.devices.all_cpu else None
        #: The reference there, where it can't be the run's own reference in another place.
        self.reference: Session | None = None
        if self.more and self._placement is None:
            target = on_all_gpus(setup).load_target()
            self.reference = Autoregressive().start(replace(models, target=target), sampler)

    @contextlib.contextmanager
    def for_reference(self) -> Iterator[None]:
        """The body of a ``with`` runs on all cores, with as many threads."""
        with self._there() if self.more else contextlib.nullcontext():
            yield

    @contextlib.contextmanager
    def for_decoder(self) -> Iterator[None]:
        """Likewise, where the decoder under test is to have them in this process."""
        with self._there() if self.more and self._in_this_process else contextlib.nullcontext():
            yield

    def stop(self) -> None:
        """Free the reference there."""
        if self.reference is not None:
            self.reference.stop()

    @contextlib.contextmanager
    def _there(self) -> Iterator[None]:
        if self._placement is None:
            yield
            return
        # A draft process that has just answered still spins on its core, as do threads after.
        time.sleep(_QUIET)
        with placed(self._placement):
            yield
        time.sleep(_QUIET)


def everything(
    setup: Setup, decoder: Decoder, sampler: Sampler, models: Models, rule: ReferenceHardware
) -> Everything | None:
    """All that a run's decoder computes on; ``None`` where that was not asked for."""
    if rule is ReferenceHardware.own:
        return None
    hardware = UsedDevices.of(setup, decoder, rule)
    here = decoder.uses_draft and decoder.overlap is Overlap.never
    return Everything(hardware, setup, models, sampler, here)


def all_cores(setup: Setup) -> Placement:
    """The cores of both processes, with as many threads as they have, a core each at most."""
    target, draft = setup.processes.target, setup.processes.draft.placement
    cores = tuple(dict.fromkeys((*target.cores, *draft.cores)))
    threads = target.threads + draft.threads
    return Placement(cores, min(threads, len(cores)) if cores else threads)


def on_all_gpus(setup: Setup) -> Setup:
    """The pair with its target spread over the GPUs of both models, by layers."""
    devices = setup.devices
    gpus = tuple(sorted({*devices.target, *devices.draft}, key=lambda name: int(name[5:])))
    return setup.moved(replace(setup.places, devices=Devices(gpus, devices.draft)))


def check_everything(setup: Setup, decoder: Decoder) -> None:
    """Refuse what the reference can't be given.

    Raises
    ------
    UserError
        Another engine decodes, one model is on a CPU and one on a GPU, or there is no room for the
        target a second time.
    """
    name = "reference.hardware=all"
    if decoder.engine != OWN_ENGINE:
        raise UserError(
            f"{name}: a decoder that runs in {decoder.engine} is measured against {decoder.engine}"
            " alone on the same devices; choose reference.hardware=own"
        )
    devices = setup.devices
    if ("cpu" in devices.target) != ("cpu" in devices.draft):
        raise UserError(
            f"{name}: both models must be on the CPU, or both on GPUs, for the target to have all;"
            f" they are on {' + '.join(devices.target)} and on {' + '.join(devices.draft)}"
        )
    hardware = UsedDevices.of(setup, decoder, ReferenceHardware.all)
    if devices.all_cpu or hardware.decoder == hardware.reference:
        return
    sizes = setup.pair.sizes
    dtype = getattr(torch, setup.source.dtype.value)
    twice = model_bytes(sizes["target"], dtype) * 2 + model_bytes(sizes["draft"], dtype)
    check_fits({"target twice, and draft": (hardware.decoder, twice)})


def _named(devices: tuple[str, ...], placement: Placement, model: str) -> tuple[str, ...]:
    """Devices by their names; of a CPU the cores, or threads where the system chooses cores."""
    if devices != ("cpu",):
        return devices
    cores = tuple(f"core {core}" for core in placement.cores)
    return cores or tuple(f"{model} thread {i}" for i in range(placement.threads))
