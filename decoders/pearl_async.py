"""PEARL without a barrier: the draft model runs on, the target judges whatever there is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from decoders.decoder import Decoder
from decoders.overlap import Overlap
from decoders.process.clock import clock
from decoders.process.drafter import DRAFT_WINDOWS
from decoders.process.forerunner import Drafted, Forerunner
from decoders.process.models import Models
from decoders.round import Round
from decoders.sampling.sampler import Draft, Sampler
from decoders.schedule import AHEAD, Ahead, Schedule
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class PearlAsync(Decoder):
    """Neither model waits for the other while there is something useful it could do.

    The draft model publishes each token as it is made, up to ``ahead`` tokens beyond the verified
    text. The target, whenever it is free, judges all that has been published, and adds one token of
    its own; where nothing has been published it just decodes. A token of the target's own does not
    throw away a draft that agrees with it. There is no draft length to tune.

    Parameters
    ----------
    ahead
        How many tokens the draft model may be ahead of the verified text, at least 1.
    waits
        Where nothing has been published, the target waits for a first token rather than decode: as
        AMUSD (McDanel, 2024), in which no forward of the target has nothing to judge.
    """

    overlap = Overlap.across_rounds
    no_blocks = "draws both models' tokens with noise they share, and judges by no ratio"
    idea = "the draft model runs on, the target judges what there is"

    ahead: int = AHEAD
    waits: bool = False

    def __post_init__(self) -> None:
        if self.ahead < 1:
            raise ValueError(
                "decoder.ahead is how far the draft model may run ahead and must be at least 1,"
                f" got {self.ahead}"
            )

    def simulated_as(self) -> Schedule:
        return Ahead(self.ahead, self.waits)

    def start(self, models: Models, sampler: Sampler) -> Session:
        # Whether a token was drafted in time or decoded by the target is a matter of timing, which
        # must not decide what is drawn.
        return PearlAsyncSession(self, models, sampler.with_own_choice())


class PearlAsyncSession(Session):
    """Holds the draft model in a process of its own, which runs ahead of the target."""

    decoder: PearlAsync
    #: Whether the draft process says how sure it is of each token.
    confides: ClassVar[bool] = False
    #: For how many tokens beyond a text the draft model's cache is to have room.
    draft_room: ClassVar[int] = 0

    def load(self, models: Models) -> None:
        forerunner = Forerunner(
            models.load_draft, self.sampler, models.draft_process, self.confides
        )
        self.forerunner = self.hold(forerunner)
        self.forerunner.wait_ready()

    @property
    def bytes_sent(self) -> int:
        return self.forerunner.bytes_sent

    def peak_memory_bytes(self) -> int:
        return self.forerunner.peak_memory_bytes()

    def ends_run(self, one: Round) -> bool:
        # The draft model drafts for the target's own token as well, and the two are compared.
        return False

    def windows(self) -> Iterable[int]:
        return range(1, self.decoder.ahead + 2)

    def prepare(self, start: int, end: int) -> None:
        super().prepare(start, end)
        self.forerunner.prepare(DRAFT_WINDOWS, start, end + self.draft_room)

    def generate(self, sequence: Sequence) -> None:
        # The target adds one token itself, so the last of the text need not be drafted.
        end = len(sequence) + sequence.remaining - 1
        self.forerunner.begin(sequence.tokens, self.decoder.ahead, end, sequence.seed)
        for one in self.rounds(sequence):
            pending = self.gather(sequence)
            one.mode = "verify" if pending else "decode"
            known = len(sequence)
            judgement = sequence.judge(self.read(sequence, pending), pending)
            self.target.rollback(known + len(judgement.accepted))
            sequence.append(judgement.verified)
            if sequence.finished:
                self.note(sequence, self.forerunner.pause())
            else:
                self.forerunner.judged(len(judgement.accepted), judgement.rejected)
                self.forerunner.verify(known, sequence.tokens[known:])
                self.learn(known, len(judgement.accepted), judgement.judged)

    def gather(self, sequence: Sequence) -> Draft:
        """The drafted tokens that the target judges next: all that there are."""
        pending = self.look(sequence)
        # For the text's last token nothing is drafted.
        if self.decoder.waits and not pending and sequence.remaining > 1:
            pending = self._await(sequence)
        return Draft([one.token for one in pending])

    def _await(self, sequence: Sequence) -> list[Drafted]:
        """The drafted tokens that follow the text, once there are any."""
        one = sequence.round
        one.wait_start = clock()
        pending = list[Drafted]()
        while not pending:
            # What comes may still be of a draft that went elsewhere.
            pending = self.look(sequence, math.inf)
        one.wait_target_seconds = clock() - one.wait_start
        return pending

    def close_round(self, sequence: Sequence) -> None:
        super().close_round(sequence)
        # The draft model runs while the target waits for it.
        sequence.round.busy_seconds += sequence.round.wait_target_seconds

    def learn(self, start: int, accepted: int, judged: int) -> None:
        """Tokens of the present draft from position ``start`` on were judged."""

    def look(self, sequence: Sequence, wait: float = 0.0) -> list[Drafted]:
        """The drafted tokens that follow the text, with what comes within ``wait`` seconds."""
        self.note(sequence, self.forerunner.read(wait))
        # What the target decoded itself meanwhile says as much of what was drafted for it.
        compared = self.forerunner.settle(sequence.tokens)
        sequence.note_judged(*compared)
        self.learn(*compared)
        self.note(sequence, self.forerunner.adopt())
        return self.forerunner.pending(sequence.tokens)

    def note(self, sequence: Sequence, drafted: list[Drafted]) -> None:
        """Record what was published since the round before. It was made before it was read."""
        one = sequence.round
        sequence.note_drafted([d.token for d in drafted], [d.position for d in drafted])
        one.draft_seconds += sum(d.seconds for d in drafted)
        one.wait_draft_seconds += sum(d.waited for d in drafted)
        one.draft_start = one.start - one.draft_seconds
