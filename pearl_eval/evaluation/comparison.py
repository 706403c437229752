"""Every prompt decoded by the reference and by the decoder under test, and the two compared."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from decoders.generation import Generation
from decoders.model.cached_model import CachedModel
from decoders.model.fixed_window import WINDOW
from decoders.process.clock import no_garbage_collection
from decoders.process.models import Models
from decoders.round import Round
from decoders.session import Session
from pearl_eval.checks.distribution import DistributionCheck, Fit
from pearl_eval.errors import UserError
from pearl_eval.evaluation.cost import Cost
from pearl_eval.evaluation.hardware import Everything
from pearl_eval.evaluation.judge import Judge
from pearl_eval.evaluation.outcome import Outcome, record_of
from pearl_eval.evaluation.plan import Plan, Prompt
from pearl_eval.evaluation.reference import ReferenceCache, ReferenceRun
from pearl_eval.evaluation.run_files import Finished
from pearl_eval.machine.energy import EnergyMeter
from pearl_eval.results.records import Key

#: A generation, and the energy it took where that is known, in joules.
Made = tuple[Generation, float | None]


def reference_of(plan: Plan, models: Models) -> Callable[[], Session]:
    """What starts the reference of a run."""
    return functools.partial(plan.reference.start, models, plan.sampler)


class Comparison:
    """Decodes prompts by the reference and by the decoder under test, and compares the two.

    Parameters
    ----------
    plan
        The run.
    models
        Its models; the target is loaded.
    reference
        Starts the reference's decoder, which is done when it is first needed.
    cached
        Reference runs that are read instead of made, if they are.
    judge
        Judges the outputs; several runs of the same prompts may share one.
    everything
        What the decoder under test computes on, if the reference is to be measured on that, too.
    """

    def __init__(
        self,
        plan: Plan,
        models: Models,
        reference: Callable[[], Session],
        cached: ReferenceCache | None = None,
        judge: Judge | None = None,
        everything: Everything | None = None,
    ) -> None:
        self.target: CachedModel = models.target
        self._models = models
        self._plan = plan
        self._start_reference = reference
        self._reference: Session | None = None
        self._cached = cached
        self._everything = everything
        self._judge = judge or Judge(plan, self.target)
        #: Prompts and outputs that were sampled.
        self._sampled: list[tuple[Sequence[int], Sequence[int]]] = []
        setup = plan.setup
        itemsize = getattr(torch, setup.source.dtype.value).itemsize
        self._meter = EnergyMeter([*setup.devices.target, *setup.devices.draft])
        self._cost = Cost(plan.pair.sizes, itemsize)
        self._reference_cost = Cost({"target": plan.pair.sizes["target"]}, itemsize)

    def start(self) -> None:
        """Start the decoder under test."""
        self.session = self._plan.decoder.start(self._models, self._plan.sampler)

    def measure_reference(self, prompt: Prompt) -> ReferenceRun:
        """Decode a prompt by the reference."""
        generation, joules = self._decode(prompt, self._started_reference())
        return ReferenceRun(generation.output_ids, generation.seconds, joules)

    def measure_on_everything(self, prompt: Prompt) -> ReferenceRun | None:
        """Decode a prompt by the reference on all that the decoder under test computes on.

        ``None`` where that was not asked for, or is what the reference has anyway.
        """
        there = self._everything
        if there is None or not there.more:
            return None
        with there.for_reference():
            generation, _ = self._decode(prompt, there.reference or self._started_reference())
        return ReferenceRun(generation.output_ids, generation.seconds, None)

    def stop_reference(self) -> None:
        """Free what the reference holds. It is started anew where it is needed again."""
        if self._reference is not None:
            self._reference.stop()
            self._reference = None

    def decode(self, prompt: Prompt) -> Made:
        """Decode a prompt by the decoder under test."""
        with self._in_its_place():
            return self._decode(prompt, self.session)

    def after_warmup(self, rounds: list[Round]) -> None:
        """Let the decoder under test choose settings, by the rounds of its first prompt."""
        with self._in_its_place():
            self.session.after_warmup(rounds)

    def outcomes(self, finished: Mapping[Key, Finished]) -> Iterator[Outcome]:
        """Decode and compare the prompts of the run, one after the other.

        Those that an earlier attempt ``finished`` are taken as they are. Each turn of a dialogue
        follows the *reference's* answers to those before, so that a tie in one does not void the
        comparison of the next.
        """
        taken = 0
        cold = bool(finished)
        for index, first in enumerate(self._plan.prompts):
            prompt: Prompt | None = first
            while prompt is not None:
                before = finished.get(prompt.key)
                if before is not None:
                    outcome = Outcome(before, new=False)
                    self._count(prompt, before)
                    self.session.remember(prompt.ids, before.record.output_ids)
                    taken += 1
                elif taken < len(finished):
                    raise UserError(
                        f"the records of the run lack {prompt.key}, but have later prompts: move"
                        " its folder away and run anew"
                    )
                else:
                    if cold:
                        # The run's own warm-up prompt warmed up another process.
                        self._decode_all(first, swap=False)
                        cold = False
                    swap = (index + prompt.turn) % 2 == 1
                    made, reference, equal = self._decode_all(prompt, swap)
                    warmup = index == 0 and prompt is first
                    outcome = self.judged(prompt, made, reference, warmup, equal)
                yield outcome
                answer = self._plan.pair.answer(outcome.record.reference_output_ids)
                prompt = self._plan.next_turn(prompt, answer)

    def judged(
        self,
        prompt: Prompt,
        made: Made,
        reference: ReferenceRun,
        warmup: bool = False,
        equal: ReferenceRun | None = None,
    ) -> Outcome:
        """What became of a prompt, once both have decoded it.

        ``equal`` is the reference on all that the decoder under test computes on.
        """
        generation, joules = made
        plan, judge = self._plan, self._judge
        output, expected = generation.output_ids, reference.output_ids
        verdict = judge.verdict(prompt, generation, expected, plan.decoder.lossless)
        text, score, reference_score = "", None, None
        if not plan.pair.synthetic:
            text, theirs = judge.text(prompt, output), judge.text(prompt, expected)
            score, reference_score = judge.scores(prompt, text, theirs)
        record = record_of(
            prompt,
            generation,
            reference,
            verdict,
            text,
            score=score,
            reference_score=reference_score,
            warmup=warmup,
            synthetic=plan.pair.synthetic,
            joules=joules,
            equal=equal,
        )
        finished = Finished(record, generation.rounds)
        self._count(prompt, finished)
        return Outcome(finished, new=True)

    def cost(self) -> dict[str, Any]:
        """What decoding cost beside time, and what the reference's did."""
        return self._cost.per_token() | {"reference": self._reference_cost.per_token()}

    def fit(self, tell: Callable[[str], object]) -> Fit | None:
        """How well the outputs fit the target's distribution, where they were sampled.

        To be asked when all are there, and the decoder has been stopped: what it did with its draft
        model's tokens is seen best beside that model's own distribution, so it is loaded once more.
        ``tell`` is told what is being done.
        """
        plan = self._plan
        if not self._sampled:
            return None
        tell("sampled tokens beside the target's distribution")
        # Chances of tokens of another vocabulary can't be held beside the target's.
        beside = plan.decoder.uses_draft and not plan.decoder.other_vocabulary
        draft = self._models.load_draft() if beside else None
        sampler = plan.sampler
        check = DistributionCheck(
            self.target, sampler.probabilities, draft, sampler.draft_probabilities
        )
        for prompt, output in self._sampled:
            check.add(prompt, output)
        return check.fit()

    def _count(self, prompt: Prompt, finished: Finished) -> None:
        record = finished.record
        if self._plan.sampler.random:
            self._sampled.append((prompt.ids, record.output_ids))
        length = len(prompt.ids)
        self._cost.add(length, record.new_tokens, finished.rounds, record.joules)
        tokens = len(record.reference_output_ids)
        # A window is read as a whole, for one token as for several.
        window = WINDOW if self._plan.setup.runtime.fixed_window else 1
        self._reference_cost.add_autoregressive(length, tokens, record.reference_joules, window)

    def _decode_all(
        self, prompt: Prompt, swap: bool
    ) -> tuple[Made, ReferenceRun, ReferenceRun | None]:
        """Decode a prompt by both, one after the other; ``swap`` puts the decoder under test first.

        Alternating the order over prompts cancels what drifts, such as a clock that slows down. The
        reference on all hardware, where it is asked for, is on the other side of the decoder.
        """
        reference, equal = None, None
        if swap:
            equal = self.measure_on_everything(prompt)
        if self._cached is not None:
            reference = self._cached.run(prompt)
        elif not swap:
            reference = self.measure_reference(prompt)
        made = self.decode(prompt)
        reference = reference or self.measure_reference(prompt)
        if not swap:
            equal = self.measure_on_everything(prompt)
        # With nothing more to have, the one is the other.
        return made, reference, reference if self._everything and equal is None else equal

    def _started_reference(self) -> Session:
        if self._reference is None:
            self._reference = self._start_reference()
        return self._reference

    def _in_its_place(self) -> AbstractContextManager[None]:
        """Where the decoder under test computes, if that isn't where this process does."""
        there = self._everything
        return contextlib.nullcontext() if there is None else there.for_decoder()

    def _decode(self, prompt: Prompt, session: Session) -> Made:
        max_new_tokens, stop_ids = self._plan.task.max_new_tokens, self._plan.stop_ids
        with no_garbage_collection():
            before = self._meter.joules()
            made = session.decode(prompt.ids, max_new_tokens, stop_ids, prompt.seed)
            after = self._meter.joules()
        return made, None if before is None or after is None else after - before
