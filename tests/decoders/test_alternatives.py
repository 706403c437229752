"""For which other tokens a draft process drafts, and what that goes by, worked out on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from architectures import make_architecture

from decoders.adaptive import policy as policies
from decoders.adaptive.alternatives import RANKS, Alternative, Alternatives, SideDrafts
from decoders.adaptive.calibration import SUREST
from decoders.adaptive.drafts import LearnedDrafts, Situation
from decoders.adaptive.outlook import Outlook
from decoders.adaptive.policy import MOST_PREPARED, Decision, Policy
from decoders.adaptive.stopping import Timings, expected_ends, savings
from decoders.model.cached_model import CachedModel

#: When news comes that nobody expects.
NEVER = math.inf
#: Forwards of 10 s, whatever they judge; a token each 2 s, and each 3 s while the target waits.
FLAT = Timings([10.0] * 20, 2.0, 3.0)


def measured(*forwards: tuple[int, float]) -> Alternatives:
    """That has seen these forwards: 10 s for the draft alone, and 2 % more for each other token."""
    alternatives = Alternatives()
    for others, seconds in forwards or [(0, 10.0)]:
        alternatives.ran(others, seconds)
    return alternatives


def ranks(alternatives: Alternatives) -> list[float]:
    """How likely each of the other tokens is it, where the draft's own is wrong for sure."""
    return [one.chance for one in alternatives.of([1.0])]


def test_what_may_come_instead_of_a_draft() -> None:
    """The four likeliest others at each of its places."""
    found = list(Alternatives().of([0.5, 0.2]))
    assert [one[:2] for one in found] == [(place, rank) for place in range(2) for rank in range(4)]
    expected = [0.15, 0.065, 0.035, 0.025, 0.06, 0.026, 0.014, 0.01]
    assert [one.chance for one in found] == pytest.approx(expected)
    assert (RANKS, list(Alternatives().of([]))) == (4, [])


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (0, [0.335, 0.1235, 0.0665, 0.0475]),
        (1, [0.285, 0.1735, 0.0665, 0.0475]),
        (3, [0.285, 0.1235, 0.0665, 0.0975]),
        (None, [0.285, 0.1235, 0.0665, 0.0475]),
    ],
)
def test_which_other_token_it_was_is_learned(rank: int | None, expected: list[float]) -> None:
    """A twentieth of each chance is what came last."""
    alternatives = Alternatives()
    alternatives.came(rank)
    assert ranks(alternatives) == pytest.approx(expected)


def test_of_which_rank_tokens_are_becomes_what_is_seen() -> None:
    """Each second one is the third likeliest, each other one none of them."""
    alternatives = Alternatives()
    for _ in range(200):
        alternatives.came(2)
        alternatives.came(None)
    # What is as good as never seen is not thought of.
    (found,) = alternatives.of([1.0])
    assert (found.rank, found.chance) == (2, pytest.approx(0.5 * 0.95 / 0.975, abs=1e-3))


def test_how_long_a_forward_takes_by_how_many_it_drafts_for() -> None:
    alternatives = measured((0, 10.0))
    assert [alternatives.seconds(others) for others in (0, 3, 8)] == pytest.approx([10, 10.6, 11.6])
    # 21.6 s for four are as 20 s for none, of which the mean is 15: 1.44 times that, so a tenth of
    # 0.36 more than 1.08 times.
    alternatives.ran(4, 21.6)
    seconds = [alternatives.seconds(others) for others in (0, 3, 4)]
    assert seconds == pytest.approx([15.0, 15.9, 15 * 1.116])


def test_nothing_is_drafted_for_before_a_forward_was_measured() -> None:
    assert Alternatives().best([9.0, 9.0], 0.25, NEVER) == (0, 0.0)
    preparation = SideDrafts(Alternatives(), [0.5], [4.0], 9)
    assert preparation.choose(1, 0.25, NEVER) == ([], 0.0)


