"""A draft process that drafts on by itself, and publishes each token as it is made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decoders.channel import Channel
from decoders.draft_process import DraftProcess, DraftProcessOptions
from decoders.model import CachedModel
from decoders.sampler import Sampler, common_length
from decoders.stopwatch import clock

#: Beyond every published token: what follows a disagreement was drafted for another text, and is
#: never compared.
_STALE = sys.maxsize


@dataclass(slots=True)
class _Begin:
    """A new text; run at most ``ahead`` tokens ahead of what is verified of it."""

    tokens: list[int]
    ahead: int
    seed: int


@dataclass(slots=True)
class _Verified:
    """``tokens`` are verified from position ``start`` on; updates of a text count from 1."""

    number: int
    start: int
    tokens: list[int]


class _Pause:
    """Stop drafting, and say so."""


@dataclass(slots=True)
class Drafted:
    """One published token.

    ``lineage`` is the number of the last update that changed the draft model's text: the token
    follows that update's verified text and the tokens published since under the same lineage.
    ``waited`` is how long the draft model had nothing it was allowed to do before.
    """

    lineage: int
    token: int
    seconds: float
    waited: float


class _Paused:
    """No more tokens of this text will come."""


def _serve(channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    text: list[int] = []
    proposer = sampler.proposer(0, 0)
    verified = ahead = lineage = 0
    waited = 0.0
    while True:
        start = clock()
        may_draft = len(text) - verified < ahead
        message = channel.receive_now() if may_draft else channel.receive()
        if not may_draft:
            waited += clock() - start
        match message:
            case None:
                token, _ = proposer.propose(model.extend(text, rows=1), len(text))
                text.append(token)
                channel.send(Drafted(lineage, token, clock() - start, waited))
                waited = 0.0
            case _Begin():
                text, verified, ahead = message.tokens, len(message.tokens), message.ahead
                lineage, waited = 0, 0.0
                model.rollback(0)
                proposer = sampler.proposer(message.seed, len(text))
            case _Verified():
                agreed = common_length(text[message.start :], message.tokens)
                if agreed < len(message.tokens):
                    # Overtaken, or drafted something else: take over the verified tokens. A draft
                    # that agrees with them goes on as it is.
                    text[message.start + agreed :] = message.tokens[agreed:]
                    model.rollback(message.start + agreed)
                    lineage = message.number
                verified = message.start + len(message.tokens)
                proposer.forget(verified)
            case _Pause():
                ahead = 0
                verified = len(text)
                channel.send(_Paused())


class Forerunner(DraftProcess):
    """Runs ahead of the verified text by itself. The main process's view of what it published."""

    def __init__(
        self, load: Callable[[], CachedModel], sampler: Sampler, options: DraftProcessOptions
    ) -> None:
        super().__init__(load, sampler, options, _serve)

    def begin(self, tokens: Sequence[int], ahead: int, seed: int) -> None:
        """Start on a new text."""
        self._lengths = [len(tokens)]
        self._lineage = 0
        self._published: list[int] = []
        self._settled = 0
        self.send(_Begin(list(tokens), ahead, seed))

    def read(self) -> list[Drafted]:
        """Take in what has been published since; gives the new tokens."""
        fresh = []
        while (drafted := self.receive_now()) is not None:
            if drafted.lineage != self._lineage:
                self._lineage = drafted.lineage
                self._published = []
                self._settled = 0
            self._published.append(drafted.token)
            fresh.append(drafted)
        return fresh

    def pending(self, verified: Sequence[int]) -> list[int]:
        """Published tokens that follow the verified text; none where the draft went elsewhere.

        To be asked after ``settle``, which finds out whether it did.
        """
        if self._settled == _STALE:
            return []
        return self._published[len(verified) - self._lengths[self._lineage] :]

    def settle(self, verified: Sequence[int]) -> tuple[int, int]:
        """Compare published tokens with verified ones that the target decoded itself meanwhile.

        Returns
        -------
        How many of them agree, and how many were compared: up to the first that does not.
        """
        base = self._lengths[self._lineage]
        known = list(verified[base:])
        fresh = self._published[self._settled : len(known)]
        agreed = common_length(fresh, known[self._settled :])
        compared = min(agreed + 1, len(fresh))
        self._settled = self._settled + agreed if compared == agreed else _STALE
        return agreed, compared

    def judged(self, accepted: int, rejected: bool) -> None:
        """Tell what became of ``pending`` tokens, so that they are not compared again."""
        self._settled = _STALE if rejected else self._settled + accepted

    def verify(self, start: int, tokens: Sequence[int]) -> None:
        """Tell that ``tokens`` are verified from position ``start`` on."""
        self._lengths.append(start + len(tokens))
        self.send(_Verified(len(self._lengths) - 1, start, list(tokens)))

    def pause(self) -> list[Drafted]:
        """Stop it, and wait until it has stopped; gives the tokens that came too late."""
        self.send(_Pause())
        late = []
        while not isinstance(message := self.receive(), _Paused):
            late.append(message)
        return late
