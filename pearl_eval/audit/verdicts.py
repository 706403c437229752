"""Whether an output is the target's own, token by token: the rules of the runs' own check."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from pearl_eval.audit.ends import EndKind, OutputEnd
from pearl_eval.audit.processors import Processed
from pearl_eval.audit.texts import RowText
from pearl_eval.checks.distribution import SampledTokens
from pearl_eval.checks.divergence import Divergence, describe, divergences
from pearl_eval.checks.rounding import EXPLAINED, Logits, explained
from pearl_eval.checks.stand_ins import FACTOR, StandIn, allowed_unknown

IDENTICAL, TIE, VIOLATION, SAMPLED = "identical", "tie", "violation", "sampled"

#: Ways of reading a text whose output begins there: see :func:`stand_ins`.
Ways = Callable[[list[int], int], list[StandIn]]
#: What it gives by other experts: see :func:`other_experts`.
Others = Callable[[list[int], int, StandIn], Iterable[Logits]]


@dataclass
class JudgedOutput:
    """What was found of one output.

    ``ties`` and ``violations`` are its tokens that are not, or not alone, the target's first
    choice; one of the latter at the length of the output means that it should not end there.
    ``near`` counts tokens at which the target's second choice would have passed as a tie, too.
    ``more`` is what was allowed beside rounding, as experts may be chosen otherwise.
    ``sampled`` has its tokens beside what they were drawn from, where they were drawn at random.
    """

    text: RowText
    end: OutputEnd
    tokens: int = 0
    near: int = 0
    ties: list[Divergence] = field(default_factory=list)
    violations: list[Divergence] = field(default_factory=list)
    more: float = 0.0
    sampled: SampledTokens = field(default_factory=SampledTokens)

    @property
    def kind(self) -> str:
        if self.violations or self.end.kind is EndKind.improper:
            return VIOLATION
        if self.text.applied.random:
            return SAMPLED
        return TIE if self.ties else IDENTICAL

    @property
    def first(self) -> int | None:
        """Where it first is not the target's own."""
        wrong = [one.position for one in self.violations]
        if self.end.kind is EndKind.improper:
            wrong.append(self.end.position)
        return min(wrong, default=None)

    @property
    def why(self) -> str:
        """The first violation, or the first tie, in words; empty where there is neither."""
        if self.kind == VIOLATION:
            first = next((one for one in self.violations if one.position == self.first), None)
            if first is None:
                return f"position {self.end.position}: it {self.end.why}"
            if first.position == self.tokens:
                return f"{describe(first)}: it ends where the target does not stop"
            return describe(first)
        if self.kind == TIE:
            one = self.ties[0]
            return (
                f"position {one.position}: token {one.token} (score {one.token_logit:.6g}) and"
                f" {one.expected} (score {one.expected_logit:.6g}) are {one.gap:.2g} apart, held to"
                f" {one.tolerance:.2g}"
            )
        return ""

    def at(self, position: int) -> str:
        """What is known of the token at a position: ``own``, a tie or a violation."""
        if any(one.position == position for one in self.violations) or (
            self.end.kind is EndKind.improper and self.end.position == position
        ):
            return VIOLATION
        return TIE if any(one.position == position for one in self.ties) else "own"