@pytest.mark.parametrize(
    ("worths", "number", "saved"),
    [
        ([0.3, 0.15, 0.05], 2, 0.25),
        ([0.3, 0.15, 0.11], 3, 0.26),
        ([0.3], 1, 0.2),
        ([0.09, 0.09, 0.09], 0, 0.0),
        ([], 0, 0.0),
        # No more than sixteen.
        ([1.0] * 20, 16, 14.4),
    ],
)
def test_as_many_others_as_are_worth_it(worths: list[float], number: int, saved: float) -> None:
    """Each of them makes a forward 0.2 s longer, by which a draft that is right by 1/4 is late.
    Each second costs two: 0.1."""
    assert measured().best(worths, 0.25, NEVER) == (number, pytest.approx(saved))


@pytest.mark.parametrize(
    ("left", "first", "second"),
    [
        # 0.2 s and 0.4 s longer: twice a quarter of that.
        (12.0, 0.9, 1.8),
        (10.4, 0.9, 1.8),
        # The second ends 0.1 s after the news. That is lost where the draft is wrong: 3/4 · 0.1.
        (10.3, 0.9, 1.8 - 0.15),
        # So do both, by 0.1 s and 0.3 s.
        (10.1, 0.9 - 0.15, 1.8 - 0.45),
        # A forward without any would have ended after it, too: all that they are longer is lost.
        (10.0, 0.6, 1.2),
        (9.0, 0.6, 1.2),
        (0.0, 0.6, 1.2),
    ],
)
def test_what_ends_after_the_news_costs_a_wrong_draft(
    left: float, first: float, second: float
) -> None:
    assert measured().best([1.0], 0.25, left) == (1, pytest.approx(first))
    assert measured().best([1.0, 1.0], 0.25, left) == (2, pytest.approx(second))


def test_two_may_be_worth_it_where_one_is_not() -> None:
    """One costs as much as two: about 4 s for twice 3, of a draft that is right by a half."""
    alternatives = measured(*[(0, 10.0), (1, 14.0), (2, 14.0)] * 100)
    assert alternatives.best([3.0], 0.5, NEVER) == (0, 0.0)
    assert alternatives.best([3.0, 3.0], 0.5, NEVER) == (2, pytest.approx(2.0, abs=0.05))
    # Nor does a third that gains nothing take anything of that.
    number, saved = alternatives.best([3.0, 3.0, 0.0], 0.5, NEVER)
    assert (number, saved) == (2, pytest.approx(2.0, abs=0.05))


def test_of_as_many_seconds_the_fewest_others_are_taken() -> None:
    """Where the draft is wrong for sure and no news is to come, none costs anything."""
    assert measured().best([0.5, 0.0], 0.0, NEVER) == (1, 0.5)
    assert measured().best([0.0], 0.0, NEVER) == (0, 0.0)


def pairs(alternatives: Sequence[Alternative]) -> list[tuple[int, int]]:
    return [(one.place, one.rank) for one in alternatives]


def make_preparation(*gains: float, room: int = 9, places: int = 2) -> SideDrafts:
    """Places whose tokens are wrong by 0.5, 0.3 and 0.2."""
    return SideDrafts(measured(), [0.5, 0.3, 0.2][:places], gains, room)


def test_the_most_is_gained_by_what_comes_first() -> None:
    """At 4 s the others of the first place are worth 0.6, 0.26, 0.14 and 0.1, those of the second
    0.36, 0.156, 0.084 and 0.06. Each costs twice 0.3 · 0.2 = 0.12 s."""
    preparation = make_preparation(4.0)
    chosen, saved = preparation.choose(2, 0.3, NEVER)
    assert pairs(chosen) == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]
    assert [one.chance for one in chosen] == pytest.approx([0.15, 0.09, 0.065, 0.039, 0.035])
    assert saved == pytest.approx(0.6 + 0.36 + 0.26 + 0.156 + 0.14 - 5 * 0.12)
    # Asked again, it says the same: nothing was drafted yet.
    assert preparation.choose(2, 0.3, NEVER) == (chosen, saved)
    assert not preparation.begun


