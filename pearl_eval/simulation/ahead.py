"""PEARL without a barrier, simulated event by event: each drafted token, each target forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from decoders.adaptive.alternatives import Alternatives
from decoders.adaptive.policy import Decision, Policy
from decoders.schedule import Adaptive, Ahead
from pearl_eval.simulation.acceptance import Text
from pearl_eval.simulation.forerunner import Published, SimulatedForerunner, rank_of
from pearl_eval.simulation.machine import Machine, Rounds, SimulatedRound

#: The last position of an update, and the rank of its token among the draft model's choices.
_Outcome = tuple[int, int | None]


class _Drafts:
    """What the main process knows of the present draft, and of what became of it."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._first_known = [0]
        self._lineage = self._settled = self._there = 0
        self.stale = self._anew = False
        #: Whether the draft began with what had been prepared.
        self.was_prepared = False
        self.latest: Published | None = None
        #: By the number of an update: how many tokens were drafted for what it may say, by its last
        #: position and the rank of its token; and which these were.
        self._prepared: dict[int, dict[_Outcome, int]] = {}
        self._came: dict[int, _Outcome] = {}

    @property
    def base(self) -> int:
        """The position that the draft began at."""
        return self._first_known[self._lineage]

    def take(self, fresh: Sequence[Published]) -> list[Published]:
        """Tokens that came; gives them, with those that had been prepared for what they follow."""
        every = list[Published]()
        for one in fresh:
            if one.lineage > self._lineage:
                every += self._begin(one.lineage, one)
            if one.lineage == self._lineage:
                self._there = one.position + 1
                self.latest, self._anew = one, False
            else:
                assert self.latest is not None
                self.latest = replace(self.latest, ended=one.ended)
            every += [one, *self._file(one)]
        return every

    def _begin(self, lineage: int, latest: Published) -> list[Published]:
        """There is a new draft, and what was prepared for it, which it gives."""
        self._lineage, self.stale, self.was_prepared = lineage, False, False
        self._settled = self._there = self.base
        return [self._add(latest) for _ in range(self._continuation(lineage))]

    def _continuation(self, update: int) -> int:
        """How many tokens were drafted for what came true with an update."""
        return self._prepared.get(update, {}).get(self._came.get(update, (0, None)), 0)

    def _add(self, latest: Published) -> Published:
        """The draft is one token longer, which was prepared."""
        self.was_prepared = self.was_prepared or self._there == self.base
        confidence = self._text.confidence(self._there)
        self.latest = Published(
            self._lineage, self._there, 0.0, 0.0, latest.ended, confidence, prepared=True
        )
        self._there += 1
        return self.latest

    def _file(self, one: Published) -> list[Published]:
        """Keep what was drafted for others; gives what is of use already."""
        update, every = one.update + 1, list[Published]()
        outcomes = self._prepared.setdefault(update, {})
        for came in one.others:
            outcomes[came] = outcomes.get(came, 0) + 1
            if self._lineage == update and self._came[update] == came:
                every.append(self._add(one))
        return every

    def adopt(self) -> list[Published]:
        """Take for the draft what was prepared for what came instead of the last one; gives it."""
        last = len(self._first_known) - 1
        if not (self.stale and self._continuation(last)):
            return []
        assert self.latest is not None
        made = self._begin(last, self.latest)
        self._anew = True
        return made

    @property
    def anew(self) -> bool:
        """Whether the next token is the first that is drafted since the draft went elsewhere."""
        return self.stale or self._anew

    def settle(self, known: int) -> tuple[int, int, int]:
        """Compare what the target decoded itself meanwhile with what was drafted for it: the first
        position, how many agree, how many were compared."""
        start = self._settled
        if self.stale:
            return start, 0, 0
        count = min(self._there, known) - start
        agreed = self._text.accepted(start, count)
        self.stale = agreed < count
        self._settled += agreed
        return start, agreed, min(agreed + 1, count)

    def pending(self, known: int) -> int:
        return 0 if self.stale else max(0, self._there - known)

    def judged(self, accepted: int, judged: int) -> None:
        self.stale = self.stale or accepted < judged
        self._settled += accepted

    def verified(self, known: int) -> int:
        """So many tokens are verified, by an update of the number that is given back."""
        self._first_known.append(known)
        self._came[len(self._first_known) - 1] = known - 1, rank_of(self._text, known - 1)
        return len(self._first_known) - 1

    def confidences(self, start: int, count: int) -> list[float]:
        return [self._text.confidence(start + index) for index in range(count)]


