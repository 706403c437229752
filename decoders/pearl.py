"""PEARL: parallel speculative decoding with adaptive draft length (Liu et al., ICLR 2025)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from decoders.decoder import Decoder
from decoders.draft_length import AUTO, check_gamma, choose_balanced
from decoders.overlap import Overlap
from decoders.process.clock import clock
from decoders.process.drafter import DRAFT_WINDOWS, Drafter, OnRequest
from decoders.process.models import Models
from decoders.sampling.sampler import Draft, Sampler
from decoders.schedule import Parallel, Schedule
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class Pearl(Decoder):
    """Draft and verify at the same time, in two processes.

    In every round the draft model extends verified + pending tokens by ``gamma`` while the target
    reads those of them it has not seen. Then the pending tokens and the first new one are judged:
    one token where nothing was pending (pre-verify, paper section 4.1), ``gamma`` where a block was
    (post-verify, section 4.2). After a rejection both models roll back. ``gamma=auto`` chooses the
    draft length at which drafting takes as long as verifying, measured while both models run.

    The paper's ablations (section 5.3): without ``pre_verify`` nothing is judged while the first
    block after a rejection is drafted; without ``post_verify`` the draft model does not run ahead
    of a block that is being judged, so that after one that is wholly accepted the target adds its
    own next token, as in vanilla speculative decoding.
    """

    overlap = Overlap.within_rounds
    idea = "both models work at the same time"

    gamma: int | str = 5
    pre_verify: bool = True
    post_verify: bool = True

    def __post_init__(self) -> None:
        check_gamma(self.gamma)

    def simulated_as(self) -> Schedule:
        return Parallel(self.gamma, self.pre_verify, self.post_verify, self.draft_ends)

    def start(self, models: Models, sampler: Sampler) -> Session:
        return PearlSession(self, models, sampler)


class PearlSession(Session):
    """Holds the draft model in a process of its own, and the draft length in use."""

    decoder: Pearl
    gamma: int
    drafter: OnRequest

    def load(self, models: Models) -> None:
        self.drafter = self.hold(self.make_drafter(models))
        self.drafter.wait_ready()
        asked = self.decoder.gamma
        balanced = asked == AUTO
        self.gamma = choose_balanced(self.target, self.drafter) if balanced else int(asked)

    def make_drafter(self, models: Models) -> OnRequest:
        """Start the draft model in a process of its own."""
        return Drafter(models.load_draft, self.sampler, models.draft_process)

    @property
    def bytes_sent(self) -> int:
        return self.drafter.bytes_sent

    def peak_memory_bytes(self) -> int:
        return self.drafter.peak_memory_bytes()

    def prepare(self, start: int, end: int) -> None:
        super().prepare(start, end)
        self.drafter.prepare(list(self.draft_windows()), start, end)

    def draft_windows(self) -> Iterable[int]:
        """How many tokens forwards of the draft model may read, but for the prompt's."""
        return DRAFT_WINDOWS

    def generate(self, sequence: Sequence) -> None:
        self.drafter.begin(sequence.seed, len(sequence))
        pending = Draft()
        # What the draft process must change about the text it has: keep so much, then add this.
        keep, tail = 0, list(sequence.tokens)
        for one in self.rounds(sequence):
            verifies = bool(pending) or self.decoder.pre_verify
            drafts = not pending or self.decoder.post_verify
            one.mode = _mode(verifies, drafts, bool(pending))
            count = min(self.gamma, sequence.remaining - len(pending)) if drafts else 0
            if count:
                self.drafter.request(keep, tail, count, verified=len(sequence))
            seen = self.read(sequence, pending) if verifies else None
            drafted = self._collect(sequence, len(pending)) if count else Draft()
            pending += drafted
            if not verifies:
                keep, tail = len(sequence) + len(pending), []
                continue
            block = pending[: len(pending) - len(drafted) + 1]
            judgement = sequence.judge(seen, block, self.drafter.row)
            sequence.append(judgement.accepted)
            # Where the draft model did not run ahead, nothing is in the place after the block.
            if judgement.rejected or (not drafts and not sequence.finished):
                assert judgement.token is not None
                keep, tail = len(sequence), [judgement.token]
                self.target.rollback(keep)
                sequence.append(tail)
                pending = Draft()
            else:
                pending = pending[len(judgement.accepted) :]
                keep, tail = len(sequence) + len(pending), []

    def _collect(self, sequence: Sequence, pending: int) -> Draft:
        """What was requested. The target waits for it from the end of its own forward on."""
        begin = clock()
        proposal = self.drafter.collect()
        one = sequence.round
        one.wait_target_seconds = clock() - begin
        one.draft_seconds, one.draft_start = proposal.seconds, one.start
        ahead = len(sequence) + pending
        sequence.note_drafted(proposal.draft, range(ahead, ahead + len(proposal.draft)))
        return proposal.draft


def _mode(verifies: bool, drafts: bool, had_pending: bool) -> str:
    if not verifies:
        return "draft"
    if not drafts:
        return "verify"
    return "post-verify" if had_pending else "pre-verify"
