"""Which devices the two models are on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pearl_eval.errors import UserError


@dataclass(frozen=True)
class Devices:
    """The devices of each model, as torch names them; several where a model is spread over GPUs."""

    target: tuple[str, ...]
    draft: tuple[str, ...]

    @classmethod
    def choose(
        cls,
        target: str,
        draft: str,
        target_gpus: int = 1,
        draft_gpus: int = 1,
        among: Sequence[int] | None = None,
    ) -> Devices:
        """Choose devices.

        Parameters
        ----------
        target, draft
            ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. ``auto`` is GPUs of its own for each model,
            the draft model's first; the models share what there is where there is too little, and
            without a GPU are on the CPU.
        target_gpus, draft_gpus
            How many GPUs ``auto`` takes for each model.
        among
            The GPUs that ``auto`` takes them from; by default all.
        """
        count = torch.cuda.device_count()
        if not set(among or ()) <= set(range(count)):
            raise UserError(f"runtime.gpus={among}: there are {count} CUDA devices here")
        everywhere = [f"cuda:{index}" for index in range(count)]
        gpus = everywhere if among is None else [everywhere[index] for index in among]
        automatic_draft = gpus[:draft_gpus] or ["cpu"]
        automatic_target = gpus[draft_gpus:][:target_gpus]
        if len(automatic_target) < target_gpus:
            automatic_target = gpus[-target_gpus:] or ["cpu"]
        named_target = automatic_target if target == "auto" else [_checked(target, count)]
        return cls(
            tuple(named_target),
            tuple(automatic_draft) if draft == "auto" else (_checked(draft, count),),
        )

    @property
    def all_cpu(self) -> bool:
        return self.target == self.draft == ("cpu",)


def engine_devices(
    devices: Devices, count: int, among: Sequence[int] | None = None
) -> tuple[str, ...]:
    """The GPUs of an engine that computes the target in processes of its own, on ``count`` of them.

    First those that the target has in this process, then others, the draft model's last. None where
    there is no GPU, or the engine needs none. ``among`` is as for :meth:`Devices.choose`.
    """
    there = torch.cuda.device_count()
    if not count or not there:
        return ()
    gpus = [f"cuda:{index}" for index in (range(there) if among is None else among)]
    own = [device for device in devices.target if device != "cpu"]
    apart = [gpu for gpu in gpus if gpu not in devices.draft]
    found = tuple(dict.fromkeys([*own, *apart, *gpus]))
    if len(found) < count:
        raise UserError(
            f"engine.tensor_parallel_size and pipeline_parallel_size ask for {count} GPUs, but"
            f" there are {len(found)} for this run"
        )
    return found[:count]


def _checked(device: str, gpus: int) -> str:
    """The device's full name, so that one device never goes by two."""
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise UserError(f"no such device: {device} (auto, cpu, cuda, cuda:N)")
    if device == "cpu":
        return device
    index = int(match[1] or 0)
    if index >= gpus:
        raise UserError(f"device {device} was asked for, but there are {gpus} CUDA devices here")
    return f"cuda:{index}"
