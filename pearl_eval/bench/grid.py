"""Contests on controlled pairs over a grid of speed ratios and acceptance rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from pearl_eval.bench.config import REFERENCE, GridConfig
from pearl_eval.bench.contest import check_contenders, contenders, hold
from pearl_eval.bench.results import Ratio, Results
from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.pairs.setup import Setup
from pearl_eval.shell.console import console
from tasks.task import Problem


@dataclass(frozen=True)
class Cell:
    """A contest on one pair of the grid: its dials, and what they gave."""

    depth: int
    perturbation: float
    results: Results

    @property
    def speed_ratio(self) -> float:
        """c as measured, each model alone."""
        return self.results.speed_ratio()

    @property
    def acceptance_rate(self) -> float | None:
        """α as measured by vanilla speculative decoding, over its draft lengths."""
        labels = self.results.contenders()
        return self.results.acceptance_rate(*(c for c in labels if c.split()[0] == "speculative"))

    @property
    def name(self) -> str:
        rate = self.acceptance_rate
        return f"c = {self.speed_ratio:.1f}, α = {'–' if rate is None else f'{rate:.2f}'}"

    def best(self) -> dict[str, str]:
        """The contender of each decoder that was fastest on one half of the prompts."""
        names = dict.fromkeys(label.split()[0] for label in self.results.contenders())
        return {name: self.results.best(name.__eq__) or name for name in names}

    def content(self) -> dict[str, Any]:
        """For JSON: dials, c, α, each decoder's speedup at its best draft length, and all
        measurements. Draft lengths are chosen on one half of the prompts, speedups are those of the
        other half."""
        held_out = self.results.half(chooses=False)
        return {
            "depth": self.depth,
            "perturbation": self.perturbation,
            "speed_ratio": self.speed_ratio,
            "acceptance_rate": self.acceptance_rate,
            "speedups": {
                name: {"contender": label, "ratio": held_out.ratio(label, REFERENCE).value}
                for name, label in self.best().items()
                if name != REFERENCE
            },
            **self.results.content(),
        }


@dataclass(frozen=True)
class Plot:
    """A pair of the grid, found and checked but not loaded, and its prompts."""

    depth: int
    perturbation: float
    setup: Setup
    prompts: Sequence[Sequence[int]]


def plan(grid: GridConfig, runtime: RuntimeConfig, problems: Sequence[Problem]) -> list[Plot]:
    """The pairs of the grid. Raises :class:`UserError` for whatever can't work."""
    entrants = contenders(grid.decoders, grid.gammas)
    plots = []
    for depth in grid.depths:
        for perturbation in grid.perturbations:
            dials = {"depth": depth, "perturbation": perturbation}
            node = OmegaConf.merge(grid.pair, dials)
            assert isinstance(node, DictConfig)
            setup = Setup.make(node, runtime, uses_draft=True)
            prompts = [setup.pair.prompt(problem) for problem in problems[: grid.prompts]]
            longest = max(map(len, prompts))
            setup.pair.check_context({"the longest prompt": longest}, grid.max_new_tokens)
            check_contenders(entrants, setup.pair, prompts, grid.max_new_tokens)
            plots.append(Plot(depth, perturbation, setup, prompts))
    return plots


def cells(
    grid: GridConfig, plots: Sequence[Plot], seed: int, forward_repeats: int
) -> Iterator[Cell]:
    """Hold the contests of the grid, one after the other."""
    for index, plot in enumerate(plots):
        results = hold(
            plot.setup,
            contenders(grid.decoders, grid.gammas),
            plot.prompts,
            grid.max_new_tokens,
            grid.repeats,
            seed=seed,
            forward_repeats=forward_repeats,
            label=f"grid, pair {index + 1}/{len(plots)}",
        )
        yield Cell(plot.depth, plot.perturbation, results)


def print_cells(done: Sequence[Cell]) -> None:
    """A row for each pair: what its dials gave, and each decoder at its best draft length."""
    names = [name for name in done[0].best() if name != REFERENCE]
    title = (
        "Controlled pairs: speed ÷ autoregressive, at the best γ"
        " (chosen on one half of the prompts, compared on the other)"
    )
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("depth", "perturbation", "c", "α", *names):
        table.add_column(heading, justify="right")
    table.add_column("best PEARL ÷\nbest speculative", justify="right")
    table.add_column("same tokens", justify="right")
    for cell in done:
        best, held_out = cell.best(), cell.results.half(chooses=False)
        rate = cell.acceptance_rate
        table.add_row(
            str(cell.depth),
            f"{cell.perturbation:g}",
            f"{cell.speed_ratio:.1f}",
            "–" if rate is None else f"{rate:.3f}",
            *(_with_gamma(held_out.ratio(best[name], REFERENCE), best[name]) for name in names),
            _pearl_over_speculative(cell),
            _same(cell.results),
        )
    console(stderr=False).print(table)


def _with_gamma(ratio: Ratio, label: str) -> str:
    return " ".join([str(ratio), *label.split()[1:]])


def _pearl_over_speculative(cell: Cell) -> str:
    pearl = cell.results.best(lambda name: name.startswith("pearl"))
    speculative = cell.best().get("speculative")
    held_out = cell.results.half(chooses=False)
    return str(held_out.ratio(pearl, speculative)) if pearl and speculative else "–"


def _same(results: Results) -> str:
    kinds = [m.verdict for m in results.measurements]
    return f"{kinds.count('identical')}/{len(kinds)}"
