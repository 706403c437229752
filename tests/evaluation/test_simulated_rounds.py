"""The simulator's arithmetic on one text, worked out on paper.

As in test_round_fields.py a target forward takes 10 s and a second for each token it reads, a draft
forward 2 s and a second for each, and of the text's 14 tokens the draft model has two wrong. A
decision takes 0.25 s, crossing between the processes 1 s, there and back.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from recorded import record
from test_round_fields import PEARL, SPECULATIVE

from decoders.schedule import LOOK_UP
from pearl_eval.simulation import (
    Ahead,
    Alone,
    BlockRates,
    Costs,
    ForwardTimes,
    Lookups,
    Parallel,
    Rate,
    Schedule,
    Sequential,
    SimulatedRound,
    Simulation,
    Slowdown,
    Surface,
    Switching,
    Trace,
    predict_speedup,
)
from pearl_eval.simulation.acceptance import BlockText, merge

TEXT = Trace(("11011111011111",))
TIMES = ForwardTimes(Surface((1, 2), (0,), ((11.0, 12.0),)), Surface((1, 2), (0,), ((3.0, 4.0),)))
COSTS = Costs(round=0.25, crossing=1.0, library=0.5)


def simulation(schedule: Schedule, **values: Any) -> Simulation:
    arguments: dict[str, Any] = {"costs": COSTS, "max_new_tokens": 14, "prompts": [2]}
    return Simulation(schedule, TIMES, TEXT, **(arguments | values))


def row(
    mode: str,
    times: tuple[float, float],
    seconds: tuple[float, float],
    waits: tuple[float, float],
    counts: tuple[int, int, int, int],
    target_tokens: int,
) -> SimulatedRound:
    """A round: its start and what it took; seconds of draft and target, and what they waited;
    tokens drafted, judged, accepted, and final then."""
    drafted, judged, accepted, verified = counts
    return SimulatedRound(
        mode, *times, drafted, judged, accepted, *seconds, *waits, verified, target_tokens
    )


def test_one_model_alone() -> None:
    assert list(simulation(Alone(), max_new_tokens=2).rounds()) == [
        row("decode", (0, 12.25), (0, 12), (0, 0), (0, 0, 0, 1), 2),
        row("decode", (12.25, 11.25), (0, 11), (0, 0), (0, 0, 0, 2), 1),
    ]
    assert list(simulation(Alone(library=True), max_new_tokens=1).rounds()) == [
        row("decode", (0, 12.5), (0, 12), (0, 0), (0, 0, 0, 1), 2)
    ]
    assert list(simulation(Alone(drafts=True), max_new_tokens=2).rounds()) == [
        row("draft", (0, 4.25), (4, 0), (0, 0), (1, 0, 0, 1), 0),
        row("draft", (4.25, 3.25), (3, 0), (0, 0), (1, 0, 0, 2), 0),
    ]


def test_speculative() -> None:
    """As the decoder's own, and a decision each."""
    assert list(simulation(Sequential(3)).rounds()) == [
        row("verify", (0, 25.25), (10, 15), (15, 10), (3, 3, 2, 3), 5),
        row("verify", (25.25, 23.25), (9, 14), (14, 9), (3, 3, 3, 7), 4),
        row("verify", (48.5, 24.25), (10, 14), (14, 10), (3, 2, 1, 9), 4),
        row("verify", (72.75, 23.25), (9, 14), (14, 9), (3, 3, 3, 13), 4),
        row("verify", (96, 11.25), (0, 11), (11, 0), (0, 0, 0, 14), 1),
    ]


def test_speculative_with_turns_that_cost() -> None:
    """Drafting three tokens and verifying them costs 2 s beyond the forwards; decoding does not."""
    times = ForwardTimes(TIMES.target, TIMES.draft, switching=Switching((1, 5), (1.0, 3.0)))
    one = Simulation(Sequential(3), times, TEXT, max_new_tokens=14, prompts=[2])
    assert [each.seconds for each in one.rounds()] == [27, 25, 26, 25, 11]


