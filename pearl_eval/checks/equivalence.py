"""The check that an output is the target's own: ``identical``, ``tie`` or ``violation``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from decoders import sequence
from decoders.model.cached_model import CachedModel
from decoders.model.reading import Event
from decoders.sampling.sampler import OwnChoice
from pearl_eval.checks.divergence import Divergence, describe, divergences, scores_of
from pearl_eval.checks.rounding import (
    Logits,
    RouterTie,
    errors,
    exact,
    explained,
    replayed,
    router_ties,
    stepwise,
)
from pearl_eval.checks.stand_ins import (
    FACTOR,
    allowed_unknown,
    average_fault,
    other_experts,
    stand_ins,
    uneven,
)
from pearl_eval.checks.verdict import IDENTICAL, Verdict, first_difference


class EquivalenceChecker:
    """Compares outputs with the reference's.

    Where they differ, two questions are asked, and a tie needs a good answer to both.

    *The decoder*: its own forwards are made again, over the same tokens in the same shapes, so that
    they round as they did. Each token of the output must then be the first choice of one of them:
    here nothing is tolerated.

    *The forward*: logits are held against higher precision. The decoder's forwards must not err
    more than single tokens do, on average by a factor of 3 and at any one token by
    ``tolerance_factor``, nor single tokens more than rounding in the run's dtype explains. A token
    that higher precision would not choose must be within ``tolerance_factor`` times the error of
    single tokens, the typical one or that in its place.

    In a mixture of experts a rounding error can change which experts a token goes to, and then its
    logits by far more. So higher precision is made to choose the experts that the forward in
    question chose, and where it would have chosen others, their scores must be as near to each
    other as rounding allows.

    Where a decoder's forwards are not known, only a bound by dtype can be asked for, which lets
    more pass (:func:`allowed_unknown`).

    Parameters
    ----------
    target
        The target model of the run.
    tolerance_factor
        10 by default. (Up to 6.5 was needed in some 130 texts of 128 tokens in bfloat16.)
    """

    def __init__(self, target: CachedModel, tolerance_factor: float = FACTOR) -> None:
        self._target = target
        self._factor = tolerance_factor

    def compare(
        self,
        prompt: Sequence[int],
        output: Sequence[int],
        reference: Sequence[int],
        max_new_tokens: int,
        stop_ids: Sequence[int],
        verifier: OwnChoice,
        events: Sequence[Event] = (),
    ) -> Verdict:
        """Judge ``output``, generated from ``prompt`` by the decoder under test.

        ``verifier`` is one that has not yet been used. ``events`` are what the decoder's forwards
        read (:attr:`decoders.model.cached_model.CachedModel.events`); none where that is not known.
        """
        first = first_difference(output, reference)
        if first is None:
            return IDENTICAL
        text = sequence.Sequence(prompt, max_new_tokens, stop_ids)
        text.append(list(output))
        if text.output != list(output) or not text.finished:
            return Verdict(
                "violation", first, f"ends at {len(output)} tokens, neither at a stop nor the limit"
            )
        other = reference[first] if first < len(reference) else None
        case = _Case(text.tokens, text.prompt_length, first, other, verifier)
        return self._judge(case, events)

    @torch.inference_mode()
    def _judge(self, case: _Case, events: Sequence[Event]) -> Verdict:
        if events:
            own = replayed(self._target, events, case.text, case.begin)
            wrong = case.not_chosen(own)
            if not wrong:
                return self._by_replay(case, own)
            again = replayed(self._target, events, case.text, case.begin)
            if torch.equal(own.rows, again.rows):
                return Verdict("violation", case.first, wrong)
            # Forwards that don't repeat themselves can't tell what the decoder's own gave.
        return self._by_dtype(case)

    def _by_replay(self, case: _Case, own: Logits) -> Verdict:
        """The verdict on an output whose tokens are the first choices of the decoder's forwards."""
        single = stepwise(self._target, case.text, case.begin, 1)
        precise = exact(self._target, case.text, case.begin, own.routing)
        alone = precise
        if single.routing:
            alone = exact(self._target, case.text, case.begin, single.routing)
        usual = errors(single, alone)
        typical = float(usual.mean())
        in_place = usual.clamp(min=typical)
        by_rounding = explained(alone, single.rows.dtype)
        ties = router_ties(
            own.routing, precise.routing, single.routing, alone.routing, self._factor
        )
        reason = self._fault(errors(own, precise), usual, by_rounding, ties)
        if reason:
            return _wrong_forward(case, precise, reason)
        allowed = (self._factor * in_place).tolist()
        outside = case.outside([precise], allowed)
        if outside is not None:
            return Verdict("violation", case.first, describe(outside))
        source = f"{self._factor:g} times the error of single tokens, {typical:.2g} on average"
        why = (
            f"{case.at_first(precise, allowed)} ({source}); each token is the first choice of the"
            " decoder's own forwards, made again in the same shapes"
        )
        if ties:
            why += (
                f"; given the experts chosen, {len(ties)} times others than in higher precision,"
                f" the farthest {_near(ties[0])}"
            )
        return Verdict("tie", case.first, why, case.runners_up_chosen(own, precise))

    def _fault(
        self,
        wrong: torch.Tensor,
        usual: torch.Tensor,
        by_rounding: torch.Tensor,
        ties: Sequence[RouterTie],
    ) -> str:
        """What is wrong with the target's forwards; empty where rounding accounts for all.

        Parameters
        ----------
        wrong
            The error of the decoder's forwards at each token, ``[output tokens]``.
        usual
            That of single tokens.
        by_rounding
            What rounding explains of the latter.
        ties
            Where other experts were chosen, the least excusable first.
        """
        fault = average_fault(wrong, usual, by_rounding)
        if fault:
            return fault
        in_place = usual.clamp(min=float(usual.mean()))
        worst = int((wrong / in_place).argmax())
        if wrong[worst] > self._factor * in_place[worst]:
            return (
                f"at position {worst} a forward of several tokens errs by"
                f" {float(wrong[worst]):.2g} logits, single tokens by {float(in_place[worst]):.2g}"
                f" (factor allowed: {self._factor:g})"
            )
        if ties and ties[0].gap > ties[0].tolerance:
            return f"experts were chosen that rounding can't account for: {_near(ties[0])}"
        return ""

    def _by_dtype(self, case: _Case) -> Verdict:
        """The verdict on an output of which it is not known what was read in one forward."""
        dtype = self._target.model.dtype
        ways = stand_ins(self._target, case.text, case.begin)
        reason = uneven(ways, dtype)
        if reason:
            return _wrong_forward(case, ways[0].precise, reason)
        candidates = [one.precise for one in ways]
        # One that was not tried may change more.
        routed = 2 * case.spread(candidates)
        allowed = (allowed_unknown(ways, dtype, self._factor) + routed).tolist()
        outside, drawn = case.outside(candidates, allowed), 0
        if outside is not None:
            for other in other_experts(self._target, case.text, case.begin, ways[0]):
                drawn += 1
                candidates.append(other)
                outside = case.outside(candidates, allowed)
                if outside is None:
                    break
        if outside is not None:
            return Verdict("violation", case.first, describe(outside))
        why = (
            f"{case.at_first(candidates[0], allowed)} (what rounding in {_name(dtype)} may do to"
            f" logits so far spread out, or {self._factor:g} times the error seen in that place if"
            " that is more); the decoder's own forwards are not known"
        )
        if ways[0].run.routing:
            why += (
                f", so {routed:.2g} more is allowed: twice the most that other experts changed"
                f" between {len(ways)} ways of reading the text"
            )
        if drawn:
            why += (
                f", and experts drawn {drawn} times by routers that err as much as they are seen to"
            )
        rate = case.runners_up_within(candidates, allowed)
        return Verdict("tie", case.first, why, rate)


