"""A simulated draft process by itself: when its tokens are there, worked out on paper.

A forward takes 2 s and 1 s for each token it reads, publishing a token half a second, and so long a
token or news is under way. The third token is wrong. The prompt has two tokens, so that the first
forward takes 4 s, from 0.5 s on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from decoders.adaptive.alternatives import Alternatives
from pearl_eval.simulation import Costs, ForwardTimes, Surface
from pearl_eval.simulation.acceptance import FixedText
from pearl_eval.simulation.ahead import _Drafts
from pearl_eval.simulation.forerunner import Published, SimulatedForerunner, rank_of
from pearl_eval.simulation.machine import Machine

TIMES = ForwardTimes(Surface.constant(1.0), Surface((1, 2), (0,), ((3.0, 4.0),)))
#: What the draft model thinks of each token.
SURE = tuple(0.5 + position / 100 for position in range(14))


RIGHT = np.array([mark == "1" for mark in "11011111011111"])


def written(place: int = 3) -> FixedText:
    """The text, with the target's token at a place of the draft model's choices where the first is
    wrong."""
    return FixedText(RIGHT, SURE, np.full(14, place))


def forerunner(
    ahead: int = 96,
    length: int = 14,
    place: int = 3,
    alternatives: Alternatives | None = None,
    times: ForwardTimes = TIMES,
) -> SimulatedForerunner:
    costs = Costs(crossing=1.0, publish=0.5)
    machine = Machine(written(place), length, 2, times, costs)
    return SimulatedForerunner(machine, ahead, alternatives)


def token(
    position: int,
    ended: float,
    seconds: float = 3.5,
    waited: float = 0.0,
    lineage: int = 0,
    update: int = 0,
    others: Sequence[tuple[int, int]] = (),
) -> Published:
    sure = SURE[position]
    return Published(lineage, position, seconds, waited, ended, sure, update, list(others))


def test_tokens_come_one_after_another() -> None:
    one = forerunner()
    assert one.next_there() == 5.5
    assert one.run(5.4) == []
    assert one.run(5.5) == [token(0, 5.0, 4.5)]
    assert one.next_there() == 9.0
    assert one.run(12.5) == [token(1, 8.5), token(2, 12.0)]
    # What it heard while it was at the last changes nothing.
    one.tell(10.0, 1, 1)
    assert one.next_there() == 16.0


def test_it_is_no_further_ahead_than_it_may_be() -> None:
    """Two tokens beyond the verified text; it hears at 20.5 that one is verified, and before that
    only what to expect."""
    one = forerunner(ahead=2)
    assert one.run(16.0) == [token(0, 5.0, 4.5), token(1, 8.5)]
    one.expect(16.0, 30.0, 1.0, 1.0, 2)
    one.tell(20.0, 1, 1)
    assert one.run(40.0) == [token(2, 24.0, waited=12.0, update=1)]
    # The text's last token is the target's own, whatever is verified.
    short = forerunner(length=3)
    assert len(short.run(40.0)) == 2
    short.tell(40.0, 1, 2)
    assert short.run(80.0) == []


def test_it_reads_what_was_verified_and_not_drafted() -> None:
    """It hears at 20.1 s that its third token was wrong, and at 20.2 of a fourth one. It was at its
    sixth until 22.5; then it reads the last two."""
    one = forerunner()
    assert [made.position for made in one.run(19.5)] == [0, 1, 2, 3, 4]
    one.tell(19.6, 1, 3)
    one.tell(19.7, 2, 4)
    assert one.run(31.0) == [
        token(5, 22.5),
        token(4, 27.0, 4.5, lineage=2, update=2),
        token(5, 30.5, lineage=2, update=2),
    ]
    # What is verified as it was drafted changes nothing.
    one.tell(31.0, 3, 6)
    assert one.run(34.5) == [token(6, 34.0, lineage=2, update=2)]
    # Of three tokens that it was overtaken by it reads these, and the last of its own.
    one.tell(34.5, 4, 10)
    assert one.run(44.0) == [
        token(7, 37.5, lineage=2, update=3),
        token(10, 43.0, 5.5, lineage=4, update=4),
    ]


def test_it_waits_for_news_that_comes_soon() -> None:
    """At 8.5 s news is expected in 2.5, and two tokens are right by 0.2: it waits 0.8 forwards more
    than these 2.5 s."""
    one = forerunner()
    one.run(9.0)
    one.expect(8.0, 11.0, 0.2, 0.5, 2)
    assert one.next_there() == 12.5  # it has not looked yet
    assert one.run(13.7) == []
    assert one.next_there() == pytest.approx(8.5 + 2.5 + 2.8 + 4.0)
    waited = pytest.approx(5.3)
    assert one.run(17.9) == [token(2, pytest.approx(17.3), waited=waited)]  # type: ignore[arg-type]
    # There is news before, and what was expected is no more.
    other = forerunner()
    other.run(9.0)
    other.expect(8.0, 11.0, 0.2, 0.5, 2)
    assert other.run(9.5) == []
    other.tell(10.0, 1, 1)
    assert other.next_there() == 10.5 + 4.0
    assert other.run(18.0) == [
        token(2, 14.0, waited=2.0, update=1),
        token(3, 17.5, update=1),
    ]


def test_news_that_comes_while_it_waits_ends_the_wait() -> None:
    """It would have waited until 13.8 s, and hears at 13.5; or after it had to wait until 20.5 s it
    waits for news until 25.8."""
    one = forerunner()
    one.run(9.0)
    one.expect(8.0, 11.0, 0.2, 0.5, 2)
    assert one.run(13.0) == []
    one.tell(13.0, 1, 1)
    assert one.run(17.5) == [token(2, 17.0, waited=5.0, update=1)]
    other = forerunner(ahead=2)
    other.run(20.0)
    other.tell(20.0, 1, 1)
    other.expect(20.0, 23.0, 0.2, 0.5, 2)
    [made] = other.run(30.0)
    assert (made.ended, made.waited) == pytest.approx((29.3, 12.0 + 5.3))


def test_it_stops_after_the_token_it_is_at() -> None:
    """It is told at 6.5 s, and at it until 8.5; or it has nothing to do."""
    one = forerunner()
    one.run(5.5)
    assert one.pause(6.0) == 9.0
    assert forerunner(ahead=1).pause(6.0) == 7.0
    # At the very time that it is told it begins none.
    exact = forerunner()
    exact.run(5.5)
    assert exact.pause(8.0) == 9.0


def test_it_stops_at_once_where_it_waits() -> None:
    """From 8.5 s on, for news that is expected at 11: it is told at 10, before it would go on."""
    one = forerunner()
    one.run(9.0)
    one.expect(8.0, 11.0, 0.2, 0.5, 2)
    assert one.pause(9.5) == 10.5
    # Told at 14, it is at a token since 13.8.
    late = forerunner()
    late.run(9.0)
    late.expect(8.0, 11.0, 0.2, 0.5, 2)
    assert late.pause(13.5) == pytest.approx(13.8 + 3.5 + 0.5)


#: Of the third token alone it is doubtful whether it is right. Two tokens after it are worth much.
DOUBTS, GAINS = (0.0, 0.0, 0.5), (100.0, 50.0)
ALL = [(2, rank) for rank in range(4)]


def measured() -> Alternatives:
    """Knows what forwards take that draft for so many others."""
    made = Alternatives()
    for _ in range(50):
        for others in range(9):
            made.ran(others, 3.5 + others)
    return made


def preparing(length: int = 14, place: int = 3, times: ForwardTimes = TIMES) -> SimulatedForerunner:
    """Two tokens are there, and it hears at 8.5 s that news is expected, but late."""
    one = forerunner(length=length, place=place, alternatives=measured(), times=times)
    one.run(9.0)
    one.expect(8.0, 1000.0, 0.25, 1.0, 2, DOUBTS, GAINS)
    return one


def test_it_drafts_for_others_beside_its_draft() -> None:
    """Once its third token is there, for the four likeliest others in its place, two tokens each:
    over five tokens at once, in 7.5 s. Then it goes on alone."""
    one = preparing()
    assert one.run(31.0) == [
        token(2, 12.0),
        token(3, 19.5, 7.5, others=ALL),
        token(4, 27.0, 7.5, others=ALL),
        token(5, 30.5),
    ]
    # What was expected is no more, and without gains it prepares nothing.
    one.tell(31.0, 1, 2)
    one.expect(31.0, 1000.0, 0.25, 1.0, 2, DOUBTS)
    assert one.run(38.0) == [token(6, 34.0), token(7, 37.5, update=1)]


def test_forwards_over_several_texts_may_take_a_time_of_their_own() -> None:
    """Half a second more than the others."""
    wide = Surface((1, 2), (0,), ((3.5, 4.5),))
    one = preparing(times=replace(TIMES, branches=wide))
    assert one.run(21.0) == [token(2, 12.0), token(3, 20.0, 8.0, others=ALL)]


@pytest.mark.parametrize(
    ("told", "there"),
    [
        # It had one token of each when it heard at 19.5 s, and the third is what it goes on with:
        (
            19.0,
            [token(3, 19.5, 7.5, others=ALL), token(4, 23.0, lineage=1, update=1)],
        ),
        # or it was at the second.
        (20.0, [token(4, 27.0, 7.5, others=ALL), token(5, 30.5, lineage=1, update=1)]),
        (26.5, [token(4, 27.0, 7.5, others=ALL), token(5, 30.5, lineage=1, update=1)]),
    ],
)
def test_it_goes_on_with_what_came_true(told: float, there: list[Published]) -> None:
    one = preparing()
    one.run(told)
    one.tell(told, 1, 3)
    assert one.run(there[-1].ended + 0.5) == there


@pytest.mark.parametrize("place", [6, 9])
def test_it_begins_anew_where_nothing_was_drafted_for_what_came(place: int) -> None:
    """The likeliest but five was none of those that it drafted for."""
    one = preparing(place=place)
    one.run(19.0)
    one.tell(19.0, 1, 3)
    assert one.run(27.0) == [
        token(3, 19.5, 7.5, others=ALL),
        token(3, 23.0, lineage=1, update=1),
        token(4, 26.5, lineage=1, update=1),
    ]


def test_what_came_true_may_be_wrong_later_on() -> None:
    """Of a token after the eighth place that is wrong again it hears, and begins anew there."""
    one = preparing()
    one.run(26.5)
    one.tell(26.5, 1, 3)
    assert [made.position for made in one.run(45.0)] == [4, 5, 6, 7, 8, 9]
    one.tell(45.0, 2, 9)
    assert one.run(52.0) == [
        token(10, 48.0, lineage=1, update=1),
        token(9, 51.5, lineage=2, update=2),
    ]


def test_what_is_drafted_for_others_ends_with_the_text() -> None:
    """Of five tokens the last is the target's, so that one comes after another third one; of four,
    none does."""
    one = preparing(length=5)
    assert one.run(40.0) == [token(2, 12.0), token(3, 19.5, 7.5, others=ALL)]
    one.tell(40.0, 1, 3)
    assert one.run(60.0) == []
    assert preparing(length=4).run(40.0) == [token(2, 12.0)]


def test_it_learns_which_of_its_choices_comes() -> None:
    """Of those at the place where it was wrong, and only if it drafted for any."""
    for doubts, rank in ((DOUBTS, 1), ((0.5, 0.0, 0.0), None)):
        alternatives = measured()
        before = [one.chance for one in alternatives.of([1.0])]
        one = forerunner(alternatives=alternatives)
        one.run(9.0)
        one.expect(8.0, 1000.0, 0.25, 1.0, 2, doubts, GAINS)
        one.run(19.0)
        one.tell(19.0, 1, 3)
        one.run(24.0)
        after = [one.chance for one in alternatives.of([1.0])]
        more = [new > old for old, new in zip(before, after, strict=True)]
        assert more == [number == rank for number in range(4)]
        assert (after == before) == (rank is None)


def test_the_place_of_the_targets_token_among_the_others() -> None:
    """Where its first choice is wrong, its second is the likeliest other one."""
    assert [rank_of(written(place), 2) for place in range(2, 8)] == [0, 1, 2, 3, None, None]


def known_drafts(place: int = 3) -> tuple[_Drafts, Published]:
    """Four tokens came, the last beside others, of which the third was wrong; and that last one."""
    drafts = _Drafts(written(place))
    last = token(3, 19.5, others=[(2, 0), (2, 1), (1, 1)])
    fresh = [token(0, 5.0), token(1, 8.5), token(2, 12.0), last]
    assert drafts.take(fresh) == fresh
    drafts.judged(2, 3)
    assert drafts.verified(3) == 1
    return drafts, last


def prepared(position: int, ended: float) -> Published:
    return Published(1, position, 0.0, 0.0, ended, SURE[position], prepared=True)


def test_what_was_prepared_is_the_draft_once_it_came_true() -> None:
    drafts, _ = known_drafts()
    assert drafts.anew and drafts.pending(3) == 0
    assert drafts.adopt() == [prepared(3, 19.5)]
    assert (drafts.pending(3), drafts.base, drafts.stale, drafts.anew) == (1, 3, False, True)
    assert drafts.was_prepared and drafts.latest == prepared(3, 19.5)
    assert drafts.adopt() == []
    # Another token of it was made when the news was on its way; and one that was of no use.
    second = token(4, 27.0, others=[(2, 0), (2, 1)])
    assert drafts.take([second]) == [second, prepared(4, 27.0)]
    assert drafts.pending(3) == 2 and drafts.latest == prepared(4, 27.0)
    third = token(5, 30.5)
    assert drafts.take([third]) == [third]
    # The next one is begun when that is done.
    assert drafts.pending(3) == 2 and drafts.latest == prepared(4, 30.5)
    assert drafts.anew
    fourth = token(5, 34.0, lineage=1, update=1)
    assert drafts.take([fourth]) == [fourth]
    assert drafts.pending(3) == 3 and drafts.latest == fourth and not drafts.anew
    assert drafts.settle(4) == (3, 1, 1)


def test_a_token_that_follows_what_was_prepared_comes_with_it() -> None:
    """Where it is read before that was made use of."""
    drafts, _ = known_drafts()
    fresh = token(4, 23.0, lineage=1, update=1)
    assert drafts.take([fresh]) == [prepared(3, 23.0), fresh]
    assert drafts.pending(3) == 2 and drafts.was_prepared


def test_what_was_prepared_for_something_else_is_of_no_use() -> None:
    drafts, _ = known_drafts(place=4)
    assert drafts.adopt() == [] and drafts.stale
    fresh = token(3, 23.0, lineage=1, update=1)
    assert drafts.take([fresh]) == [fresh]
    assert drafts.pending(3) == 1 and not drafts.was_prepared