def test_others_at_a_place_are_known_once_its_token_is_drafted() -> None:
    preparation = make_preparation(4.0)
    chosen, saved = preparation.choose(1, 0.3, NEVER)
    assert (pairs(chosen), saved) == ([(0, 0), (0, 1), (0, 2)], pytest.approx(1.0 - 3 * 0.12))
    assert preparation.choose(0, 0.3, NEVER) == ([], 0.0)


def test_what_is_chosen_depends_on_when_news_comes() -> None:
    """So many cost 0.4 s each, of which a quarter of a second is not lost as that much is left: the
    first saves 0.6 - 0.26, both 0.96 - 0.66."""
    chosen, saved = make_preparation(4.0).choose(2, 0.3, 10.1)
    assert (pairs(chosen), saved) == ([(0, 0)], pytest.approx(0.34))


def test_a_second_token_gains_what_a_second_one_does() -> None:
    """2 s: 0.3 of the likeliest, which then comes after the 0.36 of the one at the second place."""
    preparation = make_preparation(4.0, 2.0)
    likeliest = preparation.choose(1, 0.3, NEVER)[0][0]
    preparation.lengthened([likeliest])
    assert preparation.begun
    chosen, saved = preparation.choose(2, 0.3, NEVER)
    assert pairs(chosen) == [(1, 0), (0, 0), (0, 1), (1, 1), (0, 2)]
    assert saved == pytest.approx(0.36 + 0.3 + 0.26 + 0.156 + 0.14 - 5 * 0.12)
    # There is no gain of a third.
    preparation.lengthened(chosen[:2])
    chosen, saved = preparation.choose(2, 0.3, NEVER)
    assert pairs(chosen) == [(0, 1), (1, 0), (1, 1), (0, 2)]
    assert saved == pytest.approx(0.26 + 0.18 + 0.156 + 0.14 - 4 * 0.12)


@pytest.mark.parametrize(
    ("gains", "room", "lengths"),
    [
        ([4.0, 2.0, 1.0], 9, [3, 3, 3]),
        ([4.0, 2.0], 3, [2, 2, 1]),
        ([4.0, 2.0, 1.0], 2, [2, 1, 0]),
        ([4.0, 2.0, 1.0], 0, [0, 0, 0]),
        ([], 9, [0, 0, 0]),
    ],
)
def test_no_more_is_drafted_than_gains_something_or_may_follow(
    gains: list[float], room: int, lengths: list[int]
) -> None:
    """Where it costs nothing all is drafted that there may be."""
    preparation = make_preparation(*gains, room=room, places=3)
    every = list(measured().of([0.5, 0.3, 0.2]))
    while chosen := preparation.choose(3, 0.0, NEVER)[0]:
        preparation.lengthened(chosen)
    assert [preparation.length(one) for one in every] == [lengths[one.place] for one in every]
    assert preparation.begun == any(lengths)


def test_what_was_drafted_for() -> None:
    preparation = make_preparation(4.0, 2.0)
    first, second, third = list(measured().of([0.5, 0.3]))[1:4]
    later = Alternative(1, 3, 0.015)
    preparation.lengthened([])
    assert not preparation.begun
    preparation.lengthened([third, later])
    preparation.lengthened([first, third])
    assert preparation.begun
    assert [preparation.length(one) for one in (first, second, third, later)] == [1, 0, 2, 1]
    assert preparation.chosen_at(0) == {1: first, 3: third}
    assert preparation.chosen_at(1) == {3: later}
    assert preparation.chosen_at(3) == {}


def test_a_token_that_does_not_exist_is_chosen_no_more() -> None:
    preparation = make_preparation(4.0)
    every, _ = preparation.choose(2, 0.3, NEVER)
    preparation.drop(every[1])
    assert preparation.choose(2, 0.3, NEVER)[0] == [every[0], *every[2:]]
    assert not preparation.begun and preparation.length(every[1]) == 0