def test_heuristic_draft_lengths() -> None:
    """3, one less, two more, one less; with transformers' own cost of a decision."""
    assert list(simulation(Sequential(3, library=True, heuristic=True)).rounds()) == [
        row("verify", (0, 25.5), (10, 15), (15, 10), (3, 3, 2, 3), 5),
        row("verify", (25.5, 19.5), (6, 13), (13, 6), (2, 2, 2, 6), 3),
        row("verify", (45, 28.5), (13, 15), (15, 13), (4, 3, 2, 9), 5),
        row("verify", (73.5, 23.5), (9, 14), (14, 9), (3, 3, 3, 13), 4),
        row("decode", (97, 11.5), (0, 11), (11, 0), (0, 0, 0, 14), 1),
    ]


def test_drafts_that_cost_no_forward() -> None:
    text = Trace(TEXT.prompts, of=LOOK_UP)
    one = Simulation(
        Sequential(3, library=True, free=True), TIMES, text, COSTS, max_new_tokens=14, prompts=[2]
    )
    assert [(each.drafted, each.draft_seconds, each.seconds) for each in one.rounds()] == [
        (3, 0, 15.5), (3, 0, 14.5), (3, 0, 14.5), (3, 0, 14.5), (0, 0, 11.5),
    ]  # fmt: skip


def test_drafts_that_were_looked_up() -> None:
    """Of two texts: four tokens looked up of which three are right, none, five of which the target
    adds what would be the last; then one that is wrong, and nothing more."""
    found = Lookups((((4, 3), (0, 0), (5, 5)), ((1, 0), *[(0, 0)] * 9)))
    made = Simulation(Sequential(5, free=True), TIMES, found, COSTS, 10, [2])
    first, second = list(made.rounds(0)), list(made.rounds(1))
    assert [
        (one.mode, one.drafted, one.judged, one.accepted, one.verified_length, one.target_tokens)
        for one in first
    ] == [("verify", 4, 4, 3, 4, 6), ("decode", 0, 0, 0, 5, 1), ("verify", 4, 4, 4, 10, 5)]
    assert [one.draft_seconds for one in first] == [0, 0, 0]
    assert [one.drafted for one in second] == [1, *[0] * 9] and second[0].accepted == 0
    # After the last it is the first one's turn.
    assert list(made.rounds(2)) == first
    # Looking up takes 2 s a round, which is among transformers' costs where its loop does it.
    costs = Costs(round=0.25, library=0.5, lookup=2.0)
    for library, cost in ((False, 2.25), (True, 0.5)):
        schedule = Sequential(5, free=True, library=library)
        dear = Simulation(schedule, TIMES, found, costs, 10, [2]).rounds(0)
        assert [one.seconds - one.target_seconds for one in dear] == [cost] * 3
    assert first[0].seconds - first[0].target_seconds == 0.25
    shorter = Simulation(Sequential(2, free=True), TIMES, found, COSTS, 10, [2])
    with pytest.raises(ValueError, match="no recorded round began at position 3: what is looked"):
        list(shorter.rounds())


def test_a_recorded_lookup_says_nothing_else_of_a_text() -> None:
    text = Lookups((((4, 3),),)).text(0, 10, np.random.default_rng(0))
    assert (text.at_hand(0, 9), text.at_hand(0, 2)) == (4, 2)
    assert (text.accepted(0, 9), text.accepted(0, 2)) == (3, 2)
    assert text.confidence(0) == 0.5 and not text.within(0, 9, rejected=False)
    # Where a draft model drafts there are as many as are asked of it.
    for made in (Rate(0.5), BlockRates((0.5,))):
        assert made.text(0, 10, np.random.default_rng(0)).at_hand(3, 7) == 7


def test_pearl() -> None:
    """A round is its longer side, a decision and a crossing."""
    assert list(simulation(Parallel(4)).rounds()) == [
        row("pre-verify", (0, 14.25), (13, 12), (1.25, 1), (4, 1, 1, 1), 2),
        row("post-verify", (14.25, 15.25), (12, 14), (3.25, 0), (4, 2, 1, 3), 4),
        row("pre-verify", (29.5, 13.25), (12, 11), (1.25, 1), (4, 1, 1, 4), 1),
        row("post-verify", (42.75, 15.25), (12, 14), (3.25, 0), (4, 4, 4, 8), 4),
        row("post-verify", (58, 15.25), (9, 14), (6.25, 0), (3, 1, 0, 9), 4),
        row("pre-verify", (73.25, 13.25), (12, 11), (1.25, 1), (4, 1, 1, 10), 1),
        row("post-verify", (86.5, 15.25), (3, 14), (12.25, 0), (1, 4, 4, 14), 4),
    ]


