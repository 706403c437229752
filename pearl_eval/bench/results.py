"""What a contest measured, and the ratios that follow from it."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pandas as pd

from decoders.accepted_runs import acceptance_rate
from pearl_eval.bench.limits import TimedForwards, round_limit_share
from pearl_eval.results.about import OWN_ENGINE, engine_of
from pearl_eval.results.records import Record
from pearl_eval.results.replay import Replay
from pearl_eval.results.speed import Ratio, Speed


@dataclass(frozen=True)
class Entry:
    """One contender's run: its decoder's name, records, rounds and figures, as its files have them.

    Rounds are those of :class:`pearl_eval.results.traces.Traces`.
    """

    decoder: str
    records: Sequence[Record]
    rounds: pd.DataFrame
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """Runs of the same prompts by their labels, and the forwards timed alone after each prompt.

    ``wrong`` names the runs whose outputs are not the target's own, and says how they differ.
    """

    entries: Mapping[str, Entry]
    forwards: Sequence[TimedForwards]
    wrong: Sequence[str] = ()

    @property
    def decoders(self) -> list[str]:
        return list(dict.fromkeys(one.decoder for one in self.entries.values()))

    def records(self, label: str, half: bool | None = None) -> list[Record]:
        """Those of a contender; of one ``half`` of the prompts if that is given.

        What is compared at its best draft length was chosen on the first (``True``: every other
        prompt), and is compared on the rest. On the prompts it was chosen on, the fastest of many
        would look faster than it is.
        """
        own = self.entries[label].records
        places = {name: i for i, name in enumerate(dict.fromkeys(one.task_id for one in own))}
        return [one for one in own if half is None or (places[one.task_id] % 2 == 0) is half]

    def best(self, decoders: Collection[str]) -> str | None:
        """The fastest contender of some decoders, over draft lengths, on the half that chooses."""
        own = [label for label, one in self.entries.items() if one.decoder in decoders]
        return max(own, key=self._speed, default=None)

    def _speed(self, label: str) -> float:
        return Speed.of(self.records(label, half=True)).tokens_per_second or 0.0

    def ratio(self, label: str, other: str | None = None, half: bool | None = None) -> Ratio:
        """How many times as fast as another, or as the reference."""
        theirs = None if other is None else self.records(other, half)
        return Ratio.of(self.records(label, half), theirs)

    def acceptance_rate(self) -> float | None:
        """α over all contenders that draft by the draft model; None where there are none."""
        own = [one.records for one in self.entries.values() if one.summary["draft_forwards"]]
        return acceptance_rate(chain.from_iterable(own))

    def share_of_draft_limit(self, label: str) -> float | None:
        """Speed over limit 1: a token cannot come faster than one draft forward.

        The forwards were timed here, and hold for no other engine.
        """
        if engine_of(self.entries[label].summary) != OWN_ENGINE:
            return None
        own = self.entries[label].records
        draft = {one.key: one.draft for one in self.forwards}
        return sum(one.new_tokens * draft[one.key] for one in own) / sum(one.seconds for one in own)

    def share_of_round_limit(self, label: str) -> float | None:
        """Limit 2 over the time of a contender's rounds: see ``round_limit_share``."""
        if engine_of(self.entries[label].summary) != OWN_ENGINE:
            return None
        by_key = {one.key: one for one in self.forwards}
        return round_limit_share(self.entries[label].rounds, by_key)

    def replay(self, label: str) -> Replay | None:
        """How near a decoder that decides for itself came to rules that know more."""
        entry = self.entries[label]
        own = engine_of(entry.summary) == OWN_ENGINE and "chances" in entry.rounds
        return Replay.of(entry.rounds) if own else None

    def speed_ratio(self) -> float:
        """c, the median over the prompts."""
        return statistics.median(one.speed_ratio for one in self.forwards)

    def draft_limit(self) -> float:
        """Limit 1 in tokens per second, the median over the prompts."""
        return statistics.median(1 / one.draft for one in self.forwards)
