"""The card: what it is, and how fast it reads memory and multiplies when it does nothing else."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers

from decoders.model.waiting import wait_for
from decoders.process.clock import clock
from gpu_check.rows import rehearsed, tell

_REPEATS = 7


@dataclass(frozen=True)
class Card:
    """A device and what it achieves: bytes/s that it reads, bfloat16 operations/s.

    ``reading`` is that of summing up one large piece of memory, ``with_vector`` that of a product
    of a large matrix with one vector, which is what decoding a token mostly is.
    """

    name: str
    reading: float
    with_vector: float
    flops: float

    @property
    def bandwidth(self) -> float:
        """What a large read alone reaches: the better of the two."""
        return max(self.reading, self.with_vector)

    @classmethod
    @torch.inference_mode()
    def measured(cls) -> Card:
        where = device()
        gpu = where.type == "cuda"
        count = 1 << (30 if gpu else 22)  # 4 GiB of float32, many times what a cache holds
        side, product = (1 << 15, 8192) if gpu else (1 << 10, 256)
        reading = _reading(count, where)
        with_vector = _with_vector(side, where)
        flops = _flops(product, where)
        free()
        return cls(name(), reading, with_vector, flops)


def _reading(count: int, where: torch.device) -> float:
    values = torch.ones(count, device=where)
    return values.nbytes / best(values.sum, where)


def _with_vector(side: int, where: torch.device) -> float:
    # Lying as the weights of torch's linear layers do.
    matrix = torch.ones(side, side, dtype=torch.bfloat16, device=where)
    vector = torch.ones(1, side, dtype=torch.bfloat16, device=where)
    return matrix.nbytes / best(lambda: vector @ matrix.t(), where)


def _flops(side: int, where: torch.device) -> float:
    square = torch.randn(side, side, dtype=torch.bfloat16, device=where)
    return 2 * side**3 / best(lambda: square @ square, where)


def device() -> torch.device:
    """What the check runs on."""
    return torch.device("cpu") if rehearsed() else torch.device("cuda:0")


def name() -> str:
    return torch.cuda.get_device_name(device()) if device().type == "cuda" else "cpu"


def free() -> None:
    """Give back the memory of models that are gone."""
    gc.collect()
    if device().type == "cuda":
        torch.cuda.empty_cache()


def best(compute: Callable[[], object], where: torch.device) -> float:
    """The shortest of some times, in seconds, in which the device computes something."""
    seconds = []
    for _ in range(_REPEATS):
        wait_for(where)
        start = clock()
        compute()
        wait_for(where)
        seconds.append(clock() - start)
    return min(seconds)


def main() -> None:
    where = device()
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    tell("card", name(), f"{versions}, Python {platform.python_version()}")
    tell("cores", str(len(os.sched_getaffinity(0))))
    if where.type == "cuda":
        properties = torch.cuda.get_device_properties(where)
        free, whole = torch.cuda.mem_get_info(where)
        tell("memory", f"{free / 2**30:.0f} of {whole / 2**30:.0f} GiB free")
        tell(
            "cards",
            str(torch.cuda.device_count()),
            f"capability {properties.major}.{properties.minor}",
        )
    card = Card.measured()
    tell("a large read alone", f"{card.reading / 1e9:.0f} GB/s")
    tell("a matrix with one vector", f"{card.with_vector / 1e9:.0f} GB/s", "bfloat16")
    tell("a large product", f"{card.flops / 1e12:.1f} Tflop/s", "bfloat16, random")


if __name__ == "__main__":
    main()
