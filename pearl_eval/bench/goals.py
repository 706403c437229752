"""What the project wants to reach, beside what was measured. Nothing is asserted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pearl_eval.bench.config import REFERENCE
from pearl_eval.bench.contest import AGAIN
from pearl_eval.bench.results import Results
from pearl_eval.bench.watch import Whole

#: How far from 1 the reference may be from itself.
_UNFAIRNESS = 0.02
#: What a round of PEARL may send under greedy decoding: token ids and what goes with them, and
#: nothing of the size of a vocabulary.
_BYTES = 256
_UNITS = {"×": 1.0, "%": 1e2, "µs": 1e6, "s": 1.0, "bytes": 1.0}


@dataclass(frozen=True)
class Goal:
    """A figure that is wanted and, where this run measured it, what it was.

    ``value`` and ``threshold`` are ratios, shares, seconds or bytes; ``unit`` says how they are
    written. ``sign`` is ``≥`` or ``≤``. ``besides`` is whatever else must hold.
    """

    name: str
    unit: str
    value: float | None
    sign: str
    threshold: float
    note: str = ""
    besides: bool = True

    @property
    def met(self) -> bool | None:
        """Whether it is reached; None where it was not measured."""
        if self.value is None:
            return None
        reached = self.value >= self.threshold if self.sign == "≥" else self.value <= self.threshold
        return reached and self.besides

    @property
    def wanted(self) -> str:
        return f"{self.sign} {self._written(self.threshold)}"

    @property
    def measured(self) -> str:
        return "not in this run" if self.value is None else self._written(self.value)

    def _written(self, value: float) -> str:
        number = _UNITS[self.unit] * value
        digits = {"×": 3, "%": 1, "s": 1}.get(self.unit, 0)
        return f"{number:.{digits}f}{'' if self.unit == '×' else ' '}{self.unit}"


def contest_goals(results: Results) -> list[Goal]:
    """Goals of a contest on one pair: draft lengths are chosen on one half of its prompts, and
    compared on the other."""
    held_out = results.half(chooses=False)
    best = {
        "generate": results.best("generate".__eq__),
        "speculative": results.best("speculative".__eq__),
        "assisted": results.best(lambda name: name.startswith("assisted")),
        "pearl": results.best("pearl".__eq__),
    }

    def ratio(name: str, ours: str | None, theirs: str | None, threshold: float) -> Goal:
        if not ours or not theirs:
            return Goal(name, "×", None, "≥", threshold)
        note = f"{ours} ÷ {theirs}"
        return Goal(name, "×", held_out.ratio(ours, theirs).value, "≥", threshold, note)

    pearl = best["pearl"]
    goals = [
        ratio("autoregressive ÷ transformers' generate", REFERENCE, best["generate"], 1.0),
        ratio("… aimed at", REFERENCE, best["generate"], 1.3),
        ratio("speculative ÷ assisted generation", best["speculative"], best["assisted"], 1.2),
        ratio("PEARL ÷ assisted generation", pearl, best["assisted"], 1.5),
    ]
    if pearl:
        alone, inside = (results.share_of_round_limit(pearl, which) for which in (False, True))
        goals += [
            Goal("PEARL's rounds: limit 2 ÷ time, forwards alone", "%", alone, "≥", 0.9, pearl),
            Goal("PEARL's rounds: limit 2 ÷ time, forwards inside", "%", inside, "≥", 0.97, pearl),
            Goal("crossing, a round (median)", "µs", results.crossing(pearl), "≤", 60e-6, pearl),
            Goal("bytes a round", "bytes", results.bytes_per_round(pearl), "≤", _BYTES, pearl),
        ]
    return [*goals, *_fairness(results)]


def _fairness(results: Results) -> list[Goal]:
    """The A/A test: the reference against itself."""
    if AGAIN not in results.contenders():
        return []
    ratio = results.ratio(AGAIN, REFERENCE)
    away = abs(ratio.value - 1)
    if ratio.low is None or ratio.high is None:
        covers, note = True, f"{ratio.value:.3f}×, too few prompts for an interval"
    else:
        covers = ratio.low <= 1 <= ratio.high
        interval = f"95 %: {ratio.low:.3f}–{ratio.high:.3f}"
        note = f"{ratio.value:.3f}× ({interval}), {'covers' if covers else 'DOES NOT COVER'} 1"
    return [
        Goal(
            "A/A: the reference's speedup over itself, off 1 by",
            "%",
            away,
            "≤",
            _UNFAIRNESS,
            note,
            covers,
        )
    ]


def run_goals(whole: Whole) -> list[Goal]:
    """Goals of a whole ``pearl-eval`` run."""
    note = f"pearl-eval, {whole.prompts} prompts"
    return [
        Goal("from command to first token, after imports", "s", whole.start, "≤", 3.0, note),
        Goal("outside timed regions: records, verdicts, W&B", "%", whole.outside, "≤", 0.02, note),
    ]


def best_pair_goals(cells: Sequence[tuple[str, Results]]) -> list[Goal]:
    """What the fastest PEARL reaches on the best pair of a grid, ``cells`` by their names.

    Pair and draft lengths are chosen on one half of the prompts; what is reached is that of the
    other half.
    """
    goals = []
    for name, family, threshold in (
        ("best PEARL ÷ autoregressive", REFERENCE, 4.43),
        ("best PEARL ÷ speculative at its best γ", "speculative", 1.5),
    ):
        reached: list[tuple[float, float, str]] = []
        for cell, results in cells:
            ours = results.best(lambda label: label.startswith("pearl"))
            theirs = REFERENCE if family == REFERENCE else results.best(family.__eq__)
            if ours and theirs:
                chosen, held_out = (
                    results.half(chooses).ratio(ours, theirs).value for chooses in (True, False)
                )
                reached.append((chosen, held_out, f"{ours} ÷ {theirs}, {cell}"))
        _, value, note = max(reached, default=(None, None, ""))
        goals.append(Goal(f"{name}, best controlled pair", "×", value, "≥", threshold, note))
    return goals
