"""What no decoder can be faster than, from forwards timed alone in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from decoders.draft_length import time_drafts, time_forwards, time_together, time_turns
from decoders.generation import Generation
from decoders.model.cached_model import CachedModel
from decoders.process.drafter import OnRequest
from decoders.round import Round

#: Draft forwards that are timed in a row, as they run in a round.
_ROW = 8
#: How often the reading of a prompt is timed; it takes as long as many forwards.
_PROMPTS = 3


@dataclass(frozen=True)
class Forwards:
    """Seconds of forwards after ``context`` tokens, each model alone: medians.

    ``draft`` is that of one token; ``target`` goes by the number of tokens that are read.
    ``beside`` are those of target and draft model where both run at once, by how many tokens the
    target reads and the draft model drafts meanwhile. ``prompt`` are those of both models, each
    alone, that read the whole prompt, ``prompt_length`` tokens. ``turns`` are those of drafting
    some tokens and verifying them, in one place, by how many; empty where no contender does so.
    """

    context: int
    draft: float
    target: dict[int, float]
    beside: dict[int, tuple[float, float]] = field(default_factory=dict)
    prompt: tuple[float, float] = (0.0, 0.0)
    prompt_length: int = 0
    turns: dict[int, float] = field(default_factory=dict)

    @property
    def speed_ratio(self) -> float:
        """c: one target forward of one token over one draft forward."""
        return self.target[1] / self.draft

    def target_seconds(self, window: int) -> float:
        """Seconds of a target forward over ``window`` tokens, between the windows timed."""
        timed = sorted(self.target)
        return float(np.interp(window, timed, [self.target[w] for w in timed]))

    def round_seconds(self, drafted: int, window: int) -> float:
        """Limit 2: the least that a round of PEARL takes, max(γ · t_draft, t_target(window))."""
        target = self.target_seconds(window) if window else 0.0
        return max(drafted * self.draft, target)


class Timer:
    """Times forwards of a pair while nothing else runs.

    Parameters
    ----------
    target
        The target model.
    drafter
        A draft process of the timer's own.
    windows
        Numbers of tokens that the target is timed on; 1 is always among them.
    repeats
        How often each forward is timed.
    draft, lengths
        The draft model where it takes turns with the target, and the draft lengths of its rounds.
    """

    def __init__(
        self,
        target: CachedModel,
        drafter: OnRequest,
        windows: Sequence[int],
        repeats: int,
        draft: CachedModel | None = None,
        lengths: Sequence[int] = (),
    ) -> None:
        self._target = target
        self._drafter = drafter
        self._windows = sorted({1, *windows})
        self._repeats = repeats
        self._draft = draft
        self._lengths = lengths

    def forwards(self, context: int, prompt_length: int) -> Forwards:
        """Forwards after ``context`` tokens, and those that read a prompt."""
        draft = time_drafts(self._drafter, context, self._repeats, _ROW)
        target = {
            window: statistics.median(time_forwards(self._target, window, context, self._repeats))
            for window in self._windows
        }
        beside = {}
        for window in self._windows:
            both = time_together(self._target, self._drafter, window, context, self._repeats)
            beside[window] = statistics.median(both[0]), statistics.median(both[1])
        prompt = (
            statistics.median(time_forwards(self._target, prompt_length, 0, _PROMPTS, warm=False)),
            statistics.median(
                time_drafts(self._drafter, 0, _PROMPTS, window=prompt_length, warm=False)
            ),
        )
        return Forwards(
            context,
            statistics.median(draft),
            target,
            beside,
            prompt,
            prompt_length,
            self._turns(context),
        )

    def _turns(self, context: int) -> dict[int, float]:
        if self._draft is None:
            return {}
        return {
            length: statistics.median(
                time_turns(self._target, self._draft, length, context, self._repeats)
            )
            for length in self._lengths
        }


@dataclass(frozen=True)
class Rounds:
    """How PEARL's rounds of one prompt were spent, without the first, which reads the prompt.

    Seconds, summed over the rounds: ``wall`` is what they took, ``alone`` what they would have by
    forwards as timed alone (limit 2), ``inside`` by their own forwards. ``crossings`` is, for each
    round, what it took beyond its longer side until the drafted tokens had come over.
    """

    count: int
    wall: float
    alone: float
    inside: float
    crossings: list[float]
    bytes_sent: int

    @classmethod
    def of(cls, generation: Generation, forwards: Forwards) -> Rounds:
        """Account for the rounds of a prompt decoded by PEARL or one of its ablations."""
        rounds = generation.rounds
        ends = [*(r.start for r in rounds[1:]), generation.seconds]
        later = list(zip(rounds, ends, strict=True))[1:]
        return cls(
            len(later),
            sum(end - one.start for one, end in later),
            sum(forwards.round_seconds(one.drafted, one.target_tokens) for one, _ in later),
            sum(max(one.draft_seconds, one.target_seconds) for one, _ in later),
            [crossing(one) for one, _ in later if one.drafted and one.target_seconds],
            sum(one.bytes_sent for one, _ in later),
        )


def crossing(one: Round) -> float:
    """Seconds from the round's start until the drafted tokens were there, beyond the longer side.

    Where drafting takes longer this is what crosses, there and back. Where the target does, the
    tokens have come meanwhile, and it is what asking for them and taking them out costs.
    """
    there = one.target_start - one.start + one.target_seconds + one.wait_target_seconds
    return there - max(one.draft_seconds, one.target_seconds)