def test_pearl_without_pre_verify() -> None:
    assert list(simulation(Parallel(4, pre_verify=False)).rounds()) == [
        row("draft", (0, 14.25), (13, 0), (1.25, 13), (4, 0, 0, 0), 0),
        row("post-verify", (14.25, 17.25), (12, 16), (5.25, 0), (4, 3, 2, 3), 6),
        row("draft", (31.5, 13.25), (12, 0), (1.25, 12), (4, 0, 0, 3), 0),
        row("post-verify", (44.75, 16.25), (12, 15), (4.25, 0), (4, 5, 5, 8), 5),
        row("post-verify", (61, 15.25), (9, 14), (6.25, 0), (3, 1, 0, 9), 4),
        row("draft", (76.25, 13.25), (12, 0), (1.25, 12), (4, 0, 0, 9), 0),
        row("post-verify", (89.5, 16.25), (3, 15), (13.25, 0), (1, 5, 5, 14), 5),
    ]


def test_pearl_at_one_end() -> None:
    """Both share one place: together they take the sum, and the shorter side twice its own time."""
    rounds = list(simulation(Parallel(4, ends=1)).rounds())
    assert rounds[:2] == [
        row("pre-verify", (0, 26.25), (25, 24), (1.25, 1), (4, 1, 1, 1), 2),
        row("post-verify", (26.25, 27.25), (24, 26), (3.25, 0), (4, 2, 1, 3), 4),
    ]
    assert (rounds[6].draft_seconds, rounds[6].target_seconds, rounds[6].seconds) == (6, 17, 18.25)


def test_pearl_async() -> None:
    """A token takes 3 s and 0.5 s to publish, from 0.5 s on; the first, with the prompt, 4.5 s. It
    is there half a second later: at 5.5, 9, 12.5 (wrong), 16, 19.5, 23, 26.5; of what is verified
    the draft process hears half a second later, or after the token it is at."""
    one = simulation(Ahead(96), costs=Costs(round=0.25, crossing=1.0, publish=0.5))
    rounds = one.rounds()
    assert [next(rounds) for _ in range(4)] == [
        row("decode", (0, 12.25), (0, 12), (0, 0), (0, 0, 0, 1), 2),
        # The first agrees with the target's own, the second is accepted.
        row("verify", (12.25, 12.25), (8, 12), (0, 0), (2, 2, 2, 3), 2),
        # The third is not the target's own, and what follows it is discarded.
        row("decode", (24.5, 11.25), (14, 11), (0, 0), (4, 1, 0, 4), 1),
        # One more of these; the first of the new ones agrees, the second is accepted.
        row("verify", (35.75, 12.25), (10.5, 12), (0, 0), (3, 2, 2, 6), 2),
    ]


def test_pearl_async_where_both_models_slow_each_other_down() -> None:
    """The target takes twice as long and the draft model three times: 12 s for its first token and
    9 for the next, from 0.5 s on."""
    times = ForwardTimes(TIMES.target, TIMES.draft, Slowdown(target=2.0, draft=3.0))
    rounds = Simulation(Ahead(96), times, TEXT, Costs(crossing=1.0), 14, [2]).rounds()
    assert [next(rounds) for _ in range(2)] == [
        row("decode", (0, 24), (0, 24), (0, 0), (0, 0, 0, 1), 2),
        row("verify", (24, 24), (21, 24), (0, 0), (2, 2, 2, 3), 2),
    ]


