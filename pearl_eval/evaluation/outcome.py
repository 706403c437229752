"""What became of a prompt: its record, made of its generation, its reference run and verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

from decoders.accepted_runs import verifications
from decoders.generation import Generation
from pearl_eval.checks.verdict import Verdict
from pearl_eval.evaluation.plan import Prompt
from pearl_eval.evaluation.reference import ReferenceRun
from pearl_eval.evaluation.run_files import Finished
from pearl_eval.results.latency import Latency
from pearl_eval.results.records import Record
from tasks.scoring.score import Score


@dataclass(frozen=True)
class Outcome:
    """What became of one prompt; ``new`` if it was decoded now, and not by an earlier attempt."""

    finished: Finished
    new: bool

    @property
    def record(self) -> Record:
        return self.finished.record


def record_of(
    prompt: Prompt,
    generation: Generation,
    reference: ReferenceRun,
    verdict: Verdict,
    text: str,
    score: Score | None,
    reference_score: Score | None,
    warmup: bool,
    synthetic: bool,
    joules: float | None,
    equal: ReferenceRun | None = None,
) -> Record:
    """``speedup`` is the ratio of tokens per second to the reference run of this prompt.

    ``equal`` is the reference on all that the decoder under test computes on, where it was made.
    """
    rounds = generation.rounds
    rate = len(generation.output_ids) / generation.seconds
    reference_rate = len(reference.output_ids) / reference.seconds
    return Record(
        task_id=prompt.problem.task_id,
        sample=prompt.sample,
        turn=prompt.turn,
        category=prompt.problem.category,
        synthetic=synthetic,
        warmup=warmup,
        prompt_tokens=len(prompt.ids),
        output_ids=generation.output_ids,
        text=text,
        new_tokens=len(generation.output_ids),
        seconds=generation.seconds,
        seconds_prefill=generation.seconds_prefill,
        reference_seconds=reference.seconds,
        reference_output_ids=reference.output_ids,
        speedup=rate / reference_rate,
        target_forwards=generation.target_forwards,
        draft_forwards=generation.draft_forwards,
        judged=sum(r.judged for r in rounds),
        accepted=sum(r.accepted for r in rounds),
        wait_draft_seconds=_known(sum(r.wait_draft_seconds for r in rounds)),
        wait_target_seconds=_known(sum(r.wait_target_seconds for r in rounds)),
        accepted_runs=generation.accepted_runs,
        exact_match=verdict.kind == "identical",
        first_divergence=verdict.first_divergence,
        verdict=verdict.kind,
        correct=score.correct if score else None,
        reference_correct=reference_score.correct if reference_score else None,
        result=score.result if score else "",
        finish_reason=generation.finish_reason,
        violation=f"{_where(prompt)}, {verdict.why}" if verdict.kind == "violation" else "",
        joules=joules,
        reference_joules=reference.joules,
        tie=verdict.why if verdict.kind == "tie" else "",
        runner_up_pass_rate=verdict.runner_up_pass_rate,
        lost=generation.lost,
        verifications=verifications(rounds),
        **Latency.of_rounds(rounds, generation.seconds).figures(),
        equal_hardware_seconds=equal.seconds if equal else None,
        equal_hardware_new_tokens=len(equal.output_ids) if equal else None,
    )


def _known(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds


def _where(prompt: Prompt) -> str:
    task_id = prompt.problem.task_id
    return f"{task_id}, turn {prompt.turn}" if prompt.turn else task_id
