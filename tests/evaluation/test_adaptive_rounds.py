"""The simulator's ``pearl_adaptive`` is the decoder: the same rounds at the same times, what is
learned of them, and what there is when it is decided. By the clock of ``by_hand``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from by_hand import Decode, by_hand, wrong_at

from decoders import pearl_adaptive
from decoders.adaptive.deliberation import Deliberation
from decoders.adaptive.drafts import Situation
from decoders.adaptive.policy import Decision, Policy
from decoders.pearl_adaptive import PearlAdaptive
from decoders.process.forerunner import Forerunner
from decoders.sampling.sampler import Proposer
from pearl_eval.simulation import Adaptive, Costs, ForwardTimes, Simulation, Surface, Trace
from pearl_eval.simulation.ahead import _Chooser, _Drafts
from pearl_eval.simulation.forerunner import SimulatedForerunner
from pearl_eval.simulation.machine import Machine

__all__ = ["by_hand"]

#: A target forward takes 10 s and 1 s for each token it reads, a draft forward 2 s and 1 s.
TIMES = ForwardTimes(Surface((1, 2), (0,), ((11.0, 12.0),)), Surface((1, 2), (0,), ((3.0, 4.0),)))
#: 40 tokens, none of which is like another that it could be taken for.
TEXT = [10 + (7 * index) % 24 for index in range(40)]


class Noting(Policy):
    """Notes what it is told, and what it is asked."""

    #: What the simulator knows nothing of.
    slowdown = 0.0  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.noted: dict[str, list[Any]] = defaultdict(list)
        self.shares: list[float] = []

    def drafted(self, seconds: float, beside: bool) -> None:
        self.noted["drafted"].append((seconds, beside))
        super().drafted(seconds, beside)

    def verified(self, confidences: Sequence[float], *rest: Any) -> None:
        self.noted["verified"].append((list(confidences), *rest))
        super().verified(confidences, *rest)

    def ran(self, judged: int, seconds: float, *share: float) -> None:
        self.noted["ran"].append((judged, pytest.approx(seconds)))
        self.shares += share
        super().ran(judged, seconds, *share)

    def decide(self, now: Situation) -> Decision:
        made = self.decision(now)
        self.noted["decided"].append((now._replace(arrival=pytest.approx(now.arrival)), made))
        return made

    def decision(self, now: Situation) -> Decision:
        """Its own, but that the draft model is sure to be right, and so never waits for news."""
        return super().decide(now)._replace(right=1.0, unseen=1.0)


class Scripted(Noting):
    """Waits until two tokens are at hand, and judges three; it takes few of them to be right."""

    least, most = 2, 3

    def decision(self, now: Situation) -> Decision:
        held = len(now.confidences)
        if held < self.least and now.arrival < 100.0:
            return Decision(0, 2 - held)
        judged = min(held, self.most)
        return Decision(judged, 0, (0.5,) * held, 0.5**held, 0.75, 11.0 + judged)


class Eager(Scripted):
    """Never waits."""

    least = 0


class Sparing(Eager):
    """Nor judges more than one."""

    most = 1


class Slowed(Scripted):
    """Takes the target to be slower beside the draft model, but not by so much that it rests."""

    slowdown = 0.01  # type: ignore[assignment]


def sure(position: int, wrong: Sequence[int]) -> float:
    """How probable the draft model of these tests finds its token for a position."""
    return 0.5 + wrong_at(TEXT, *wrong)[position] / 200


@pytest.fixture(autouse=True)
def doubts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Proposer, "confidence", lambda self, logits, token: 0.5 + token / 200)


@pytest.mark.parametrize(
    ("policy", "ahead"), [(Noting, 96), (Scripted, 96), (Eager, 4), (Sparing, 96)]
)
@pytest.mark.parametrize(
    "wrong", [(2, 8), (0, 1, 2, 5, 11, 12, 13, 20, 29, 38), ()], ids=["few", "many", "none"]
)
def test_what_is_simulated_is_what_it_does(
    by_hand: Decode,
    monkeypatch: pytest.MonkeyPatch,
    policy: type[Noting],
    ahead: int,
    wrong: tuple[int, ...],
) -> None:
    monkeypatch.setattr(pearl_adaptive, "Policy", policy)
    real = by_hand(PearlAdaptive(ahead), TEXT, wrong_at(TEXT, *wrong), learns=True)
    assert real.output_ids == TEXT
    marks = "".join("0" if index in wrong else "1" for index in range(len(TEXT)))
    known = tuple(sure(position, wrong) for position in range(len(TEXT)))
    trace = Trace((marks,), confidences=(known,))
    simulated = Simulation(Adaptive(ahead), TIMES, trace, Costs(crossing=1.0), len(TEXT), (2,))
    own = policy()
    rounds = list(simulated.rounds(policy=own))
    names = (
        *("mode", "start", "judged", "accepted", "target_seconds", "wait_target_seconds"),
        *("verified_length", "target_tokens", "drafted", "draft_seconds", "wait_draft_seconds"),
    )
    # What was drafted too late for the last round is noted by the decoder alone.
    for number, (one, other) in enumerate(zip(rounds, real.rounds, strict=True)):
        for name in names if one is not rounds[-1] else names[:-3]:
            found, expected = getattr(one, name), getattr(other, name)
            assert found == pytest.approx(expected), (number, name)
    if policy is not Noting:
        offered = [one.target_tokens - 1 for one in real.rounds[1:]]
        assert [len(one.chances) for one in real.rounds[1:]] == offered
    assert real.seconds == pytest.approx(rounds[-1].start + rounds[-1].seconds)
    noted = by_hand.session._policy.noted  # type: ignore[attr-defined]
    for name, of_real in noted.items():
        of_simulated = own.noted[name]
        # What became of the last round is of no use to either, and the decoder leaves it.
        count = min(len(of_real), len(of_simulated))
        assert abs(len(of_real) - len(of_simulated)) <= 3
        assert of_real[:count] == of_simulated[:count], name


def expected_by(
    kind: type[Forerunner] | type[SimulatedForerunner], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[float, ...]]:
    """What draft processes of a kind are told to expect from now on, as it is told."""
    told, tell = list[tuple[float, ...]](), kind.expect

    def expect(self: Any, *arguments: Any) -> None:
        told.append(arguments)
        tell(self, *arguments)

    monkeypatch.setattr(kind, "expect", expect)
    return told


def test_what_its_rounds_say_of_what_was_decided(
    by_hand: Decode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token each 3 s from 4.5 s on, which is there half a second later.

    The draft model is told at 0.5 s that news comes at 11 s, and then that it does at 25 s, 45 s …;
    with so few tokens right it begins none shortly before that. So after three tokens it waits from
    10.5 to 12.5 s, and after four from 24.5 to 25.5 s.
    """
    monkeypatch.setattr(pearl_adaptive, "Policy", Slowed)
    told = expected_by(Forerunner, monkeypatch)
    text = TEXT[:14]
    decoder = PearlAdaptive(branches=False)
    generation = by_hand(decoder, text, wrong_at(text, 2, 8), learns=True)
    found = [
        (one.at_hand, one.awaited, one.chances, one.wait_start, one.wait_target_seconds,
         one.busy_seconds)
        for one in generation.rounds
    ]  # fmt: skip
    assert found == [
        (0, 0, [], 0, 0, 12),
        # The second and the third: the first was the target's own.
        (2, 0, [0.5, 0.5], 0, 0, 13),
        # None: two are there at 29 and 32.
        (2, 2, [0.5, 0.5], 25, 7, 20),
        (3, 0, [0.5] * 3, 0, 0, 14),
        (2, 2, [0.5, 0.5], 59, 7, 20),
        # One, and no more will come.
        (1, 0, [0.5], 0, 0, 12),
    ]
    # When the forward ends, and where in the text what is at hand does. The text is begun at 0.5 s
    # of the clock.
    assert [(at - 0.5, *rest) for at, *rest in told] == [
        (11, 1.0, 0.75, 2, 0.01),
        (25, 0.25, 0.75, 5, 0.01),
        (45, 0.25, 0.75, 7, 0.01),
        (59, 0.125, 0.75, 11, 0.01),
        (79, 0.25, 0.75, 13, 0.01),
        (91, 0.5, 0.75, 15, 0.01),
    ]
    # From 12 to 25, 32 to 45, 45 to 59 and 66 to 79 s: four tokens; 2.5 s of one and three; four,
    # and 2.5 s of one and another.
    shares = by_hand.session._policy.shares  # type: ignore[attr-defined]
    assert shares == pytest.approx([12 / 13, 11.5 / 13, 12 / 14, 5.5 / 13])


