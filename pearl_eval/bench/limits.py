"""What no decoder can be faster than, from forwards timed alone in the same run."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from decoders.draft_length import (
    time_drafts,
    time_forwards,
    time_read,
    time_sequential,
    time_together,
    time_wide,
)
from decoders.model.cached_model import CachedModel
from decoders.process.models import Models
from decoders.process.timed_drafter import TimedDrafter
from decoders.sampling.sampler import Greedy
from decoders.schedule import Extents
from pearl_eval.results.records import Key
from pearl_eval.results.traces import KEY

#: Tokens of a window such as decoders judge that take what drafted tokens there are.
_RUNNING_ON = 8
#: Draft forwards that are timed in a row, as they run in a round.
_ROW = 8
#: Of those that prepare several continuations, or read guesses, it is as many as there is time for,
#: often.
_SHORT_ROW = 4
#: How often the reading of a prompt is timed; it takes as long as many forwards.
_PROMPTS = 3
#: What is asked for where no decoder asks for more.
_NO_MORE = Extents()
#: Seconds by which sums of times may be off.
_MOMENT = 1e-9


@dataclass(frozen=True)
class TimedForwards:
    """Seconds of forwards after ``context`` tokens, each model alone: medians.

    ``key`` is the prompt after which they were timed. ``draft`` is that of one token; ``target``
    goes by the number of tokens that are read. ``beside`` are those of target and draft model where
    both run at once, by how many tokens the target reads and the draft model drafts meanwhile.
    ``prompt`` are those of both models, each alone, that read the whole prompt, ``prompt_length``
    tokens. ``sequential`` are those of drafting some tokens and then verifying them, both models on
    one device or core, by how many. ``wide`` are those of the draft model over a token of each of
    several continuations, by how many, and ``read`` those over several tokens of one, with the
    choice of one token and of the token after each; there are none where no decoder asked for them.
    """

    key: Key
    context: int
    draft: float
    target: dict[int, float]
    beside: dict[int, tuple[float, float]] = field(default_factory=dict)
    prompt: tuple[float, float] = (0.0, 0.0)
    prompt_length: int = 0
    sequential: dict[int, float] = field(default_factory=dict)
    wide: dict[int, float] = field(default_factory=dict)
    read: dict[int, tuple[float, float]] = field(default_factory=dict)

    @property
    def speed_ratio(self) -> float:
        """c: one target forward of one token over one draft forward."""
        return self.target[1] / self.draft

    def seconds(self, rounds: pd.DataFrame) -> np.ndarray:
        """What each round takes by these: the longer of its forwards where both run at once, else
        their sum. Between the windows timed, the target's are interpolated."""
        singly = rounds["drafted"] - rounds["given"].map(sum)
        draft = self.draft * singly.where(rounds["draft_seconds"] > 0, 0).to_numpy()
        draft += rounds["guessed"].map(self._reading).to_numpy(float)
        windows = sorted(self.target)
        read = rounds["target_tokens"].to_numpy()
        target = np.interp(read, windows, [self.target[w] for w in windows]) * (read > 0)
        sums = rounds["draft_seconds"] + rounds["target_seconds"]
        at_once = (rounds["wall"] - rounds["overhead"] < sums - _MOMENT).to_numpy()
        return np.where(at_once, np.maximum(draft, target), draft + target)

    def _reading(self, guessed: Sequence[int]) -> float:
        """Seconds of draft forwards, each over a token and so many guessed ones."""
        known = {1: self.draft} | {window: one for window, (one, _) in sorted(self.read.items())}
        read = 1 + np.array(guessed, dtype=float)
        return float(np.interp(read, list(known), list(known.values())).sum())


