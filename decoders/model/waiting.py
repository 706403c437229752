"""Waiting for a device that computes asynchronously."""

from __future__ import annotations

import torch


def wait_for(device: torch.device) -> None:
    """Wait until a device has finished what was asked of it. A CPU has, at any time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