def test_pearl_async_where_the_draft_model_is_overtaken() -> None:
    """The target takes 3 s for each token, the draft model 5 and 1 s for each more that it reads.

    Its first token is there at 6 s, when two are verified already: it begins anew after these, in 6
    s. Its third token is wrong. At 12 s, when it is there, four are verified.
    """
    times = ForwardTimes(Surface.constant(3.0), Surface((1, 2), (0,), ((5.0, 6.0),)))
    rounds = Simulation(Ahead(96), times, TEXT, Costs(), 14, [2]).rounds()
    assert [next(rounds) for _ in range(7)] == [
        row("decode", (0, 3), (0, 3), (0, 0), (0, 0, 0, 1), 2),
        row("decode", (3, 3), (0, 3), (0, 0), (0, 0, 0, 2), 1),
        row("decode", (6, 3), (6, 3), (0, 0), (1, 1, 1, 3), 1),
        row("decode", (9, 3), (0, 3), (0, 0), (0, 0, 0, 4), 1),
        row("decode", (12, 3), (6, 3), (0, 0), (1, 1, 0, 5), 1),
        row("decode", (15, 3), (0, 3), (0, 0), (0, 0, 0, 6), 1),
        row("decode", (18, 3), (6, 3), (0, 0), (1, 1, 1, 7), 1),
    ]


def test_pearl_async_where_news_is_under_way_for_long() -> None:
    """10 s there and 10 back. From 10 s on a token each 3 s, the first two of which are there when
    the target is six and seven tokens further than the prompt; then the third, which is wrong, and
    the fourth at once."""
    times = ForwardTimes(Surface.constant(4.0), Surface.constant(3.0))
    rounds = list(Simulation(Ahead(96), times, TEXT, Costs(crossing=20.0), 14, [2]).rounds())
    assert rounds[5:9] == [
        row("decode", (20, 4), (0, 4), (0, 0), (0, 0, 0, 6), 1),
        row("decode", (24, 4), (3, 4), (0, 0), (1, 1, 1, 7), 1),
        row("decode", (28, 4), (3, 4), (0, 0), (1, 1, 1, 8), 1),
        row("decode", (32, 4), (6, 4), (0, 0), (2, 1, 0, 9), 1),
    ]
    # Were the third right and the fourth wrong, both would be compared.
    other = Trace(("11101111011111",))
    rounds = list(Simulation(Ahead(96), times, other, Costs(crossing=20.0), 14, [2]).rounds())
    assert rounds[8] == row("decode", (32, 4), (6, 4), (0, 0), (2, 2, 1, 9), 1)


def test_pearl_async_where_forwards_grow_with_the_text() -> None:
    """For each token read before, the target takes 1 s more and the draft model 1/8: its tokens are
    there at 5, 8.25, 11.625 (wrong), 15.125, 18.75, 22.5, 26.375 and 30.375 s. Then, from 29.875 s
    on, it begins anew after the third: 33.875, 37.5 and 41.25 s."""
    times = ForwardTimes(
        Surface((1, 2), (0, 64), ((11.0, 12.0), (75.0, 76.0))),
        Surface((1, 2), (0, 64), ((3.0, 4.0), (11.0, 12.0))),
    )
    rounds = Simulation(Ahead(96), times, TEXT, Costs(crossing=1.0), 14, [2]).rounds()
    assert [next(rounds) for _ in range(4)] == [
        row("decode", (0, 12), (0, 12), (0, 0), (0, 0, 0, 1), 2),
        row("verify", (12, 15), (10.625, 15), (0, 0), (3, 3, 2, 3), 3),
        row("decode", (27, 15), (14.75, 15), (0, 0), (4, 0, 0, 4), 1),
        row("verify", (42, 18), (14.875, 18), (0, 0), (4, 3, 3, 7), 3),
    ]


def test_pearl_async_that_waits() -> None:
    """What the decoder's own rounds are by a clock made by hand: ``test_round_fields.py``."""
    costs = Costs(crossing=1.0)
    assert list(simulation(Ahead(96, waits=True), costs=costs).rounds()) == [
        row("verify", (0, 18), (4, 13), (0, 5), (1, 1, 1, 2), 3),
        row("verify", (18, 14), (12, 14), (0, 0), (4, 2, 1, 3), 4),
        row("verify", (32, 18), (21, 12), (0, 6), (7, 1, 1, 5), 2),
        row("verify", (50, 14), (12, 14), (0, 0), (4, 4, 4, 9), 4),
        row("verify", (64, 16), (18, 12), (0, 4), (6, 2, 1, 11), 2),
        row("verify", (80, 14), (9, 13), (0, 0), (3, 3, 3, 14), 3),
    ]
    last = list(simulation(Ahead(96, waits=True), costs=costs, max_new_tokens=3).rounds())[-1]
    assert (last.mode, last.wait_target_seconds) == ("decode", 0)
    # For the last but one it is waited: told at 31 s where to begin anew, it is there at 35.
    last = list(simulation(Ahead(96, waits=True), costs=costs, max_new_tokens=5).rounds())[-1]
    assert (last.mode, last.wait_target_seconds, last.verified_length) == ("verify", 4, 5)


