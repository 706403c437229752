"""Energy that devices use, where they count it themselves."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable
from typing import Any

import torch


class EnergyMeter:
    """Reads the counters of NVIDIA GPUs, which are there from Volta on; needs ``nvidia-ml-py``.

    Parameters
    ----------
    devices
        Those that compute. Where one of them has no counter, as a CPU, there is no figure: part of
        the energy would be worse than none.
    """

    def __init__(self, devices: Iterable[str]) -> None:
        self._nvml: Any = None
        self._counters: list[Any] = []
        gpus = [torch.device(device) for device in dict.fromkeys(devices)]
        if any(gpu.type != "cuda" for gpu in gpus):
            return
        with contextlib.suppress(Exception):
            nvml: Any = importlib.import_module("pynvml")
            nvml.nvmlInit()
            for gpu in gpus:
                uuid = torch.cuda.get_device_properties(gpu).uuid
                handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
                nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
                self._counters.append(handle)
            self._nvml = nvml

    def joules(self) -> float | None:
        """Energy used so far, by all devices together; only differences mean something."""
        if self._nvml is None:
            return None
        millijoules = map(self._nvml.nvmlDeviceGetTotalEnergyConsumption, self._counters)
        return sum(millijoules) / 1000
