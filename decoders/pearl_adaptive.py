"""PEARL that decides by itself when the target starts, and how many drafted tokens it judges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from decoders.adaptive.alternatives import MOST_OTHERS
from decoders.adaptive.deliberation import Deliberation
from decoders.adaptive.policy import MOST, MOST_PREPARED, Decision, Policy
from decoders.pearl_async import PearlAsync, PearlAsyncSession
from decoders.process.clock import clock
from decoders.process.forerunner import Drafted
from decoders.process.models import Models
from decoders.sampling.sampler import Draft, Sampler
from decoders.schedule import Adaptive, Schedule
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class PearlAdaptive(PearlAsync):
    """PEARL without a barrier and with nothing to tune, for pairs and texts of all kinds.

    As ``pearl_async``, but whenever the target is free it is weighed whether to start at once or to
    wait for one more drafted token, and how many of the drafted ones to judge: by the chance of
    each token, which is learned from how sure the draft model was of those before, and by what
    forwards of either model take, measured as the run goes. docs/adaptive.md has the rule.

    Parameters
    ----------
    branches
        While a draft is judged, the draft model also drafts for other tokens that may come instead
        of its own, where that is worth what it costs: as ``ssd`` does for all. Only with a draft
        model that reads several continuations in one forward.
    """

    idea = "waits for a token, or leaves some unjudged, where that pays"

    branches: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.waits:
            raise ValueError(
                "decoder.waits: pearl_adaptive weighs each time whether to wait for a token; leave"
                " it out, or take decoder=pearl_async"
            )

    def simulated_as(self) -> Schedule:
        return Adaptive(self.ahead, branches=self.branches)

    def start(self, models: Models, sampler: Sampler) -> Session:
        return PearlAdaptiveSession(self, models, sampler.with_own_choice())


class PearlAdaptiveSession(PearlAsyncSession):
    """What it measures and learns stays from one prompt to the next."""

    decoder: PearlAdaptive
    confides = True
    # Room for all continuations beyond a text, so that they don't move the cache.
    draft_room = MOST_OTHERS * MOST_PREPARED

    def load(self, models: Models) -> None:
        super().load(models)
        self._policy, self._deliberation = Policy(), Deliberation()
        #: Whether the present round is weighed.
        self._weighs = True
        #: When the target's last forward began, and when it was told what was verified by it.
        self._begun = self._told = 0.0
        #: For how long of it the draft model ran.
        self._beside = 0.0

    def windows(self) -> Iterable[int]:
        return range(1, MOST + 2)

    def generate(self, sequence: Sequence) -> None:
        self._policy.begin()
        super().generate(sequence)

    def gather(self, sequence: Sequence) -> Draft:
        self._beside = 0.0
        self._weighs = self._deliberation.pays()
        pending = self.look(sequence)
        if sequence.round.hit:
            prepared = sum(token.prepared for token in pending)
            self._deliberation.came(self._policy.gained(prepared))
        sequence.round.at_hand = len(pending)
        judged = self._weigh(sequence, pending) if self._weighs else pending[:MOST]
        self.forerunner.confide(self._deliberation.nears)
        return Draft([token.token for token in judged])

    def _weigh(self, sequence: Sequence, pending: list[Drafted]) -> list[Drafted]:
        """Which of the tokens that are pending, or come while it is waited for more, are judged."""
        one, found = sequence.round, len(pending)
        began = clock()
        self._learn_costs(sequence)
        decision, arrival = self._decide(sequence, pending)
        saved = decision.saved
        while decision.awaited:
            one.wait_start = one.wait_start or clock()
            latest = self.forerunner.latest
            # It may be later than expected by a forward. If by more, it may be so for long.
            pending = self.look(sequence, arrival + self._policy.waiting)
            if self.forerunner.latest is latest:
                break
            decision, arrival = self._decide(sequence, pending)
        if one.wait_start:
            one.wait_target_seconds = clock() - one.wait_start
        one.at_hand, one.awaited = len(pending), len(pending) - found
        one.chances = list(decision.chances[: decision.judged])
        if decision.seconds is not None:
            until = len(sequence) + len(decision.chances)
            end = clock() + decision.seconds
            news = end, decision.right, decision.unseen, until, self._policy.slowdown
            branches = self.decoder.branches
            others = (self._policy.doubts(decision), self._policy.gains()) if branches else ()
            self.forerunner.expect(*news, *others)
            self._deliberation.weighed(saved, clock() - began - one.wait_target_seconds)
        return pending[: decision.judged]

    def note(self, sequence: Sequence, drafted: list[Drafted]) -> None:
        super().note(sequence, drafted)
        one = sequence.round
        one.confidences += [token.confidence for token in drafted]
        for token in drafted:
            if token.prepared:
                one.hit = True
                one.prepared += 1
                continue
            if token.others:
                one.prepared += 1
                one.branch_forwards += 1
                one.branch_tokens += 1 + len(token.others)
                one.branch_seconds += token.seconds
            begun = token.ended - token.seconds
            # One that was begun before the target was done ran beside it.
            self._policy.drafted(token.seconds, begun < self._told)
            self._beside += max(0.0, min(token.ended, self._told) - max(begun, self._begun))

    def look(self, sequence: Sequence, wait: float = 0.0) -> list[Drafted]:
        pending = super().look(sequence, wait)
        one = sequence.round
        if one.hit or self.forerunner.stale:
            one.outcomes, one.fan_out = self.forerunner.foreseen
        return pending

    def learn(self, start: int, accepted: int, judged: int) -> None:
        if judged and self._weighs:
            base, draft = self.forerunner.draft
            place = start - base
            confidences = [token.confidence for token in draft[place : place + judged]]
            before = draft[place - 1].confidence if place else None
            if not place and draft[0].prepared:
                # It follows a token that was an unlikely one.
                before = 0.0
            self._policy.verified(confidences, place, before, accepted)

    def close_round(self, sequence: Sequence) -> None:
        one = sequence.round
        self._begun, self._told = one.target_start, clock()
        super().close_round(sequence)

    def _learn_costs(self, sequence: Sequence) -> None:
        """What the last round's forward took, now that it is known what was drafted beside it."""
        # The first one's reads the prompt.
        if len(sequence.rounds) > 2:
            seconds = self._told - self._begun
            judged = sequence.rounds[-2].target_tokens - 1
            self._policy.ran(judged, seconds, min(1.0, self._beside / seconds))

    def _decide(self, sequence: Sequence, pending: list[Drafted]) -> tuple[Decision, float]:
        """What to do, and in how many seconds the next drafted token is expected."""
        base, _ = self.forerunner.draft
        now = self._policy.situation(
            [token.confidence for token in pending],
            len(sequence) - base,
            self.forerunner.latest,
            self.forerunner.stale,
            # The last token is the target's own.
            min(self.decoder.ahead, sequence.remaining - 1),
            self._told,
            clock(),
            self.forerunner.anew,
        )
        return self._policy.decide(now), now.arrival
