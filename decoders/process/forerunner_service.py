"""The draft process's side of one that drafts on by itself: what a ``Forerunner`` talks to."""

from __future__ import annotations

import math

import torch

from decoders.adaptive.alternatives import Alternative, Alternatives, SideDrafts
from decoders.adaptive.outlook import Outlook
from decoders.adaptive.policy import MOST
from decoders.model.cached_model import CachedModel
from decoders.process.channel import Channel, ChannelTimeout, Message
from decoders.process.clock import clock
from decoders.process.fork import Fork, SideDraft
from decoders.process.worker import PREPARE, PREPARED
from decoders.sampling.sampler import Sampler, common_length

# Messages to the draft process:
#: a new text; run at most ``ahead`` tokens ahead of what is verified of it, and never to a position
#: from ``end`` on (tokens, ahead, end, seed)
BEGIN = "begin"
#: tokens are verified from a position on; updates of a text count from 1 (number, position, tokens)
VERIFIED = "verified"
#: news is expected, see ``Outlook.expect``, and what it may be, see ``Fork`` (at, right, unseen,
#: until, slowdown, doubts, gains)
EXPECT = "expect"
#: whether to say from now on how sure it is of each token, which takes time (asked)
CONFIDE = "confide"
#: stop drafting, and say so
PAUSE = "pause"
# And, between texts, what ``worker.PREPARE`` asks for.
# From it: one token, see ``forerunner.Drafted``; no more tokens of this text will come.
DRAFTED = "drafted"
PAUSED = "paused"


class ForerunnerService:
    """The draft process's side: drafts on until it has a message to answer or must wait.

    ``confides``: it says how sure it is of each token, as long as it is asked, and is told what to
    expect. Then it also drafts for what may come instead of its own tokens, if the model can read
    several continuations in one forward.
    """

    def __init__(self, model: CachedModel, sampler: Sampler, confides: bool = False) -> None:
        #: Whether it ever says how sure it is, and whether it is asked at present.
        self._confides = self._asked = confides
        self._outlook = Outlook()
        self._alternatives = Alternatives()
        #: What may come, once that was told.
        self._fork: Fork | None = None
        #: Logits that tokens of the text were chosen from, by position.
        self._rows: dict[int, torch.Tensor] = {}
        #: Whether the next forward reads the prompt; and whether it is the first of a draft that
        #: begins anew.
        self._reads, self._anew = True, False
        self._model = model
        self._sampler = sampler
        self._text: list[int] = []
        self._verified = self._ahead = self._end = self._lineage = self._update = 0
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
        if not self._confides:
            return 0.0
        now, length = clock(), len(self._text)
        patience = self._outlook.better_waits(now, length)
        beside, drafted = self._branching, length - self._verified
        if patience and beside and beside.beats_rest(self._outlook, now, length, drafted):
            return 0.0
        return patience

    def draft(self, waited: float) -> Message:
        """Draft one token, having waited so long before."""
        start = clock()
        text = self._text
        position = len(text)
        logits, others = self._forward(start)
        token, _ = self._proposer.propose(logits, position)
        text.append(token)
        thought = (self._proposer.confidence(logits, token),) if self._asked else ()
        if self._asked and position - self._verified < MOST:
            self._rows[position] = logits
        ended = clock()
        if self._confides:
            if not self._reads:
                self._alternatives.ran(len(others), ended - start)
                if not others:
                    self._outlook.drafted(ended - start, self._anew)
            self._reads = self._anew = False
        drafted = DRAFTED, self._lineage, position, token, ended - start, waited, ended, *thought
        if not others:
            return drafted
        known, told = self._verified, thought or (1.0,)
        prepared = [
            (known + one.place, one.token, one.tokens[-1], one.confidences[-1]) for one in others
        ]
        return *drafted[:7], *told, self._update, prepared

    @property
    def _branching(self) -> SideDrafts | None:
        """What is drafted for beside the draft, where the next forward can branch off it."""
        fork = self._fork
        if fork is None:
            return None
        read = self._model.length == len(self._text) - 1
        return fork.preparation if fork.preparation.begun or read else None

    def _choose(self, now: float) -> list[Alternative]:
        """What else the next forward drafts for."""
        beside, length = self._branching, len(self._text)
        if beside is None:
            return []
        chosen, _ = beside.expected(self._outlook, now, length, length - self._verified)
        return chosen

    def _forward(self, now: float) -> tuple[torch.Tensor, list[SideDraft]]:
        """Logits after the text; and the continuations that have a token more."""
        fork = self._fork
        chosen = self._choose(now)
        if fork is None or not (chosen or fork.preparation.begun):
            return self._model.extend(self._text, rows=1), []
        draft = self._text[self._verified :]
        rows = [self._rows.get(self._verified + place) for place in range(len(draft))]
        return fork.grow(self._model, draft, rows, chosen)

    def answer(self, message: Message) -> Message | None:
        """Take in a message; the answer, if it has one."""
        name, *values = message
        if name == VERIFIED:
            self._take_over(*values)
        elif name == BEGIN:
            self._text, self._ahead, self._end, seed = values
            self._verified, self._lineage, self._update = len(self._text), 0, 0
            self._outlook.forget()
            self._fork, self._rows = None, {}
            self._reads, self._anew = True, False
            self._model.rollback(0)
            self._proposer = self._sampler.proposer(seed, self._verified)
        elif name == EXPECT:
            *news, doubts, gains = values
            self._outlook.expect(*news)
            if gains and self._model.reads_trees:
                room = self._end - self._verified - 1
                preparation = SideDrafts(self._alternatives, doubts, gains, room)
                self._fork = Fork(self._verified, preparation, self._proposer)
        elif name == CONFIDE:
            (self._asked,) = values
        elif name == PREPARE:
            self._model.prepare(*values)
            return (PREPARED,)
        elif name == PAUSE:
            self._ahead = 0
            return (PAUSED,)
        return None

    def _take_over(self, number: int, start: int, tokens: list[int]) -> None:
        text = self._text
        agreed = common_length(text[start:], tokens)
        found, rows = None, list[torch.Tensor]()
        if self._fork is not None:
            # Of what came before the last of the tokens the target accepted all.
            differs = agreed == len(tokens) - 1 and start + agreed < len(text)
            found = self._fork.settle(self._model, agreed, tokens[-1] if differs else None)
            self._fork = None
        if agreed < len(tokens):
            # Overtaken, or drafted something else: take over the verified tokens. A draft that
            # agrees with them goes on as it is.
            text[start + agreed :] = tokens[agreed:]
            self._lineage = number
            self._anew = True
            if found is None:
                self._model.rollback(start + agreed)
            else:
                text += found.tokens
                rows = found.rows
        verified = start + len(tokens)
        if agreed == len(tokens):
            self._rows = {at: row for at, row in self._rows.items() if at >= verified}
        else:
            self._rows = dict(enumerate(rows, verified))
        self._outlook.forget()
        self._update, self._verified = number, verified
        self._proposer.forget(verified)


def serve(channel: Channel, model: CachedModel, sampler: Sampler, confides: bool) -> None:
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
            if message[0] == BEGIN:
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