class OutputJudge:
    """Judges the output of one text from its logits, piece by piece.

    Parameters
    ----------
    text
        The text.
    end
        What is known of its end without them.
    processed
        What was applied to the logits.
    stops
        Tokens that may end it.
    dtype
        What the engine computed in.
    """

    def __init__(
        self,
        text: RowText,
        end: OutputEnd,
        processed: Processed,
        stops: Sequence[int],
        dtype: torch.dtype,
    ) -> None:
        self.judged = JudgedOutput(text, end)
        self._processed = processed
        self._stops = list(stops)
        self._dtype = dtype
        self._before = 0.0

    def take(self, start: int, rows: torch.Tensor) -> None:
        """Take in logits ``[tokens, vocab]`` for the output's tokens from ``start`` on.

        After the last token there may be one row more, for what would follow it.
        """
        text = self.judged.text
        tokens = text.output[start : start + len(rows)]
        if tokens:
            part = rows[: len(tokens)]
            if text.applied.random:
                self._take_drawn(start, part, tokens)
            else:
                self._take_chosen(start, part, tokens)
            self.judged.tokens += len(tokens)
        if len(rows) > len(tokens) and self.judged.end.kind is EndKind.next:
            self._take_end(rows[len(tokens) :])

    def _take_chosen(self, start: int, rows: torch.Tensor, tokens: list[int]) -> None:
        processed, judged = self._processed, self.judged
        scores = processed.scores(rows, judged.text.begin + start)
        allowed = self._allowed(rows)
        for one in divergences(scores, tokens, allowed, processed.sharpness):
            self._sort(one, start)
        top = scores.topk(2)
        (best, second), choices = top.values.T, top.indices.tolist()
        near = best - second <= processed.sharpness * scores.new_tensor(allowed)
        judged.near += int(near.sum())
        for position in (best == second).nonzero()[:, 0].tolist():
            token, score = tokens[position], float(best[position])
            if float(scores[position, token]) == score:
                other = next(one for one in choices[position] if one != token)
                tolerance = processed.sharpness * allowed[position]
                self._sort(Divergence(position, token, other, score, score, tolerance), start)

    def _take_drawn(self, start: int, rows: torch.Tensor, tokens: list[int]) -> None:
        processed, position = self._processed, self.judged.text.begin + start
        warped = processed.warped(rows, position)
        allowed = self._allowed(rows)
        for index, token in enumerate(tokens):
            if warped[index, token].isfinite():
                continue
            best = int(warped[index].argmax())
            row = rows[index : index + 1]
            if not processed.could_draw(token, row, position + index, allowed[index]):
                scores = float(warped[index, token]), float(warped[index, best])
                one = Divergence(start + index, token, best, *scores, allowed[index])
                self.judged.violations.append(one)
        for p, token in zip(warped.softmax(-1).double().cpu(), tokens, strict=True):
            self._before = self.judged.sampled.count(p, p, token, self._before)

    def _take_end(self, rows: torch.Tensor) -> None:
        """What should come next is one of the tokens that may end it."""
        text = self.judged.text
        if text.applied.random:
            return
        scores = self._processed.scores(rows, len(text.ids))
        stops = [one for one in self._stops if one < scores.shape[-1]]
        if not stops:
            return
        likeliest = max(stops, key=lambda one: float(scores[0, one]))
        allowed = self._allowed(rows)
        for one in divergences(scores, [likeliest], allowed, self._processed.sharpness):
            self._sort(one, len(text.output))

    def _allowed(self, rows: torch.Tensor) -> list[float]:
        return explained(Logits(rows), self._dtype).tolist()

    def _sort(self, one: Divergence, start: int) -> None:
        """Among ties or violations; its position is counted from ``start``."""
        into = self.judged.ties if one.gap <= one.tolerance else self.judged.violations
        into.append(replace(one, position=one.position + start))

    def reconsider(self, ways: Ways, others: Others) -> None:
        """Look again at what seems to be violations: this place may be one where rounding does more
        than elsewhere, or, of a mixture, one where other experts may be chosen."""
        judged, text = self.judged, self.judged.text
        if not judged.violations or text.applied.random:
            return
        # One token more, as what follows the last may be judged, too.
        ids = [*text.ids, text.ids[-1]]
        found = ways(ids, text.begin)
        leads = torch.stack([self._leads(way.precise) for way in found])
        known = leads.nan_to_num(0, 0, 0)
        spread = float((known.amax(0) - known.amin(0)).max())
        # One that was not tried may change more.
        judged.more = 2 * spread / self._processed.sharpness
        allowed = (allowed_unknown(found, self._dtype) + judged.more).tolist()
        self._sort_again(allowed, leads.amax(0))
        if judged.violations:
            for other in others(ids, text.begin, found[0]):
                self._sort_again(allowed, self._leads(other))
                if not judged.violations:
                    break
        judged.ties.sort(key=lambda one: one.position)

    def _leads(self, precise: Logits) -> torch.Tensor:
        """How far the output's tokens are ahead of the best choice, which is 0 at most."""
        text = self.judged.text
        scores = self._processed.scores(precise.rows, text.begin)
        tokens = torch.tensor([*text.output, 0], device=scores.device)[:, None]
        return (scores.gather(-1, tokens)[:, 0] - scores.amax(-1))[:-1]

    def _sort_again(self, allowed: Sequence[float], leads: torch.Tensor) -> None:
        """Hold violations to what is ``allowed`` for each token, and to other ``leads`` of the
        output's tokens where those are better."""
        wrong, self.judged.violations = self.judged.violations, []
        for one in wrong:
            score, place = one.token_logit, one.position
            if place < len(leads):
                score = max(score, one.expected_logit + float(leads[place]))
            tolerance = self._processed.sharpness * allowed[place]
            self._sort(replace(one, token_logit=score, tolerance=tolerance), 0)


def source(dtype: torch.dtype) -> str:
    """Where tolerances come from, in words."""
    name = str(dtype).removeprefix("torch.")
    return (
        f"{EXPLAINED[dtype]:g} times the epsilon of {name} times the standard deviation of the"
        f" logits at that position (what rounding in {name} may do where the engine's own forwards"
        f" are not known), or {FACTOR:g} times the error of a forward in {name} in that place if"
        " that is more"
    )


def as_json(one: Divergence) -> dict[str, Any]:
    """A tie or a violation, as it is written; a score that is cut off is null."""
    told = asdict(one) | {"gap": one.gap}
    return {name: value if math.isfinite(value) else None for name, value in told.items()}
