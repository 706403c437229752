"""A simulated draft process by itself: when its tokens are there, worked out on paper.

A forward takes 2 s and 1 s for each token it reads, publishing a token half a second, and so long a
token or news is under way. The third token is wrong. The prompt has two tokens, so that the first
forward takes 4 s, from 0.5 s on.
"""

from __future__ import annotations

import numpy as np
import pytest

from pearl_eval.simulation import Costs, ForwardTimes, Surface, Trace
from pearl_eval.simulation.forerunner import Published, SimulatedForerunner
from pearl_eval.simulation.machine import Machine

TIMES = ForwardTimes(Surface.constant(1.0), Surface((1, 2), (0,), ((3.0, 4.0),)))
#: What the draft model thinks of each token.
SURE = tuple(0.5 + position / 100 for position in range(14))


def forerunner(ahead: int = 96, length: int = 14) -> SimulatedForerunner:
    text = Trace(("11011111011111",), confidences=(SURE,)).text(0, 14, np.random.default_rng(0))
    costs = Costs(crossing=1.0, publish=0.5)
    return SimulatedForerunner(Machine(text, length, 2, TIMES, costs), ahead)


def token(
    position: int, ended: float, seconds: float = 3.5, waited: float = 0.0, lineage: int = 0
) -> Published:
    return Published(lineage, position, seconds, waited, ended, SURE[position])


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
    assert one.run(40.0) == [token(2, 24.0, waited=12.0)]
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
        token(4, 27.0, 4.5, lineage=2),
        token(5, 30.5, lineage=2),
    ]
    # What is verified as it was drafted changes nothing.
    one.tell(31.0, 3, 6)
    assert one.run(34.5) == [token(6, 34.0, lineage=2)]
    # Of three tokens that it was overtaken by it reads these, and the last of its own.
    one.tell(34.5, 4, 10)
    assert one.run(44.0) == [token(7, 37.5, lineage=2), token(10, 43.0, 5.5, lineage=4)]


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
    assert other.run(18.0) == [token(2, 14.0, waited=2.0), token(3, 17.5)]


def test_news_that_comes_while_it_waits_ends_the_wait() -> None:
    """It would have waited until 13.8 s, and hears at 13.5; or after it had to wait until 20.5 s it
    waits for news until 25.8."""
    one = forerunner()
    one.run(9.0)
    one.expect(8.0, 11.0, 0.2, 0.5, 2)
    assert one.run(13.0) == []
    one.tell(13.0, 1, 1)
    assert one.run(17.5) == [token(2, 17.0, waited=5.0)]
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
