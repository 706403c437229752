"""A draft process that prepares continuations for what may become of the draft that is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from decoders.model.cached_model import CachedModel
from decoders.model.tree import ROOT, Tree
from decoders.process.branches import Branch, lengthen
from decoders.process.channel import Channel, Message
from decoders.process.clock import clock
from decoders.process.drafter import (
    DISTRIBUTION,
    PROPOSAL,
    ROW,
    Proposal,
    check_seconds,
    distribution,
    proposal,
)
from decoders.process.worker import PREPARE, PREPARED, Worker, WorkerOptions
from decoders.sampling.sampler import Downscaling, Draft, Sampler

# Messages to the draft process:
#: a new text, of which nothing is drafted yet; tokens are drafted up to position ``end``, at most
#: one for each of ``fan_outs`` but the first; whether it drafts where nothing is prepared; the
#: factor of tokens that may be prepared for (tokens, end, seed, fan_outs, at_miss, downscale)
_BEGIN = "begin"
#: so many tokens of the last draft were accepted, and after them the target chose a token; what is
#: the next draft? (accepted, token)
_OUTCOME = "outcome"
#: stop preparing, and say what was made
_PAUSE = "pause"
# Also ``drafter.ROW``, while a draft is judged, and between texts what ``worker.PREPARE`` asks for.
# From it: a draft, what ``drafter.PROPOSAL`` has of it, how it came about (see ``Foresight``) and
# for how long nothing was to be done; the last two without a draft.
_CONTINUATION = "continuation"
_PAUSED = "paused"


@dataclass(slots=True)
class Foresight:
    """What was prepared while a draft was judged, and whether it was of use.

    ``outcomes`` is for how many outcomes there are continuations, each an accepted length and a
    token after it, and ``fan_out`` how many of them have the accepted length that came true.
    ``hit``: the token did, too. Where no draft was wanted, as at the end of a text, there is none
    of these. ``forwards`` prepared them, which read so many ``tokens`` and took so many ``seconds``
    before the outcome was known.
    """

    outcomes: int = 0
    fan_out: int = 0
    hit: bool = False
    forwards: int = 0
    tokens: int = 0
    seconds: float = 0.0


class BrancherService:
    """The draft process's side: prepares, one forward after the other, until it has an outcome.

    Which outcomes are prepared for depends on no random number of the target's, nor on time; and
    whether a draft was prepared or is made when it is asked for, it is drawn by the same random
    numbers. So being prepared changes nothing but how long the target waits.
    """

    def __init__(self, model: CachedModel, sampler: Sampler) -> None:
        self._model = model
        self._sampler = sampler
        self._proposer = sampler.proposer(0, 0)
        self._text: list[int] = []
        self._draft = Draft()
        self._fan_outs: Sequence[int] = ()
        self._end = 0
        self._at_miss = False
        self._downscale = 1.0
        self._tree = Tree()
        #: ``None`` until the draft was read, after which it can branch off.
        self._branches: list[Branch] | None = []
        self._made = Foresight()
        #: Whether the outcome is about to come, so that preparing more would only delay it.
        self._settling = False

    @property
    def prepares(self) -> bool:
        """Whether there is something to prepare."""
        return not self._settling and (self._branches is None or bool(self._unfinished))

    @property
    def _unfinished(self) -> list[Branch]:
        return [one for one in self._branches or () if len(one.draft) < one.count]

    def prepare(self) -> None:
        """One forward: over the draft, or over the newest tokens of all continuations of it."""
        start = clock()
        if self._branches is None:
            self._fork()
        else:
            self._lengthen(self._unfinished)
        self._made.seconds += clock() - start

    def answer(self, message: Message, waited: float = 0.0) -> Message | None:
        """The answer to a message, if it has one; ``waited``: for how long nothing was to do."""
        name, *values = message
        if name == _OUTCOME:
            accepted, token = values
            return self._go_on(accepted, token, waited)
        if name == ROW:
            # The token in its place was rejected.
            self._settling = True
            row = self._proposer.row(*values).cpu().numpy()
            return DISTRIBUTION, row.dtype.name, row.tobytes()
        if name == _BEGIN:
            self._text, self._end, seed, self._fan_outs, self._at_miss, self._downscale = values
            self._model.rollback(0)
            self._proposer = self._sampler.proposer(seed, len(self._text))
            self._await_outcome(Draft())
        elif name == _PAUSE:
            self._branches = []
            return _PAUSED, *self._take_made(), waited
        elif name == PREPARE:
            self._model.prepare(*values)
            return (PREPARED,)
        return None

    def _await_outcome(self, draft: Draft) -> None:
        """Take this for what is judged now."""
        self._draft, self._settling = draft, False
        # Where no outcome lets more be drafted there is nothing to prepare.
        self._branches = None if self._wanted(len(self._text) + 1) else []

    def _take_made(self) -> tuple[int, int, bool, int, int, float]:
        made, self._made = self._made, Foresight()
        return made.outcomes, made.fan_out, made.hit, made.forwards, made.tokens, made.seconds

    def _wanted(self, length: int) -> int:
        """How many tokens are drafted after a text of so many."""
        return max(0, min(len(self._fan_outs) - 1, self._end - length))

    def _fork(self) -> None:
        """Read the draft, and begin a continuation for each outcome that is likely."""
        known, drafted = len(self._text), len(self._draft)
        # The text's last token is read again, for what the draft model expects after it.
        self._model.rollback(known - 1)
        logits = self._model.extend(self._text + self._draft.tokens, rows=drafted + 1)
        self._made.forwards += 1
        self._made.tokens += drafted + 1
        self._tree = Tree()
        places = [ROOT]
        for token in self._draft:
            places.append(self._tree.add(token, places[-1]))
        self._branches = []
        # After the last drafted token it is not one that was rejected which the target replaces.
        numbers = [*self._fan_outs[:drafted], self._fan_outs[-1]]
        for accepted, (place, number) in enumerate(zip(places, numbers, strict=True)):
            position = known + accepted
            if count := self._wanted(position + 1):
                rejected = self._draft.tokens[accepted] if accepted < drafted else None
                row = logits[accepted : accepted + 1]
                for token in self._proposer.likely(row, position, number, rejected):
                    node = self._tree.add(token, place)
                    branch = Branch(accepted, token, count, self._proposer.branch(), node)
                    self._branches.append(branch)

    def _lengthen(self, branches: list[Branch]) -> None:
        lengthen(branches, self._model, len(self._text), self._tree, self._downscaling)
        self._made.forwards += 1
        self._made.tokens += len(branches)

    def _downscaling(self, place: int) -> Downscaling | None:
        """That of the token at a place of a draft: of those that are prepared for if it is
        rejected. It may be one of the most probable itself, so that one more may be prepared."""
        if self._downscale == 1:
            return None
        return Downscaling(self._fan_outs[place] + 1, self._downscale)

    def _go_on(self, accepted: int, token: int, waited: float) -> Message:
        """The draft after an outcome: what was prepared for it, finished if it is not whole yet."""
        start = clock()
        if self._branches is None:
            self._fork()
        assert self._branches is not None
        at_place = [one for one in self._branches if one.accepted == accepted]
        found = next((one for one in at_place if one.token == token), None)
        self._text += [*self._draft.tokens[:accepted], token]
        wanted = self._wanted(len(self._text))
        draft = Draft()
        if wanted:
            self._made.outcomes, self._made.fan_out = len(self._branches), len(at_place)
            self._made.hit = found is not None
        if found is not None:
            draft, self._proposer = found.draft, found.proposer
        self._proposer.forget(len(self._text))
        self._model.rollback(len(self._text) - 1)
        while len(draft) < wanted and (self._made.hit or self._at_miss):
            text = self._text + draft.tokens
            if self._made.hit:
                self._made.forwards += 1
                self._made.tokens += len(text) - self._model.length
            logits, scale = self._model.extend(text, rows=1), self._downscaling(len(draft))
            draft.append(*self._proposer.propose(logits, len(text), scale))
        self._await_outcome(draft)
        seconds = clock() - start
        return _CONTINUATION, draft.tokens, draft.chances, seconds, *self._take_made(), waited


def _serve(channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    service = BrancherService(model, sampler)
    waited = 0.0
    while True:
        message = channel.receive_now() if service.prepares else None
        if message is None and service.prepares:
            service.prepare()
            continue
        if message is None:
            start = clock()
            message = channel.receive()
            waited += clock() - start
        answer = service.answer(message, waited)
        if message[0] != ROW:
            waited = 0.0
        if answer is not None:
            channel.send(answer)


class Brancher(Worker):
    """The main process's side of a draft process that prepares for what may become of its drafts.

    ``tell`` and ``collect`` are separate, as asking and collecting are elsewhere; between ``begin``
    and the first ``tell`` the target judges an empty draft.
    """

    def __init__(
        self, load: Callable[[], CachedModel], sampler: Sampler, options: WorkerOptions
    ) -> None:
        super().__init__(load, sampler, options, _serve)

    def begin(
        self,
        tokens: Sequence[int],
        end: int,
        seed: int,
        fan_outs: Sequence[int],
        at_miss: bool,
        downscale: float,
    ) -> None:
        """Start on a new text, of which tokens are drafted up to position ``end``.

        ``fan_outs`` are numbers of tokens that are prepared for after each accepted length, so that
        drafts are one shorter; ``at_miss``: it drafts where the outcome is none of these;
        ``downscale`` is the factor of the chance with which such tokens are drafted themselves.
        """
        self.send((_BEGIN, list(tokens), end, seed, list(fan_outs), at_miss, downscale))

    def tell(self, accepted: int, token: int) -> None:
        """Tell what became of the last draft: so many tokens accepted, then one of the target's."""
        self.send((_OUTCOME, accepted, token))

    def collect(self) -> tuple[Proposal, Foresight, float]:
        """Wait for the draft after what was told: with what was foreseen of it, and for how long
        the draft process had had nothing to do."""
        answer = self.receive()
        with self.understood():
            name, tokens, chances, seconds, *made = answer
            if name != _CONTINUATION:
                raise ValueError(f"expected a draft ({_CONTINUATION!r}), got {name!r}")
            made_of = proposal((PROPOSAL, tokens, chances, seconds), self.vocab_size)
            return made_of, *_foresight(made)

    def row(self, position: int) -> torch.Tensor:
        """The distribution, ``[vocab]``, that the drafted token at a text position came from."""
        self.send((ROW, position))
        answer = self.receive()
        with self.understood():
            return distribution(answer, self.vocab_size)

    def pause(self) -> tuple[Foresight, float]:
        """Stop it, and wait until it has stopped; gives what it had made and how long it waited."""
        self.send((_PAUSE,))
        answer = self.receive()
        with self.understood():
            name, *made = answer
            if name != _PAUSED:
                raise ValueError(f"expected {_PAUSED!r}, got {name!r}")
            return _foresight(made)


def _foresight(values: Sequence[object]) -> tuple[Foresight, float]:
    """From a draft process's answer. ValueError where it can't be that."""
    *fields, waited = values
    foresight = Foresight(*fields)  # type: ignore[arg-type]
    counts = foresight.outcomes, foresight.fan_out, foresight.forwards, foresight.tokens
    if not all(isinstance(one, int) and one >= 0 for one in counts):
        raise ValueError(f"expected numbers of what was prepared, got {counts}")
    if not isinstance(foresight.hit, bool):
        raise ValueError(f"expected whether it was prepared, got {foresight.hit!r}")
    check_seconds(foresight.seconds, waited)  # type: ignore[arg-type]
    return foresight, waited  # type: ignore[return-value]
