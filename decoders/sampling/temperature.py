"""Sampling with a temperature, top-k and top-p."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from decoders.sampling.chance import Chance, SharedNoise, not_finite
from decoders.sampling.sampler import (
    BLOCK,
    TOKEN,
    Downscaling,
    Draft,
    Greedy,
    Judgement,
    OwnChoice,
    Proposer,
    Rows,
    Sampler,
    Verifier,
    check_verification,
    no_rows,
)


class Warping:
    """Logits to the logits that are sampled from, by transformers' own warpers in its own order.

    Parameters
    ----------
    temperature
        Above 0.
    top_k
        Keep so many of the most probable tokens; 0 keeps all.
    top_p
        Keep the fewest most probable tokens that together have this probability; 1 keeps all.
    """

    def __init__(self, temperature: float, top_k: int, top_p: float) -> None:
        self.sharpness = 1.0 / temperature
        self._settings = temperature, top_k, top_p
        self._warpers = LogitsProcessorList()
        if temperature != 1.0:
            self._warpers.append(TemperatureLogitsWarper(temperature))
        if top_k:
            self._warpers.append(TopKLogitsWarper(top_k))
        if top_p < 1.0:
            self._warpers.append(TopPLogitsWarper(top_p))

    def with_tail(self, moved: float) -> Warping:
        """This warping, but top-p cuts off ``exp(moved)`` times as much probability."""
        temperature, top_k, top_p = self._settings
        tail = (1.0 - top_p) * math.exp(min(moved, 99.0))
        return Warping(temperature, top_k, max(0.0, 1.0 - tail))

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Warped logits of the shape of ``logits`` (``[rows, vocab]``), at least in float32."""
        wide = logits if logits.dtype == torch.float64 else logits.float()
        # No warper looks at the token ids that they are given by their interface.
        return self._warpers(cast(torch.LongTensor, None), wide)


@dataclass
class Temperature(Sampler):
    """Speculative sampling (Leviathan et al., ICML 2023; Chen et al., 2023), without loss.

    A token x that the draft model drew from q is accepted with probability min(1, p(x)/q(x)); after
    a rejection the target draws from the residual distribution norm(max(0, p − q)). Whatever q is,
    the output is distributed as p: so the draft may be warped otherwise than the target.

    Parameters
    ----------
    temperature, top_k, top_p
        The target's distribution p. See :class:`Warping`.
    draft_temperature, draft_top_k, draft_top_p
        The draft model's distribution q; ``None`` is the target's setting.
    coupled
        Draw both models' tokens with shared noise instead, and accept a token iff it is the one
        that the target draws itself ("drafter-invariant": Daliri, Musco & Suresh, 2024). The output
        is distributed as p, too, and for one seed it is the same whatever was drafted; somewhat
        fewer tokens are accepted.
    verification
        How drafted tokens are judged by p/q: ``token``, each by itself, or ``block``, as a whole
        (Sun et al., "Block Verification Accelerates Speculative Decoding", ICLR 2025), by which at
        least as many are accepted. The output is distributed as p either way.
    """

    random = True

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    draft_temperature: float | None = None
    draft_top_k: int | None = None
    draft_top_p: float | None = None
    coupled: bool = False
    verification: str = TOKEN

    def __post_init__(self) -> None:
        check_verification(self.verification)
        if self.coupled and self.verification == BLOCK:
            raise ValueError(
                "sampling.verification=block: with sampling.coupled a token is accepted iff it is"
                " the one that the target draws itself, so a block has no more to give; set one of"
                " the two"
            )
        for of in ("", "draft_"):
            temperature, top_k, top_p = (
                getattr(self, f"{of}{name}") for name in ("temperature", "top_k", "top_p")
            )
            if temperature is not None and not 1e-3 <= temperature <= 1e3:
                raise ValueError(
                    f"sampling.{of}temperature must be between 0.001 and 1000, got {temperature}"
                    " (for the most probable token always: sampling=greedy)"
                )
            if top_k is not None and top_k < 0:
                raise ValueError(
                    f"sampling.{of}top_k must be a number of tokens, or 0 to keep all, got {top_k}"
                )
            if top_p is not None and not 0 < top_p <= 1:
                raise ValueError(f"sampling.{of}top_p must be above 0 and at most 1, got {top_p}")

    def proposer(self, seed: int, start: int) -> Proposer:
        warping = self._draft_warping()
        if self.coupled:
            return _CoupledProposer(warping, SharedNoise(seed, start))
        return _SamplingProposer(warping, Chance(seed, "draft"))

    def verifier(self, seed: int, start: int) -> Verifier:
        if self.coupled:
            return _CoupledVerifier(self._warping(), SharedNoise(seed, start))
        chance = Chance(seed, "target")
        if self.verification == BLOCK:
            return _BlockVerifier(self._warping(), chance)
        return _SamplingVerifier(self._warping(), chance)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return self._warping()(logits).softmax(dim=-1)

    def draft_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return self._draft_warping()(logits).softmax(dim=-1)

    def with_own_choice(self) -> Sampler:
        return replace(self, coupled=True, verification=TOKEN)

    def _warping(self) -> Warping:
        return Warping(self.temperature, self.top_k, self.top_p)

    def _draft_warping(self) -> Warping:
        return Warping(
            _or(self.draft_temperature, self.temperature),
            _or(self.draft_top_k, self.top_k),
            _or(self.draft_top_p, self.top_p),
        )