def round_limit_share(rounds: pd.DataFrame, forwards: Mapping[Key, TimedForwards]) -> float | None:
    """Limit 2 over the time that rounds took, the first of each prompt aside, which reads it.

    ``None`` for a decoder that reads more tokens at a time than were timed, or that drafts
    regardless of rounds.

    Parameters
    ----------
    rounds
        Those of :class:`pearl_eval.results.traces.Traces`.
    forwards
        By prompt.
    """
    later = rounds[rounds["round"] > 0]
    longest = max(max(one.target) for one in forwards.values())
    busy = later["wall"] - later["overhead"]
    apart = busy < later[["draft_seconds", "target_seconds"]].max(axis=1) - _MOMENT
    if later.empty or later["target_tokens"].max() > longest or apart.any():
        return None
    limits = [forwards[key].seconds(own).sum() for key, own in later.groupby(KEY, sort=False)]
    return float(sum(limits) / later["wall"].sum())


class Timer:
    """Times forwards of a pair while nothing else runs.

    Parameters
    ----------
    target, draft
        The two models, in this process.
    drafter
        The draft model in a process of the timer's own.
    lengths
        Draft lengths, of the rounds whose forwards are timed.
    repeats
        How often each forward is timed.
    running_on
        Whether some decoder judges as many tokens as there are, so that a long window counts, too.
    extents
        Over how many tokens else some decoder's forwards are.
    """

    def __init__(
        self,
        target: CachedModel,
        draft: CachedModel,
        drafter: TimedDrafter,
        lengths: Sequence[int],
        repeats: int,
        running_on: bool,
        extents: Extents = _NO_MORE,
    ) -> None:
        self._target = target
        self._draft = draft
        self._drafter = drafter
        self._lengths = sorted(set(lengths))
        # A decoder may verify one token more than it drafts.
        longest = {max(self._lengths, default=0) + 1, *([_RUNNING_ON] if running_on else [])}
        self._windows = sorted({1, *self._lengths, *longest})
        self._repeats = repeats
        self._alone = sorted({*self._windows, *extents.target})
        # Who can do without such forwards asks for them whether the draft model can or not.
        wide = frozenset() if draft.architecture.no_trees else extents.side_by_side
        # One is a forward as any other.
        self._widths, self._reads = (sorted({*sizes} - {1}) for sizes in (wide, extents.draft))

    @classmethod
    @contextlib.contextmanager
    def started(
        cls,
        models: Models,
        lengths: Sequence[int],
        repeats: int,
        running_on: bool,
        extents: Extents,
    ) -> Iterator[Timer]:
        """A timer of a pair, with draft models of its own while the body of a ``with`` runs."""
        drafter = TimedDrafter(models.load_draft, Greedy(), models.draft_process)
        with contextlib.closing(drafter):
            draft = models.load_draft()
            drafter.wait_ready()
            yield cls(models.target, draft, drafter, lengths, repeats, running_on, extents)

    def forwards(self, key: Key, context: int, prompt_length: int) -> TimedForwards:
        """Forwards after ``context`` tokens, and those that read a prompt."""
        target, drafter, repeats = self._target, self._drafter, self._repeats
        prompt = (
            time_forwards(target, prompt_length, 0, _PROMPTS, warm=False),
            time_drafts(drafter, 0, _PROMPTS, window=prompt_length, warm=False),
        )
        return TimedForwards(
            key,
            context,
            statistics.median(time_drafts(drafter, context, repeats, _ROW)),
            {w: statistics.median(time_forwards(target, w, context, repeats)) for w in self._alone},
            {
                w: _medians(time_together(target, drafter, w, context, repeats))
                for w in self._windows
            },
            _medians(prompt),
            prompt_length,
            {
                n: statistics.median(time_sequential(target, self._draft, n, context, repeats))
                for n in self._lengths
            },
            {
                w: statistics.median(time_wide(drafter, w, context, repeats, _SHORT_ROW))
                for w in self._widths
            },
            {w: _medians(time_read(drafter, w, context, repeats, _SHORT_ROW)) for w in self._reads},
        )


def _medians(times: tuple[Sequence[float], Sequence[float]]) -> tuple[float, float]:
    return statistics.median(times[0]), statistics.median(times[1])