def test_what_a_simulated_draft_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of the same text. Positions do not count the prompt, and nobody is slower."""
    told = expected_by(SimulatedForerunner, monkeypatch)
    costs = Costs(crossing=1.0)
    simulated = Simulation(Adaptive(96), TIMES, Trace(("11011111011111",)), costs, 14, (2,))
    simulated.run(policy=Scripted())
    assert told == [
        (0, 11, 1.0, 0.75, 0, (), ()),
        (12, 25, 0.25, 0.75, 3, (), ()),
        (32, 45, 0.25, 0.75, 5, (), ()),
        (45, 59, 0.125, 0.75, 9, (), ()),
        (66, 79, 0.25, 0.75, 11, (), ()),
        (79, 91, 0.5, 0.75, 13, (), ()),
    ]


def test_what_is_known_of_a_simulated_text_when_it_is_decided() -> None:
    """Of one of 14 tokens, with at most five at hand and none for the last."""
    policy = Noting()
    machine = Machine(
        Trace(("1" * 14,)).text(0, 14, np.random.default_rng(0)), 14, 2, TIMES, Costs()
    )
    asked = list[tuple[object, ...]]()

    def situation(*arguments: object) -> Situation:
        asked.append(arguments)
        return Situation([], 0, None, 1.5)

    policy.situation = situation  # type: ignore[method-assign, assignment]
    drafts = _Drafts(machine.text)
    chooser = _Chooser(policy, machine, drafts, 5)
    for known, room in ((3, 5), (11, 2)):
        _, until = chooser.decide(known, 7.0)
        # The next token is expected in 1.5 s, and may be later by as much as one takes: 0 yet.
        assert until == 8.5
        assert asked.pop() == ([], known, None, False, room, 0.0, 7.0, False)


class Hasty(Scripted):
    """Expects the next token at once."""

    def arrival(self, *_: Any, **__: Any) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("policy", "rounds", "seconds"),
    [
        # The next token is expected at 12 + 3 s, and may be later by as much: it is waited for.
        (Scripted, [("decode", 0, 0, 0, 0, 0), ("verify", 12, 16, 2, 1, 4)], 30),
        # It was due, so it is waited for 3 s more. And after that no more will come.
        (
            Hasty,
            [
                ("decode", 0, 0, 0, 0, 0),
                ("decode", 12, 15, 1, 0, 3),
                ("verify", 26, 26, 1, 0, 0),
            ],
            39,
        ),
    ],
)
def test_a_token_that_does_not_come_when_it_should_is_not_waited_for_again(
    by_hand: Decode,
    monkeypatch: pytest.MonkeyPatch,
    policy: type[Scripted],
    rounds: list[tuple[object, ...]],
    seconds: float,
) -> None:
    """The draft model may be two tokens ahead, and is from 7.5 s on: at 12 s one is at hand.

    It hears of the target's own token at 12.5 s, and what it drafts then is there at 16.
    """
    monkeypatch.setattr(pearl_adaptive, "Policy", policy)
    generation = by_hand(PearlAdaptive(2), TEXT[:4], TEXT[:4], learns=True)
    found = [
        (one.mode, one.start, one.target_start, one.at_hand, one.awaited, one.wait_target_seconds)
        for one in generation.rounds
    ]
    assert found == rounds
    # It stops the draft process, which takes a second.
    assert generation.output_ids == TEXT[:4] and generation.seconds == seconds


class EveryOther(Deliberation):
    """Weighs every other round, and notes what weighing saved and took."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[float, float]] = []

    def weighed(self, saved: float, seconds: float) -> None:
        self.noted.append((saved, seconds))
        self._left = 1


