"""What a run will do: everything found and checked before weights are loaded."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.sampling.sampler import Sampler
from pearl_eval.config.building import build, typed
from pearl_eval.config.schema import Config, Protocol, ReferenceHardware
from pearl_eval.errors import UserError
from pearl_eval.evaluation.corpus import KnownText
from pearl_eval.evaluation.hardware import check_everything
from pearl_eval.pairs.pair import Pair
from pearl_eval.pairs.setup import Setup
from pearl_eval.results.records import Key
from tasks.task import Problem, Task

#: Stands for an answer where only the length of what is around it matters.
_SOME_ANSWER = "x"


@dataclass(frozen=True)
class Prompt:
    """What is decoded at once: a problem, or a turn of one that is a dialogue.

    ``ids`` are its tokens, ``answers`` those to a dialogue's earlier turns. Random numbers are
    drawn from ``seed``. ``sample`` counts the samples of one problem from 0.
    """

    problem: Problem
    ids: list[int]
    seed: int
    sample: int = 0
    answers: tuple[str, ...] = ()

    @property
    def turn(self) -> int:
        """The turn of a dialogue, from 1 on; 0 elsewhere."""
        return len(self.answers) + 1 if self.problem.turns else 0

    @property
    def key(self) -> Key:
        """What tells it from the other prompts of its run."""
        return self.problem.task_id, self.sample, self.turn


@dataclass(frozen=True)
class Parts:
    """What a run is made of, checked as far as that goes without its pair and data."""

    config: Config
    decoder: Decoder
    sampler: Sampler
    task: Task

    @classmethod
    def make(cls, cfg: DictConfig, here: bool = True) -> Parts:
        """Raises :class:`UserError` for parts that are not known or don't go together.

        Also for a decoder that lacks what it runs in, unless it is not to run ``here``.
        """
        config = typed(cfg)
        decoder = build("decoder", config.decoder, Decoder)
        task = build("task", config.task, Task)
        sampler = build("sampling", config.sampling, Sampler)
        try:
            decoder.check(sampler)
            if here:
                decoder.check_here()
            decoder.describe()  # which is written at the end, when it is late to be wrong
        except ValueError as error:
            raise UserError(str(error)) from error
        if task.samples > 1 and not sampler.random:
            raise UserError(
                f"task.samples_per_task={task.samples}: without sampling all samples are the same;"
                " choose sampling=temperature, or task.samples_per_task=1"
            )
        return cls(config, decoder, sampler, task)


@dataclass(frozen=True)
class Plan:
    """The parts of a run, made from its configuration and checked against each other."""

    config: Config
    decoder: Decoder
    sampler: Sampler
    setup: Setup
    task: Task
    prompts: Sequence[Prompt]
    """One for each sample of each problem: of a dialogue, its first turn."""
    corpus: KnownText | None = None
    """What the decoder knows beforehand."""

    @classmethod
    def make(cls, cfg: DictConfig) -> Plan:
        """Plan a run. Raises :class:`UserError` for whatever can't work."""
        parts = Parts.make(cfg)
        decoder, config = parts.decoder, parts.config
        apart = decoder.other_vocabulary
        setup = Setup.make(config.pair, config.runtime, decoder.uses_draft, apart)
        return cls.of(parts, setup, load_problems(parts.task), parts.task.samples)

    @classmethod
    def of(cls, parts: Parts, setup: Setup, problems: Sequence[Problem], samples: int) -> Plan:
        """Plan a run of some problems, each decoded ``samples`` times, on a pair that was found."""
        config, task, pair = parts.config, parts.task, setup.pair
        _check_context(pair, problems, task.max_new_tokens)
        prompts = tuple(
            Prompt(
                problem,
                pair.prompt(problem),
                _seed(config.seed, problem.task_id, sample),
                sample,
            )
            for problem in problems
            for sample in range(samples)
        )
        if not pair.synthetic:
            _prepare(task)
        return cls(config, parts.decoder, parts.sampler, setup, task, prompts).beside(parts)

    def beside(self, parts: Parts) -> Plan:
        """The run of the same prompts that differs in its decoder alone."""
        decoder, pair = parts.decoder, self.pair
        check_target(decoder, pair)
        corpus = None
        if decoder.knows is not None:
            corpus = KnownText.read(decoder.knows)
            corpus.check(decoder.knows, [prompt.problem for prompt in self.prompts])
        if parts.config.reference.hardware is ReferenceHardware.all:
            check_everything(self.setup, decoder)
        if self.setup.runtime.fixed_window or not decoder.follows_rope_switch:
            _check_rope_switch(pair, self.prompts, self.task.max_new_tokens)
        setup = self.setup.with_engine(decoder.engine_gpus)
        return replace(self, config=parts.config, decoder=decoder, setup=setup, corpus=corpus)

    def with_settings(self, settings: Mapping[str, Any]) -> Plan:
        """The same with the decoder's settings as an earlier attempt had them in use."""
        return replace(self, decoder=self.decoder.with_settings(settings))

    @property
    def pair(self) -> Pair:
        return self.setup.pair

    @property
    def reference(self) -> Decoder:
        """What the decoder is measured against: autoregressive decoding, in its own engine."""
        return self.decoder.reference() or Autoregressive()

    @property
    def turns(self) -> int:
        """How many generations the run is made of: one a prompt, or a turn of a dialogue."""
        return sum(max(1, len(prompt.problem.turns)) for prompt in self.prompts)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a text; none by the paper's protocol."""
        return () if self.config.protocol is Protocol.paper else self.pair.stop_ids

    def next_turn(self, prompt: Prompt, answer: str) -> Prompt | None:
        """The turn of a dialogue that follows ``prompt`` and its answer, if there is one.

        What decodes to no text (half a letter's bytes) may take more tokens again than it was
        generated in; the answer is cut at its end if it then would not fit the context.
        """
        problem = prompt.problem
        if prompt.turn >= len(problem.turns):
            return None
        room = min(self.pair.contexts.values()) - self.task.max_new_tokens
        ids = self.pair.prompt(problem, [*prompt.answers, answer])
        while answer and len(ids) > room:
            # A character is at most four bytes, so four tokens.
            answer = answer[: -max(1, (len(ids) - room) // 4)]
            ids = self.pair.prompt(problem, [*prompt.answers, answer])
        name = f"{problem.task_id} turn {prompt.turn + 1}"
        seed = _seed(self.config.seed, name, prompt.sample)
        return Prompt(problem, ids, seed, prompt.sample, (*prompt.answers, answer))


def _check_context(pair: Pair, problems: Sequence[Problem], max_new_tokens: int) -> None:
    """Refuse problems without a prompt, or whose last one may leave no room for its answer."""
    lengths: dict[int, dict[str, int]] = {}
    for problem in problems:
        turns = max(1, len(problem.turns))
        ids = pair.prompt(problem, [_SOME_ANSWER] * (turns - 1))
        if not ids:
            raise UserError(
                f"{problem.task_id}: its prompt is empty, so there is nothing to continue;"
                " leave the problem out"
            )
        lengths.setdefault(turns, {})[problem.task_id] = len(ids)
    for turns, prompts in lengths.items():
        pair.check_context(prompts, max_new_tokens, turns)


def check_target(decoder: Decoder, pair: Pair) -> None:
    """Refuse a decoder that can't decode the target of a pair, or not with its draft model."""
    if pair.synthetic and decoder.drafts_itself:
        raise UserError(
            "a synthetic pair makes its tokens up, so its target's own layers can't draft; take"
            " another pair"
        )
    if decoder.other_vocabulary and pair.draft_tokenizer is None:
        raise UserError(
            f"{type(decoder).__name__} is for a draft model of another vocabulary, and this pair's"
            " models share theirs; take another decoder"
        )
    target, draft = (pair.architectures.get(role) for role in ("target", "draft"))
    try:
        if target is not None:
            decoder.check_target(target)
        if draft is not None:
            decoder.check_draft(draft)
    except ValueError as error:
        raise UserError(str(error)) from error


def _check_rope_switch(pair: Pair, prompts: Sequence[Prompt], max_new_tokens: int) -> None:
    for problem, first in {one.problem.task_id: (one.problem, one.ids) for one in prompts}.values():
        turns = max(1, len(problem.turns))
        last = pair.prompt(problem, [_SOME_ANSWER] * (turns - 1)) if turns > 1 else first
        pair.check_rope_switch(problem.task_id, len(first), len(last), max_new_tokens, turns)


def _seed(seed: int, task_id: str, sample: int) -> int:
    """A seed for one prompt that does not depend on which others are run, nor on how many."""
    source = f"{seed} {task_id} {sample}" if sample else f"{seed} {task_id}"
    return random.Random(source).getrandbits(32)


def load_problems(task: Task) -> list[Problem]:
    """A task's problems. :class:`UserError` where they can't be loaded, or one is there twice."""
    try:
        problems = task.problems()
    except (OSError, ValueError) as error:
        raise UserError(f"the task's problems can't be loaded: {error}") from error
    seen: set[str] = set()
    for problem in problems:
        if problem.task_id in seen:
            raise UserError(
                f"the task has {problem.task_id} twice; each problem needs its own name"
            )
        seen.add(problem.task_id)
    return problems


def _prepare(task: Task) -> None:
    try:
        task.prepare()
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
