"""One draft model and several replicas of the target, simulated: worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pearl_eval.simulation import (
    Alone,
    BlockRates,
    Costs,
    ForwardTimes,
    Rate,
    Replicas,
    Simulation,
    Slowdown,
    Surface,
    Trace,
    describe,
    read_schedule,
)

#: Of 8 tokens the fifth is wrong; the target adds the last itself.
TEXT = Trace(("1111011-",))
#: A target forward takes 5 s, a draft forward 1 s.
TIMES = ForwardTimes.constant(5.0)


def rounds(schedule: Replicas, times: ForwardTimes = TIMES, **more: Any) -> list[tuple[Any, ...]]:
    """Mode, seconds, tokens drafted, judged, accepted, verified."""
    made = Simulation(schedule, times, TEXT, max_new_tokens=8, prompts=[3], **more).rounds()
    return [(*one[0:1], *one[2:6], one.verified_length) for one in made]


def test_each_block_has_a_replica_as_soon_as_it_is_drafted() -> None:
    """γ = 2, three replicas. Forwards from 0, 2, 4, 6 and 7 s on, the last of which read tokens of
    a draft that is wrong from the fifth on, as the third says at 9 s. Then from 9 and 11 s on."""
    assert rounds(Replicas(2, 3)) == [
        ("verify", 5, 5, 1, 1, 1),
        ("verify", 2, 2, 2, 2, 3),
        ("verify", 2, 0, 2, 1, 5),
        ("verify", 5, 2, 1, 1, 6),
        ("verify", 2, 0, 1, 1, 8),
    ]


def test_a_block_waits_where_no_replica_is_free() -> None:
    """One forward after the other, of one block each: from 0, 5 and 10 s on, then 15 and 20 s."""
    assert rounds(Replicas(2, 1)) == [
        ("verify", 5, 5, 1, 1, 1),
        ("verify", 5, 2, 2, 2, 3),
        ("verify", 5, 0, 2, 1, 5),
        ("verify", 5, 2, 1, 1, 6),
        ("verify", 5, 0, 1, 1, 8),
    ]


def test_two_replicas_take_turns() -> None:
    """Forwards from 0 and 2 s on; the block of 4 s waits until 5 s, and that of 6 s until 7 s. So
    the fifth token is known to be wrong at 10 s; then from 10 and 12 s on."""
    assert [one[1] for one in rounds(Replicas(2, 2))] == [5, 2, 3, 5, 2]


def test_the_target_goes_on_alone_until_there_is_a_block() -> None:
    """γ = 7: after forwards from 0 and 5 s on the block of 7 s is judged by 12 s."""
    assert rounds(Replicas(7, 2)) == [
        ("verify", 5, 5, 1, 1, 1),
        ("verify", 5, 2, 1, 1, 2),
        ("verify", 2, 0, 3, 2, 5),
        ("verify", 5, 2, 1, 1, 6),
        ("verify", 2, 0, 1, 1, 8),
    ]


def test_a_draft_model_that_is_too_slow_costs_nothing() -> None:
    """It drafts a token in 1 s, and the target decodes one in 0.5 s."""
    made = rounds(Replicas(1, 2), ForwardTimes.constant(0.5))
    assert made == [("decode", 0.5, 0, 0, 0, length) for length in range(1, 9)]


def test_a_token_that_is_there_with_the_verdict_is_judged() -> None:
    """Both take 1 s: the second token is there at 2 s, as is the verdict on it."""
    made = rounds(Replicas(1, 2), ForwardTimes.constant(1.0))
    assert made[:2] == [("verify", 1, 1, 1, 1, 1), ("verify", 1, 1, 1, 1, 2)]


def test_each_replica_reads_what_it_has_not_read() -> None:
    """A target forward takes 5 s and 0.01 s a token. The first reads a prompt of 3 tokens, the next
    5 and 7 of prompt and draft; the first replica is free at 5.03 s, and reads the three blocks
    since. After the fifth token was wrong (from 9.07 s on) each has read the prompt and four
    tokens at most: that of 3 + 2 + 2 tokens reads 1, and then another that read 3 + 4."""
    times = ForwardTimes(
        Surface.of({(w, 0): 5 + 0.01 * w for w in (1, 100)}), Surface.constant(1.0)
    )
    made = list(Simulation(Replicas(2, 3), times, TEXT, max_new_tokens=8, prompts=[3]).rounds())
    assert [one.target_tokens for one in made] == [3, 5, 7, 1, 3]
    assert [one.target_seconds for one in made] == pytest.approx([5.03, 5.05, 5.07, 5.01, 5.03])
    assert [one.seconds for one in made] == pytest.approx([5.03, 2.02, 2.02, 5.01, 2.02])


def test_the_draft_model_reads_what_it_has_not_read() -> None:
    """A draft forward takes 1 s, and 0.5 s for each token beyond the first: of a prompt of 3 tokens
    2 s, then 1 s each. Four tokens of the draft are there at 5 s; after the fifth was wrong only
    the target's own token is new to it."""
    times = ForwardTimes(Surface.constant(5.0), Surface.of({(w, 0): 0.5 + 0.5 * w for w in (1, 2)}))
    made = list(Simulation(Replicas(2, 3), times, TEXT, max_new_tokens=8, prompts=[3]).rounds())
    assert [(one.seconds, one.drafted) for one in made] == [(5, 4), (3, 3), (2, 0), (5, 2), (2, 0)]
    assert sum(one.draft_seconds for one in made) == 8 + 2


