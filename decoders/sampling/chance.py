"""Random numbers: what is drawn for one prompt, and how the processes can share it."""

from __future__ import annotations

import copy
import math
import random

import torch


class Chance:
    """The random numbers of one prompt in one process: one seeded generator, read in order.

    Parameters
    ----------
    seed
        The prompt's seed.
    process
        Which process draws; those of one prompt draw independently of each other.
    """

    def __init__(self, seed: int, process: str) -> None:
        self._random = random.Random(f"{process} {seed}")

    def copy(self) -> Chance:
        """The same random numbers from here on, read on their own."""
        other = copy.copy(self)
        other._random = copy.copy(self._random)
        return other

    def happens(self, probability: float) -> bool:
        """Whether an event of this probability happens."""
        return self._random.random() < probability

    def draw(self, weights: torch.Tensor) -> int:
        """An index, with chances proportional to ``weights`` (``[vocab]``, none negative)."""
        cumulative = weights.double().cumsum(dim=-1)
        total = float(cumulative[-1])
        if not 0 < total < math.inf:
            raise not_finite(total)
        point = self._random.random() * total
        index = int(torch.searchsorted(cumulative, point, right=True))
        # Rounding can put the point at the very end.
        return index if index < len(weights) else int(weights.nonzero()[-1])

    def skip(self, draws: int) -> None:
        """Go on as if so many indices had been drawn."""
        for _ in range(draws):
            self._random.random()


class SharedNoise:
    """Gumbel noise for each text position, the same in every process that is given the same seed.

    The index of the largest of log p + noise is a draw from p (the Gumbel-max trick), and two
    models that add the same noise to similar distributions mostly draw the same token.

    Parameters
    ----------
    seed
        The prompt's seed.
    start
        First position that has noise: the length of the prompt.
    """

    def __init__(self, seed: int, start: int) -> None:
        self._generator = torch.Generator().manual_seed(
            random.Random(f"shared {seed}").getrandbits(63)
        )
        self._start = start
        self._rows: list[torch.Tensor] = []

    def choose(self, logits: torch.Tensor, position: int) -> int:
        """The draw at ``position`` from the distribution of ``logits`` (``[vocab]``)."""
        largest, index = (logits + self.row(position, logits)).max(dim=-1)
        if not math.isfinite(largest):
            raise not_finite(float(largest))
        return int(index)

    def row(self, position: int, like: torch.Tensor) -> torch.Tensor:
        """The noise of a position, with the size, dtype and device of ``like`` (``[vocab]``)."""
        if position < self._start:
            raise LookupError(f"there is no noise at {position}, only from {self._start} on")
        while len(self._rows) <= position - self._start:
            uniform = torch.empty(len(like), dtype=torch.float32)
            self._rows.append(uniform.exponential_(generator=self._generator).log_().neg_())
        return self._rows[position - self._start].to(like)

    def forget(self, before: int) -> None:
        """Free the rows of positions before ``before``; they can't be asked for again."""
        drop = min(before - self._start, len(self._rows))
        if drop > 0:
            del self._rows[:drop]
            self._start += drop


def not_finite(value: float) -> FloatingPointError:
    """The error that a token would be chosen by what are no numbers, and so mean nothing."""
    return FloatingPointError(
        f"a model's logits lead to {value}, by which no token can be chosen: its weights may be"
        " damaged, or its numbers too large for the dtype (try pair.dtype=float32)"
    )