@pytest.mark.parametrize("rank", [None, 0, 2])
def test_which_one_came_is_learned_for_later_drafts(rank: int | None) -> None:
    alternatives, same = measured(), measured()
    preparation = SideDrafts(alternatives, [0.5], [4.0], 9)
    before = preparation.choose(1, 0.3, NEVER)
    preparation.came(rank)
    same.came(rank)
    assert ranks(alternatives) == ranks(same) != ranks(measured())
    assert preparation.choose(1, 0.3, NEVER) == before


def test_when_a_run_ends_if_the_next_token_is_likelier_than_those_after_it() -> None:
    """Two are at hand, right by 0.9 and 0.45; with the next one by 0.36; each further one by 0.6.
    A token each 4 s, 16 / (1 - 0.6^4) s from the third forward on.

    If the target starts now, 2.75, 3.25 or 3.75 are drafted in a forward of 10, 12 or 14 s. With
    the one that it adds itself 3.75, 4.25 or 4.75 are known after the second one, the first of
    which is the next.
    """
    slower = Timings([10.0, 12.0, 14.0, 16.0, 18.0, 20.0], 4.0, 3.0)
    later = 16 / (1 - 0.6**4)
    now = [
        10 + 0.9 * 18 + 0.36 * 0.6**2.75 * later,
        12 + 0.45 * 16 + 0.36 * 0.6**3.25 * later,
        14 + 0.36 * 16 + 0.36 * 0.6**3.75 * later,
    ]
    waited = [
        1.3 * 3 + 16 + 0.36 * 0.6 * (16 + 0.6**4 * later),
        1.3 * 6 + 18 + 0.36 * 0.6**2 * (18 + 0.6**4.5 * later),
        1.3 * 9 + 20 + 0.36 * 0.6**3 * (18 + 0.6**5 * later),
    ]
    found = expected_ends([0.9, 0.5], 0.8, 3.0, slower, 0.6)
    assert found.seconds == pytest.approx([min(now), *waited])
    assert (found.judged, found.unweighed) == (now.index(min(now)), pytest.approx(now[2]))
    # Without it, all are as likely as the next.
    assert expected_ends([0.9, 0.5], 0.8, 3.0, slower) == (
        expected_ends([0.9, 0.5], 0.8, 3.0, slower, 0.8)
    )
    # If none after the next is ever right, the third forward ends it.
    never = expected_ends([0.9, 0.5], 0.8, 3.0, slower, 0.0)
    assert never.seconds == [pytest.approx(12 + 0.45 * 16)]


@pytest.mark.parametrize(("forwards", "judged"), [((10.0, 31.0, 32.0), 0), ((30.0, 10.0, 32.0), 1)])
def test_what_is_known_after_two_forwards_may_be_all_at_hand(
    forwards: tuple[float, float, float], judged: int
) -> None:
    """Four are at hand, of which either forward judges two at most: with those that both add four
    are known, five, or six, the last of which is the only one that is like others."""
    found = expected_ends([0.9, 0.8, 0.7, 0.6], 0.5, 2.0, Timings(forwards, 2.0, 2.0), 0.4)
    later, all_right = 32 / (1 - 0.4**3), 0.9 * 0.8 * 0.7 * 0.6
    now = [
        forwards[0] + 0.9 * 32 + all_right * later,
        forwards[1] + 0.9 * 0.8 * 32 + all_right * 0.5 * later,
        forwards[2] + 0.9 * 0.8 * 0.7 * 32 + all_right * 0.5 * 0.4 * later,
    ]
    assert (found.judged, found.seconds) == (judged, [pytest.approx(now[judged])])
    assert found.unweighed == pytest.approx(now[2])
    # Of six, four or five of those at hand.
    six = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    found = expected_ends(six, 0.5, 2.0, Timings(forwards, 2.0, 2.0), 0.4)
    assert (found.judged, found.seconds) == (judged, [pytest.approx(now[judged])])


