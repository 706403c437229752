"""Judges texts by a target that is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from decoders.model.cached_model import CachedModel
from pearl_eval.audit.ends import Ends, OutputEnd
from pearl_eval.audit.inputs import Inputs
from pearl_eval.audit.scoring import Scorer, Span
from pearl_eval.audit.texts import RowText
from pearl_eval.audit.verdicts import JudgedOutput, OutputJudge
from pearl_eval.checks.stand_ins import other_experts, stand_ins
from pearl_eval.pairs.pair import Pair

#: How often an output of text is tried in other tokens that make the same text.
_TRIES = 8


class Auditor:
    """Judges texts.

    Parameters
    ----------
    target
        The target model, with the layers of transformers.
    pair
        Its pair, which has the tokenizer.
    inputs
        Where the texts came from.
    ends
        Where texts may end.
    """

    def __init__(self, target: CachedModel, pair: Pair, inputs: Inputs, ends: Ends) -> None:
        self._target = target
        self._pair = pair
        self._inputs = inputs
        self._ends = ends
        self._scorer = Scorer(target)

    @torch.inference_mode()
    def judge(self, texts: Sequence[RowText]) -> list[JudgedOutput]:
        """What is found of each text, in their order."""
        found = self._once(texts)
        for _ in range(_TRIES):
            others = {
                index: other
                for index, judged in enumerate(found)
                if (other := self._otherwise(judged)) is not None
            }
            if not others:
                break
            again = self._once(list(others.values()))
            for index, judged in zip(others, again, strict=True):
                found[index] = judged
        return found

    def _once(self, texts: Sequence[RowText]) -> list[JudgedOutput]:
        judges = [self._judge(text) for text in texts]
        spans = [Span(text.ids, text.begin) for text in texts]
        for piece in self._scorer.pieces(spans):
            judges[piece.index].take(piece.start, piece.rows)
        for judge in judges:
            judge.reconsider(partial(stand_ins, self._target), partial(other_experts, self._target))
        return [judge.judged for judge in judges]

    def _judge(self, text: RowText) -> OutputJudge:
        processed = self._inputs.processed(text, self._target.device)
        stops = self._ends.stops(text.applied)
        return OutputJudge(text, self._end(text), processed, stops, self._target.model.dtype)

    def _end(self, text: RowText) -> OutputEnd:
        return self._ends.judge(
            text.applied,
            text.output,
            self._pair.decode(text.prompt, text.output),
            prompt_tokens=text.begin,
            finish_reason=text.row.finish_reason,
            stop_reason=text.row.stop_reason,
            retokenised=text.retokenised,
        )

    def _otherwise(self, judged: JudgedOutput) -> RowText | None:
        """An output of text that may be the target's own in other tokens."""
        text, wrong = judged.text, judged.violations
        if not text.retokenised or text.applied.random or not wrong:
            return None
        first = min(wrong, key=lambda one: one.position)
        if first.position >= len(text.output):
            return None
        return self._inputs.reading.otherwise(text, first.position, first.expected)
