"""What vLLM does with a proposer, as far as that sees it: rows, verified greedily."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from decoders.vllm.proposer import PearlProposer

ROOM = 256


def config(draft_model: str, most: int = 8, rank: int = 0, seqs: int = 4, **pearl: Any) -> Any:
    """As much of a ``VllmConfig`` as PEARL reads, of a target on the CPU with 300 tokens."""
    return SimpleNamespace(
        additional_config={"pearl": {"draft_model": draft_model, "cores": cores(), **pearl}},
        speculative_config=SimpleNamespace(num_speculative_tokens=most),
        model_config=SimpleNamespace(
            max_model_len=ROOM,
            dtype="torch.float32",
            trust_remote_code=False,
            get_vocab_size=lambda: 300,
        ),
        scheduler_config=SimpleNamespace(max_num_seqs=seqs),
        device_config=SimpleNamespace(device_type="cpu"),
        parallel_config=SimpleNamespace(rank=rank, tensor_parallel_size=2, world_size=2),
    )


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))[-1:]


class Request:
    """A request: its text, what the target would choose, and what is drafted for it."""

    def __init__(self, prompt: Sequence[int], continuation: Sequence[int]) -> None:
        self.text = list(prompt)
        self.whole = [*prompt, *continuation]
        self.drafts: list[int] = []
        self.handed: list[list[int]] = []

    @property
    def is_over(self) -> bool:
        return len(self.text) >= len(self.whole)

    def step(self) -> list[int]:
        """The target's step: what is accepted, and one token of its own."""
        gained: list[int] = []
        for draft in [*self.drafts, -1]:
            gained.append(self.whole[len(self.text) + len(gained)])
            if draft != gained[-1] or len(self.text) + len(gained) == len(self.whole):
                break
        self.text += gained
        return gained


class Engine:
    """Steps of a target over requests in rows."""

    def __init__(self, pearl: PearlProposer) -> None:
        self.pearl = pearl
        self.rows = np.full((8, ROOM), -1, dtype=np.int32)

    def step(self, *requests: Request) -> None:
        """A step of these requests, in these rows."""
        sampled = [request.step() for request in requests]
        for row, request in enumerate(requests):
            self.rows[row, : len(request.text)] = request.text
        lengths = np.array([len(request.text) for request in requests] + [0], dtype=np.int32)
        handed = self.pearl.propose(sampled, lengths, self.rows, slot_mappings=None)
        assert len(handed) == len(requests)
        for request, drafts in zip(requests, handed, strict=True):
            request.drafts = drafts
            request.handed.append(drafts)

    def until_read(self) -> None:
        """Wait until the draft process has read the texts that there are."""
        draft, deadline = self.pearl._draft, time.monotonic() + 20
        while draft is not None and not all(text.is_read for text in self.pearl._texts):
            self.pearl._read(draft)
            assert time.monotonic() < deadline

    def finish(self, *requests: Request) -> int:
        """Steps until all of them are over; gives how many there were."""
        steps = 0
        while going := [request for request in requests if not request.is_over]:
            self.step(*going)
            steps += 1
        return steps
