"""What a sampling rule is: how the draft model chooses tokens, and how the target judges them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from decoders.model.waiting import wait_for
from decoders.sampling.chance import not_finite

#: How drafted tokens are judged: each by itself, or those of a block as a whole.
TOKEN, BLOCK = "token", "block"

#: The distribution q, ``[vocab]``, that a candidate was drawn from, by its text position.
Rows = Callable[[int], torch.Tensor]


def no_rows(position: int) -> torch.Tensor:
    """Rows of candidates that were not drawn at random."""
    raise LookupError(f"the candidate at {position} was not drawn at random")


@dataclass(slots=True)
class Draft:
    """Drafted tokens and the chance q(x) with which the draft model drew each.

    ``chances`` is empty where tokens were not drawn at random: under greedy decoding, or looked up
    somewhere.
    """

    tokens: list[int] = field(default_factory=list)
    chances: list[float] = field(default_factory=list)

    def append(self, token: int, chance: float | None) -> None:
        """Add a token, with its chance if it was drawn."""
        self.tokens.append(token)
        if chance is not None:
            self.chances.append(chance)

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[int]:
        return iter(self.tokens)

    def __getitem__(self, part: slice) -> Draft:
        return Draft(self.tokens[part], self.chances[part])

    def __add__(self, other: Draft) -> Draft:
        return Draft(self.tokens + other.tokens, self.chances + other.chances)


@dataclass(frozen=True)
class Judgement:
    """What became of a block of drafted tokens.

    ``accepted`` are the leading candidates that are the target's own, ``rejected`` says whether
    there was one after them that is not. ``token`` is the target's token for the next position: the
    correction after a rejection; where all were accepted, the bonus token if logits for it were
    given, else ``None``.
    """

    accepted: list[int]
    rejected: bool
    token: int | None

    @property
    def judged(self) -> int:
        """Number of candidates judged: what follows a rejection is not.

        So accepted over judged estimates the chance of one token.
        """
        return len(self.accepted) + self.rejected

    @property
    def verified(self) -> list[int]:
        """The accepted candidates, and the target's token after them."""
        return self.accepted if self.token is None else [*self.accepted, self.token]


class Downscaling(NamedTuple):
    """The ``most`` tokens of q that are most probable are drafted with ``factor`` times their
    chances, before all are made to add up to 1 (Saguaro sampling: Kumar, Dao & May, 2026)."""

    most: int
    factor: float


