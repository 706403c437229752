"""The texts that vLLM is at: told apart by what they are, since a proposer is told no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np


class ServedText:
    """A text that vLLM is at, and what was drafted for it.

    Parameters
    ----------
    number
        What the draft process knows it by.
    tokens
        The text so far.
    room
        The longest it can become.
    """

    def __init__(self, number: int, tokens: np.ndarray, room: int) -> None:
        self.number = number
        self.length = len(tokens)
        self._tokens = np.empty(max(room, self.length), dtype=tokens.dtype)
        self._tokens[: self.length] = tokens
        #: Length of the text after each update; an update's number is its place here.
        self._lengths = [self.length]
        self._lineage = 0
        self._drafts: list[int] = []
        self._confidences: list[float] = []
        #: How many of these the target's own tokens were compared with; all agreed.
        self._compared = 0
        self._parted = False
        #: Length up to which it is drafted.
        self.limit = 0
        #: What was handed over for the step that comes.
        self.handed: list[int] = []
        #: Whether anything was drafted for it yet: before, it is being read.
        self.is_read = False

    def is_text(self, tokens: np.ndarray) -> bool:
        """Whether it is these tokens."""
        return self.length == len(tokens) and bool(
            np.array_equal(self._tokens[: self.length], tokens)
        )

    def as_bytes(self) -> bytes:
        """Its tokens, as :data:`decoders.vllm.drafting.TOKEN` says."""
        return self._tokens[: self.length].astype(np.intc).tobytes()

    def add(self, tokens: Sequence[int]) -> int:
        """Verified tokens follow; gives the number of this update."""
        end = self.length + len(tokens)
        self._tokens[self.length : end] = tokens
        self.length = end
        self._lengths.append(end)
        return len(self._lengths) - 1

    def publish(self, lineage: int, position: int, token: int, confidence: float = 1.0) -> None:
        """A token of this probability was drafted. ValueError where it can't be, as it is told."""
        if not self._lineage <= lineage < len(self._lengths):
            last = len(self._lengths) - 1
            raise ValueError(f"expected a lineage from {self._lineage} to {last}, got {lineage}")
        if lineage > self._lineage:
            self._lineage, self._drafts, self._compared, self._parted = lineage, [], 0, False
            self._confidences = []
        expected = self._lengths[lineage] + len(self._drafts)
        if position != expected:
            raise ValueError(f"expected a token for position {expected}, got one for {position}")
        self._drafts.append(token)
        self._confidences.append(confidence)
        self.is_read = True

    def settle(self) -> tuple[int, int]:
        """Compare what was drafted with the text; how many tokens agreed, and how many did not.

        None is counted twice, and none that was drafted after one that did not agree.
        """
        if self._parted:
            return 0, 0
        agreed = 0
        for draft in self._drafts[self._compared : self.length - self.base]:
            if draft != self._tokens[self.base + self._compared]:
                self._parted = True
                return agreed, 1
            agreed += 1
            self._compared += 1
        return agreed, 0

    @property
    def compared(self) -> int:
        """Position of the first drafted token that was not yet compared with the text."""
        return self.base + self._compared

    @property
    def parted(self) -> bool:
        """Whether the draft is known to have gone elsewhere, so that a new one is to come."""
        return self._parted

    @property
    def base(self) -> int:
        """The length of the text that the draft follows."""
        return self._lengths[self._lineage]

    @property
    def latest(self) -> float:
        """The probability of the draft's last token; 1 before any."""
        return self._confidences[-1] if self._confidences else 1.0

    def confidences(self, start: int, count: int) -> list[float]:
        """Those of the draft's tokens from a position of the text on."""
        first = start - self.base
        return self._confidences[first : first + count]

    @property
    def pending(self) -> list[int]:
        """Drafted tokens that follow the text; to be asked once it is settled."""
        return [] if self._parted else self._drafts[self.length - self.base :]

    @property
    def reach(self) -> int:
        """Length up to which it is drafted, as far as that is known and agrees."""
        if self._parted:
            return self.length
        return self.base + len(self._drafts)


@dataclass
class Changes:
    """What a step has changed."""

    #: Texts that are over.
    over: list[ServedText] = field(default_factory=list)
    begun: list[ServedText] = field(default_factory=list)
    #: Those that go on: update, position, and verified tokens from there on.
    updates: list[tuple[ServedText, int, int, list[int]]] = field(default_factory=list)


class ServedTexts:
    """The texts of the last step.

    The rows of a step are requests, but not told which: a row's request changes as others end, and
    nothing tells that one has ended. A text that was known before a step and has become longer in
    it goes on; one that nobody asked about in a step is over, and forgotten, drafts and all. So
    what comes again, begins anew. Two requests that have the same text share its drafts.

    Parameters
    ----------
    most
        So many at most; requests beyond that have none.
    room
        The longest text, in tokens.
    """

    def __init__(self, most: int, room: int) -> None:
        self._most, self._room = most, room
        self._numbers = 0
        self._texts: list[ServedText] = []

    def __iter__(self) -> Iterator[ServedText]:
        return iter(self._texts)

    def step(
        self, sampled: Sequence[Sequence[int]], lengths: Sequence[int], tokens: np.ndarray
    ) -> tuple[list[ServedText | None], Changes]:
        """Take in a step of the target.

        Parameters
        ----------
        sampled
            The tokens that each row gained; none where a prompt is still being read.
        lengths
            Of each row's text, with those.
        tokens
            ``[rows, any]``: the texts.

        Returns
        -------
        The text of each row, ``None`` where it has none yet; and what has changed.
        """
        before: dict[int, list[ServedText]] = {}
        for text in self._texts:
            before.setdefault(text.length, []).append(text)
        found: list[ServedText | None] = []
        for row, gained in enumerate(sampled):
            known = tokens[row, : lengths[row] - len(gained)]
            among = before.get(len(known), ())
            found.append(next((text for text in among if text.is_text(known)), None))
        kept = {text.number for text in found if text is not None}
        changes = Changes(over=[text for text in self._texts if text.number not in kept])
        self._texts = [text for text in self._texts if text.number in kept]
        advanced: set[int] = set()
        now: dict[int, list[ServedText]] = {}
        for row, gained in enumerate(sampled):
            if gained:
                whole = tokens[row, : lengths[row]]
                found[row] = self._become(found[row], whole, list(gained), advanced, now, changes)
        return found, changes

    def _become(
        self,
        text: ServedText | None,
        whole: np.ndarray,
        gained: list[int],
        advanced: set[int],
        now: dict[int, list[ServedText]],
        changes: Changes,
    ) -> ServedText | None:
        """The text that a row's has become."""
        same = now.setdefault(len(whole), [])
        for other in same:
            if other.is_text(whole):
                return other
        if text is not None and text.number not in advanced:
            start = text.length
            changes.updates.append((text, text.add(gained), start, gained))
        elif len(self._texts) < self._most:
            # Of a request that has just come; or two had the same text, and have parted.
            self._numbers += 1
            text = ServedText(self._numbers, whole, self._room)
            self._texts.append(text)
            changes.begun.append(text)
        else:
            return None
        advanced.add(text.number)
        same.append(text)
        return text