def test_each_forward_takes_what_it_takes_after_so_many_tokens() -> None:
    """A target forward takes 5 s and 0.1 s for each token before those it reads; a draft forward 1
    and 0.01 s. Tokens are drafted at 1, 2.03, 3.07, 4.12, 5.18, 6.25 and 7.33 s. Blocks of them are
    judged from 2.03, 4.12, 6.25 and 7.33 s on, the last two after 3 and 5 tokens. After the fifth
    token was wrong, at 9.12 s, all have read seven tokens: the target reads one, and three from
    11.27 s on, when two more were drafted in 1.07 and 1.08 s."""

    def surface(base: float, each: float) -> Surface:
        return Surface((1,), (0, 100), ((base,), (base + 100 * each,)))

    times = ForwardTimes(surface(5.0, 0.1), surface(1.0, 0.01))
    made = list(Simulation(Replicas(2, 3), times, TEXT, max_new_tokens=8, prompts=[3]).rounds())
    found = [
        (one.start, one.seconds, one.draft_seconds, one.target_seconds, one.target_tokens)
        for one in made
    ]
    expected = [
        (0, 5, 4.12, 5, 3),
        (5, 2.03, 2.13, 5, 5),
        (7.03, 2.09, 1.08, 5, 7),
        (9.12, 5.7, 2.15, 5.7, 1),
        (14.82, 2.15, 0, 5.7, 3),
    ]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other)


def test_all_replicas_are_free_at_first() -> None:
    """A token is drafted in 0.25 s, and judged from then on."""
    made = rounds(Replicas(1, 2), ForwardTimes(Surface.constant(5.0), Surface.constant(0.25)))
    assert [one[1] for one in made[:2]] == [5, 0.25]


def test_a_verdict_counts_once_those_before_it_are_there() -> None:
    """A target forward takes 1 s for each token it reads: the prompt of 10 in 10 s, that and two
    drafted ones from 2 to 14 s, that and four from 4 to 18 s, but six more from 10 to 16 s, and
    five from 14 to 19 s."""
    times = ForwardTimes(Surface((1, 2), (0,), ((1.0, 2.0),)), Surface.constant(1.0))
    right = Trace(("1111111-",))
    made = list(Simulation(Replicas(2, 3), times, right, max_new_tokens=8, prompts=[10]).rounds())
    assert [(one.mode, one.seconds, one.verified_length, one.target_tokens) for one in made] == [
        ("verify", 10, 1, 10),
        ("verify", 4, 3, 12),
        ("verify", 4, 5, 14),
        ("verify", 0, 7, 6),
        ("decode", 1, 8, 5),
    ]


def test_news_is_under_way() -> None:
    """The draft model begins at 0.25 s. A verdict of 5 s knows of what was drafted by 4.75."""
    made = rounds(Replicas(2, 3), costs=Costs(crossing=0.5))
    assert made[0] == ("verify", 5, 4, 1, 1, 1)


def test_costs_and_slowdown_are_added_where_they_arise() -> None:
    """Forwards take 2 and 1.5 times as long; a message is under way for 0.25 s, and a decision
    takes 0.125 s. The first forwards are over at 10, 3.5 + 10 and 6.5 + 10 s."""
    times = ForwardTimes(TIMES.target, TIMES.draft, Slowdown(target=2.0, draft=1.5))
    made = rounds(Replicas(2, 4), times, costs=Costs(round=0.125, crossing=0.5))
    # Drafted by 0.25 + 6 · 1.5 s: six tokens are there in time, the seventh at 11.
    assert made[:3] == [
        ("verify", 10.125, 6, 1, 1, 1),
        ("verify", 3.5, 1, 2, 2, 3),
        ("verify", 3.0, 0, 2, 1, 5),
    ]
    # From 16.625 s on; the draft model hears of it 0.25 s later.
    assert made[3:] == [("verify", 10.125, 2, 1, 1, 6), ("verify", 3.5, 0, 1, 1, 8)]


@pytest.mark.parametrize("gamma", [1, 5])
def test_long_texts_take_what_the_closed_form_says(gamma: int) -> None:
    """With enough replicas: in a run of right tokens each costs a draft forward, but for the rest
    of its block, and each wrong one a target forward. With γ = 1 that is T + (j − 1) · t for a run
    whose token j is wrong."""
    text = Trace(("1" * 6 + "0" + "1" * 2 + "0" + "0" + "1" * 19 + "-",))
    seconds = Simulation(Replicas(gamma, 9), TIMES, text, max_new_tokens=31, prompts=[1]).run()
    runs = [7, 3, 1, 20]
    expected = sum(5 + gamma * -(-(j - 1) // gamma) for j in runs)
    if gamma > 1:
        # The last block is shorter: 19 tokens are drafted.
        expected -= 1
    assert seconds.seconds == expected


def test_it_is_never_slower_than_the_target_alone() -> None:
    for gamma, replicas in [(1, 1), (3, 1), (3, 2), (12, 4)]:
        for rate in (0.0, 0.5, 1.0):
            own, alone = (
                Simulation(one, TIMES, Rate(rate), max_new_tokens=40, prompts=[1]).run(200)
                for one in (Replicas(gamma, replicas), Alone())
            )
            assert own.seconds <= alone.seconds
            assert own.drafted == own.draft_forwards


def test_what_makes_no_sense_is_refused_and_the_rest_is_described() -> None:
    with pytest.raises(ValueError, match="replicas of the target: at least 1, got 0"):
        Replicas(2, 0)
    with pytest.raises(ValueError, match="gamma"):
        Replicas(0, 2)
    with pytest.raises(ValueError, match="no blocks to accept tokens by place in"):
        Simulation(Replicas(2, 2), TIMES, BlockRates((0.5,)))
    assert read_schedule(describe(Replicas(2, 3))) == Replicas(2, 3)
    assert not Replicas(2, 3).ends_run(None)
