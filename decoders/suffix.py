"""Suffix decoding: what followed the text's end before is the draft (Oliaro et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.draft_length import check_gamma
from decoders.generation import Generation
from decoders.process.models import Models
from decoders.retrieval.lookup import Lookup, Reach
from decoders.retrieval.memory import Cache, EarlierOutputs, FixedTexts, NoTexts, OtherTexts
from decoders.sampling.sampler import Draft, Sampler
from decoders.schedule import Schedule, Sequential
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class Suffix(Decoder):
    """The draft is what followed the end of the text most often, where that was seen before.

    A suffix of the text is looked up in the text itself and in a cache of other texts, by counted
    runs of tokens. From each suffix that is found the draft follows the most frequent next token,
    and so on; the longer the suffix, the longer the draft may be (arXiv 2411.04975). Of these
    drafts that is judged of which most is expected to be right.

    Parameters
    ----------
    gamma
        Longest draft, in tokens.
    depth, factor, least
        See :class:`~decoders.retrieval.lookup.Reach`.
    cache
        What other texts there are: see :class:`~decoders.retrieval.memory.Cache`.
    corpus
        With ``cache=corpus`` the file of text.
    """

    uses_draft = False
    no_blocks = "judges guesses that were drawn from no distribution, and so by no ratio"
    idea = "what most often followed the text's end before is the draft: no model drafts"

    gamma: int = 16
    depth: int = Reach.depth
    factor: float = Reach.factor
    least: float = Reach.least
    cache: Cache = Cache.cold
    corpus: str | None = None

    def __post_init__(self) -> None:
        # As a run's files have it, it is a text.
        self.cache = Cache(self.cache)
        check_gamma(self.gamma)
        self.reach.check()
        if (self.cache is Cache.corpus) != (self.corpus is not None):
            raise ValueError(
                "decoder.cache=corpus and decoder.corpus=FILE go together, got"
                f" decoder.cache={self.cache.value} and decoder.corpus={self.corpus}"
            )

    @property
    def reach(self) -> Reach:
        return Reach(self.depth, self.factor, self.least)

    @property
    def knows(self) -> str | None:
        return self.corpus

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"cache": self.cache.told}

    def check(self, sampler: Sampler) -> None:
        super().check(sampler)
        if self.cache is Cache.oracle and sampler.with_own_choice() != sampler:
            raise ValueError(
                "decoder.cache=oracle decodes each text beforehand, and this sampling would draw"
                " another one then; take sampling=greedy or sampling=coupled"
            )

    def simulated_as(self) -> Schedule:
        return Sequential(self.gamma, free=True)

    def start(self, models: Models, sampler: Sampler) -> Session:
        return SuffixSession(self, models, sampler)


class SuffixSession(Session):
    """Holds the target alone, the longest draft in use, and what was read beside the prompts."""

    decoder: Suffix
    gamma: int

    def load(self, models: Models) -> None:
        self.gamma = self.decoder.gamma
        self._oracle = Autoregressive().start(models, self.sampler)
        self._memory: OtherTexts = NoTexts()
        if self.decoder.cache is Cache.warm:
            self._memory = EarlierOutputs(self.decoder.depth)
        elif self.decoder.corpus is not None:
            text = Path(self.decoder.corpus).read_text(encoding="utf-8")
            self._memory = FixedTexts([models.encode(text)], self.decoder.depth)

    def with_gamma(self, gamma: int) -> Session:
        other = super().with_gamma(gamma)
        assert isinstance(other, SuffixSession)
        if self.decoder.cache is Cache.warm:
            # It decodes the same prompts, which are not to be known from here.
            other._memory = EarlierOutputs(self.decoder.depth)
        return other

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"cache": self.decoder.cache.value}

    def remember(self, prompt: Iterable[int], output: Iterable[int]) -> None:
        self._memory.add(list(prompt), list(output))

    def decode(
        self, prompt: Iterable[int], max_new_tokens: int, stop_ids: Iterable[int], seed: int = 0
    ) -> Generation:
        tokens, stops = list(prompt), list(stop_ids)
        # Whatever is read here is no part of what is timed.
        if self.decoder.cache is Cache.oracle:
            foreseen = self._oracle.decode(tokens, max_new_tokens, stops, seed)
            self._memory = FixedTexts([foreseen.output_ids], self.decoder.depth)
        self._others = self._memory.texts(tokens)
        generation = super().decode(tokens, max_new_tokens, stops, seed)
        self.remember(tokens, generation.output_ids)
        return generation

    def generate(self, sequence: Sequence) -> None:
        lookup = Lookup(self.decoder.reach, self._others)
        lookup.read(sequence.tokens)
        for one in self.rounds(sequence):
            # The target adds one token itself, so the last of the text need not be drafted.
            guess = lookup.guess(min(self.gamma, sequence.remaining - 1))
            draft = sequence.until_stop(Draft(guess))
            one.mode = "verify" if draft else "decode"
            known = len(sequence)
            sequence.note_drafted(draft, range(known, known + len(draft)))
            judgement = sequence.judge(self.read(sequence, draft), draft)
            self.target.rollback(known + len(judgement.accepted))
            sequence.append(judgement.verified)
            lookup.read(sequence.tokens[known:])
