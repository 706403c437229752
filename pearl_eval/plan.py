"""What a run will do: everything found and checked before weights are loaded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from decoders.decoder import Decoder
from decoders.sampler import Sampler
from pearl_eval.config import Config, Protocol, build, typed
from pearl_eval.errors import UserError
from pearl_eval.pair import Pair
from pearl_eval.setup import Setup
from tasks.task import Problem, Task


@dataclass(frozen=True)
class Prompt:
    """A problem, the token ids of its prompt, and what its random numbers are drawn from.

    ``sample`` counts the prompts of one problem from 0.
    """

    problem: Problem
    ids: list[int]
    seed: int
    sample: int = 0


@dataclass(frozen=True)
class Plan:
    """The parts of a run, made from its configuration and checked against each other."""

    config: Config
    decoder: Decoder
    sampler: Sampler
    setup: Setup
    task: Task
    prompts: Sequence[Prompt]

    @classmethod
    def make(cls, cfg: DictConfig) -> Plan:
        """Plan a run. Raises :class:`UserError` for whatever can't work."""
        config = typed(cfg)
        decoder = build("decoder", config.decoder, Decoder)
        task = build("task", config.task, Task)
        sampler = build("sampling", config.sampling, Sampler)
        try:
            decoder.check(sampler)
        except ValueError as error:
            raise UserError(str(error)) from error
        if task.samples > 1 and not sampler.random:
            raise UserError(
                f"task.samples_per_task={task.samples}: without sampling all samples are the same;"
                " choose sampling=temperature, or task.samples_per_task=1"
            )
        setup = Setup.make(config.pair, config.runtime, decoder.uses_draft)
        pair = setup.pair
        prompts = [
            Prompt(
                problem,
                pair.encode(problem.prompt),
                _seed(config.seed, problem.task_id, sample),
                sample,
            )
            for problem in _problems(task)
            for sample in range(task.samples)
        ]
        pair.check_context({p.problem.task_id: len(p.ids) for p in prompts}, task.max_new_tokens)
        if not pair.synthetic:
            _prepare(task)
        return cls(config, decoder, sampler, setup, task, tuple(prompts))

    @property
    def pair(self) -> Pair:
        return self.setup.pair

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a text; none by the paper's protocol."""
        return () if self.config.protocol is Protocol.paper else self.pair.stop_ids


def _seed(seed: int, task_id: str, sample: int) -> int:
    """A seed for one prompt that does not depend on which others are run, nor on how many."""
    source = f"{seed} {task_id} {sample}" if sample else f"{seed} {task_id}"
    return random.Random(source).getrandbits(32)


def _problems(task: Task) -> list[Problem]:
    try:
        return task.problems()
    except (OSError, ValueError) as error:
        raise UserError(f"the task's problems can't be loaded: {error}") from error


def _prepare(task: Task) -> None:
    try:
        task.prepare()
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