def test_pearl_async_that_waits_for_a_slow_draft_model() -> None:
    """A token each 5 s, a forward of 3 s. At 8 s two tokens are verified: the second is there at
    10, and agrees, the third at 15."""
    times = ForwardTimes(Surface.constant(3.0), Surface.constant(5.0))
    right = Trace(("1" * 14,))
    rounds = Simulation(Ahead(96, waits=True), times, right, Costs(), 14, [2]).rounds()
    assert [next(rounds) for _ in range(2)] == [
        row("verify", (0, 8), (5, 3), (0, 5), (1, 1, 1, 2), 3),
        row("verify", (8, 10), (10, 3), (0, 7), (2, 2, 2, 4), 2),
    ]


def test_sums_of_a_simulation() -> None:
    result = simulation(Sequential(3)).run()
    assert (result.tokens, result.rounds, result.target_forwards) == (14, 5, 5)
    assert (result.draft_forwards, result.drafted) == (12, 12)
    assert (result.judged, result.accepted, result.accepted_runs) == (11, 9, [2, 3, 1, 3])
    assert (result.draft_seconds, result.target_seconds) == (38, 68)
    assert (result.wait_draft_seconds, result.wait_target_seconds) == (68, 38)
    assert result.modes == Counter(verify=5)
    assert (result.seconds, result.text_seconds) == (107.25, [107.25])
    assert result.tokens_per_second == 14 / 107.25
    assert result.acceptance_rate == 9 / 11
    assert result.mean_accepted_tokens == 9 / 4
    assert result.tokens_per_target_forward == 14 / 5


def test_texts_until_there_are_enough_tokens_with_prompts_by_turns() -> None:
    """15 tokens of texts of 14 are two: the second after a prompt of 5 tokens, read at once."""
    result = simulation(Sequential(3), prompts=[2, 5]).run(15)
    assert result.tokens == 28
    # 3 s more for either model, which reads three tokens more in its first forward.
    assert result.text_seconds == [107.25, 113.25]
    assert simulation(Sequential(3), prompts=[2, 5]).run().tokens == 28
    assert simulation(Sequential(3), prompts=[2, 5]).run(14).tokens == 14


def test_what_does_not_exist_of_one_model() -> None:
    result = simulation(Alone(drafts=True)).run()
    assert result.acceptance_rate is None and result.mean_accepted_tokens is None
    assert result.tokens_per_target_forward is None
    assert (result.draft_forwards, result.target_forwards) == (14, 0)


def test_speedup_where_all_is_accepted() -> None:
    """64 rounds of 3 + 4 s give 256 tokens, which take 256 × 4 s without drafts."""
    times = ForwardTimes.constant(4.0)
    assert predict_speedup(Sequential(3), times, Rate(1.0)) == pytest.approx(16 / 7)
    assert predict_speedup(Alone(), times, Rate(1.0)) == 1.0


def test_speedup_of_a_text_with_a_prompt_and_costs() -> None:
    """A target forward takes 3 s and one for each token it reads, a draft forward 1 s, a decision 1
    s. Alone the target reads a prompt of 5 tokens in 8 s, then a token in 4 s, each after a second
    for the last: 44 s for 8 tokens. By drafts of three 3 + 11 and 3 + 7 s, and 2 s: 26."""
    times = ForwardTimes(Surface((1, 2), (0,), ((4.0, 5.0),)), Surface.constant(1.0))
    speedup = predict_speedup(
        Sequential(3),
        times,
        Rate(1.0),
        tokens=8,
        costs=Costs(round=1.0),
        max_new_tokens=8,
        prompts=(5,),
    )
    assert speedup == pytest.approx(44 / 26)


