"""How a token is chosen from logits, and how drafted tokens are judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Judgement:
    """What became of a block of drafted tokens.

    ``accepted`` counts the leading candidates that are the target's own, ``judged`` those and the
    rejected one, if there is one: what follows a rejection is not judged, so that accepted over
    judged estimates the chance of one token. ``token`` is the target's token for the next position:
    the correction after a rejection; where all were accepted, the bonus token if logits for it were
    given, else ``None``.
    """

    accepted: int
    judged: int
    token: int | None

    def verified(self, candidates: Sequence[int]) -> list[int]:
        """The accepted ones of the judged ``candidates``, and the target's token after them."""
        own = [] if self.token is None else [self.token]
        return [*candidates[: self.accepted], *own]


NOTHING_JUDGED = Judgement(0, 0, None)


class Sampler(ABC):
    """A sampling rule. Its dataclass fields are its settings."""

    @abstractmethod
    def read(self, logits: torch.Tensor) -> Any:
        """Reduce target logits ``[rows, vocab]`` to what judging needs (waits for the device)."""

    @abstractmethod
    def judge(self, target: Any, candidates: Sequence[int]) -> Judgement:
        """Judge candidates left to right against what ``read`` returned.

        Row ``i`` of the logits is the target's prediction for candidate ``i``; one further row, if
        present, is its prediction for the token after the last.
        """

    @abstractmethod
    def choose(self, logits: torch.Tensor) -> int:
        """Choose a token from logits ``[1, vocab]``."""


@dataclass
class Greedy(Sampler):
    """The most probable token: a candidate is accepted iff it is the target's argmax."""

    def read(self, logits: torch.Tensor) -> list[int]:
        return logits.argmax(dim=-1).tolist()

    def judge(self, target: list[int], candidates: Sequence[int]) -> Judgement:
        accepted = 0
        while accepted < len(candidates) and candidates[accepted] == target[accepted]:
            accepted += 1
        judged = min(accepted + 1, len(candidates))
        return Judgement(accepted, judged, target[accepted] if accepted < len(target) else None)

    def choose(self, logits: torch.Tensor) -> int:
        return int(logits.argmax(dim=-1))
