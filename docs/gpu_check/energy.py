"""Whether the driver counts energy, and whether what it counts is what it says it draws."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

import torch

from decoders.process.clock import clock
from gpu_check.card import device
from gpu_check.rows import rehearsed, tell
from pearl_eval.machine.energy import EnergyMeter


def main() -> None:
    where = device()
    meter = EnergyMeter([str(where)])
    if meter.joules() is None:
        tell("EnergyMeter", "counts nothing", why(where))
        # The rest is gone through in a rehearsal.
        if not rehearsed():
            return
    moment = 0.2 if rehearsed() else 2.0
    tell("idle", watts(meter, lambda: time.sleep(moment)))
    matrix = torch.ones(256 if rehearsed() else 8192, 256 if rehearsed() else 8192, device=where)

    def busy() -> None:
        end = clock() + moment
        while clock() < end:
            # Waited for: else the host would ask for far more than there is time for.
            (matrix @ matrix).sum().item()

    tell("large products", watts(meter, busy))
    tell("the driver's own word after that", drawn(where))


def watts(meter: EnergyMeter, work: Any) -> str:
    """Mean power while something is done, by the meter."""
    before, start = meter.joules(), clock()
    work()
    after, seconds = meter.joules(), clock() - start
    if before is None or after is None:
        return "not counted"
    return f"{(after - before) / seconds:.0f} W"


def why(where: torch.device) -> str:
    """What stands in the way of counting."""
    if where.type != "cuda":
        return "a CPU has no counter"
    return _asked(where, lambda nvml, handle: str(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)))


def drawn(where: torch.device) -> str:
    """Power by the driver, where it says it."""
    if where.type != "cuda":
        return "none on a CPU"
    return _asked(
        where, lambda nvml, handle: f"{nvml.nvmlDeviceGetPowerUsage(handle) / 1000:.0f} W"
    )


def _asked(where: torch.device, question: Callable[[Any, Any], str]) -> str:
    """What the driver says of a card, or what stands in the way of asking it."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(where).uuid
        return question(nvml, nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except Exception as error:  # of any kind: it is what is asked for
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
