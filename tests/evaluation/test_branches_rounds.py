"""The simulator's ``pearl_adaptive`` is the decoder where that drafts for other tokens, too: the
same rounds at the same times. By the clock of ``by_hand``.

No two forwards take a whole number of seconds, so that nothing happens at the same time by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import by_hand as hand
import numpy as np
import pytest
from by_hand import Decode, by_hand
from test_adaptive_rounds import TEXT, Noting, Scripted, doubts

from decoders import pearl_adaptive
from decoders.adaptive.drafts import Situation
from decoders.adaptive.policy import Decision, Policy
from decoders.pearl_adaptive import PearlAdaptive
from decoders.schedule import DRAFT_MODEL
from pearl_eval.simulation import Adaptive, Costs, ForwardTimes, Simulation, Surface
from pearl_eval.simulation.acceptance import FixedText, Text

__all__ = ["by_hand", "doubts"]

#: Where the draft model is wrong it says so much more than the target: then the target's token is
#: its likeliest other one, its second likeliest, …, or none of the four that it may draft for.
MORE = (30, 29, 28, 27, 26)
#: Of each token whether the draft model is right (``.``), or at which place of ``MORE`` it is.
FEW = "..0.........1.......0......4............"
MANY = ".0..3..1121..30..0..023..0...0...01....0"
MOST = "2304.1242220430020.410400111.23.43..0141"
#: Seconds of a draft forward without its tokens and of each token, and of a target forward's rest.
SLOW, CHEAP, SHORT = (2.0371, 1.0113, 10.0057), (4.0171, 0.2517, 20.0131), (1.0319, 0.5137, 30.0177)


class Marked:
    """A text of which the marks tell where the draft model is wrong."""

    of = DRAFT_MODEL

    def __init__(self, marks: str) -> None:
        self._right = np.array([mark == "." for mark in marks])
        wrong = [0 if mark == "." else int(mark) for mark in marks]
        self._places = np.array([2 + place for place in wrong])
        self.draft = [
            token + (0 if right else MORE[place])
            for token, right, place in zip(TEXT, self._right, wrong, strict=True)
        ]

    def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
        return FixedText(self._right, [0.5 + token / 200 for token in self.draft], self._places)


class Own(Noting):
    """Decides as it does."""

    def decision(self, now: Situation) -> Decision:
        return Policy.decide(self, now)


class Preparing(Scripted):
    """Waits until two tokens are at hand, and takes it to save much to have some at once."""

    saved: Sequence[float] = (40.0, 30.0, 20.0)

    def decision(self, now: Situation) -> Decision:
        return super().decision(now)._replace(right=0.25)

    def gains(self) -> Sequence[float]:
        return self.saved


class Thrifty(Preparing):
    """Takes it to save less."""

    saved = (12.0, 9.0, 6.0, 3.0)


class Doubting(Preparing):
    """Takes it to be likely that the draft is wrong, so that the draft process would rest."""

    def decision(self, now: Situation) -> Decision:
        return super().decision(now)._replace(right=0.1, unseen=0.3)


class Hasty(Preparing):
    """Never waits."""

    least = 0


class Sure(Preparing):
    """Knows that it is the second token that is wrong, if any."""

    saved = (40.0, 40.0, 40.0, 40.0, 30.0, 20.0)

    def doubts(self, decision: Decision) -> list[float]:
        return [0.0, 0.9]


NAMES = (
    *("mode", "start", "judged", "accepted", "target_seconds", "wait_target_seconds"),
    *("verified_length", "target_tokens"),
    *("drafted", "draft_seconds", "wait_draft_seconds", "hit", "branch_forwards", "prepared"),
)
#: What is noted of a policy, without digits that rounding decides.
WHAT: dict[str, Callable[..., object]] = {
    "drafted": lambda seconds, beside: (round(seconds, 6), beside),
    "verified": lambda *told: told,
    "decided": lambda now, made: (now[:3], made.judged, made.awaited),
}


@pytest.mark.parametrize(
    ("policy", "seconds", "ahead", "marks", "hits", "misses"),
    [
        (Own, SLOW, 96, MANY, 9, 1),
        (Own, CHEAP, 96, MOST, 22, 7),
        (Own, SHORT, 96, FEW, 1, 2),
        (Preparing, CHEAP, 6, MANY, 13, 3),
        (Preparing, SHORT, 96, MOST, 25, 6),
        (Thrifty, SLOW, 96, MANY, 12, 4),
        (Thrifty, SHORT, 96, FEW, 3, 1),
        (Doubting, SLOW, 6, MOST, 24, 7),
        (Doubting, SHORT, 96, MANY, 12, 2),
        (Hasty, SHORT, 3, MANY, 13, 3),
        (Sure, CHEAP, 96, MANY, 0, 16),
        (Sure, SHORT, 6, MOST, 2, 29),
    ],
)
def test_what_is_simulated_is_what_it_does(
    by_hand: Decode,
    monkeypatch: pytest.MonkeyPatch,
    policy: type[Noting],
    seconds: tuple[float, float, float],
    ahead: int,
    marks: str,
    hits: int,
    misses: int,
) -> None:
    rest, token, target = seconds
    monkeypatch.setattr(hand, "draft_seconds", lambda tokens: rest + tokens * token)
    monkeypatch.setattr(hand, "target_seconds", lambda tokens: target + tokens)
    monkeypatch.setattr(pearl_adaptive, "Policy", policy)
    known = Marked(marks)
    real = by_hand(PearlAdaptive(ahead), TEXT, known.draft, learns=True, doubts=len(MORE))
    assert real.output_ids == TEXT
    times = ForwardTimes(
        Surface((1, 2), (0,), ((target + 1, target + 2),)),
        Surface((1, 2), (0,), ((rest + token, rest + 2 * token),)),
    )
    schedule = Adaptive(ahead, branches=True)
    simulated = Simulation(schedule, times, known, Costs(crossing=1.0), len(TEXT), (2,))
    own = policy()
    rounds = list(simulated.rounds(policy=own))
    # What was drafted too late for the last round is noted by the decoder alone.
    for number, (one, other) in enumerate(zip(rounds, real.rounds, strict=True)):
        for name in NAMES if one is not rounds[-1] else NAMES[:-6]:
            found, expected = getattr(one, name), getattr(other, name)
            assert found == pytest.approx(expected, abs=1e-9), (number, name)
    assert real.seconds == pytest.approx(rounds[-1].start + rounds[-1].seconds)
    assert sum(one.hit for one in real.rounds) == hits
    assert sum(one.outcomes > 0 and not one.hit for one in real.rounds) == misses
    told = by_hand.session._policy.noted  # type: ignore[attr-defined]
    for name, what in WHAT.items():
        # What became of the last round is of no use to either, and the decoder leaves it.
        count = min(len(told[name]), len(own.noted[name]))
        assert abs(len(told[name]) - len(own.noted[name])) <= 3
        expected, found = (
            [what(*one) for one in noted[name][:count]] for noted in (told, own.noted)
        )
        assert found == expected, name
