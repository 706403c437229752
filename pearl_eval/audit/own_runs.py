"""The prompts of a run of ours, made again from what it left: its records do not hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from decoders.sampling.sampler import Sampler
from decoders.sampling.temperature import Temperature
from pearl_eval.audit.rows import Recorded, UnfitRow
from pearl_eval.config.building import build
from pearl_eval.errors import UserError
from pearl_eval.evaluation.plan import load_problems
from pearl_eval.pairs.pair import Pair
from pearl_eval.results.records import RUN, read_identity
from tasks.task import Problem, Task


class OwnRuns:
    """Runs by their folders.

    Parameters
    ----------
    pair
        Whose tokenizer reads the prompts.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._problems: dict[Path, dict[str, Problem] | str] = {}

    def prompt(self, recorded: Recorded) -> list[int]:
        """The token ids of a prompt. UnfitRow where the run does not tell them."""
        if recorded.folder not in self._problems:
            try:
                self._problems[recorded.folder] = _problems(recorded.folder)
            except UserError as error:
                self._problems[recorded.folder] = str(error)
        problems = self._problems[recorded.folder]
        if isinstance(problems, str):
            raise UnfitRow(problems)
        problem = problems.get(recorded.task_id)
        if problem is None:
            raise UnfitRow(f"the run's task has no problem {recorded.task_id!r}")
        try:
            answers = [self._pair.answer(one) for one in recorded.answers]
            return self._pair.prompt(problem, answers)
        except UserError as error:
            raise UnfitRow(str(error)) from error


def run_settings(folder: Path) -> dict[str, Any]:
    """What a run applied to scores, and where its texts end, by the names of a row."""
    identity = _identity(folder)
    sampler = build("sampling", _section(identity, "sampling"), Sampler)
    settings: dict[str, Any] = {
        "do_sample": sampler.random,
        "max_tokens": identity.get("task.max_new_tokens"),
        "ignore_eos": identity.get("protocol") == "paper",
    }
    if isinstance(sampler, Temperature):
        settings |= {name: getattr(sampler, name) for name in ("temperature", "top_k", "top_p")}
    elif sampler.random:
        raise UnfitRow(f"the run's sampling, {type(sampler).__name__}, can't be judged here")
    return settings


def _problems(folder: Path) -> dict[str, Problem]:
    task = build("task", _section(_identity(folder), "task"), Task)
    return {one.task_id: one for one in load_problems(task)}


def _identity(folder: Path) -> dict[str, Any]:
    identity = read_identity(folder)
    if not identity:
        raise UserError(
            f"{folder}: there is no {RUN} that says which task its records are of; keep the two"
            " files together"
        )
    return identity


def _section(identity: dict[str, Any], name: str) -> Any:
    """A part of a run's configuration, of which an identity has the values by dotted names."""
    node = OmegaConf.create({})
    for key, value in identity.items():
        if key.startswith(f"{name}."):
            OmegaConf.update(node, key.removeprefix(f"{name}."), value, merge=False)
    return node
