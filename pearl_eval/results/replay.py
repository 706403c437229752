"""How fast other rules would have been on the very texts of a run: simulated, from its rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from decoders.adaptive.alternatives import MOST_OTHERS
from decoders.adaptive.calibration import doubt, place_kind
from decoders.adaptive.policy import MOST, Policy
from decoders.round import Fate
from decoders.schedule import AHEAD, Adaptive
from pearl_eval.results.traces import KEY
from pearl_eval.simulation.acceptance import UNTOLD, Acceptance, Trace
from pearl_eval.simulation.bounds import Dials, Informed, Outcomes
from pearl_eval.simulation.forwards import ForwardTimes, Surface
from pearl_eval.simulation.machine import Costs
from pearl_eval.simulation.simulation import Simulation

Kind = TypeVar("Kind", int, tuple[int, int])

#: As :class:`~pearl_eval.simulation.acceptance.Trace` has fates of tokens that were judged.
_MARKS = {Fate.accepted.value: "1", Fate.rejected.value: "0"}


@dataclass(frozen=True)
class RecordedText:
    """``marks``: what became of the token drafted for each position, as ``Trace`` has it;
    ``confidences``: how probable the draft model found it."""

    marks: str
    confidences: tuple[float, ...]


class Hindsight(Informed):
    """Knows of a token that is yet to be drafted how often those as far into a draft were right."""

    def __init__(self, texts: Sequence[RecordedText]) -> None:
        super().__init__(_rate(texts))
        self._by_place = _shares(texts, [[place for _, place in _kinds(one)] for one in texts])

    def unseen(self, before: float | None, place: int) -> float:
        return self._by_place.get(place_kind(place), self._typical)


@dataclass(frozen=True)
class Replay:
    """Tokens per second once the prompts are read: measured, and simulated on the same texts.

    ``simulated`` is the decoder itself, by which it is seen how far a simulation can be trusted.
    ``at_once`` never waits and judges all there is, as ``pearl_async`` does. ``informed`` knows in
    hindsight how often tokens of each kind were right, ``outcomes`` which of those at hand are.
    """

    measured: float
    simulated: float
    at_once: float
    informed: float
    outcomes: float

    @classmethod
    def of(cls, rounds: pd.DataFrame) -> Replay | None:
        """From the rounds of a run, as :class:`~pearl_eval.results.traces.Traces` has them.

        ``None`` for a decoder that does not decide when its target starts, and where nothing was
        judged, or no forward timed once the prompts were read.
        """
        texts = [text for text in recorded_texts(rounds) if set(text.marks) & set("01")]
        later = rounds[rounds["round"] > 0]
        timed = (later[["draft_seconds", "target_seconds"]].sum() > 0).all()
        if not texts or not rounds["chances"].map(len).any() or not timed:
            return None
        forwards, costs = measured_times(later)
        known = hindsight(texts)
        # How far the draft model ran ahead does not matter as long as it is far.
        schedule = Adaptive(AHEAD, branches=bool(later["branch_forwards"].any()))

        def speed(
            of: Sequence[RecordedText],
            policy: Policy,
            seen: Callable[[Acceptance], Acceptance] = lambda text: text,
        ) -> float:
            tokens, seconds = 0, 0.0
            for text in of:
                trace = seen(Trace((text.marks,), confidences=(text.confidences,)))
                length = len(text.marks)
                made = Simulation(schedule, forwards, trace, costs, length, (1,))
                seconds += made.run(policy=policy).seconds
                tokens += length
            return tokens / seconds

        gained = later["verified_length"] - later["length_before"]
        return cls(
            float(gained.sum() / later["wall"].sum()),
            speed(texts, Policy()),
            speed(texts, Dials(0, MOST)),
            speed(known, Hindsight(texts)),
            speed(texts, Hindsight(texts), Outcomes),
        )


def recorded_texts(rounds: pd.DataFrame) -> list[RecordedText]:
    """The text of each prompt, in order, as far as its drafted tokens were judged.

    Where a token was drafted more than once, the one that was judged counts.
    """
    found = []
    for _, own in rounds.groupby(KEY, sort=False):
        length = int(own["verified_length"].iloc[-1])
        marks, confidences = ["-"] * length, [UNTOLD] * length
        columns = own["drafted_at"], own["fates"], own["confidences"]
        for places, fates, sure in zip(*columns, strict=True):
            for index, (place, fate) in enumerate(zip(places, fates, strict=True)):
                if fate in _MARKS and place < length:
                    marks[place] = _MARKS[fate]
                    confidences[place] = float(sure[index]) if len(sure) else UNTOLD
        found.append(RecordedText("".join(marks), tuple(confidences)))
    return found


def hindsight(texts: Sequence[RecordedText]) -> list[RecordedText]:
    """The same texts; a token's confidence is how often those of its kind were right in all.

    A kind is of the doubt that the draft model had, and of how long it has been right, as the
    decoder itself tells them apart. The rate of all tokens counts as one more of each kind.
    """
    kinds = [_kinds(text) for text in texts]
    shares = _shares(texts, kinds)
    return [
        replace(text, confidences=tuple(shares[kind] for kind in own))
        for text, own in zip(texts, kinds, strict=True)
    ]


def measured_times(later: pd.DataFrame) -> tuple[ForwardTimes, Costs]:
    """Forward times and costs of rounds that read no prompt, as they were on average.

    The target's are a straight line by how many tokens are read. Whatever slowed either model down
    is in them.
    """
    read, seconds = later["target_tokens"].to_numpy(float), later["target_seconds"].to_numpy(float)
    slope = 0.0
    if len(set(read)) > 1:
        slope = max(0.0, float(np.polyfit(read, seconds, 1)[0]))
    single = max(float(seconds.mean() - slope * (read.mean() - 1)), 0.0)
    draft, branches = _draft_times(later)
    beside = later["wall"] - later["target_seconds"] - later["wait_target_seconds"]
    return (
        ForwardTimes(_straight(single, slope, MOST), draft, branches=branches),
        Costs(round=max(0.0, float(beside.mean()))),
    )


def _draft_times(later: pd.DataFrame) -> tuple[Surface, Surface | None]:
    """The draft model's, over one token and over those of several continuations, if it had any."""
    sums = later[["draft_seconds", "drafted", "prepared"]].sum()
    wide = later[["branch_seconds", "branch_forwards", "branch_tokens"]].sum()
    alone = sums["drafted"] - sums["prepared"]
    if not wide["branch_forwards"] or not alone:
        return Surface.constant(float(sums["draft_seconds"] / max(1, sums["drafted"]))), None
    single = float((sums["draft_seconds"] - wide["branch_seconds"]) / alone)
    others = wide["branch_tokens"] / wide["branch_forwards"] - 1
    longer = float(wide["branch_seconds"] / wide["branch_forwards"]) - single
    slope = max(0.0, longer / others)
    return Surface.constant(single), _straight(single, slope, MOST_OTHERS)


def _straight(single: float, slope: float, most: int) -> Surface:
    """So many seconds for one token, and ``slope`` for each more, of which there are ``most``."""
    return Surface.of({(1, 0): single, (most + 1, 0): single + slope * most})


def _kinds(text: RecordedText) -> list[tuple[int, int]]:
    place, kinds = 0, []
    for mark, confidence in zip(text.marks, text.confidences, strict=True):
        kinds.append((doubt(confidence), place_kind(place)))
        place = 0 if mark == "0" else place + 1
    return kinds


def _rate(texts: Sequence[RecordedText]) -> float:
    marks = "".join(text.marks for text in texts)
    return marks.count("1") / (marks.count("0") + marks.count("1"))


def _shares(texts: Sequence[RecordedText], kinds: Sequence[Sequence[Kind]]) -> dict[Kind, float]:
    """How many tokens of each kind were right; the rate of all counts as one more of each."""
    rate = _rate(texts)
    right, seen = Counter[Kind](), Counter[Kind]()
    for text, own in zip(texts, kinds, strict=True):
        for mark, kind in zip(text.marks, own, strict=True):
            right[kind] += mark == "1"
            seen[kind] += mark != "-"
    return {kind: (right[kind] + rate) / (seen[kind] + 1) for kind in seen}
