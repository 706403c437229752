"""Runs beside what theory expects at their speed ratio and acceptance rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from analysis.frames.frame import sections, timed_rounds
from analysis.frames.table import Cell, NoRuns, Table
from analysis.theory import theory

#: The schedules whose draft length theory speaks of.
SCHEDULES = ("Parallel", "Sequential")


@dataclass(frozen=True)
class Expectation:
    """What theory expects of ``Parallel`` (PEARL) or ``Sequential`` (vanilla speculative decoding).

    ``ratio`` is the speed ratio c, ``rate`` the acceptance rate α; only forwards take time.

    ``window_cost`` is how many times as long as one token of autoregressive decoding a target
    forward over a block takes; the closed forms know no such thing (it is 1).
    """

    schedule: str
    ratio: float
    rate: float
    window_cost: float

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Expectation:
        """At the c, α and window cost of these runs, all of one decoder."""
        ratio, window_cost = pace(frame)
        rate = float(frame["acceptance_rate"].mean())
        return cls(str(frame["schedule"].iloc[0]), ratio, rate, window_cost)

    @property
    def said(self) -> str:
        return f"c = {self.ratio:.1f}, α = {self.rate:.3f}, windows {self.window_cost:.2f}×"

    @property
    def best(self) -> int:
        """The draft length that is the fastest by theory, were all windows as wide as these."""
        find = theory.pearl_gamma if self._parallel else theory.speculative_gamma
        return find(self.ratio, self.rate)

    def speedup(self, gamma: int) -> float:
        give = theory.pearl_speedup if self._parallel else theory.speculative_speedup
        return give(self.ratio, self.rate, gamma) / self.window_cost

    def accepted(self, gamma: int) -> float:
        """Mean accepted tokens."""
        if self._parallel:
            return theory.accepted_run(self.rate)
        return theory.accepted_in_block(self.rate, gamma)

    @property
    def _parallel(self) -> bool:
        return self.schedule == "Parallel"


def two_models(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs that have both models. Raises :class:`NoRuns` where there are none."""
    both = frame[(frame["draft_forwards"] > 0) & (frame["target_forwards"] > 0)]
    if both.empty:
        raise NoRuns("none of these runs has both a draft model and a target")
    return both


def pace(frame: pd.DataFrame) -> tuple[float, float]:
    """c, and what a window costs, in the median of rounds.

    c: how many forwards of the draft model one of the target takes. The window's cost: how many
    times as long as a token of the reference the target's forward takes; c ÷ this is the speed
    ratio of forwards that read one token each. All as the runs' rounds took them, windows, contexts
    and all; reading prompts and the warm-up left out. Raises :class:`NoRuns` where no run has two
    models, or no round was timed.
    """
    both = two_models(frame)
    own = timed_rounds(both)
    drafting = own[(own["draft_seconds"] > 0) & (own["drafted"] > 0)]
    draft = (drafting["draft_seconds"] / drafting["drafted"]).median()
    target = own.loc[own["target_seconds"] > 0, "target_seconds"].median()
    found = float(target / draft), float(target * both["reference_tokens_per_second"].median())
    if not all(map(math.isfinite, found)):
        raise NoRuns("these runs have no round in which both models were timed")
    return found


def beside_theory(frame: pd.DataFrame) -> Table:
    """Mean accepted tokens and speedups of PEARL and vanilla speculative decoding, and theory's."""
    runs = frame[frame["schedule"].isin(SCHEDULES) & frame["speedup"].notna()]
    if runs.empty:
        raise NoRuns(
            "none of these runs is of PEARL or vanilla speculative decoding and timed both models"
        )
    cells: list[Cell] = []
    for section, part in sections(runs):
        for place in range(len(part)):
            one = part.iloc[place : place + 1]
            run = one.iloc[0]
            at = Expectation.of(one)
            gamma = int(run["gamma"])
            figures = {
                "c": (at.ratio, ".1f", ""),
                "window cost": (at.window_cost, ".2f", "×"),
                "α": (at.rate, ".3f", ""),
                "γ": (gamma, ".0f", ""),
                "theory's best γ": (at.best, ".0f", ""),
                "accepted tokens": (run["mean_accepted_tokens"], ".2f", ""),
                "by theory": (at.accepted(gamma), ".2f", ""),
                "speedup": (run["speedup"], ".2f", "×"),
                "speedup by theory": (at.speedup(gamma), ".2f", "×"),
            }
            row = (f"{run['pair']}, {run['task']}", str(run["label"]))
            source = (str(run["run"]),)
            cells += [
                Cell(section, row, name, value, runs=source, form=form, unit=unit)
                for name, (value, form, unit) in figures.items()
            ]
    notes = [
        "c: median time of a target forward over that of a draft forward, in the run's rounds;"
        " window cost: that of the target over the reference's time for a token, by which theory's"
        " speedups are divided; α: accepted ÷ judged. Theory: every token is accepted with chance"
        " α, nothing but forwards takes time (analysis/theory/theory.py), and its best γ is that of"
        " windows as wide as the run's. Its figures are predicted, not measured.",
        "Runs: " + ", ".join(runs["run"]) + ".",
    ]
    title = "PEARL and vanilla speculative decoding beside theory"
    return Table("beside_theory", title, ("pair", "decoder"), cells, notes=notes)
