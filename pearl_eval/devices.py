"""Which devices the two models are on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pearl_eval.errors import UserError


@dataclass(frozen=True)
class Devices:
    """Where the two models are, as torch names devices."""

    target: str
    draft: str

    @classmethod
    def choose(cls, target: str, draft: str) -> Devices:
        """Choose devices. ``auto`` is a GPU of its own for each model where there are two, else
        the first GPU, else the CPU."""
        gpus = torch.cuda.device_count()
        automatic = [f"cuda:{min(i, gpus - 1)}" if gpus else "cpu" for i in (1, 0)]
        chosen = [a if d == "auto" else d for d, a in zip((target, draft), automatic, strict=True)]
        for device in chosen:
            try:
                kind = torch.device(device).type
            except RuntimeError:
                raise UserError(f"no such device: {device} (auto, cpu, cuda, cuda:N)") from None
            if kind == "cuda" and not gpus:
                raise UserError(f"device {device} was asked for, but there is no CUDA device here")
        return cls(*chosen)

    @property
    def all_cpu(self) -> bool:
        return self.target == self.draft == "cpu"
