"""What a decoder that looks up knows beside the text it decodes: the state of its cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import Enum

from decoders.retrieval.suffix_trie import SuffixTrie


class Cache(str, Enum):
    """What the cache holds when a prompt's decoding begins."""

    cold = "cold"
    warm = "warm"
    corpus = "corpus"
    oracle = "oracle"

    @property
    def told(self) -> str:
        """In words, for the files of a run."""
        return _TOLD[self]


_TOLD = {
    Cache.cold: "nothing: each prompt's text alone is looked up in",
    Cache.warm: "outputs of the run's earlier prompts, in the order in which these were first"
    " decoded; a prompt that comes again finds what it found the first time",
    Cache.corpus: "a text that was read before the first prompt",
    Cache.oracle: "each prompt's own output, decoded beforehand: an upper bound and no result",
}


class OtherTexts(ABC):
    """The texts that a prompt's lookup may use beside the prompt's own."""

    @abstractmethod
    def texts(self, prompt: Sequence[int]) -> SuffixTrie | None:
        """Those for a prompt, which is about to be decoded."""

    def add(self, prompt: Sequence[int], output: Sequence[int]) -> None:
        """A prompt was decoded, here or in an earlier attempt at the run."""


class NoTexts(OtherTexts):
    """Every prompt is decoded as if it were the first."""

    def texts(self, prompt: Sequence[int]) -> None:
        return None


class FixedTexts(OtherTexts):
    """The same texts for every prompt."""

    def __init__(self, texts: Iterable[Sequence[int]], depth: int) -> None:
        self._trie = SuffixTrie(depth)
        for text in texts:
            self._trie.begin()
            self._trie.read(text)

    def texts(self, prompt: Sequence[int]) -> SuffixTrie:
        return self._trie


class EarlierOutputs(OtherTexts):
    """For each prompt the outputs of those that were decoded before it for the first time.

    So a prompt that comes again, as another sample, a repeat or the warm-up of a continued run,
    finds neither its own output nor those of prompts that came after it.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        #: By prompt, in the order of their first times.
        self._outputs: dict[tuple[int, ...], Sequence[int]] = {}
        self._trie = SuffixTrie(depth)
        #: How many of them are in the trie.
        self._held = 0

    def texts(self, prompt: Sequence[int]) -> SuffixTrie:
        earlier = list(self._outputs)
        known = tuple(prompt)
        wanted = earlier.index(known) if known in self._outputs else len(earlier)
        if self._held > wanted:
            self._trie, self._held = SuffixTrie(self._depth), 0
        for one in earlier[self._held : wanted]:
            self._trie.begin()
            self._trie.read(self._outputs[one])
        self._held = wanted
        return self._trie

    def add(self, prompt: Sequence[int], output: Sequence[int]) -> None:
        self._outputs.setdefault(tuple(prompt), list(output))
