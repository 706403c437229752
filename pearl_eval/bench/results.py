"""What a contest measured, and the ratios that follow from it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from decoders.generation import Generation
from pearl_eval.bench.limits import Forwards, Rounds
from pearl_eval.results.intervals import total_ratio, total_ratio_interval


@dataclass(frozen=True)
class Measurement:
    """One contender's decoding of one prompt. Times are seconds, the others counts of tokens.

    ``verdict`` is its output's against the reference's, ``why`` says what a violation is.
    ``draft_alone`` is one draft forward as timed alone right after, ``pearl`` accounts for PEARL's
    rounds.
    """

    contender: str
    prompt: int
    repeat: int
    seconds: float
    tokens: int
    judged: int
    accepted: int
    target_forwards: int
    verdict: str
    why: str
    draft_alone: float
    pearl: Rounds | None = None

    @classmethod
    def of(
        cls,
        contender: str,
        prompt: int,
        repeat: int,
        generation: Generation,
        seconds: float,
        **more: Any,
    ) -> Measurement:
        """That of a generation which took ``seconds``; ``more`` are fields as they are."""
        return cls(
            contender,
            prompt,
            repeat,
            seconds,
            len(generation.output_ids),
            sum(r.judged for r in generation.rounds),
            sum(r.accepted for r in generation.rounds),
            generation.target_forwards,
            **more,
        )


@dataclass(frozen=True)
class Ratio:
    """How many times as fast: total tokens per second over the other's, on the same prompts.

    ``low`` and ``high`` are its 95 % interval (``pearl_eval.results.intervals``), ``None`` below
    three prompts: repeats of a prompt are alike, and are added up. ``spread`` has the least, the
    quartiles and the most of the prompts' own ratios.
    """

    value: float
    low: float | None
    high: float | None
    spread: tuple[float, float, float, float, float]

    @property
    def interval(self) -> str:
        """The interval as text, if there is one."""
        return "" if self.low is None or self.high is None else f"{self.low:.2f}–{self.high:.2f}"

    @property
    def by_prompt(self) -> str:
        """The spread as text."""
        return " ".join(f"{one:.2f}" for one in self.spread)

    def __str__(self) -> str:
        return f"{self.value:.2f}×" + (f" ({self.interval})" if self.interval else "")


class Results:
    """All measurements of a contest, and the forwards timed alone beside them.

    ``traces`` say of each prompt which tokens the draft model gets right
    (``pearl_eval.simulation.acceptance.record``).
    """

    def __init__(
        self,
        measurements: Sequence[Measurement],
        forwards: Sequence[Forwards] = (),
        traces: Sequence[str] = (),
    ) -> None:
        self.measurements = measurements
        self.forwards = forwards
        self.traces = traces
        self._by_contender: dict[str, list[Measurement]] = {}
        for one in measurements:
            self._by_contender.setdefault(one.contender, []).append(one)

    def contenders(self) -> list[str]:
        return list(self._by_contender)

    def of(self, contender: str) -> list[Measurement]:
        return self._by_contender[contender]

    def half(self, chooses: bool) -> Results:
        """Of every other prompt: those that draft lengths are chosen on, or the rest.

        What is compared at its best draft length is compared on the rest. On the prompts it was
        chosen on, the fastest of many would look faster than it is.
        """
        kept = [one for one in self.measurements if (one.prompt % 2 == 0) == chooses]
        return Results(kept)

    def best(self, family: Callable[[str], bool]) -> str | None:
        """The fastest contender of decoders whose name is of a ``family``, over draft lengths.

        It is chosen on one half of the prompts, see ``half``.
        """
        choosing = self.half(chooses=True)
        own = [label for label in self._by_contender if family(label.split()[0])]
        return max(own, key=choosing.tokens_per_second, default=None)

    def tokens_per_second(self, contender: str) -> float:
        own = self.of(contender)
        return sum(m.tokens for m in own) / sum(m.seconds for m in own)

    def ratio(self, contender: str, other: str) -> Ratio:
        """How many times as fast as ``other``."""
        columns = np.array([*self._by_prompt(contender), *self._by_prompt(other)])
        tokens, seconds, other_tokens, other_seconds = columns
        own = (tokens / seconds) / (other_tokens / other_seconds)
        least, *quartiles, most = np.quantile(own, [0, 0.25, 0.5, 0.75, 1]).tolist()
        low, high = total_ratio_interval(*columns) or (None, None)
        return Ratio(total_ratio(*columns), low, high, (least, *quartiles, most))

    def _by_prompt(self, contender: str) -> tuple[list[float], list[float]]:
        """Tokens and seconds of each prompt, over its repeats."""
        sums: dict[int, list[float]] = {}
        for one in self.of(contender):
            own = sums.setdefault(one.prompt, [0.0, 0.0])
            own[0] += one.tokens
            own[1] += one.seconds
        ordered = [sums[prompt] for prompt in sorted(sums)]
        return [tokens for tokens, _ in ordered], [seconds for _, seconds in ordered]

    def acceptance_rate(self, *contenders: str) -> float | None:
        """α: accepted drafted tokens over judged ones; None where none were."""
        own = [m for label in contenders for m in self.of(label)]
        judged = sum(m.judged for m in own)
        return sum(m.accepted for m in own) / judged if judged else None

    def share_of_draft_limit(self, contender: str) -> float:
        """Speed over limit 1: a token cannot come faster than one draft forward."""
        own = self.of(contender)
        return sum(m.tokens * m.draft_alone for m in own) / sum(m.seconds for m in own)

    def share_of_round_limit(self, contender: str, inside: bool = False) -> float | None:
        """Limit 2 over the time that PEARL's rounds took; None for other contenders.

        By forwards as timed alone, or as timed ``inside`` the rounds.
        """
        own = [m.pearl for m in self.of(contender) if m.pearl]
        wall = sum(one.wall for one in own)
        return sum(one.inside if inside else one.alone for one in own) / wall if wall else None

    def crossing(self, contender: str) -> float | None:
        """Median seconds of crossing between the processes, over the rounds of PEARL."""
        seconds = [s for m in self.of(contender) if m.pearl for s in m.pearl.crossings]
        return statistics.median(seconds) if seconds else None

    def bytes_per_round(self, contender: str) -> float | None:
        own = [m.pearl for m in self.of(contender) if m.pearl]
        count = sum(one.count for one in own)
        return sum(one.bytes_sent for one in own) / count if count else None

    def tokens_per_forward(self, contender: str) -> float:
        """Tokens for each forward of the target."""
        own = self.of(contender)
        return sum(m.tokens for m in own) / max(1, sum(m.target_forwards for m in own))

    def verdict(self, contender: str) -> str:
        """How many outputs are the reference's, token for token, and what the others are."""
        counts = Counter(m.verdict for m in self.of(contender))
        text = f"{counts.pop('identical', 0)}/{len(self.of(contender))}"
        return ", ".join([text, *(f"{count} {kind}" for kind, count in counts.items())])

    def violations(self) -> list[str]:
        return [
            f"{m.contender}, prompt {m.prompt}, {m.why}"
            for m in self.measurements
            if m.verdict == "violation"
        ]

    def speed_ratio(self) -> float:
        """c, the median over the prompts."""
        return statistics.median(f.speed_ratio for f in self.forwards)

    def draft_limit(self) -> float:
        """Limit 1 in tokens per second, the median over the prompts."""
        return statistics.median(1 / f.draft for f in self.forwards)

    def content(self) -> dict[str, Any]:
        """All measurements, for JSON."""
        return {
            "measurements": [asdict(m) for m in self.measurements],
            "forwards": [asdict(f) for f in self.forwards],
            "traces": list(self.traces),
        }
