"""A benchmark: its parts checked, then measured one after the other."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from pearl_eval.bench import grid, growth
from pearl_eval.bench.config import REFERENCE, BenchConfig, GridConfig, GrowthConfig
from pearl_eval.bench.contest import check_contenders, contenders, hold
from pearl_eval.bench.figures import draw_all
from pearl_eval.bench.goals import Goal, best_pair_goals, contest_goals, run_goals
from pearl_eval.bench.table import (
    bests,
    print_bests,
    print_goals,
    print_problems,
    print_rows,
    rows,
)
from pearl_eval.bench.watch import Whole, watch
from pearl_eval.config.building import build, plain, section
from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.errors import EquivalenceViolation, UserError
from pearl_eval.evaluation.plan import load_problems
from pearl_eval.pairs.setup import Setup
from pearl_eval.results.journal import write_json
from pearl_eval.shell.console import console
from tasks.task import Problem, Task

#: Of ``bench.json``; raised when a field changes its meaning.
VERSION = 3
#: Fewest prompts: draft lengths are chosen on one half of them and compared on the other.
_FEWEST = 2
#: Prompts of the whole run that is watched.
_WATCHED = 8


@dataclass
class Bench:
    """A benchmark: its parts checked, then measured one after the other.

    ``content`` is what ``bench.json`` will hold, ``violations`` what outputs are not the target's.
    """

    cfg: DictConfig
    directory: Path
    title: str
    content: dict[str, Any] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        merged = OmegaConf.merge(OmegaConf.structured(BenchConfig), self.cfg)
        self._config = cast(BenchConfig, merged)
        config = self._config
        self._runtime = section("runtime", RuntimeConfig, config.runtime)
        self._task = build("task", config.task, Task)
        whole: Sequence[Problem] = load_problems(self._task)
        self._whole = len(whole)
        self._problems = draw(whole, config.prompts, config.seed)
        self._setup = Setup.make(config.pair, self._runtime, uses_draft=True)
        if self._setup.pair.synthetic:
            self.title += " (synthetic: tokens are made up)"
        self._prompts = [self._setup.pair.prompt(problem) for problem in self._problems]
        self._check()
        self._plots = grid.plan(config.grid, self._runtime, self._problems) if config.grid else []
        self._growth_setup = growth.plan(config.growth, self._runtime) if config.growth else None

    def _check(self) -> None:
        config = self._config
        if config.contest:
            _check_contest("", config, len(self._prompts))
        if config.grid:
            _check_contest("grid.", config.grid, min(config.grid.prompts, len(self._prompts)))
            if not config.grid.depths or not config.grid.perturbations:
                raise UserError("grid.depths and grid.perturbations: at least one of each")
        if config.forward_repeats < 1:
            raise UserError(f"forward_repeats must be at least 1, got {config.forward_repeats}")
        pair, limit = self._setup.pair, self._task.max_new_tokens
        pair.check_context({"the longest prompt": max(map(len, self._prompts))}, limit)
        entrants = contenders(config.decoders, config.gammas)
        check_contenders(entrants, pair, self._prompts, limit)

    def run(self) -> None:
        """Measure, print and write it all, then raise any :class:`EquivalenceViolation`."""
        config = self._config
        print_problems([one.task_id for one in self._problems], self._whole, config.seed)
        self.content = {
            "version": VERSION,
            "title": self.title,
            "synthetic": self._setup.pair.synthetic,
            "environment": self._setup.describe(),
            "config": plain(self.cfg),
            "problems": [problem.task_id for problem in self._problems],
            **dict.fromkeys(("contest", "whole_run", "grid", "growth")),
        }
        if config.whole_run:
            # First, so that nothing has been loaded that it would find ready.
            whole = self._watch(_WATCHED, "run")
            self.content["whole_run"] = asdict(whole)
            self.goals += run_goals(whole)
            self._write()
        if config.contest:
            self._contest()
        if config.grid:
            self._grid(config.grid)
        if config.growth:
            self._growth(config.growth)
        print_goals(self.goals)
        self.content["goals"] = [asdict(goal) | {"met": goal.met} for goal in self.goals]
        self._write()
        names = ", ".join(["bench.json", *draw_all(self.content, self.directory)])
        console(stderr=False).print(f"written to {self.directory}: {names}", soft_wrap=True)
        if self.violations:
            raise EquivalenceViolation(
                f"{len(self.violations)} outputs are not the target's own; the first:"
                f" {self.violations[0]}"
            )

    def _write(self) -> None:
        """Also after each part and each pair of the grid: what was measured is not to be lost."""
        write_json(self.directory / "bench.json", self.content)

    def _watch(self, prompts: int, folder: str) -> Whole:
        tokens = self._task.max_new_tokens
        return watch(self.cfg, prompts, tokens, self.directory / folder)

    def _contest(self) -> None:
        config = self._config
        results = hold(
            self._setup,
            contenders(config.decoders, config.gammas),
            self._prompts,
            self._task.max_new_tokens,
            config.repeats,
            seed=config.seed,
            forward_repeats=config.forward_repeats,
            label="decoding side by side",
        )
        contest, best = rows(results), bests(results)
        print_rows(self.title, contest, results)
        print_bests(best)
        self.content["contest"] = {
            "rows": [asdict(row) for row in contest],
            "best": [asdict(one) for one in best],
            "speed_ratio": results.speed_ratio(),
            "draft_limit": results.draft_limit(),
            **results.content(),
        }
        self.goals = [*contest_goals(results), *self.goals]
        self.violations += results.violations()
        self._write()

    def _grid(self, config: GridConfig) -> None:
        done: list[grid.Cell] = []
        self.content["grid"] = []
        seed, repeats = self._config.seed, self._config.forward_repeats
        for cell in grid.cells(config, self._plots, seed, repeats):
            done.append(cell)
            self.content["grid"].append(cell.content())
            self._write()
        grid.print_cells(done)
        self.goals += best_pair_goals([(cell.name, cell.results) for cell in done])
        self.violations += [why for cell in done for why in cell.results.violations()]

    def _growth(self, config: GrowthConfig) -> None:
        assert self._growth_setup is not None
        points = growth.measure(config, self._growth_setup, self._problems)
        grown = growth.Growth(points, self._watch(config.prompts, "growth"))
        growth.print_growth(grown)
        self.content["growth"] = grown.content()
        self.violations += grown.violations()


def _check_contest(where: str, config: BenchConfig | GridConfig, prompts: int) -> None:
    if not config.gammas or min(config.gammas) < 1:
        raise UserError(
            f"{where}gammas are draft lengths of at least 1 token, got {list(config.gammas)}"
        )
    if REFERENCE not in config.decoders:
        raise UserError(
            f"{where}decoders: {REFERENCE} must be among them, to compare the others with"
        )
    if prompts < _FEWEST:
        raise UserError(
            f"{where}prompts: {prompts} are too few, at least {_FEWEST} are needed, since draft"
            " lengths are chosen on one half of them and compared on the other"
        )
    if config.repeats < 1:
        raise UserError(f"{where}repeats must be at least 1, got {config.repeats}")


def draw(problems: Sequence[Problem], count: int, seed: int) -> list[Problem]:
    """``count`` problems from all over a task, or all where it has fewer, in random order."""
    return random.Random(f"problems {seed}").sample(list(problems), min(count, len(problems)))