class Saving(Scripted):
    """Which saves as many seconds as there are tokens at hand, and a half."""

    def decision(self, now: Situation) -> Decision:
        return super().decision(now)._replace(saved=0.5 + len(now.confidences))


def test_a_round_that_is_not_weighed(by_hand: Decode, monkeypatch: pytest.MonkeyPatch) -> None:
    """All there is is judged at once, nothing is learned, and the draft process expects no news."""
    monkeypatch.setattr(pearl_adaptive, "Policy", Saving)
    monkeypatch.setattr(pearl_adaptive, "Deliberation", EveryOther)
    told = expected_by(Forerunner, monkeypatch)
    text = TEXT[:24]
    generation = by_hand(PearlAdaptive(), text, wrong_at(text, 2, 8), learns=True)
    found = [
        (one.target_start, one.at_hand, one.target_tokens - 1, len(one.chances), one.awaited)
        for one in generation.rounds
    ]
    assert found == [
        (0, 0, 1, 0, 0),  # It reads the prompt's two tokens.
        (12, 2, 2, 0, 0),
        # Two tokens after a disagreement, for which it waits 9 s.
        (34, 2, 2, 2, 2),
        (47, 3, 3, 0, 0),
        (69, 2, 2, 2, 2),
        (82, 3, 3, 0, 0),
        (96, 3, 3, 3, 0),
        (110, 3, 3, 0, 0),
    ]
    # By the clock that runs half a second late, as long as the forwards take.
    assert [at for at, *_ in told] == [11.5, 47.5, 82.5, 110.5]
    # A decision takes no time by this clock, and that a token is waited for is none of its.
    session: Any = by_hand.session
    assert session._deliberation.noted == [(0.5, 0.0), (0.5, 0.0), (0.5, 0.0), (3.5, 0.0)]
    noted = session._policy.noted
    assert [judged for judged, _ in noted["ran"]] == [2, 3, 3]
    # Two judged after each wait, and one that was compared, and three, in the last weighed round.
    assert [(len(confidences), agreed) for confidences, *_, agreed in noted["verified"]] == [
        (2, 2), (2, 2), (1, 1), (3, 3),
    ]  # fmt: skip