def test_a_trace_is_recorded_from_rounds() -> None:
    """Vanilla speculative decoding does not say what would have been drafted for its own tokens."""
    assert record(SPECULATIVE) == "110111-10111--"
    assert record(PEARL) == TEXT.prompts[0]
    assert merge(["1-0-", "10--", "--01"]) == "1001"
    assert merge(["1-0-", "10--", "--01"]) == "1001" and merge(["-0", "--"]) == "-0"
    assert Trace(("1-", "--")).rate == 1.0  # of one prompt nothing is known
    assert TEXT.rate == 12 / 14 and Trace(("1-0", "11-")).rate == 3 / 4


def test_tokens_accepted_of_a_text() -> None:
    text = TEXT.text(0, 14, np.random.default_rng(0))
    assert [text.accepted(start, 4) for start in (0, 1, 2, 3, 5, 8, 9)] == [2, 1, 0, 4, 3, 0, 4]
    assert text.accepted(9, 9) == 5  # there are no more
    assert text.accepted(3, 2) == 2 and text.accepted(13, 1) == 1 and text.accepted(14, 0) == 0


def test_tokens_accepted_by_their_place_in_a_block() -> None:
    """The first always, the second never, further ones as the last that is given."""
    rng = np.random.default_rng(0)
    assert BlockRates((1.0, 0.0)).text(0, 9, rng).accepted(3, 4) == 1
    assert BlockRates((1.0,)).text(0, 9, rng).accepted(3, 4) == 4
    assert BlockRates((0.0, 1.0)).text(0, 9, rng).accepted(3, 4) == 0
    # Each has a number of its own.
    assert BlockText((0.5,), (0.1, 0.2, 0.3, 0.9), (2,) * 4).accepted(0, 4) == 3


def test_what_a_draft_model_thinks_of_its_tokens() -> None:
    """The same of all where one rate is all that is known; what was recorded of each prompt, which
    come again from the first; or nothing."""
    rng = np.random.default_rng(0)
    assert [Rate(0.75).text(0, 3, rng).confidence(place) for place in (0, 2)] == [0.75] * 2
    two = Trace(("110", "10"), confidences=((0.9, 0.8, 0.7), (0.6, 0.4)))
    assert [two.text(index, 2, rng).confidence(1) for index in (0, 1, 2, 3)] == [0.8, 0.4] * 2
    for silent in (Trace(("10",)), BlockRates((0.9,))):
        assert silent.text(0, 2, rng).confidence(1) == 0.5
    # A token whose number is the rate itself is not below it.
    assert BlockText((0.5,), (0.5, 0.25), (2, 2)).accepted(0, 1) == 0


def test_unknown_positions_are_drawn_at_the_rate_of_the_known_ones() -> None:
    """Nine of ten are right: of 1,000 unknown ones some 900, and the known ones stay."""
    trace = Trace(("1" * 9 + "0" + "-" * 1000,))
    text = trace.text(0, 1010, np.random.default_rng(0))
    right = [text.accepted(at, 1) for at in range(1010)]
    assert right[:10] == [1] * 9 + [0]
    assert 870 < sum(right[10:]) < 930


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Rate(1.1), "between 0 and 1, got 1.1"),
        (lambda: Rate(-0.1), "between 0 and 1, got -0.1"),
        (lambda: BlockRates(()), "at least one"),
        (lambda: BlockRates((0.5, 2.0)), "between 0 and 1, got 2.0"),
        (lambda: Trace(()), "needs a prompt with drafted tokens"),
        (lambda: Trace(("--",)), "needs a prompt with drafted tokens"),
        (lambda: Trace(("1x",)), "of 0, 1 and -"),
        (lambda: simulation(Parallel(4), max_new_tokens=0), "max_new_tokens=0"),
        (lambda: simulation(Parallel(4), prompts=[]), r"prompts=\[\]"),
        (lambda: simulation(Parallel(4), prompts=[3, 0]), r"prompts=\[3, 0\]"),
        (
            lambda: list(simulation(Parallel(4), max_new_tokens=15).rounds()),
            "14 tokens were recorded, 15",
        ),
    ],
)
def test_what_means_nothing_is_refused(made: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made()


def test_a_recorded_text_that_is_too_short_is_named() -> None:
    """Prompts come again from the first: of two, the fourth is the second, number 1."""
    trace = Trace(("11111", "101"))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"^prompt 1: 3 tokens were recorded, 4 are"):
        trace.text(3, 4, rng)
    assert trace.text(2, 5, rng) is not None
