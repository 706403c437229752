"""Which cores and how many threads a process computes on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Placement:
    """Cores a process is bound to (empty: wherever the system puts it) and its torch threads."""

    cores: tuple[int, ...] = field(default=())
    threads: int = 1

    def apply(self) -> None:
        """Bind this process, and the threads it starts from now on, to this placement."""
        if self.cores:
            os.sched_setaffinity(0, self.cores)
        torch.set_num_threads(self.threads)


def available_cores() -> list[int]:
    """Cores this process may run on."""
    return sorted(os.sched_getaffinity(0))
