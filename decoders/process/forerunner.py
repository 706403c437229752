"""A draft process that drafts on by itself, and publishes each token as it is made."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from decoders.model.cached_model import CachedModel
from decoders.process.channel import Message
from decoders.process.clock import clock
from decoders.process.drafter import check_confidence, check_seconds, check_tokens
from decoders.process.forerunner_service import (
    BEGIN,
    CONFIDE,
    DRAFTED,
    EXPECT,
    PAUSE,
    PAUSED,
    VERIFIED,
    serve,
)
from decoders.process.worker import Worker, WorkerOptions
from decoders.sampling.sampler import Sampler, common_length

#: Beyond every published token: what follows a disagreement was drafted for another text, and is
#: never compared.
_STALE = sys.maxsize

#: The last position and token of an update.
_Outcome = tuple[int, int]
#: That of none.
_NEVER = (-1, -1)


@dataclass(slots=True)
class Drafted:
    """One published token.

    ``lineage`` is the number of the last update that changed the draft model's text: the token
    follows that update's verified text and the tokens published since under the same lineage.
    ``waited`` is how long the draft model had nothing to do before, or waited for news rather than
    do it. ``position`` is the token's in the text, ``ended`` when it was there, ``confidence`` the
    probability that the draft model gave it; 1 where it was not asked.

    The same forward may have drafted for what comes if the target's token is another than the
    draft's, as the first update after number ``update`` will tell: ``others`` have the position of
    that token, the token itself, one that was drafted after it and what was drafted for it before,
    and the draft model's probability of that one. Once that came true it is a published token, too,
    which was ``prepared`` and has no seconds of its own.
    """

    lineage: int
    position: int
    token: int
    seconds: float
    waited: float
    ended: float
    confidence: float = 1.0
    update: int = 0
    others: Sequence[tuple[int, int, int, float]] = ()
    prepared: bool = False


class Forerunner(Worker):
    """The main process's side of a draft process that runs ahead of the verified text by itself."""

    def __init__(
        self,
        load: Callable[[], CachedModel],
        sampler: Sampler,
        options: WorkerOptions,
        confides: bool = False,
    ) -> None:
        super().__init__(load, sampler, options, partial(serve, confides=confides))
        self._asks = confides

    def begin(self, tokens: Sequence[int], ahead: int, end: int, seed: int) -> None:
        """Start on a new text, of which tokens are drafted up to position ``end``."""
        self._lengths = [len(tokens)]
        self._lineage = 0
        self._published: list[Drafted] = []
        self._latest: Drafted | None = None
        self._settled = 0
        #: By the number of an update: what was drafted for what it may say, by its last position
        #: and token; and which these were.
        self._prepared: dict[int, dict[_Outcome, list[Drafted]]] = {}
        self._came: dict[int, _Outcome] = {}
        #: Whether what there is of the draft was prepared before it was known to be the draft.
        self._anew = False
        self.send((BEGIN, list(tokens), ahead, end, seed))

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
        fresh = []
        for drafted in self._drafted(messages):
            # What was prepared may have replaced the draft that this one is still of.
            if drafted.lineage >= self._lineage:
                if drafted.lineage > self._lineage:
                    fresh += self._begin_draft(drafted.lineage)
                with self.understood():
                    self._check_place(drafted)
                self._published.append(drafted)
                self._latest = drafted
                self._anew = False
            else:
                # The next one is begun when this one is done.
                assert self._latest is not None
                self._latest = replace(self._latest, ended=drafted.ended)
            fresh += [drafted, *self._file(drafted)]
        return fresh

    def _begin_draft(self, lineage: int) -> list[Drafted]:
        """There is a new draft, which begins with what was prepared for it; gives that."""
        begun = list(self._continuation(lineage))
        self._lineage, self._published, self._settled = lineage, begun, 0
        for before in [one for one in self._prepared if one < lineage]:
            del self._prepared[before]
        return list(begun)

    def _continuation(self, update: int) -> list[Drafted]:
        """What was drafted for what came true with an update."""
        return self._prepared.get(update, {}).get(self._came.get(update, _NEVER), [])

    def _file(self, drafted: Drafted) -> list[Drafted]:
        """Keep what was drafted for others; gives what is of use already."""
        update, fresh = drafted.update + 1, list[Drafted]()
        for position, other, token, confidence in drafted.others:
            outcomes = self._prepared.setdefault(update, {})
            made = outcomes.setdefault((position, other), [])
            at = position + 1 + len(made)
            one = Drafted(update, at, token, 0.0, 0.0, drafted.ended, confidence, prepared=True)
            made.append(one)
            # The draft process was at it when it had yet to hear that it came true.
            if self._lineage == update and self._came[update] == (position, other):
                self._published.append(one)
                self._latest = one
                fresh.append(one)
        return fresh

    def adopt(self) -> list[Drafted]:
        """Take for the draft what was prepared for what came instead of the last one; gives that.

        To be asked after ``settle``, which finds out whether the draft went elsewhere.
        """
        last = len(self._lengths) - 1
        if not (self.stale and self._continuation(last)):
            return []
        begun = self._begin_draft(last)
        assert self._latest is not None
        self._latest, self._anew = replace(begun[-1], ended=self._latest.ended), True
        return begun

    @property
    def stale(self) -> bool:
        """Whether the draft went elsewhere, so that a token of a new one is to come."""
        return self._settled == _STALE

    @property
    def foreseen(self) -> tuple[int, int]:
        """For how many outcomes something was prepared that the last update might have told of, and
        for how many of these with the accepted length that it told."""
        last = len(self._lengths) - 1
        outcomes = self._prepared.get(last, {})
        return len(outcomes), sum(place == self._came[last][0] for place, _ in outcomes)

    @property
    def anew(self) -> bool:
        """Whether the next token is the first that is drafted since the draft went elsewhere."""
        return self.stale or self._anew

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
        came = (start + len(tokens) - 1, tokens[-1]) if tokens else _NEVER
        self._came[len(self._lengths) - 1] = came
        self.send((VERIFIED, len(self._lengths) - 1, start, list(tokens)))

    def expect(
        self,
        at: float,
        right: float,
        unseen: float,
        until: int,
        slowdown: float,
        doubts: Sequence[float] = (),
        gains: Sequence[float] = (),
    ) -> None:
        """Tell when more will be verified and what is likely by then: see ``Outlook.expect`` and
        ``Fork``. Without ``gains`` nothing is drafted for others."""
        self.send((EXPECT, at, right, unseen, until, slowdown, list(doubts), list(gains)))

    def confide(self, asked: bool) -> None:
        """Ask it to say from now on how sure it is of each token, or no longer."""
        if asked != self._asks:
            self._asks = asked
            self.send((CONFIDE, asked))

    def pause(self) -> list[Drafted]:
        """Stop it, and wait until it has stopped; gives the tokens that came too late."""
        self.send((PAUSE,))
        start = clock()
        late = []
        while (message := self.receive())[0] != PAUSED:
            late.append(message)
            if clock() - start > self._options.answer_timeout:
                raise self.silent("stop", self._options.answer_timeout)
        return self._drafted(late)

    def _drafted(self, messages: Sequence[Message]) -> list[Drafted]:
        with self.understood():
            every = []
            for name, *values in messages:
                drafted = Drafted(*values)
                others = [position for position, *_ in drafted.others]
                places = drafted.lineage, drafted.position, drafted.update, *others
                if not all(isinstance(one, int) and one >= 0 for one in places):
                    raise ValueError(
                        "expected a lineage, a position, the number of an update and positions of"
                        f" others, of at least 0, with a drafted token, got {places}"
                    )
                if name != DRAFTED or drafted.lineage >= len(self._lengths):
                    raise ValueError(
                        f"expected {DRAFTED!r} of a lineage below {len(self._lengths)}, got"
                        f" {name!r} of {drafted.lineage}"
                    )
                check_seconds(drafted.seconds, drafted.waited, drafted.ended)
                check_confidence(drafted.confidence)
                for _, other, token, confidence in drafted.others:
                    check_tokens([other, token], self.vocab_size)
                    check_confidence(confidence)
                every.append(drafted)
            check_tokens([drafted.token for drafted in every], self.vocab_size)
        return every

    def _check_place(self, drafted: Drafted) -> None:
        expected = self._lengths[self._lineage] + len(self._published)
        if drafted.position != expected:
            raise ValueError(
                f"expected the drafted token of position {expected}, got that of {drafted.position}"
            )
