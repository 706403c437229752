"""A benchmark: its parts checked, then measured one after the other."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from pearl_eval.bench import concurrency, grid, growth
from pearl_eval.bench.config import BenchConfig, Contestants
from pearl_eval.bench.contest import contenders, hold, run_config
from pearl_eval.bench.table import content, print_contest, print_problems
from pearl_eval.config.building import build, plain, section
from pearl_eval.config.schema import Names, RuntimeConfig
from pearl_eval.errors import EquivalenceViolation, UserError
from pearl_eval.evaluation.plan import Plan, load_problems
from pearl_eval.figures.benchmark import draw_all
from pearl_eval.pairs.setup import Setup
from pearl_eval.results.journal import write_json
from pearl_eval.results.records import BENCH
from pearl_eval.shell.console import console
from tasks.task import Problem, Task

#: Of ``bench.json``; raised when a field changes its meaning.
VERSION = 4
#: Fewest prompts: draft lengths are chosen on one half of them and compared on the other.
_FEWEST = 2


class Benchmark:
    """What ``conf/bench.yaml`` describes, found and checked.

    Parameters
    ----------
    cfg
        The composed configuration.
    directory
        Output directory. Every run has a folder below it.
    choices
        The options that were chosen of the configuration's groups, which pairs and task are called
        by.
    """

    def __init__(self, cfg: DictConfig, directory: Path, choices: Mapping[str, str]) -> None:
        if (directory / BENCH).exists():
            raise UserError(
                f"hydra.run.dir={directory} holds a benchmark already; choose another directory, or"
                " move that away"
            )
        merged = OmegaConf.merge(OmegaConf.structured(BenchConfig), cfg)
        config = self._config = cast(BenchConfig, merged)
        self._directory = directory
        _check_prompts(config)
        runtime = section("runtime", RuntimeConfig, config.runtime)
        whole = load_problems(build("task", config.task, Task))
        self._whole = len(whole)
        problems = self._problems = draw(whole, config.prompts, config.seed)
        setup = Setup.make(config.pair, runtime, uses_draft=True)
        synthetic = " (synthetic: tokens are made up)" if setup.pair.synthetic else ""
        self._title = f"{choices['pair']}, {choices['task']}{synthetic}"
        if not (config.contest or config.grid or config.growth or config.concurrency):
            raise UserError(
                "contest=false leaves nothing to measure; choose grid=controlled, growth=controlled"
                " or concurrency=vllm"
            )
        if config.forward_repeats < 1:
            raise UserError(f"forward_repeats must be at least 1, got {config.forward_repeats}")
        run = run_config(cfg)

        def names(part: str) -> Names:
            return Names("", choices.get(f"pair@{part}.pair") or choices["pair"], choices["task"])

        self._contest = []
        if config.contest:
            _check("", config, len(problems))
            self._contest = contenders(
                config,
                run,
                names(""),
                directory / "contest",
                lambda parts: Plan.of(parts, setup, problems, config.repeats),
            )
        self._cells = []
        if config.grid:
            _check("grid.", config.grid, min(config.grid.prompts, len(problems)))
            if not config.grid.depths or not config.grid.perturbations:
                raise UserError("grid.depths and grid.perturbations must each have a value")
            self._cells = grid.plan(config.grid, run, names("grid"), runtime, problems, directory)
        self._growth = []
        if config.growth:
            _check("growth.", config.growth)
            folder = directory / "growth"
            self._growth = growth.plan(
                config.growth, run, names("growth"), runtime, problems, folder
            )
        self._concurrency = []
        if config.concurrency:
            _check("concurrency.", config.concurrency)
            own = Setup.make(config.concurrency.pair, runtime, uses_draft=True)
            folder = directory / "concurrency"
            self._concurrency = concurrency.plan(
                config.concurrency, run, names("concurrency"), own, problems, folder
            )
        self.content: dict[str, Any] = {
            "version": VERSION,
            "title": self._title,
            "synthetic": setup.pair.synthetic,
            "environment": setup.describe(),
            "config": plain(cfg),
            "problems": [problem.task_id for problem in decoded(config, problems)],
            **dict.fromkeys(("contest", "grid", "growth", "concurrency")),
        }

    def run(self) -> None:
        """Measure, print and write it all, then raise any :class:`EquivalenceViolation`."""
        config, wrong = self._config, list[str]()
        print_problems(self.content["problems"], self._whole, config.seed)
        self._write()
        if self._contest:
            results = hold(self._contest, config.forward_repeats, config.seed, "side by side")
            found = self.content["contest"] = content(results, config.rivals, Path("contest"))
            print_contest(self._title, found)
            wrong += results.wrong
            self._write()
        if config.grid:
            cells = self.content["grid"] = []
            for number, cell in enumerate(self._cells, start=1):
                label = f"grid, pair {number}/{len(self._cells)}"
                results = hold(cell.entrants, config.forward_repeats, config.seed, label)
                cells.append(cell.dials | content(results, config.grid.rivals, cell.folder))
                wrong += results.wrong
                self._write()
            grid.print_cells(cells)
        if config.growth:
            results = hold(self._growth, 0, config.seed, "growth with the context")
            points = growth.points(results)
            self.content["growth"] = {"folder": "growth", "points": points}
            growth.print_points(points)
            wrong += results.wrong
            self._write()
            contexts = config.growth.contexts
            forwards = growth.time_windows(self._growth, contexts, config.forward_repeats)
            self.content["growth"]["forwards"] = [asdict(one) for one in forwards]
            growth.print_windows(forwards)
            self._write()
        if config.concurrency:
            several = concurrency.measure(self._concurrency, config.concurrency, config.seed)
            self.content["concurrency"] = several
            concurrency.print_points(several)
            self._write()
        names = ", ".join([BENCH, *draw_all(self.content, self._directory)])
        console(stderr=False).print(f"written to {self._directory}: {names}", soft_wrap=True)
        if wrong:
            more = f" (and {len(wrong) - 1} more contenders)" if len(wrong) > 1 else ""
            raise EquivalenceViolation(f"{wrong[0]}{more}")

    def _write(self) -> None:
        """Also after each part and each pair of the grid: what was measured is not to be lost."""
        write_json(self._directory / BENCH, self.content)


def _check(where: str, config: Contestants, prompts: int = _FEWEST) -> None:
    if not config.decoders:
        raise UserError(f"{where}decoders is empty: name at least one decoder")
    if not config.gammas or min(config.gammas) < 1:
        raise UserError(
            f"{where}gammas are draft lengths of at least 1 token, got {list(config.gammas)}"
        )
    if prompts < _FEWEST:
        raise UserError(
            f"{where}prompts: {prompts} are too few, at least {_FEWEST} are needed, since draft"
            " lengths are chosen on one half of them and compared on the other"
        )
    if config.repeats < 1:
        raise UserError(f"{where}repeats must be at least 1, got {config.repeats}")


def _check_prompts(config: BenchConfig) -> None:
    counts = {"prompts": config.prompts}
    if config.concurrency:
        counts["concurrency.prompts"] = config.concurrency.prompts
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{name} must be at least 1, got {count}")


def decoded(config: BenchConfig, drawn: Sequence[Problem]) -> Sequence[Problem]:
    """The drawn problems that some part of the benchmark makes use of."""
    if config.contest or config.growth:
        return drawn
    return drawn[: max(part.prompts for part in (config.grid, config.concurrency) if part)]


def draw(problems: Sequence[Problem], count: int, seed: int) -> list[Problem]:
    """``count`` problems from all over a task, or all where it has fewer, in random order."""
    return random.Random(f"problems {seed}").sample(list(problems), min(count, len(problems)))