class _Chooser:
    """Decides as ``pearl_adaptive`` does."""

    def __init__(self, policy: Policy, machine: Machine, drafts: _Drafts, ahead: int) -> None:
        self._policy, self._machine, self._drafts, self._ahead = policy, machine, drafts, ahead
        self._told = 0.0
        policy.begin()

    def decide(self, known: int, now: float) -> tuple[Decision, float]:
        """What to do, and until when a drafted token is waited for if that is to wait."""
        drafts = self._drafts
        left = self._machine.max_new_tokens - known
        situation = self._policy.situation(
            drafts.confidences(known, drafts.pending(known)),
            known - drafts.base,
            drafts.latest,
            drafts.stale,
            min(self._ahead, left - 1),
            self._told,
            now,
            drafts.anew,
        )
        # It may be later than expected by a forward. If by more, it may be so for long.
        until = now + situation.arrival + self._policy.waiting
        return self._policy.decide(situation), until

    def others(self, decision: Decision) -> tuple[Sequence[float], Sequence[float]]:
        """What the draft process is told, to draft for others than its own tokens."""
        return self._policy.doubts(decision), self._policy.gains()

    def note(self, fresh: Sequence[Published]) -> None:
        for one in fresh:
            if one.prepared:
                continue
            self._policy.drafted(one.seconds, one.ended - one.seconds < self._told)

    def learn(self, start: int, agreed: int, judged: int) -> None:
        if judged:
            place = start - self._drafts.base
            confidences = self._drafts.confidences(start, judged)
            before = self._machine.text.confidence(start - 1) if place else None
            if not place and self._drafts.was_prepared:
                before = 0.0
            self._policy.verified(confidences, place, before, agreed)

    def ran(self, judged: int, seconds: float, told: float, first: bool) -> None:
        self._told = told
        if not first:
            self._policy.ran(judged, seconds)


def ahead(
    schedule: Ahead | Adaptive,
    machine: Machine,
    policy: Policy | None = None,
    alternatives: Alternatives | None = None,
) -> Rounds:
    """The rounds of a text; ``policy`` decides when they begin and what they judge, and
    ``alternatives`` what is drafted beside the draft."""
    text, prompt, max_new_tokens = machine.text, machine.prompt, machine.max_new_tokens
    forerunner, drafts = SimulatedForerunner(machine, schedule.ahead, alternatives), _Drafts(text)
    chooser = None if policy is None else _Chooser(policy, machine, drafts, schedule.ahead)
    branches = isinstance(schedule, Adaptive) and schedule.branches
    clock = 0.0
    known = target_seen = 0
    while known < max_new_tokens:
        begin = clock
        fresh, compared = list[Published](), (0, 0)

        def look(now: float) -> None:
            nonlocal compared
            new = drafts.take(forerunner.run(now))
            start, agreed, judged = drafts.settle(known)  # noqa: B023 (called in this round alone)
            compared = compared[0] + agreed, compared[1] + judged
            if chooser is not None:
                chooser.note(new)
                chooser.learn(start, agreed, judged)
            fresh.extend([*new, *drafts.adopt()])  # noqa: B023

        look(clock)
        # For the text's last token nothing is drafted.
        while schedule.waits and not drafts.pending(known) and known < max_new_tokens - 1:
            clock = max(clock, forerunner.next_there())
            look(clock)
        offered = drafts.pending(known)
        if chooser is not None:
            decision, until = chooser.decide(known, clock)
            while decision.awaited:
                latest = drafts.latest
                while drafts.latest is latest and clock < until:
                    clock = min(until, max(clock, forerunner.next_there()))
                    look(clock)
                if drafts.latest is latest:
                    break
                decision, until = chooser.decide(known, clock)
            offered = decision.judged
            if decision.seconds is not None:
                weighed = known + len(decision.chances)
                end = clock + decision.seconds
                others = chooser.others(decision) if branches else ((), ())
                forerunner.expect(clock, end, decision.right, decision.unseen, weighed, *others)
        window = prompt + known + offered - target_seen
        verifying = machine.target.forward(window, target_seen) * machine.slowdown.target
        accepted = text.accepted(known, offered)
        judged = min(accepted + 1, offered)
        before, known = known, known + accepted + 1
        first, target_seen = not target_seen, prompt + before + accepted
        drafts.judged(accepted, judged)
        waited = clock - begin
        seconds = waited + verifying + machine.costs.round
        if known == max_new_tokens:
            # The text is over when the draft process has stopped.
            seconds = forerunner.pause(begin + seconds) - begin
        clock = begin + seconds
        forerunner.tell(clock, drafts.verified(known), known)
        if chooser is not None:
            chooser.learn(before, accepted, judged)
            chooser.ran(offered, seconds - waited, clock, first)
        yield SimulatedRound(
            "verify" if offered else "decode",
            begin,
            seconds,
            len(fresh),
            compared[1] + judged,
            compared[0] + accepted,
            sum(one.seconds for one in fresh),
            verifying,
            sum(one.waited for one in fresh),
            waited,
            known,
            window,
            any(one.prepared for one in fresh),
            sum(bool(one.others) for one in fresh),
            prepared=sum(one.prepared or bool(one.others) for one in fresh),
        )
