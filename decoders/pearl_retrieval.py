"""PEARL whose models both read what retrieval found (Double: Shen et al., 2026)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from decoders.decoder import Decoder
from decoders.draft_length import check_gamma
from decoders.overlap import Overlap
from decoders.pearl import PearlSession
from decoders.process.clock import clock
from decoders.process.models import Models
from decoders.process.retriever import Retrieval, Retriever
from decoders.retrieval.lookup import Lookup, Reach
from decoders.sampling.sampler import Draft, Sampler, common_length
from decoders.schedule import Retrieving, Schedule
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class PearlRetrieval(Decoder):
    """PEARL's rounds, in which a forward of either model may give several tokens.

    What may follow a text is looked up in the text itself, as by suffix decoding with a cold cache
    (arXiv 2601.05524 calls it retrieval). In each round

    - the draft model makes ``gamma`` forwards, each over a guess as well. Of that it keeps what it
      would have drawn itself, so its draft is longer than ``gamma`` where guesses are right;
    - the target reads the pending tokens and one guess after them. Of the new tokens those are
      judged that agree with the guess, and the one after them; PEARL judges the first alone;
    - where a token is rejected and the target's own is the guess's, it goes on along the guess: it
      gives all that it agrees with, and one more.

    Parameters
    ----------
    gamma
        Forwards of the draft model in a round; ``auto`` as for ``pearl``.
    guesses
        Most tokens of a guess.
    depth, factor, least
        See :class:`~decoders.retrieval.lookup.Reach`.
    target_reads
        Whether the target reads a guess, too. Without, only the draft model does.
    """

    overlap = Overlap.within_rounds
    no_blocks = "judges as many drafted tokens as agree with a guess, so that none ends a block"
    idea = "both models work at the same time, and check what was looked up in the text"

    gamma: int | str = 5
    guesses: int = 10
    depth: int = Reach.depth
    factor: float = Reach.factor
    least: float = Reach.least
    target_reads: bool = True

    def __post_init__(self) -> None:
        check_gamma(self.gamma)
        self.reach.check()
        if self.guesses < 1:
            raise ValueError(
                "decoder.guesses is the longest guess that a forward checks and must be at least 1"
                f" token, got {self.guesses}"
            )

    @property
    def reach(self) -> Reach:
        return Reach(self.depth, self.factor, self.least)

    def simulated_as(self) -> Schedule:
        return Retrieving(self.gamma, self.guesses, self.target_reads)

    def start(self, models: Models, sampler: Sampler) -> Session:
        return PearlRetrievalSession(self, models, sampler)


class PearlRetrievalSession(PearlSession):
    """Holds the draft model in a process of its own, which looks up as this one does."""

    decoder: PearlRetrieval  # type: ignore[assignment]
    drafter: Retriever

    def make_drafter(self, models: Models) -> Retriever:
        retrieval = Retrieval(self.decoder.reach, self.decoder.guesses)
        return Retriever(models.load_draft, self.sampler, models.draft_process, retrieval)

    def windows(self) -> Iterable[int]:
        drafted = self.gamma * (self.decoder.guesses + 1)
        return range(1, drafted + self.decoder.guesses * self.decoder.target_reads + 2)

    def draft_windows(self) -> Iterable[int]:
        # The target's own tokens, of which it may add a guess and one more, and a guess after them.
        own = self.decoder.guesses * self.decoder.target_reads + 1
        return range(1, own + self.decoder.guesses + 1)

    def generate(self, sequence: Sequence) -> None:
        self.drafter.begin(sequence.seed, len(sequence))
        lookup = Lookup(self.decoder.reach)
        lookup.read(sequence.tokens)
        pending = Draft()
        # What the draft process must change about the text it has: keep so much, then add this.
        keep, tail = 0, list(sequence.tokens)
        for one in self.rounds(sequence):
            one.mode = "post-verify" if pending else "pre-verify"
            known = len(sequence)
            room = sequence.remaining - len(pending)
            if room:
                self.drafter.retrieve(keep, tail, self.gamma, known, room)
            path = pending.tokens + self._guess(lookup, pending, room)
            logits, seen = self._read_path(sequence, path)
            ahead = pending + (self._collect_found(sequence, len(pending)) if room else Draft())
            # The target's rows are right up to the first token that its guess has not.
            block = ahead[: common_length(ahead, path) + 1]
            judgement = sequence.judge(seen[: len(block)], block, self.drafter.row)
            sequence.append(judgement.accepted)
            if judgement.rejected:
                assert judgement.token is not None
                keep = len(sequence)
                sequence.append([judgement.token])
                self._follow(sequence, known, path, logits)
                pending, tail = Draft(), sequence.tokens[keep:]
            else:
                pending = ahead[len(judgement.accepted) :]
                keep, tail = known + len(ahead), []
            added = sequence.tokens[known:]
            self.target.rollback(known + common_length(added, path))
            lookup.read(added)

    def _guess(self, lookup: Lookup, pending: Draft, room: int) -> list[int]:
        """What may follow the pending tokens; the target adds a token itself."""
        if not self.decoder.target_reads:
            return []
        return lookup.guess(min(self.decoder.guesses, room - 1), pending)

    def _read_path(self, sequence: Sequence, path: list[int]) -> tuple[torch.Tensor, Any]:
        """One forward of the target, over what it has not seen of the text and ``path``.

        Gives its logits, and what :meth:`Sequence.judge` judges by.
        """
        one = sequence.round
        one.target_start = clock()
        logits = self.target.extend(sequence.tokens + path, rows=len(path) + 1)
        seen = sequence.verifier.read(logits, len(sequence))
        one.target_seconds = clock() - one.target_start
        return logits, seen

    def _follow(
        self, sequence: Sequence, known: int, path: list[int], logits: torch.Tensor
    ) -> None:
        """Where the target's own token is the path's, add what it says after that, too."""
        done = len(sequence) - known
        if sequence.finished or sequence.tokens[known:] != path[:done]:
            return
        seen: Any = sequence.verifier.read(logits[done:], len(sequence))
        sequence.append(sequence.verifier.judge(seen, Draft(path[done:])).verified)

    def _collect_found(self, sequence: Sequence, pending: int) -> Draft:
        """What was to be retrieved. The target waits for it from the end of its forward on."""
        begin = clock()
        found = self.drafter.collect_found()
        one, draft = sequence.round, found.proposal.draft
        one.wait_target_seconds = clock() - begin
        one.draft_seconds, one.draft_start = found.proposal.seconds, one.start
        one.guessed, one.given = found.guessed, found.given
        one.retrieved = len(draft) - len(found.given)
        start = len(sequence) + pending
        sequence.note_drafted(draft, range(start, start + len(draft)))
        return draft