class Proposer(ABC):
    """How the draft model chooses the tokens of one prompt."""

    @abstractmethod
    def propose(
        self, logits: torch.Tensor, position: int, downscaling: Downscaling | None = None
    ) -> tuple[int, float | None]:
        """Choose the token at a text position from the draft model's logits ``[1, vocab]``.

        Gives the token, and the chance it was drawn with if it was. Where nothing is drawn from q
        there is nothing to downscale.
        """

    def confidence(self, logits: torch.Tensor, token: int) -> float:
        """The probability of a token in the draft model's logits ``[1, vocab]``."""
        # By NumPy, which needs a fifth of the time for as little as this.
        row = logits[0].float().numpy(force=True)
        weights = np.exp(row - row.max())
        return float(weights[token] / weights.sum())

    def branch(self) -> Proposer:
        """What chooses the tokens of one continuation of several, of which at most one is taken.

        Each may draw what this would draw next, since which is taken does not depend on that.
        """
        return self

    def likely(self, logits: torch.Tensor, position: int, count: int, but: int | None) -> list[int]:
        """The target's most likely tokens at a text position, by the draft model's ``logits``.

        ``count`` of them, if there are as many that are possible, without the token ``but``: the
        drafted one, where it is rejected. No random number is used up, so which they are says
        nothing of what will be drawn. ``logits`` are ``[1, vocab]``.
        """
        scores = self.scores(logits, position)[0]
        found = scores.topk(min(len(scores), count + (but is not None)))
        pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return [token for token, score in pairs if token != but and score > -math.inf][:count]

    def scores(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        """What is larger the likelier the target's token is, of the shape of ``logits``."""
        return logits

    def row(self, position: int) -> torch.Tensor:
        """The distribution, ``[vocab]``, that the token last chosen at ``position`` came from."""
        raise LookupError("nothing was drawn at random")

    def forget(self, before: int) -> None:
        """Nothing before this text position will be asked for again."""

    def skip(self, draws: int) -> None:
        """Go on as if so many tokens had been drawn here: another copy of the model drew them."""


class Verifier(ABC):
    """How the target chooses the tokens of one prompt, and which drafted ones it accepts."""

    def read(self, logits: torch.Tensor, position: int) -> Any:
        """Reduce target logits to what judging needs, and wait until the device has done so.

        So whoever reads the clock next has timed the forward, and not how long it took to ask a
        device for it. Row ``i`` of ``logits`` (``[rows, vocab]``) predicts the token at text
        position ``position + i``.
        """
        target = self.reduce(logits, position)
        wait_for(logits.device)
        return target

    @abstractmethod
    def reduce(self, logits: torch.Tensor, position: int) -> Any:
        """What ``read`` gives; the device may still be at it."""

    @abstractmethod
    def judge(self, target: Any, candidates: Draft, rows: Rows = no_rows) -> Judgement:
        """Judge candidates left to right against what ``read`` returned.

        Row ``i`` of the logits is the target's prediction for candidate ``i``; one further row, if
        present, is its prediction for the token after the last. ``rows`` is asked for the
        distribution of a rejected candidate, if that was drawn at random.
        """

    def choose(self, logits: torch.Tensor, position: int) -> int:
        """The target's own token at a text position, from logits ``[1, vocab]``."""
        token = self.judge(self.read(logits, position), Draft()).token
        assert token is not None
        return token


class OwnChoice(Verifier):
    """A verifier whose token at a position does not depend on what was drafted for it.

    A candidate is accepted iff it is that token, so what comes out is what the target alone would
    have given.
    """

    #: What a difference of logits is multiplied with in ``scores``.
    sharpness: float = 1.0

    @abstractmethod
    def scores(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        """What is largest at the target's token, of the shape of ``logits`` (see ``read``)."""

    def could_choose(self, token: int, logits: torch.Tensor, position: int, error: float) -> bool:
        """Whether ``token`` might be the target's own at a text position but for rounding.

        ``logits`` are ``[1, vocab]``; any two of them may be ``error`` further apart or closer.
        """
        scores = self.scores(logits, position)[0]
        return bool(scores.max() - scores[token] <= self.sharpness * error)

    @abstractmethod
    def own(self, target: Any, index: int) -> int:
        """The target's token for candidate ``index``, from what ``read`` returned."""

    def judge(self, target: Any, candidates: Draft, rows: Rows = no_rows) -> Judgement:
        for index, candidate in enumerate(candidates):
            token = self.own(target, index)
            if token != candidate:
                return Judgement(candidates.tokens[:index], True, token)
        count = len(candidates)
        bonus = self.own(target, count) if count < len(target) else None
        return Judgement(candidates.tokens, False, bonus)


class Sampler(ABC):
    """A sampling rule. Its dataclass fields are its settings; what it makes is for one prompt.

    ``seed`` is the prompt's, ``start`` the length of the prompt in tokens.
    """

    #: Whether tokens are drawn at random.
    random: ClassVar[bool] = False
    #: How drafted tokens are judged, ``token`` or ``block``. A rule may have it as a setting.
    verification: str = TOKEN

    @abstractmethod
    def proposer(self, seed: int, start: int) -> Proposer:
        """For the process of the draft model."""

    @abstractmethod
    def verifier(self, seed: int, start: int) -> Verifier:
        """For the process of the target."""

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """What the target's tokens are drawn from, given its logits (both ``[rows, vocab]``)."""
        raise LookupError("nothing is drawn at random")

    def draft_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """What the draft model's tokens are drawn from, given its logits (``[rows, vocab]``)."""
        return self.probabilities(logits)

    def with_own_choice(self) -> Sampler:
        """This rule with verifiers that are :class:`OwnChoice`."""
        return self


def check_verification(verification: str) -> None:
    """ValueError for what is no way to judge drafted tokens."""
    if verification not in (TOKEN, BLOCK):
        raise ValueError(f"sampling.verification is {TOKEN} or {BLOCK}, got {verification!r}")


@dataclass
class Greedy(Sampler):
    """The most probable token: a candidate is accepted iff it is the target's argmax.

    ``verification`` has nothing to choose here, and is there for a line that says so.
    """

    verification: str = TOKEN

    def __post_init__(self) -> None:
        check_verification(self.verification)
        if self.verification == BLOCK:
            raise ValueError(
                "sampling.verification=block: under greedy decoding a block is accepted up to the"
                " first token that is not the target's own, as it is token by token; choose"
                " sampling=temperature, or leave it out"
            )

    def proposer(self, seed: int, start: int) -> Proposer:
        return _GreedyProposer()

    def verifier(self, seed: int, start: int) -> OwnChoice:
        return _GreedyVerifier()


class _GreedyProposer(Proposer):
    def propose(
        self, logits: torch.Tensor, position: int, downscaling: Downscaling | None = None
    ) -> tuple[int, None]:
        return most_probable(logits)[0], None


class _GreedyVerifier(OwnChoice):
    def scores(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        return logits

    def reduce(self, logits: torch.Tensor, position: int) -> list[int]:
        return most_probable(logits)

    def own(self, target: list[int], index: int) -> int:
        return target[index]


def most_probable(scores: torch.Tensor) -> list[int]:
    """The index of the largest of each row of ``scores`` (``[rows, vocab]``).

    FloatingPointError where the largest is no finite
    number: of such scores a token would be found all the same, and mean nothing.
    """
    largest, tokens = scores.max(dim=-1)
    for value in largest.tolist():
        if not math.isfinite(value):
            raise not_finite(value)
    return tokens.tolist()


def common_length(ours: Iterable[int], theirs: Sequence[int]) -> int:
    """Length of the common beginning."""
    length = 0
    for a, b in zip(ours, theirs, strict=False):
        if a != b:
            break
        length += 1
    return length