def test_what_a_token_saves_that_is_there_at_once() -> None:
    """The first is right by 0.8, the second by 0.4, the others by 0.5: five in 10 s, so 10.3226 s
    are to come after that.

    With none it is best to wait 3 s for the first: 1.3 · 3 + 10 + 0.4 · (10 + 1/32 · 10.3226).
    With one it is judged; 4.5 are drafted in 10 s, so that 5.5 more are known after the second
    forward: 10 + 0.32 · 10 + 0.32 · 0.5^4.5 · 10.3226. With both 10 + 0.16 · 10 + half as much.
    """
    later = 10 / (1 - 1 / 32)
    none = 1.3 * 3 + 10 + 0.4 * (10 + later / 32)
    one = 10 + 0.32 * 10 + 0.32 * 0.5**4.5 * later
    both = 10 + 0.16 * 10 + 0.16 * 0.5**4.5 * later
    saved = savings([0.8, 0.4], 0.5, FLAT)
    assert saved == pytest.approx([none - one, one - both])
    assert saved == pytest.approx([4.683, 1.673], abs=1e-3)
    assert savings([], 0.5, FLAT) == []


def test_a_token_that_saves_nothing_costs_nothing() -> None:
    """Each that is judged takes 3 s, and the second forward judges five. Where tokens after the two
    are right by 0.2, it is best to wait 1 s for one more than there are with none or one at hand:
    1.3 + 13 + 0.1 · 25 or 1.3 + 16 + 0.05 · 25. With two it is best to start: 16 + 0.05 · 25. Later
    forwards are hardly ever needed."""
    rising = Timings([10.0 + 3 * judged for judged in range(6)], 2.0, 1.0)
    assert savings([0.5, 0.5], 0.2, rising) == [0.0, pytest.approx(1.3, abs=1e-4)]


def test_the_first_wrong_token_is_at_one_place() -> None:
    """Two are judged, and the target adds the third: right by 0.9, then 0.8 and 0.5."""
    policy, chances = Policy(), [0.9, 0.8, 0.5]
    assert policy.doubts(Decision(2, 0, chances, 0.36, 0.6)) == pytest.approx([0.1, 0.18, 0.36])
    # After all three, as any that is not drafted yet.
    doubts = policy.doubts(Decision(3, 0, chances, 0.36, 0.6))
    assert doubts == pytest.approx([0.1, 0.18, 0.36, 0.36 * 0.4])
    # As are those whose chances are left out, as they hardly matter.
    doubts = policy.doubts(Decision(3, 0, [0.9], 0.9, 0.6))
    assert doubts == pytest.approx([0.1, 0.36, 0.216, 0.1296])
    assert policy.doubts(Decision(0, 0, [], 1.0, 0.7)) == pytest.approx([0.3])


def test_what_prepared_tokens_gain_is_worked_out_from_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new draft of eight: the first comes after a token that nothing is known of, the others are
    right as often as drafted tokens are. That is worked out anew after each 16 decisions."""
    asked = list[tuple[Sequence[float], float, Timings]]()

    def saved(*arguments: tuple[Sequence[float], float, Timings]) -> list[float]:
        asked.append(arguments)  # type: ignore[arg-type]
        return [float(len(asked))]

    monkeypatch.setattr(policies, "savings", saved)
    policy = Policy()
    policy.ran(0, 10.0)
    policy.drafted(3.0, beside=True)
    policy.drafted(2.0, beside=False)
    policy.verified([0.3], 0, 0.2, 1)
    policy.verified([0.3], 5, None, 0)
    policy.verified([0.3], 0, 0.9, 0)
    first, accepted = policy.unseen(0.0, 0), policy.accepted
    others = [policy.unseen(1.0, 0), policy.unseen(None, 0), policy.unseen(0.0, 1), accepted]
    assert min(abs(first - other) for other in others) > 1e-3
    assert [policy.gains() for _ in range(33)] == [[1.0]] * 16 + [[2.0]] * 16 + [[3.0]]
    chances, later, timings = asked[0]
    assert (list(chances), later) == ([first] + [accepted] * 7, accepted)
    assert timings[:3] == (pytest.approx([10 + 0.2 * judged for judged in range(33)]), 3.0, 2.0)


def test_what_prepared_tokens_gain_becomes_less_from_one_to_the_next() -> None:
    """Half of all drafted tokens are right."""
    policy = Policy()
    policy.ran(0, 10.0)
    policy.drafted(3.0, beside=True)
    for _ in range(300):
        policy.verified([0.9, 0.9], 0, None, 1)
    gains = policy.gains()
    assert len(gains) == MOST_PREPARED == 8
    assert sorted(gains, reverse=True) == gains
    assert gains[0] > gains[1] > gains[2] > 0


def test_what_is_always_right_is_not_quite_sure_to_be() -> None:
    """Else gains would lose their digits, where nothing was wrong for long."""
    policy, sure = Policy(), Policy()
    for one in (policy, sure):
        one.ran(0, 10.0)
        one.drafted(3.0, beside=True)
        one.verified([0.9], 0, None, 1)
    policy.accepted, sure.accepted = 1.0, SUREST
    assert policy.gains() == sure.gains()


def test_what_prepared_tokens_saved_once_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half of what it is worth to have as many: as much may have been paid for them."""
    monkeypatch.setattr(policies, "savings", lambda *_: [4.0, 2.0, 1.0])
    policy = Policy()
    assert policy.gained(2) == 0.0
    policy.ran(0, 10.0)
    policy.drafted(3.0, beside=True)
    policy.gains()
    assert [policy.gained(prepared) for prepared in (0, 1, 2, 3, 9)] == [0.0, 2.0, 3.0, 3.5, 3.5]


