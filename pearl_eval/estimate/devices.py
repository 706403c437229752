"""How many GPUs a job needs, and how much memory each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from decoders.decoder import Decoder
from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.pairs.pair import PairSource
from pearl_eval.sizes.memory import model_bytes
from pearl_eval.sizes.model_size import ModelSize

_CPU = "cpu"


@dataclass(frozen=True)
class DevicesNeeded:
    """The GPUs that a job needs, and the bytes of the fullest of its devices.

    ``memory`` is ``None`` where a model's size is not known. Without GPUs it is that of the CPU.
    ``competing``: the models are on the same device at once. ``share``: what the target's side may
    take of a GPU's memory.
    """

    gpus: int
    memory: int | None
    competing: bool
    share: float = 1.0

    @classmethod
    def of(
        cls,
        source: PairSource,
        sizes: Mapping[str, ModelSize],
        decoder: Decoder,
        runtime: RuntimeConfig,
    ) -> DevicesNeeded:
        """Where a decoder needs which models of a pair.

        A target over several devices, by layers or by ranks, has about as much on each. Where the
        draft model shares them, it has a copy on the first of them, or there and on the last; with
        ranks it is spread over them, too.
        """
        needs = source.gpus()
        on_target, beside = decoder.gpus(needs["target"], needs["draft"])
        target = _devices("target", runtime.target_device, on_target)
        where, copies, competing = {"target": target}, 1, False
        if decoder.draft_ends and decoder.ranks > 1:
            where["draft"], competing = target, True
        elif decoder.draft_ends:
            where["draft"] = list(dict.fromkeys((target[0], target[-1])))[: decoder.draft_ends]
            copies = len(where["draft"])
            # A CPU has two ends, which are cores.
            competing = copies == 1 and (decoder.draft_ends == 1 or target != [_CPU])
        elif decoder.uses_draft:
            where["draft"] = _devices("draft", runtime.draft_device, beside)
            competing = bool(set(target) & set(where["draft"]) - {_CPU})
        gpus = len({device for devices in where.values() for device in devices} - {_CPU})
        if not where.keys() <= sizes.keys():
            return cls(gpus, None, competing, decoder.memory_share)
        dtype = getattr(torch, source.dtype.value)
        memory: Counter[str] = Counter()
        for role, devices in where.items():
            whole = model_bytes(sizes[role], dtype) * (copies if role == "draft" else 1)
            for device in devices:
                memory[device] += whole // len(devices)
        return cls(gpus, max(memory.values()), competing, decoder.memory_share)


def _devices(role: str, device: str, needed: int) -> list[str]:
    """Names for the devices of a model; those that are chosen when it runs go by its role."""
    if device != "auto":
        return ["cuda:0" if device == "cuda" else device]
    return [f"{role} {index}" for index in range(needed)] or [_CPU]