class _SamplingProposer(Proposer):
    def __init__(self, warping: Warping, chance: Chance) -> None:
        self._warping = warping
        self._chance = chance
        self._rows: dict[int, torch.Tensor] = {}

    def propose(
        self, logits: torch.Tensor, position: int, downscaling: Downscaling | None = None
    ) -> tuple[int, float]:
        row = self._warping(logits)[0].softmax(dim=-1)
        if downscaling is not None:
            row = _downscaled(row, downscaling)
        token = self._chance.draw(row)
        self._rows[position] = row
        return token, float(row[token])

    def branch(self) -> Proposer:
        return _SamplingProposer(self._warping, self._chance.copy())

    def row(self, position: int) -> torch.Tensor:
        return self._rows[position]

    def forget(self, before: int) -> None:
        for position in [one for one in self._rows if one < before]:
            del self._rows[position]

    def skip(self, draws: int) -> None:
        self._chance.skip(draws)


def _downscaled(row: torch.Tensor, downscaling: Downscaling) -> torch.Tensor:
    """A distribution, ``[vocab]``, with less on its most probable tokens."""
    scaled = row.clone()
    scaled[row.topk(min(downscaling.most, len(row))).indices] *= downscaling.factor
    return scaled / scaled.sum()


class _SamplingVerifier(Verifier):
    def __init__(self, warping: Warping, chance: Chance) -> None:
        self._warping = warping
        self._chance = chance
        self._position = 0

    def reduce(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        self._position = position
        return self._warping(logits).softmax(dim=-1)

    def judge(self, target: torch.Tensor, candidates: Draft, rows: Rows = no_rows) -> Judgement:
        if not candidates.chances:
            return self._judge_guesses(target, candidates)
        index = torch.tensor(candidates.tokens, device=target.device)
        own = target[: len(candidates)].gather(-1, index[:, None])[:, 0].tolist()
        return self._judge_drawn(target, own, candidates, rows)

    def _judge_drawn(
        self, target: torch.Tensor, own: list[float], candidates: Draft, rows: Rows
    ) -> Judgement:
        """Judge candidates that were drawn from q; ``own`` are the target's chances of them."""
        for i, (ours, theirs) in enumerate(zip(own, candidates.chances, strict=True)):
            if not self._chance.happens(ours / theirs):
                residual = (target[i] - rows(self._position + i).to(target)).clamp(min=0)
                if not residual.any():
                    # Both distributions are the same, and p/q was below 1 by rounding alone.
                    residual = target[i]
                return Judgement(candidates.tokens[:i], True, self._chance.draw(residual))
        return Judgement(candidates.tokens, False, self._bonus(target, len(own)))

    def _judge_guesses(self, target: torch.Tensor, guesses: Draft) -> Judgement:
        # For a token that was not drawn at random, speculative sampling comes down to this: with q
        # all on x, p(x) is the chance to accept, and the residual is p without x.
        for i, guess in enumerate(guesses):
            token = self._chance.draw(target[i])
            if token != guess:
                return Judgement(guesses.tokens[:i], True, token)
        return Judgement(guesses.tokens, False, self._bonus(target, len(guesses)))

    def _bonus(self, target: torch.Tensor, index: int) -> int | None:
        return self._chance.draw(target[index]) if index < len(target) else None


class _BlockVerifier(_SamplingVerifier):
    """Judges drawn candidates as a block: docs/verification.md derives the rule.

    Guesses that were not drawn need no rule of their own: where q is all on one token, as many are
    accepted either way.
    """

    def _judge_drawn(
        self, target: torch.Tensor, own: list[float], candidates: Draft, rows: Rows
    ) -> Judgement:
        # The chance that at least so many of these candidates are accepted.
        reached = [1.0]
        for ours, theirs in zip(own, candidates.chances, strict=True):
            # In this order, what is no number stays none.
            reached.append(min(reached[-1] * ours / theirs, 1.0))
        if math.isnan(reached[-1]):
            raise not_finite(reached[-1])
        # The longest beginning that is accepted counts, so it is looked for from the end: rows of q
        # that only shorter ones need don't have to cross from another process.
        count = len(candidates)
        if self._chance.happens(reached[count]):
            return Judgement(candidates.tokens, False, self._bonus(target, count))
        while True:
            count -= 1
            if not reached[count]:
                continue
            q = rows(self._position + count).to(target)
            residual = (reached[count] * target[count] - q).clamp(min=0)
            missed = float(residual.sum())
            doubt = missed + (1.0 - reached[count])
            if not doubt:
                # Both distributions are the same, and what follows was turned down by rounding.
                residual = target[count]
            elif not self._chance.happens(missed / doubt):
                continue
            return Judgement(candidates.tokens[:count], True, self._chance.draw(residual))


class _CoupledProposer(Proposer):
    def __init__(self, warping: Warping, noise: SharedNoise) -> None:
        self._warping = warping
        self._noise = noise

    def propose(
        self, logits: torch.Tensor, position: int, downscaling: Downscaling | None = None
    ) -> tuple[int, None]:
        return self._noise.choose(self._warping(logits)[0], position), None

    def scores(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        # The target adds the same noise.
        return self._warping(logits) + self._noise.row(position, logits[0])

    def forget(self, before: int) -> None:
        self._noise.forget(before)


class _CoupledVerifier(OwnChoice):
    def __init__(self, warping: Warping, noise: SharedNoise) -> None:
        self.sharpness = warping.sharpness
        self._warping = warping
        self._noise = noise
        self._position = 0

    def scores(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        warped = self._warping(logits)
        noise = [self._noise.row(position + i, row) for i, row in enumerate(warped)]
        return warped + torch.stack(noise)

    def could_choose(self, token: int, logits: torch.Tensor, position: int, error: float) -> bool:
        slack = self.sharpness * error
        row = logits[0]
        scores = self.sharpness * row + self._noise.row(position, row)
        better = scores > scores[token] + slack
        # Which tokens top-k and top-p keep is up to rounding, too: theirs, and that of the
        # probability of all that is cut off.
        nudged = row.clone()
        nudged[token] += error
        nudged[better] -= error
        for moved in (-slack, 0.0, slack):
            kept = self._warping.with_tail(moved)(nudged[None])[0].isfinite()
            if kept[token] and not kept[better].any():
                return True
        return False

    def reduce(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        # What is read starts at the verified text, which only grows.
        self._noise.forget(position)
        self._position = position
        return self._warping(logits)

    def own(self, target: torch.Tensor, index: int) -> int:
        return self._noise.choose(target[index], self._position + index)


def _or(value: float | int | None, otherwise: float | int) -> Any:
    return otherwise if value is None else value


def check_library(sampler: Sampler, library: str) -> None:
    """Raise ValueError for a rule that another ``library``, by what it is called, does not have."""
    if isinstance(sampler, Greedy):
        return
    if not isinstance(sampler, Temperature):
        raise ValueError(
            f"{library} knows sampling=greedy and sampling=temperature, not"
            f" {type(sampler).__name__}"
        )
    if sampler.coupled:
        raise ValueError(
            f"sampling.coupled: {library} draws without shared noise; take sampling=temperature or"
            " another decoder"
        )
