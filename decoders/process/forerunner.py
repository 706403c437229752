"""A draft process that drafts on by itself, and publishes each token as it is made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decoders.model.cached_model import CachedModel
from decoders.process.channel import Channel, Message
from decoders.process.clock import clock
from decoders.process.drafter import check_seconds, check_tokens
from decoders.process.worker import PREPARE, PREPARED, Worker, WorkerOptions
from decoders.sampling.sampler import Sampler, common_length

#: Beyond every published token: what follows a disagreement was drafted for another text, and is
#: never compared.
_STALE = sys.maxsize


# Messages to the draft process:
#: a new text; run at most ``ahead`` tokens ahead of what is verified of it, and never to a position
#: from ``end`` on (tokens, ahead, end, seed)
_BEGIN = "begin"
#: tokens are verified from a position on; updates of a text count from 1 (number, position, tokens)
_VERIFIED = "verified"
#: stop drafting, and say so
_PAUSE = "pause"
# And, between texts, what ``worker.PREPARE`` asks for.
# From it: one token, see ``Drafted``; no more tokens of this text will come.
_DRAFTED = "drafted"
_PAUSED = "paused"


@dataclass(slots=True)
class Drafted:
    """One published token.

    ``lineage`` is the number of the last update that changed the draft model's text: the token
    follows that update's verified text and the tokens published since under the same lineage.
    ``waited`` is how long the draft model had nothing it was allowed to do before. ``position`` is
    the token's in the text.
    """

    lineage: int
    position: int
    token: int
    seconds: float
    waited: float


class ForerunnerService:
    """The draft process's side: drafts on until it has a message to answer or must wait."""

    def __init__(self, model: CachedModel, sampler: Sampler) -> None:
        self._model = model
        self._sampler = sampler
        self._text: list[int] = []
        self._verified = self._ahead = self._end = self._lineage = 0
        self._proposer = sampler.proposer(0, 0)

    @property
    def may_draft(self) -> bool:
        """Whether it is not yet so far ahead as it may be."""
        length = len(self._text)
        return length - self._verified < self._ahead and length < self._end

    def draft(self) -> tuple[int, int, int]:
        """Draft one token; gives its lineage, its position and the token."""
        text = self._text
        position = len(text)
        token, _ = self._proposer.propose(self._model.extend(text, rows=1), len(text))
        text.append(token)
        return self._lineage, position, token

    def answer(self, message: Message) -> Message | None:
        """Take in a message; the answer, if it has one."""
        name, *values = message
        if name == _VERIFIED:
            self._take_over(*values)
        elif name == _BEGIN:
            self._text, self._ahead, self._end, seed = values
            self._verified, self._lineage = len(self._text), 0
            self._model.rollback(0)
            self._proposer = self._sampler.proposer(seed, self._verified)
        elif name == PREPARE:
            self._model.prepare(*values)
            return (PREPARED,)
        elif name == _PAUSE:
            self._ahead = 0
            self._verified = len(self._text)
            return (_PAUSED,)
        return None

    def _take_over(self, number: int, start: int, tokens: list[int]) -> None:
        agreed = common_length(self._text[start:], tokens)
        if agreed < len(tokens):
            # Overtaken, or drafted something else: take over the verified tokens. A draft that
            # agrees with them goes on as it is.
            self._text[start + agreed :] = tokens[agreed:]
            self._model.rollback(start + agreed)
            self._lineage = number
        self._verified = start + len(tokens)
        self._proposer.forget(self._verified)


