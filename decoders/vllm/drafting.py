"""The draft process's side of PEARL inside vLLM: drafts on, for all texts that it was told of."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decoders.model.batch import Batch, Guess
from decoders.process.channel import Channel, Message
from decoders.process.clock import clock
from decoders.sampling.sampler import common_length

# From the draft process: its model is loaded (vocabulary, longest text); it ends, with what and
# where it failed.
READY = "ready"
FAILED = "failed"
#: To it, once a step of the target: which texts are over; which are new (number, tokens as bytes,
#: limit); which go on (number, update, position, verified tokens from there on, limit). A text is
#: drafted up to its limit, a length. Updates of a text count from 1.
STEP = "step"
#: From it, after each forward: start and seconds of the forward, and what it drafted: text,
#: lineage, position, token, and the probability of that if the process is to say so. The lineage is
#: the number of the last update that changed what the draft model had: the token follows that
#: update's verified text and the tokens published since under the same lineage. Nothing was drafted
#: where only a part of a text was read.
DRAFTED = "drafted"

#: Tokens of a new text that one forward reads, so that other texts need not wait for long.
WINDOW = 256
#: Type of a token in bytes.
TOKEN = "i"


@dataclass
class _Text:
    slot: int
    tokens: list[int]
    limit: int
    lineage: int = 0


class DraftService:
    """Drafts for several texts until it has something to take in, or must wait."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._texts: dict[int, _Text] = {}

    @property
    def may_draft(self) -> bool:
        """Whether some text is not yet drafted as far as it may be."""
        return any(len(text.tokens) < text.limit for text in self._texts.values())

    def take(self, message: Message) -> None:
        """Take in a message."""
        name, over, begun, updates = message
        assert name == STEP
        for number in over:
            del self._texts[number]
        for number, tokens, limit in begun:
            self._begin(number, array(TOKEN, tokens).tolist(), limit)
        for update in updates:
            self._take_over(*update)

    def work(self) -> Iterator[Message]:
        """One forward for one text that must be read, and one for all others; what they drafted."""
        ready = [item for item in self._texts.items() if len(item[1].tokens) < item[1].limit]
        to_read = {id(text): self._unread(text) for _, text in ready}
        long = [item for item in ready if to_read[id(item[1])] > 1]
        short = [item for item in ready if to_read[id(item[1])] == 1]
        if long:
            yield self._read(*long[0])
        if short:
            yield self._step(short)

    def _read(self, number: int, text: _Text) -> Message:
        start = clock()
        end = self._batch.length(text.slot) + WINDOW
        guess = self._batch.read(text.slot, text.tokens[:end])
        drafted = [] if end < len(text.tokens) else [self._add(number, text, guess)]
        return DRAFTED, start, clock() - start, drafted

    def _step(self, items: Sequence[tuple[int, _Text]]) -> Message:
        start = clock()
        texts = [text for _, text in items]
        guesses = self._batch.step([text.slot for text in texts], [text.tokens for text in texts])
        drafted = [self._add(*item, guess) for item, guess in zip(items, guesses, strict=True)]
        return DRAFTED, start, clock() - start, drafted

    def _add(self, number: int, text: _Text, guess: Guess) -> tuple[int, int, int, int, float]:
        text.tokens.append(guess.token)
        return number, text.lineage, len(text.tokens) - 1, guess.token, guess.confidence

    def _unread(self, text: _Text) -> int:
        return len(text.tokens) - self._batch.length(text.slot)

    def _begin(self, number: int, tokens: list[int], limit: int) -> None:
        taken = {text.slot for text in self._texts.values()}
        # The lowest, so that those in use lie together.
        slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        self._batch.rollback(slot, 0)
        self._texts[number] = _Text(slot, tokens, limit)

    def _take_over(
        self, number: int, update: int, start: int, tokens: list[int], limit: int
    ) -> None:
        text = self._texts[number]
        agreed = common_length(text.tokens[start:], tokens)
        if agreed < len(tokens):
            # Overtaken, or drafted something else. A draft that agrees goes on as it is.
            text.tokens[start + agreed :] = tokens[agreed:]
            self._batch.rollback(text.slot, start + agreed)
            text.lineage = update
        text.limit = limit


def serve(channel: Channel, batch: Batch) -> None:
    """Draft until the other side is gone, upon which it raises :class:`ChannelClosed`."""
    service = DraftService(batch)
    while True:
        while not service.may_draft:
            service.take(channel.receive())
        while (message := channel.receive_now()) is not None:
            service.take(message)
        for drafted in service.work():
            channel.send(drafted)