def test_nothing_is_gained_before_forwards_of_both_were_measured() -> None:
    assert list(Policy().gains()) == []
    of_target, of_draft = Policy(), Policy()
    of_target.ran(0, 10.0)
    of_draft.drafted(3.0, beside=True)
    assert list(of_target.gains()) == list(of_draft.gains()) == []


def test_how_long_it_is_until_news_comes() -> None:
    outlook = Outlook()
    assert outlook.left(96.0) == math.inf
    outlook.expect(100.0, 0.5, 0.25, 2, 0.3)
    assert [outlook.left(now) for now in (96.0, 100.0, 103.0)] == [4.0, 0.0, 0.0]
    outlook.forget()
    assert outlook.left(96.0) == math.inf


def test_how_likely_a_draft_is_right_up_to_a_position() -> None:
    """By a half up to position 2, and each further token by a quarter."""
    outlook = Outlook()
    assert outlook.right(2) == outlook.right(9) == 1.0
    outlook.expect(100.0, 0.5, 0.25, 2, 0.3)
    assert [outlook.right(length) for length in (2, 3, 4)] == [0.5, 0.125, 0.03125]
    outlook.forget()
    assert outlook.right(3) == 1.0


@pytest.mark.parametrize(
    ("seconds", "now", "length", "lost"),
    [
        # The draft is wrong by 0.8, the target slower by 0.3 - 0.2 for 2 s, and it is 2 s late.
        (4.0, 98.0, 3, 0.8 * 2 + 0.1 * 2),
        # It is over before the news.
        (3.0, 95.0, 3, 0.1 * 3),
        # It is begun with the news, or after it.
        (4.0, 100.0, 3, 0.8 * 4),
        (4.0, 107.0, 3, 0.8 * 4),
        # What is right by a half gains more by being drafted than the target loses by it.
        (4.0, 98.0, 2, 0.5 * 2),
        (4.0, 90.0, 2, 0.0),
    ],
)
def test_what_a_forward_costs_in_place_of_a_rest(
    seconds: float, now: float, length: int, lost: float
) -> None:
    outlook = Outlook()
    outlook.expect(100.0, 0.5, 0.4, 2, 0.3)
    assert outlook.would_lose(seconds, now, length) == pytest.approx(lost)


