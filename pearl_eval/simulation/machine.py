"""What a simulated decoder runs on: a text, forward times, and what everything else costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pearl_eval.simulation.acceptance import Text
from pearl_eval.simulation.forwards import ForwardTimes, Slowdown, Surface


@dataclass(frozen=True)
class Costs:
    """Seconds that a simulated decoder spends outside forwards.

    ``round``: of every decision of a decoder in its own process. ``crossing``: there and back
    between PEARL's processes, in each of its rounds; without rounds (``Ahead``) half of it is how
    long a token or news is under way, and ``publish`` is that of a token, in the draft process.
    ``handover``: of draft copies at both ends taking turns, a round. ``library``: of a decision of
    transformers' ``generate``. ``lookup``: of a decoder of ours that looks its drafts up, a round,
    beside the decision.
    """

    round: float = 0.0
    crossing: float = 0.0
    publish: float = 0.0
    handover: float = 0.0
    library: float = 0.0
    lookup: float = 0.0


class SimulatedRound(NamedTuple):
    """One simulated round. Fields are those of a recorded one, but ``seconds``, all it took.

    ``target_tokens`` is how many tokens the target's forward read; without one it is 0.
    """

    mode: str
    start: float
    seconds: float
    drafted: int = 0
    judged: int = 0
    accepted: int = 0
    draft_seconds: float = 0.0
    target_seconds: float = 0.0
    wait_draft_seconds: float = 0.0
    wait_target_seconds: float = 0.0
    verified_length: int = 0
    target_tokens: int = 0
    hit: bool = False
    branch_forwards: int = 0
    retrieved: int = 0
    prepared: int = 0


Rounds = Iterator[SimulatedRound]


class Side:
    """One model's forwards on one text. Contexts count the prompt's tokens, too.

    Those beyond ``longest`` take as long as those there.
    """

    def __init__(self, surface: Surface, longest: int) -> None:
        self._surface = surface
        self._longest = longest
        self._contexts = np.arange(longest + 1, dtype=float)
        self._columns: dict[int, list[float]] = {}
        single = surface.column(1, self._contexts)
        self._singles: list[float] = np.concatenate([[0.0], np.cumsum(single)]).tolist()

    def forward(self, window: int, context: int) -> float:
        """Seconds of a forward that reads ``window`` tokens."""
        if window not in self._columns:
            self._columns[window] = self._surface.column(window, self._contexts).tolist()
        return self._columns[window][min(context, self._longest)]

    def row(self, count: int, context: int, window: int = 1) -> float:
        """Seconds of ``count`` forwards that generate, of which the first reads ``window``."""
        if not count:
            return 0.0
        after = context + window
        rest = self._singles[after + count - 1] - self._singles[after]
        return self.forward(window, context) + rest


@dataclass(frozen=True)
class Machine:
    """Both models on one text of ``max_new_tokens`` tokens after a prompt of ``prompt`` tokens.

    ``branches``: the draft model's forwards over tokens of several continuations.
    """

    text: Text
    max_new_tokens: int
    prompt: int
    forwards: ForwardTimes
    costs: Costs
    target: Side = field(init=False)
    draft: Side = field(init=False)
    branches: Side = field(init=False)

    def __post_init__(self) -> None:
        longest = self.prompt + self.max_new_tokens
        object.__setattr__(self, "target", Side(self.forwards.target, longest))
        object.__setattr__(self, "draft", Side(self.forwards.draft, longest))
        wide = self.forwards.branches
        object.__setattr__(self, "branches", Side(wide, longest) if wide else self.draft)

    @property
    def slowdown(self) -> Slowdown:
        return self.forwards.slowdown
