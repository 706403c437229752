"""The GPUs and cores that a run asks of a machine, for launchers' YAML files."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pearl_eval.config.building import build
from pearl_eval.errors import UserError

if TYPE_CHECKING:
    from decoders.decoder import Decoder


def job_gpus(decoder: DictConfig, pair: DictConfig) -> int:
    """GPUs of a run: those that its decoder needs of a pair.

    Each model of a pair needs one unless the pair says otherwise.
    """
    asked = ((pair.get(model) or {}).get("gpus") for model in ("target", "draft"))
    target, draft = (1 if gpus is None else int(gpus) for gpus in asked)
    made = _made(decoder)
    return sum(made.gpus(target, draft) if made else (target, draft))


def job_cores(decoder: DictConfig, runtime: DictConfig) -> int:
    """CPU cores of a run without GPUs: one for each thread, and for each rank of a target."""
    made = _made(decoder)
    ranks = made.ranks if made else 1
    return int(max(runtime.target_threads, ranks) + runtime.draft_threads)


def runs_at_once(decoder: DictConfig, pair: DictConfig, runtime: DictConfig) -> int:
    """How many runs this machine has GPUs for, or, without any, cores; at least one.

    Of those that ``runtime.gpus`` and ``runtime.cores`` leave to choose from.
    """
    # Imported late: they bring torch, which no other launcher has use for.
    import torch

    from decoders.process.placement import available_cores

    gpus, cores = range(torch.cuda.device_count()), available_cores()
    if gpus:
        allowed = gpus if runtime.gpus is None else runtime.gpus
        return max(1, len(allowed) // max(1, job_gpus(decoder, pair)))
    allowed = cores if runtime.cores is None else runtime.cores
    return max(1, len(allowed) // job_cores(decoder, runtime))


def _made(decoder: DictConfig) -> Decoder | None:
    """A run's decoder; ``None`` where it can't be, which the run itself will say."""
    from decoders.decoder import Decoder  # late: see above

    with contextlib.suppress(UserError, OmegaConfBaseException):
        return build("decoder", decoder, Decoder)
    return None