@pytest.mark.parametrize(("slowdown", "beats"), [(0.27, True), (0.275, False)])
def test_what_is_drafted_for_others_may_be_worth_more_than_a_rest(
    slowdown: float, beats: bool
) -> None:
    """The draft is right by 0.5 · 0.4 up to its third token, and news comes in 100 s.

    For four others a forward takes 10.8 s and saves 4 · (0.15 + 0.065 + 0.035 + 0.025) - 0.08 · 4 =
    0.78 s. The target loses the slowdown but for 0.2 of these 10.8 s: 0.756 or 0.81 s.
    """
    preparation = SideDrafts(measured(), [0.5], [4.0], 9)
    outlook = Outlook()
    outlook.expect(100.0, 0.5, 0.4, 2, slowdown)
    chosen, saved = preparation.expected(outlook, 0.0, 3, 1)
    assert (len(chosen), saved) == (4, pytest.approx(0.78))
    assert preparation.beats_rest(outlook, 0.0, 3, 1) is beats
    # None of its tokens is there to leave out.
    assert not preparation.beats_rest(outlook, 0.0, 3, 0)


def test_which_share_of_judged_tokens_is_right() -> None:
    """Three of four at first; each that is judged makes a fiftieth of it."""
    drafts = LearnedDrafts()
    assert drafts.accepted == 0.75
    drafts.verified([0.9, 0.9, 0.9], 0, None, 2)
    assert drafts.accepted == pytest.approx(((0.75 * 0.98 + 0.02) * 0.98 + 0.02) * 0.98)
    drafts.verified([0.4], 3, 0.9, 0)
    assert drafts.accepted == pytest.approx(((0.75 * 0.98 + 0.02) * 0.98 + 0.02) * 0.98**2)
    drafts.verified([], 4, 0.4, 0)
    for _ in range(500):
        drafts.verified([0.4, 0.9], 0, None, 2)
    assert drafts.accepted == pytest.approx(1.0, abs=1e-6)


class Token(NamedTuple):
    ended: float
    confidence: float


def test_a_draft_that_had_been_prepared_goes_on_when_the_draft_process_hears_of_it() -> None:
    """It is at a token of 3 s since 10, hears at 12 what came, and is done with that one at 13."""
    drafts, last = LearnedDrafts(), Token(ended=10.0, confidence=0.7)
    drafts.drafted(3.0, beside=True)

    def found(stale: bool, anew: bool | None) -> Situation:
        return drafts.situation([0.9], 4, last, stale, 3, told=12.0, now=12.0, anew=anew)

    assert found(stale=False, anew=True) == ([0.9], 4, 0.7, 4.0)
    assert found(stale=False, anew=False) == ([0.9], 4, 0.7, 1.0)
    assert found(stale=True, anew=False) == ([0.9], 4, None, 1.0)
    assert found(stale=True, anew=True) == ([0.9], 4, None, 4.0)
    # Where nothing is said of that, what went elsewhere is drafted anew, and nothing else.
    assert found(stale=True, anew=None).arrival == 4.0
    assert found(stale=False, anew=None).arrival == 1.0
    assert drafts.situation([0.9], 4, last, True, 3, 12.0, 12.0).arrival == 4.0


@pytest.mark.parametrize(
    ("kind", "reads"),
    [("full", True), ("some sliding", True), ("local by the cache", False), ("longrope", False)],
)
def test_which_models_read_several_continuations_of_any_text(kind: str, reads: bool) -> None:
    """Not one whose attention counts along the cache, or whose rotations change with length."""
    assert CachedModel(make_architecture(kind)).reads_trees is reads


@pytest.mark.parametrize(
    ("attention", "reads"), [("eager", True), ("sdpa", True), ("flash_attention_2", False)]
)
def test_it_takes_attention_that_takes_a_mask(attention: str, reads: bool) -> None:
    model = make_architecture("full")
    model.config._attn_implementation = attention
    assert CachedModel(model).reads_trees is reads


def test_a_token_that_saves_nothing_is_not_drafted() -> None:
    """Whatever forwards were seen to take: of three others, two quicker than one."""
    preparation = SideDrafts(measured((0, 10.0), (3, 9.0)), [0.5], [4.0, 0.0], 9)
    chosen, _ = preparation.choose(1, 0.25, NEVER)
    assert chosen
    preparation.lengthened(chosen)
    again, _ = preparation.choose(1, 0.25, NEVER)
    assert not set(again) & set(chosen)
