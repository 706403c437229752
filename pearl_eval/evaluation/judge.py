"""Judges outputs: whether each is the target's own, and whether its text is right."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import takewhile

from decoders.generation import Generation
from decoders.model.cached_model import CachedModel
from decoders.sampling.sampler import OwnChoice
from pearl_eval.checks.equivalence import EquivalenceChecker
from pearl_eval.checks.verdict import Verdict, unchecked_verdict
from pearl_eval.evaluation.plan import Plan, Prompt
from tasks.scoring.score import Score

log = logging.getLogger(__name__)


class Judge:
    """Judges the outputs of a run, or of several runs of the same prompts.

    Parameters
    ----------
    plan
        The run, or one of them.
    target
        Its target model.
    """

    def __init__(self, plan: Plan, target: CachedModel) -> None:
        self._plan = plan
        self._checker = EquivalenceChecker(target, plan.config.reference.tolerance_factor)
        #: By problem and text, since most decoders write the same.
        self._scores: dict[tuple[str, str], Score | None] = {}

    def verdict(
        self, prompt: Prompt, generation: Generation, expected: Sequence[int], lossless: bool
    ) -> Verdict:
        """Whether an output is the target's own; ``expected`` is the reference's."""
        output, plan = generation.output_ids, self._plan
        if not lossless:
            return unchecked_verdict("lossy", output, expected)
        verifier = plan.sampler.verifier(prompt.seed, len(prompt.ids))
        if not isinstance(verifier, OwnChoice):
            return unchecked_verdict("sampled", output, expected)
        max_new_tokens = plan.task.max_new_tokens
        return self._checker.compare(
            prompt.ids, output, expected, max_new_tokens, plan.stop_ids, verifier, generation.events
        )

    def text(self, prompt: Prompt, output: Sequence[int]) -> str:
        """What is scored. By the paper's protocol decoding goes on beyond the end of text; the text
        does not."""
        pair = self._plan.pair
        if prompt.turn:
            return pair.answer(output)
        return pair.decode(prompt.ids, list(takewhile(lambda t: t not in pair.stop_ids, output)))

    def scores(self, prompt: Prompt, text: str, theirs: str) -> tuple[Score, Score | None]:
        """What the task makes of a text, and of the reference's.

        Where no answer is right by itself, the reference's is.
        """
        score = self._score(prompt, text)
        if score is None:
            return Score(text == theirs), None
        return score, self._score(prompt, theirs)

    def _score(self, prompt: Prompt, text: str) -> Score | None:
        """What the task makes of a text. It may be any text; a scorer that fails over one has found
        no right answer in it, which is no reason to lose the run."""
        name = prompt.problem.task_id
        if (name, text) not in self._scores:
            try:
                self._scores[name, text] = self._plan.task.score(prompt.problem, text)
            except OSError:
                # Not of the text: nothing could be scored any longer. The run is continued later.
                raise
            except Exception as error:
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                log.warning("%s: scoring it failed (%s), so it counts as wrong", name, reason)
                self._scores[name, text] = Score(False, f"scoring failed: {reason}")
        return self._scores[name, text]
