"""PEARL: parallel speculative decoding with adaptive draft length (Liu et al., ICLR 2025)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decoders.decoder import Decoder, Overlap
from decoders.draft_length import AUTO, check_gamma, choose_balanced
from decoders.process.clock import clock
from decoders.process.drafter import DRAFT_WINDOWS, Drafter, OnRequest, Proposal
from decoders.process.models import Models
from decoders.round import Round
from decoders.sampling.sampler import NOTHING_JUDGED, Draft, Sampler
from decoders.schedule import Parallel, Schedule
from decoders.sequence import Text


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

    def start(self, models: Models, sampler: Sampler) -> None:
        super().start(models, sampler)
        self.drafter: OnRequest = self._make_drafter(models)
        self.drafter.wait_ready()
        if self.gamma == AUTO:
            self.chosen_gamma = choose_balanced(self.target, self.drafter)
        else:
            self.chosen_gamma = int(self.gamma)

    def stop(self) -> None:
        if hasattr(self, "drafter"):
            self.drafter.close()

    def peak_memory_bytes(self) -> int:
        return self.drafter.peak_memory_bytes()

    def _make_drafter(self, models: Models) -> OnRequest:
        return Drafter(models.load_draft, self.sampler, models.draft_process)

    def prepare(self, start: int, end: int) -> None:
        super().prepare(start, end)
        self.drafter.prepare(self.draft_windows(), start, end)

    def draft_windows(self) -> Sequence[int]:
        """How many tokens forwards of the draft model may read, but for the prompt's."""
        return DRAFT_WINDOWS

    def rounds(self, text: Text) -> Iterator[Round]:
        self.drafter.begin(self.seed, len(text.tokens))
        pending = Draft()
        # What the draft process must change about the text it has: keep so much, then add this.
        keep, tail = 0, text.tokens
        while not text.finished:
            start = clock()
            known = len(text.tokens)
            bytes_before = self.drafter.bytes_sent
            verifies = bool(pending) or self.pre_verify
            drafts = not pending or self.post_verify
            ahead = known + len(pending)
            count = min(self.chosen_gamma, text.remaining - len(pending)) if drafts else 0
            if count:
                self.drafter.request(keep, tail, count, verified=len(text.tokens))
            target_start = clock()
            if verifies:
                logits = self.target.extend(text.tokens + pending.tokens, rows=len(pending) + 1)
                target = self.verifier.read(logits, known)
            target_done = clock()
            proposal = self.drafter.collect() if count else Proposal(Draft(), 0.0)
            collected = clock()

            drafted = proposal.draft
            judgement = NOTHING_JUDGED
            candidates = Draft()
            if verifies:
                candidates = text.until_stop(pending + drafted[:1])
                judgement = self.verifier.judge(target, candidates, self.drafter.row)
            verified = known + judgement.accepted
            text.append(candidates.tokens[: judgement.accepted])
            mode = self._mode(verifies, drafts, bool(pending))
            rejected = judgement.accepted < len(candidates)
            # Nothing was drafted in the place of the target's own token after the block.
            alone = verifies and not drafted and not text.finished
            if rejected or alone:
                assert judgement.token is not None
                self.target.rollback(verified)
                text.append([judgement.token])
                pending = Draft()
                keep, tail = verified, [judgement.token]
            else:
                pending = (pending + drafted)[len(candidates) :]
                keep, tail = len(text.tokens) + len(pending), []
            yield Round(
                mode,
                drafted=len(drafted),
                judged=judgement.judged,
                accepted=judgement.accepted,
                draft_seconds=proposal.seconds,
                target_seconds=target_done - target_start if verifies else 0.0,
                # The two ran at the same time: whatever of the round one did not work, it waited.
                wait_draft_seconds=clock() - start - proposal.seconds,
                wait_target_seconds=collected - target_done,
                start=start,
                bytes_sent=self.drafter.bytes_sent - bytes_before,
                verified_length=len(text.output),
                draft_start=start,
                target_start=target_start,
                drafted_ids=drafted.tokens,
                drafted_at=text.positions(ahead, len(drafted)),
                target_tokens=self.target.take_tokens(),
            )

    def ends_run(self, one: Round) -> bool:
        # While the draft model runs ahead, a block is followed by what it drafted next.
        return one.mode == "verify"

    @staticmethod
    def _mode(verifies: bool, drafts: bool, had_pending: bool) -> str:
        if not verifies:
            return "draft"
        if not drafts:
            return "verify"
        return "post-verify" if had_pending else "pre-verify"
