"""A stretch of one prompt, as several decoders went through it from the same place in the text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pearl_eval.errors import UserError
from pearl_eval.results.runs import Run
from pearl_eval.results.traces import KEY, Traces

#: Tokens that the first decoder writes in a stretch, unless told otherwise.
TOKENS = 16
#: Most decoders that are shown by default.
_MOST = 3
#: Seconds by which sums of times may be off.
MOMENT = 1e-9


@dataclass(frozen=True)
class Stretch:
    """From the moment that each decoder's text had ``token`` tokens, for so many seconds."""

    token: int
    seconds: float


@dataclass(frozen=True)
class Decoding:
    """One prompt decoded by one run."""

    run: Run
    task_id: str
    rounds: pd.DataFrame
    output_ids: list[int]

    @property
    def lengths(self) -> list[int]:
        """The length of the generated text before each round."""
        return [int(length) for length in self.rounds["length_before"]]

    @property
    def ends(self) -> pd.Series[float]:
        """When each round was over, in seconds from the prompt's start."""
        return self.rounds["start"] + self.rounds["wall"]

    def grown(self, begin: int, tokens: int) -> int | None:
        """The first round after which the text has so many more tokens than before another."""
        enough = self.rounds["verified_length"] >= self.lengths[begin] + tokens
        return int(enough.argmax()) if enough.any() else None

    def stretch(self, begin: int, end: int) -> Stretch:
        """From the beginning of one round to the end of another."""
        begun = float(self.rounds["start"].iloc[begin])
        return Stretch(self.lengths[begin], float(self.ends.iloc[end]) - begun)

    def oddness(self, stretch: Stretch) -> float:
        """How far the speed in a stretch is from that after the first round: the log of the ratio.

        Half a token counts as written where none is.
        """
        first, last = self.rounds.iloc[0], self.rounds.iloc[-1]
        tokens = last["verified_length"] - first["verified_length"]
        seconds = last["start"] + last["wall"] - first["start"] - first["wall"]
        if not tokens or not seconds:
            return 0.0
        return abs(math.log(max(0.5, self.written(stretch)) / stretch.seconds * seconds / tokens))

    def begin(self, token: int) -> float:
        """When the round began that the text had grown to ``token`` tokens for, or fewer."""
        before = self.rounds["start"][self.rounds["length_before"] <= token]
        return float(before.iloc[-1])

    def written(self, stretch: Stretch) -> int:
        """Tokens that became final within a stretch."""
        begin = self.begin(stretch.token)
        over = (self.rounds["start"] >= begin) & (self.ends <= begin + stretch.seconds + MOMENT)
        return int((self.rounds["verified_length"] - self.rounds["length_before"])[over].sum())

    def within(self, stretch: Stretch) -> Iterator[dict[str, Any]]:
        """The rounds of which a part lies in a stretch, if only what was drafted for them."""
        begin = self.begin(stretch.token)
        end = begin + stretch.seconds
        drafts = self.rounds["draft_start"].where(self.rounds["draft_seconds"] > 0, math.inf)
        start = np.minimum(self.rounds["start"], drafts)
        seen = (self.ends > begin + MOMENT) & (start < end - MOMENT)
        for row in self.rounds[seen].to_dict("records"):
            yield {str(name): value for name, value in row.items()}


def choose_runs(runs: Sequence[Run]) -> list[Run]:
    """The runs to show, all of one pair and task, and of each decoder the fastest.

    On top the fastest whose models work at the same time, then the fastest of the others that judge
    drafts, then the target alone; where there is none of a kind, more of these instead.
    """
    first = next((run for run in runs if _kind(run) == 0), runs[0])
    alike = [run for run in runs if not run.differences(first)]
    best = {run.summary["decoder"]: run for run in sorted(alike, key=_speed)}
    fastest = sorted(best.values(), key=_speed, reverse=True)
    of_each = {_kind(run): run for run in reversed(fastest) if _kind(run) != 3}.values()
    left = sorted((run for run in fastest if run not in of_each), key=_kind)
    return sorted([*of_each, *left][:_MOST], key=_kind)


def _kind(run: Run) -> int:
    """0: its models work at the same time; 1: they don't, but drafts are judged; 2: the target
    alone; 3: a draft model alone, which is shown only where there is nothing else."""
    if run.summary["decoder_about"]["overlap"] != "never":
        return 0
    if run.summary["acceptance_rate"] is not None:
        return 1
    return 3 if run.summary["draft_forwards"] else 2


def _speed(run: Run) -> float:
    return run.summary["tokens_per_second"] or 0.0


def decodings(runs: Sequence[Run], prompt: str | None = None) -> list[Decoding]:
    """How each run decoded one prompt (of a dialogue its first turn, of samples the first).

    Without ``prompt`` it is the one whose speedup in the first run is the median, but for the
    warm-up.
    """
    traces = [Traces.read(run.directory) for run in runs]
    records = [one.records.set_index(KEY) for one in traces]
    shared = [key for key in records[0].index if all(key in other.index for other in records)]
    if prompt is not None:
        shared = [key for key in shared if key[0] == prompt]
        if not shared:
            known = ", ".join(dict.fromkeys(records[0].index.get_level_values(0)))
            raise UserError(f"no prompt {prompt} in all of these runs; the first has {known}")
        key = shared[0]
    elif not shared:
        raise UserError("these runs have no prompt in common")
    else:
        own = records[0].loc[shared]
        own = own[~own["warmup"].astype(bool)] if len(own) > 1 else own
        key = own["speedup"].sort_values().index[(len(own) - 1) // 2]
    return [
        _decoding(run, trace, list(own.loc[key, "output_ids"]), key)
        for run, trace, own in zip(runs, traces, records, strict=True)
    ]


def _decoding(
    run: Run, traces: Traces, output_ids: list[int], key: tuple[str, int, int]
) -> Decoding:
    rounds = traces.rounds[(traces.rounds[KEY] == list(key)).all(axis=1)].reset_index(drop=True)
    return Decoding(run, key[0], rounds, output_ids)


def choose_stretch(
    shown: Sequence[Decoding], tokens: int, token: int | None = None, until: int | None = None
) -> Stretch:
    """A stretch in which the first decoder writes so many tokens, after ``token`` or a typical one.

    Typical is, of those that begin where all decoders have the same text (the first round, which
    reads the prompt, aside), and in which something drafted is rejected, the one in which the
    decoders' speeds are nearest to what they are over the whole prompt. It ends by ``until`` tokens
    of the text, if there is one that does. A text that is too short is shown whole.
    """
    first = shown[0]
    if token is not None and token >= len(first.output_ids):
        raise UserError(
            f"{first.task_id} has {len(first.output_ids)} tokens of output, so none after {token}"
        )
    common = set(first.lengths).intersection(*(one.lengths for one in shown[1:]))
    begins = [i for i, length in enumerate(first.lengths) if i and length in common]
    if token is not None:
        begins = [max(i for i, length in enumerate(first.lengths) if length <= token)]

    def oddness(piece: tuple[int, int]) -> tuple[bool, bool, float]:
        rounds = first.rounds.iloc[piece[0] : piece[1] + 1]
        rejects = (rounds["judged"] > rounds["accepted"]).any()
        beyond = until is not None and rounds["verified_length"].iloc[-1] > until
        stretch = first.stretch(*piece)
        return beyond, not rejects, sum(one.oddness(stretch) for one in shown)

    pieces = [(begin, end) for begin in begins if (end := first.grown(begin, tokens)) is not None]
    if pieces:
        return first.stretch(*min(pieces, key=oddness))
    return first.stretch((begins if token is not None else [0])[0], len(first.rounds) - 1)
