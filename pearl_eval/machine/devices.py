"""Which devices the two models are on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pearl_eval.errors import UserError


@dataclass(frozen=True)
class Devices:
    """The devices of each model, as torch names them; several where a model is spread over GPUs.

    ``ranks`` is the number of processes that compute the target together, each on a GPU of its own,
    or all on the CPU: see :mod:`decoders.process.tensor_parallel`.
    """

    target: tuple[str, ...]
    draft: tuple[str, ...]
    ranks: int = 1

    @classmethod
    def choose(
        cls,
        target: str,
        draft: str,
        target_gpus: int = 1,
        draft_gpus: int = 1,
        ranks: int = 1,
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
        ranks
            If several, the target has as many GPUs instead; where one is named, from that one on.
        among
            The GPUs that ``auto`` takes them from; by default all.
        """
        count = torch.cuda.device_count()
        if not set(among or ()) <= set(range(count)):
            raise UserError(f"runtime.gpus={among}: there are {count} CUDA devices here")
        everywhere = [f"cuda:{index}" for index in range(count)]
        gpus = everywhere if among is None else [everywhere[index] for index in among]
        if ranks > 1:
            target_gpus = ranks
            _check_ranks(target, ranks, len(gpus) if target == "auto" else count)
        automatic_draft = gpus[:draft_gpus] or ["cpu"]
        automatic_target = gpus[draft_gpus:][:target_gpus]
        if len(automatic_target) < target_gpus:
            automatic_target = gpus[-target_gpus:] or ["cpu"]
        named_target = automatic_target if target == "auto" else [_checked(target, count)]
        if ranks > 1 and target.startswith("cuda"):
            named_target = everywhere[everywhere.index(named_target[0]) :][:ranks]
        return cls(
            tuple(named_target),
            tuple(automatic_draft) if draft == "auto" else (_checked(draft, count),),
            ranks,
        )

    @property
    def of_ranks(self) -> tuple[str, ...]:
        """The device of each of the target's ranks."""
        return self.target if len(self.target) == self.ranks else self.target * self.ranks

    @property
    def all_cpu(self) -> bool:
        return self.target == self.draft == ("cpu",)


def _check_ranks(target: str, ranks: int, gpus: int) -> None:
    """Refuse ranks that are not each on a GPU of its own, nor all on a machine without any."""
    asked = f"runtime.tensor_parallel={ranks}"
    if target == "cpu" and gpus:
        raise UserError(
            f"{asked} on the CPU, but there are {gpus} CUDA devices here, which transformers would"
            " take; hide them: CUDA_VISIBLE_DEVICES="
        )
    named = 0 if target == "auto" else int(_checked(target, gpus).partition(":")[2] or 0)
    if gpus and gpus - named < ranks:
        raise UserError(
            f"{asked}: a GPU for each rank, but there are {gpus} CUDA devices here"
            + (f" and runtime.target_device={target} is to be the first" if named else "")
        )


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
