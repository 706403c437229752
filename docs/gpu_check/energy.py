"""Whether the driver counts energy, and whether what it counts is what it says it draws."""

from __future__ import annotations

import importlib
import time
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
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(
            f"GPU-{torch.cuda.get_device_properties(where).uuid}"
        )
        return str(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    except Exception as error:  # of any kind: it is what is asked for
        return f"{type(error).__name__}: {error}"


def drawn(where: torch.device) -> str:
    """Power by the driver, where it says it."""
    if where.type != "cuda":
        return "none on a CPU"
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(
            f"GPU-{torch.cuda.get_device_properties(where).uuid}"
        )
        return f"{nvml.nvmlDeviceGetPowerUsage(handle) / 1000:.0f} W"
    except Exception as error:  # of any kind
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
