"""A draft process that drafts on by itself, and publishes each token as it is made."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from decoders.adaptive.outlook import Outlook
from decoders.model.cached_model import CachedModel
from decoders.process.channel import Channel, ChannelTimeout, Message
from decoders.process.clock import clock
from decoders.process.drafter import check_confidence, check_seconds, check_tokens
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
#: news is expected, see ``Outlook.expect`` (at, right, unseen, until, slowdown)
_EXPECT = "expect"
#: whether to say from now on how sure it is of each token, which takes time (asked)
_CONFIDE = "confide"
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
    ``waited`` is how long the draft model had nothing to do before, or waited for news rather than
    do it. ``position`` is the token's in the text, ``ended`` when it was there, ``confidence`` the
    probability that the draft model gave it; 1 where it was not asked.
    """

    lineage: int
    position: int
    token: int
    seconds: float
    waited: float
    ended: float
    confidence: float = 1.0


class ForerunnerService:
    """The draft process's side: drafts on until it has a message to answer or must wait.

    ``confides``: it says how sure it is of each token, as long as it is asked, and is told what to
    expect.
    """

    def __init__(self, model: CachedModel, sampler: Sampler, confides: bool = False) -> None:
        #: Whether it ever says how sure it is, and whether it is asked at present.
        self._confides = self._asked = confides
        self._outlook = Outlook()
        #: Whether the next forward reads the prompt; and whether it is the first of a draft that
        #: begins anew.
        self._reads, self._anew = True, False
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

    def better_waits(self) -> float:
        """Seconds that it had better wait for news: 0 if it had not, infinite if it must."""
        if not self.may_draft:
            return math.inf
        return self._outlook.better_waits(clock(), len(self._text)) if self._confides else 0.0

    def draft(self, waited: float) -> Message:
        """Draft one token, having waited so long before."""
        start = clock()
        text = self._text
        position = len(text)
        logits = self._model.extend(text, rows=1)
        token, _ = self._proposer.propose(logits, position)
        text.append(token)
        thought = (self._proposer.confidence(logits, token),) if self._asked else ()
        ended = clock()
        if self._confides:
            if not self._reads:
                self._outlook.drafted(ended - start, self._anew)
            self._reads = self._anew = False
        return _DRAFTED, self._lineage, position, token, ended - start, waited, ended, *thought

    def answer(self, message: Message) -> Message | None:
        """Take in a message; the answer, if it has one."""
        name, *values = message
        if name == _VERIFIED:
            self._take_over(*values)
        elif name == _BEGIN:
            self._text, self._ahead, self._end, seed = values
            self._verified, self._lineage = len(self._text), 0
            self._outlook.forget()
            self._reads, self._anew = True, False
            self._model.rollback(0)
            self._proposer = self._sampler.proposer(seed, self._verified)
        elif name == _EXPECT:
            self._outlook.expect(*values)
        elif name == _CONFIDE:
            (self._asked,) = values
        elif name == PREPARE:
            self._model.prepare(*values)
            return (PREPARED,)
        elif name == _PAUSE:
            self._ahead = 0
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
            self._anew = True
        self._outlook.forget()
        self._verified = start + len(tokens)
        self._proposer.forget(self._verified)


def _serve(channel: Channel, model: CachedModel, sampler: Sampler, confides: bool) -> None:
    service = ForerunnerService(model, sampler, confides)
    waited = 0.0
    while True:
        patience = service.better_waits()
        if patience:
            start = clock()
            message = _news(channel, patience)
            waited += clock() - start
        else:
            message = channel.receive_now()
        if message is not None:
            if message[0] == _BEGIN:
                waited = 0.0  # What it waited between two texts is no part of either.
            answer = service.answer(message)
            if answer is not None:
                channel.send(answer)
        else:
            channel.send(service.draft(waited))
            waited = 0.0


def _news(channel: Channel, patience: float) -> Message | None:
    """A message, if one comes in so many seconds."""
    if patience == math.inf:
        return channel.receive()
    try:
        return channel.receive(patience)
    except ChannelTimeout:
        return None


class Forerunner(Worker):
    """The main process's side of a draft process that runs ahead of the verified text by itself."""

    def __init__(
        self,
        load: Callable[[], CachedModel],
        sampler: Sampler,
        options: WorkerOptions,
        confides: bool = False,
    ) -> None:
        super().__init__(load, sampler, options, partial(_serve, confides=confides))
        self._asks = confides

    def begin(self, tokens: Sequence[int], ahead: int, end: int, seed: int) -> None:
        """Start on a new text, of which tokens are drafted up to position ``end``."""
        self._lengths = [len(tokens)]
        self._lineage = 0
        self._published: list[Drafted] = []
        self._latest: Drafted | None = None
        self._settled = 0
        self.send((_BEGIN, list(tokens), ahead, end, seed))

    def read(self, wait: float = 0.0) -> list[Drafted]:
        """Take in what was published since, or within ``wait`` seconds; gives the new tokens.

        An infinite ``wait`` is one as long as the draft process may be silent.
        """
        first = None
        if wait > 0:
            first = self.receive() if wait == math.inf else self.receive_within(wait)
        messages = [] if first is None else [first]
        while (message := self.receive_now()) is not None:
            messages.append(message)
        fresh = self._drafted(messages)
        for drafted in fresh:
            if drafted.lineage != self._lineage:
                self._lineage = drafted.lineage
                self._published = []
                self._settled = 0
            self._published.append(drafted)
            self._latest = drafted
        return fresh

    @property
    def stale(self) -> bool:
        """Whether the draft went elsewhere, so that a token of a new one is to come."""
        return self._settled == _STALE

    @property
    def latest(self) -> Drafted | None:
        """The token of this text that was published last, of whichever draft."""
        return self._latest

    @property
    def draft(self) -> tuple[int, list[Drafted]]:
        """The present draft: the text position that it began at, and its tokens."""
        return self._lengths[self._lineage], self._published

    def pending(self, verified: Sequence[int]) -> list[Drafted]:
        """Published tokens that follow the verified text; none where the draft went elsewhere.

        To be asked after ``settle``, which finds out whether it did.
        """
        if self.stale:
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
        fresh = [one.token for one in self._published[self._settled : len(known)]]
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

    def expect(self, at: float, right: float, unseen: float, until: int, slowdown: float) -> None:
        """Tell when more will be verified and what is likely by then: see ``Outlook.expect``."""
        self.send((_EXPECT, at, right, unseen, until, slowdown))

    def confide(self, asked: bool) -> None:
        """Ask it to say from now on how sure it is of each token, or no longer."""
        if asked != self._asks:
            self._asks = asked
            self.send((_CONFIDE, asked))

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
                check_seconds(drafted.seconds, drafted.waited, drafted.ended)
                check_confidence(drafted.confidence)
                every.append(drafted)
            check_tokens([drafted.token for drafted in every], self.vocab_size)
        return every
