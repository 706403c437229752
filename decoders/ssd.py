"""Speculative speculative decoding (Kumar, Dao & May, 2026): drafts for what may become of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from decoders.decoder import Decoder
from decoders.draft_length import AUTO, check_gamma
from decoders.fan_out import GEOMETRIC, SHAPES, fan_outs
from decoders.model.architecture import Architecture
from decoders.overlap import Overlap
from decoders.process.brancher import Brancher, Foresight
from decoders.process.clock import clock
from decoders.process.models import Models
from decoders.round import Round
from decoders.sampling.sampler import Draft, OwnChoice, Sampler
from decoders.schedule import Branching, Schedule
from decoders.sequence import Sequence
from decoders.session import Session

#: What is done at an outcome that was not prepared for.
DRAFT, NONE = "draft", "none"
#: Draft length of the first prompt where it is to be chosen.
_FIRST_GAMMA = 5


@dataclass
class Ssd(Decoder):
    """Vanilla speculative decoding whose next draft is there before this one is judged.

    While the target judges a draft of ``gamma`` tokens, the draft process prepares the next draft
    for each likely outcome: how many tokens are accepted, and which token the target puts after
    them, of which the draft model's most probable ones are prepared for. At a hit the next draft
    costs no time. At a miss it is made then (``miss=draft``), or the target goes on without one
    (``miss=none``).

    Parameters
    ----------
    gamma
        Draft length. ``auto``: after the first prompt, as long as preparing it takes no longer than
        the target's forward.
    fan_out
        For how many tokens after each accepted length it is prepared, on average; at least 1.
    shape
        ``flat``: for as many after each. ``geometric``: for more after likelier accepted lengths,
        see :func:`decoders.fan_out.fan_outs`.
    acceptance, exponent
        What is taken for granted of the pair where ``geometric``.
    miss
        ``draft`` or ``none``.
    downscale
        With sampling: tokens that may be prepared for are drafted so many times as often as they
        would be, above 0 and at most 1 (the authors' C, "Saguaro sampling"). So if a drafted token
        is rejected, the target's is likelier one of them, and fewer drafted tokens are accepted.
        The output is distributed as p whatever it is. 1: the draft model's own distribution.
    """

    # Preparing goes on beside the target, whichever round it is for.
    overlap = Overlap.across_rounds
    # A tree may have texts of both sides of the switch.
    follows_rope_switch = False
    idea = "while a draft is judged, the next one is prepared for each likely outcome"

    gamma: int | str = 5
    fan_out: int = 2
    shape: str = "flat"
    acceptance: float = 0.8
    exponent: float = 1.0
    miss: str = DRAFT
    downscale: float = 1.0

    def __post_init__(self) -> None:
        check_gamma(self.gamma)
        if self.fan_out < 1:
            raise ValueError(
                "decoder.fan_out is for how many tokens after each accepted length a draft is"
                f" prepared and must be at least 1, got {self.fan_out}"
            )
        for name, choices in (("shape", SHAPES), ("miss", (DRAFT, NONE))):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"decoder.{name} is {' or '.join(choices)}, got {getattr(self, name)!r}"
                )
        if not 0 < self.acceptance < 1:
            raise ValueError(
                "decoder.acceptance is the chance that a drafted token is accepted, as"
                f" decoder.shape={GEOMETRIC} takes it, between 0 and 1, got {self.acceptance}"
            )
        if not self.exponent > 0:
            raise ValueError(
                "decoder.exponent is how fast misses get rarer with the fan-out, as"
                f" decoder.shape={GEOMETRIC} takes it, above 0, got {self.exponent}"
            )
        if not 0 < self.downscale <= 1:
            raise ValueError(
                "decoder.downscale is what the draft model's chances of tokens that may be prepared"
                f" for are multiplied with, above 0 and at most 1, got {self.downscale}"
            )

    def check(self, sampler: Sampler) -> None:
        super().check(sampler)
        if self.downscale != 1 and isinstance(sampler.verifier(0, 0), OwnChoice):
            raise ValueError(
                f"decoder.downscale={self.downscale}: the target chooses by itself here, and not by"
                " the ratio of chances, so that no distribution of drafts matters; set"
                " sampling=temperature sampling.coupled=false, or leave it out"
            )

    def fan_outs(self, gamma: int) -> tuple[int, ...]:
        """For how many tokens after each accepted length it is prepared, with such a draft."""
        return fan_outs(gamma, self.fan_out, self.shape, self.acceptance, self.exponent)

    def check_draft(self, draft: Architecture) -> None:
        if draft.no_trees:
            raise ValueError(
                "ssd prepares drafts in a tree, which this draft model"
                f" ({draft.name}) can't read: {draft.no_trees}; choose another decoder"
            )

    def simulated_as(self) -> Schedule:
        return Branching(
            self.gamma, self.fan_out, self.shape, self.acceptance, self.exponent, self.miss == DRAFT
        )

    def start(self, models: Models, sampler: Sampler) -> Session:
        return SsdSession(self, models, sampler)


class SsdSession(Session):
    """Holds the draft model in a process of its own, and the draft length in use."""

    decoder: Ssd
    gamma: int

    def load(self, models: Models) -> None:
        self.brancher = self.hold(Brancher(models.load_draft, self.sampler, models.draft_process))
        self.brancher.wait_ready()
        asked = self.decoder.gamma
        self.gamma = _FIRST_GAMMA if asked == AUTO else int(asked)

    @property
    def bytes_sent(self) -> int:
        return self.brancher.bytes_sent

    def peak_memory_bytes(self) -> int:
        return self.brancher.peak_memory_bytes()

    def prepare(self, start: int, end: int) -> None:
        super().prepare(start, end)
        # Beyond the text there is to be room for a tree, which must not move the cache.
        most = self.gamma * sum(self.decoder.fan_outs(self.gamma))
        self.brancher.prepare(list(self.draft_windows()), start, end + most)

    def draft_windows(self) -> Iterable[int]:
        """How many tokens forwards of the draft model may read, but for the prompt's and trees."""
        return range(1, self.gamma + 2)

    def generate(self, sequence: Sequence) -> None:
        # The target adds one token itself, so the last of the text need not be drafted.
        end = len(sequence) + sequence.remaining - 1
        numbers = self.decoder.fan_outs(self.gamma)
        self.brancher.begin(
            sequence.tokens,
            end,
            sequence.seed,
            numbers,
            self._drafts_at_miss,
            self.decoder.downscale,
        )
        for one in self.rounds(sequence):
            # For the first tokens the target reads the prompt, and the draft model prepares.
            draft = self._collect(sequence) if len(sequence.rounds) > 1 else Draft()
            one.mode = ("hit" if one.hit else "miss") if one.outcomes else "decode"
            known = len(sequence)
            judgement = sequence.judge(self.read(sequence, draft), draft, self.brancher.row)
            accepted = len(judgement.accepted)
            self.target.rollback(known + accepted)
            sequence.append(judgement.verified)
            if sequence.finished:
                self._note(one, *self.brancher.pause())
            else:
                assert judgement.token is not None
                self.brancher.tell(accepted, judgement.token)

    def close_round(self, sequence: Sequence) -> None:
        one = sequence.round
        drafting = one.busy_seconds
        super().close_round(sequence)
        one.busy_seconds += drafting

    def after_warmup(self, rounds: list[Round]) -> None:
        if self.decoder.gamma == AUTO:
            self.gamma = _longest_in_time(rounds)

    @property
    def _drafts_at_miss(self) -> bool:
        return self.decoder.miss == DRAFT

    def _collect(self, sequence: Sequence) -> Draft:
        """The draft that follows the text, prepared or not."""
        one, begin = sequence.round, clock()
        proposal, foresight, waited = self.brancher.collect()
        one.wait_target_seconds = clock() - begin
        one.draft_seconds = proposal.seconds
        # What was prepared for it was made before the round began.
        one.draft_start = one.start - foresight.seconds
        # The target waits for the draft model; one that had nothing to do is told first.
        one.busy_seconds = proposal.seconds if waited else one.wait_target_seconds
        one.outcomes, one.fan_out, one.hit = foresight.outcomes, foresight.fan_out, foresight.hit
        self._note(one, foresight, waited)
        known = len(sequence)
        sequence.note_drafted(proposal.draft, range(known, known + len(proposal.draft)))
        one.prepared = len(proposal.draft) if one.hit else 0
        return proposal.draft

    def _note(self, one: Round, foresight: Foresight, waited: float) -> None:
        """Record what was prepared since it was last asked: beside the round before, or this one
        where the text ends with it."""
        one.branch_forwards += foresight.forwards
        one.branch_tokens += foresight.tokens
        one.branch_seconds += foresight.seconds
        one.draft_seconds += foresight.seconds
        one.wait_draft_seconds += waited


def _longest_in_time(rounds: list[Round]) -> int:
    """The longest draft that is prepared in the time of a target's forward, by measured ones."""
    # The first round reads the prompt, and what the last prepares is stopped.
    usual = rounds[1:-1]
    forwards = sum(one.branch_forwards for one in usual)
    seconds = sum(one.branch_seconds for one in usual)
    if not seconds:
        return _FIRST_GAMMA
    in_time = forwards / seconds * sum(one.target_seconds for one in usual) / len(usual)
    # One of the forwards reads the draft that is judged.
    return max(1, int(in_time) - 1)