@dataclass(frozen=True)
class _Case:
    """An output to be judged: its text, where in it the output begins, where that first differs
    from the reference, and the reference's token there, if it has one."""

    text: list[int]
    begin: int
    first: int
    other: int | None
    verifier: OwnChoice

    @property
    def output(self) -> list[int]:
        return self.text[self.begin :]

    def scores(self, logits: Logits) -> torch.Tensor:
        return self.verifier.scores(logits.rows, self.begin)

    def not_chosen(self, own: Logits) -> str:
        """Which token the forwards of ``own`` did not choose; empty if they chose all."""
        scores = self.scores(own)
        best, choices = scores.max(dim=-1)
        theirs = scores_of(scores, self.output)
        wrong = (theirs < best).nonzero()[:, 0].tolist()
        position = min([*wrong, *own.missing], default=None)
        if position is None:
            return ""
        token = self.output[position]
        if position in own.missing:
            return (
                f"position {position}: token {token} was taken though no forward of the target had"
                " read just the text before it"
            )
        return (
            f"position {position}: token {token} (logit {float(theirs[position]):.6g}) where the"
            f" decoder's own forward, made again in the same shape, gives {int(choices[position])}"
            f" (logit {float(best[position]):.6g})"
        )

    def spread(self, candidates: Sequence[Logits]) -> float:
        """By how much the logit of a token of the output, less the best one, differs at most
        between the ``candidates``."""
        leads = []
        for precise in candidates:
            scores = self.scores(precise)
            leads.append(scores_of(scores, self.output) - scores.amax(-1))
        every = torch.stack(leads)
        # A token that is cut off has none.
        every = every.masked_fill(~every.isfinite(), 0)
        return float((every.amax(0) - every.amin(0)).max()) / self.verifier.sharpness

    def outside(self, candidates: Sequence[Logits], allowed: Sequence[float]) -> Divergence | None:
        """The first token that none of the ``candidates``, in higher precision, could choose.

        ``allowed`` is how far any two logits may be off, for each position.
        """
        scores = self.scores(candidates[0])
        for one in divergences(scores, self.output, allowed, self.verifier.sharpness):
            if not any(
                self._could_choose(one.token, precise, one.position, allowed)
                for precise in candidates
            ):
                return one
        return None

    def at_first(self, precise: Logits, allowed: Sequence[float]) -> str:
        """How near the two outputs' tokens at the first difference are to the best choice there."""
        if self.other is None or self.first >= len(self.output):
            return f"position {self.first}: one of the outputs ends"
        token = self.output[self.first]
        (row,) = self.verifier.scores(precise.rows[self.first][None], self.begin + self.first)
        ours, theirs = (float(row.max() - row[one]) for one in (token, self.other))
        return (
            f"position {self.first}: in {_name(precise.rows.dtype)} token {token} is {ours:.2g}"
            f" logits below the best choice and the reference's, {self.other}, {theirs:.2g}; held"
            f" to {self.verifier.sharpness * allowed[self.first]:.2g}"
        )

    def runners_up_chosen(self, own: Logits, precise: Logits) -> float:
        """At which share of positions the target's second choice scores as high as its first in the
        decoder's own forwards."""
        scores = self.scores(own)
        seconds = scores_of(scores, self._second(precise))
        firsts = scores_of(scores, self.output)
        return float((seconds == firsts).double().mean())

    def runners_up_within(self, candidates: Sequence[Logits], allowed: Sequence[float]) -> float:
        """At which share of positions the target's second choice by the first of the ``candidates``
        is within what is ``allowed`` by any of them."""
        passing = [
            any(self._could_choose(token, one, i, allowed) for one in candidates)
            for i, token in enumerate(self._second(candidates[0]))
        ]
        return sum(passing) / len(passing)

    def _could_choose(
        self, token: int, precise: Logits, place: int, allowed: Sequence[float]
    ) -> bool:
        row = precise.rows[place][None]
        return self.verifier.could_choose(token, row, self.begin + place, allowed[place])

    def _second(self, precise: Logits) -> list[int]:
        """Of the first two choices of each position, the one that the output does not have."""
        tokens = self.scores(precise).topk(2, dim=-1).indices.tolist()
        return [
            first if first != token else second
            for (first, second), token in zip(tokens, self.output, strict=True)
        ]


def _wrong_forward(case: _Case, precise: Logits, reason: str) -> Verdict:
    return Verdict(
        "violation",
        case.first,
        f"the target's forward is what is wrong, not the decoder: "
        f"held against {_name(precise.rows.dtype)}, {reason}",
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _near(tie: RouterTie) -> str:
    return (
        f"by {tie.router} for token {tie.position} of prompt and output (scores"
        f" {tie.gap:.2g} apart, held to {tie.tolerance:.2g})"
    )
