"""A draft process that also looks up: a forward of the draft model may give several tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from decoders.model.cached_model import CachedModel
from decoders.process.channel import Message
from decoders.process.clock import clock
from decoders.process.drafter import BEGIN, Drafter, DrafterService, Proposal, proposal
from decoders.process.worker import WorkerOptions
from decoders.retrieval.lookup import Lookup, Reach
from decoders.sampling.sampler import Draft, Sampler

#: A message to the draft process: as ``drafter.REQUEST``, but for at most ``count`` forwards and
#: ``most`` tokens (keep, tail, count, verified, most). The answer says at last of each forward how
#: many tokens of a guess it read, and how many drafted ones it gave.
_RETRIEVE = "retrieve"


@dataclass(slots=True)
class Found:
    """A proposal, and of each draft forward how many tokens of a guess it read, and how many of the
    drafted ones it gave."""

    proposal: Proposal
    guessed: list[int]
    given: list[int]


@dataclass(frozen=True)
class Retrieval:
    """How a draft process looks up: how far a guess goes, and its most tokens."""

    reach: Reach
    longest: int


class RetrieverService(DrafterService):
    """The draft process's side.

    What may follow its text is looked up in what is verified of it, and read by the forward that
    gives the next token. As long as the draft model draws the token that was guessed, that forward
    gives the one after it, too. So every token is drawn as it would be without a guess, and from
    the same distribution.
    """

    def __init__(self, model: CachedModel, sampler: Sampler, retrieval: Retrieval) -> None:
        super().__init__(model, sampler)
        self._retrieval = retrieval
        self._lookup = Lookup(retrieval.reach)
        #: How much of the text it has read.
        self._known = 0

    def answer(self, message: Message) -> Message | None:
        name, *values = message
        if name == _RETRIEVE:
            return self.retrieve(*values)
        if name == BEGIN:
            self._lookup, self._known = Lookup(self._retrieval.reach), 0
        return super().answer(message)

    def retrieve(self, keep: int, tail: list[int], count: int, verified: int, most: int) -> Message:
        """Draft what is requested."""
        start = clock()
        self._proposer.forget(verified)
        text = self._text
        text[keep:] = tail
        self._model.rollback(min(keep, len(text) - 1))
        self._lookup.read(text[self._known : verified])
        self._known = verified
        drafted = Draft()
        guessed: list[int] = []
        given: list[int] = []
        while len(given) < count and len(drafted) < most:
            # The forward gives a token more than were guessed.
            room = min(self._retrieval.longest, most - len(drafted) - 1)
            guess = self._lookup.guess(room, text[verified:])
            rows = self._model.extend(text + guess, rows=len(guess) + 1)
            before = len(drafted)
            for place in range(len(guess) + 1):
                drafted.append(*self._proposer.propose(rows[place : place + 1], len(text)))
                text.append(drafted.tokens[-1])
                if text[-1:] != guess[place : place + 1]:
                    break
            guessed.append(len(guess))
            given.append(len(drafted) - before)
            # What it read of a guess that was wrong.
            self._model.rollback(len(text) - 1)
        return *self._said(drafted, start), guessed, given


class Retriever(Drafter):
    """The main process's side."""

    def __init__(
        self,
        load: Callable[[], CachedModel],
        sampler: Sampler,
        options: WorkerOptions,
        retrieval: Retrieval,
    ) -> None:
        super().__init__(load, sampler, options, partial(RetrieverService, retrieval=retrieval))

    def retrieve(
        self, keep: int, tail: Sequence[int], count: int, verified: int, most: int
    ) -> None:
        """As ``request``, but for ``count`` forwards, at least 1, and at most ``most`` tokens."""
        self.send((_RETRIEVE, keep, list(tail), count, verified, most))

    def collect_found(self) -> Found:
        """Wait for what was to be retrieved."""
        answer = self.receive()
        with self.understood():
            *said, guessed, given = answer
            found = Found(proposal(tuple(said), self.vocab_size), guessed, given)
            _check_forwards(guessed, given, len(found.proposal.draft))
        return found


def _check_forwards(guessed: Sequence[int], given: Sequence[int], drafted: int) -> None:
    """ValueError where these are no forwards that gave so many tokens, each one more than what it
    agreed with of its guess."""
    both = list(zip(guessed, given, strict=True))
    whole = all(isinstance(one, int) for one in (*guessed, *given))
    if not whole or not all(1 <= gave <= read + 1 for read, gave in both) or sum(given) != drafted:
        raise ValueError(
            f"expected draft forwards that give {drafted} tokens, each at least one and at most one"
            f" more than it read of a guess; got guesses of {guessed!r} that gave {given!r}"
        )