def _serve(channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    service = ForerunnerService(model, sampler)
    waited = 0.0
    while True:
        start = clock()
        may_draft = service.may_draft
        message = channel.receive_now() if may_draft else channel.receive()
        if not may_draft:
            waited += clock() - start
        if message is not None:
            if message[0] == _BEGIN:
                waited = 0.0  # What it waited between two texts is no part of either.
            answer = service.answer(message)
            if answer is not None:
                channel.send(answer)
            continue
        drafted = service.draft()
        channel.send((_DRAFTED, *drafted, clock() - start, waited))
        waited = 0.0


class Forerunner(Worker):
    """The main process's side of a draft process that runs ahead of the verified text by itself."""

    def __init__(
        self, load: Callable[[], CachedModel], sampler: Sampler, options: WorkerOptions
    ) -> None:
        super().__init__(load, sampler, options, _serve)

    def begin(self, tokens: Sequence[int], ahead: int, end: int, seed: int) -> None:
        """Start on a new text, of which tokens are drafted up to position ``end``."""
        self._lengths = [len(tokens)]
        self._lineage = 0
        self._published: list[int] = []
        self._settled = 0
        self.send((_BEGIN, list(tokens), ahead, end, seed))

    def read(self) -> list[Drafted]:
        """Take in what has been published since; gives the new tokens."""
        messages = []
        while (message := self.receive_now()) is not None:
            messages.append(message)
        fresh = self._drafted(messages)
        for drafted in fresh:
            if drafted.lineage != self._lineage:
                self._lineage = drafted.lineage
                self._published = []
                self._settled = 0
            self._published.append(drafted.token)
        return fresh

    def pending(self, verified: Sequence[int]) -> list[int]:
        """Published tokens that follow the verified text; none where the draft went elsewhere.

        To be asked after ``settle``, which finds out whether it did.
        """
        if self._settled == _STALE:
            return []
        return self._published[len(verified) - self._lengths[self._lineage] :]

    def settle(self, verified: Sequence[int]) -> tuple[int, int, int]:
        """Compare published tokens with verified ones that the target decoded itself meanwhile.

        Returns
        -------
        The text position of the first of them, how many agree, and how many were compared: up to
        the first that does not.
        """
        base = self._lengths[self._lineage]
        start = base + self._settled
        known = list(verified[base:])
        fresh = self._published[self._settled : len(known)]
        agreed = common_length(fresh, known[self._settled :])
        compared = min(agreed + 1, len(fresh))
        self._settled = self._settled + agreed if compared == agreed else _STALE
        return start, agreed, compared

    def judged(self, accepted: int, rejected: bool) -> None:
        """Tell what became of ``pending`` tokens, so that they are not compared again."""
        self._settled = _STALE if rejected else self._settled + accepted

    def verify(self, start: int, tokens: Sequence[int]) -> None:
        """Tell that ``tokens`` are verified from position ``start`` on."""
        self._lengths.append(start + len(tokens))
        self.send((_VERIFIED, len(self._lengths) - 1, start, list(tokens)))

    def pause(self) -> list[Drafted]:
        """Stop it, and wait until it has stopped; gives the tokens that came too late."""
        self.send((_PAUSE,))
        start = clock()
        late = []
        while (message := self.receive())[0] != _PAUSED:
            late.append(message)
            if clock() - start > self._options.answer_timeout:
                raise self.silent("stop", self._options.answer_timeout)
        return self._drafted(late)

    def _drafted(self, messages: Sequence[Message]) -> list[Drafted]:
        with self.understood():
            every = []
            for name, *values in messages:
                drafted = Drafted(*values)
                places = drafted.lineage, drafted.position
                if not all(isinstance(one, int) and one >= 0 for one in places):
                    raise ValueError(
                        "expected a lineage and a position of at least 0 with a drafted token, got"
                        f" {places}"
                    )
                if name != _DRAFTED or drafted.lineage >= len(self._lengths):
                    raise ValueError(
                        f"expected {_DRAFTED!r} of a lineage below {len(self._lengths)}, got"
                        f" {name!r} of {drafted.lineage}"
                    )
                check_seconds(drafted.seconds, drafted.waited)
                every.append(drafted)
            check_tokens([drafted.token for drafted in every], self.vocab_size)
        return every