def test_no_more_are_judged_than_a_forward_may_where_it_is_not_weighed() -> None:
    asked = list[bool]()
    session: Any = object.__new__(pearl_adaptive.PearlAdaptiveSession)
    session._deliberation = SimpleNamespace(pays=lambda: False, nears=True)
    session.forerunner = SimpleNamespace(confide=asked.append)
    session.look = lambda sequence: [SimpleNamespace(token=one) for one in range(40)]
    sequence: Any = SimpleNamespace(round=SimpleNamespace(hit=False))
    assert session.gather(sequence).tokens == list(range(32))
    assert (sequence.round.at_hand, asked) == (40, [True])


@pytest.mark.parametrize(("hit", "told"), [(True, [2.5]), (False, [])])
def test_what_drafts_for_other_tokens_saved_is_told_once_they_came(
    hit: bool, told: list[float]
) -> None:
    """Two of three tokens at hand were prepared. In later rounds that is no hit."""
    heard = list[float]()
    session: Any = object.__new__(pearl_adaptive.PearlAdaptiveSession)
    session._deliberation = SimpleNamespace(pays=lambda: False, nears=True, came=heard.append)
    session._policy = SimpleNamespace(gained=lambda prepared: prepared + 0.5)
    session.forerunner = SimpleNamespace(confide=lambda asked: None)
    made = [SimpleNamespace(token=7, prepared=prepared) for prepared in (True, True, False)]
    session.look = lambda sequence: made
    session.gather(SimpleNamespace(round=SimpleNamespace(hit=hit)))
    assert heard == told
