"""PEARL whose models both read what was looked up, simulated: worked out on paper.

The rounds are those of the real decoder in test_pearl_retrieval.py, and so are the times: a target
forward takes 10 s and a second for each token it reads, a draft forward 2 s and a second for each.
A decision takes 0.25 s, crossing between the processes 1 s, there and back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from by_hand import Decode, by_hand, wrong_at
from test_pearl_retrieval import DECODER
from test_round_fields import REPEATING
from test_simulated_rounds import COSTS, TIMES, row

from decoders.round import Round
from decoders.schedule import BOTH, Extents, Retrieving
from pearl_eval.simulation import (
    Costs,
    ForwardTimes,
    Rate,
    Retrievals,
    Retrieved,
    SimulatedRound,
    Simulation,
    Slowdown,
    Surface,
)
from pearl_eval.simulation.retrievals import retrieved

__all__ = ["by_hand"]

BEGINNING = (
    Retrieved(1, 1, 1, 0, (0, 0), (1, 1)),
    Retrieved(2, 2, 2, 0, (0, 0), (1, 1)),
    Retrieved(2, 2, 2, 0, (0, 1), (1, 2)),
)
#: All is right: of two guesses of two tokens the draft model adds another to each.
RIGHT = Retrievals(
    ((*BEGINNING, Retrieved(5, 5, 5, 2, (2, 2), (3, 3)), Retrieved(4, 4, 4, 0, (0,), (1,))),)
)
#: In the fourth round the third judged token is rejected, and the target goes on along its guess.
WRONG = Retrievals(
    (
        (
            *BEGINNING,
            Retrieved(3, 2, 5, 2, (2, 0), (1, 1)),
            Retrieved(3, 3, 3, 3, (3, 0), (3, 1)),
            Retrieved(1, 1, 1, 0),
        ),
    )
)


def simulation(found: Retrievals, **values: Any) -> Simulation:
    arguments: dict[str, Any] = {"costs": COSTS, "max_new_tokens": 14, "prompts": [2]}
    return Simulation(Retrieving(2, 4), TIMES, found, **(arguments | values))


def with_retrieved(count: int, one: SimulatedRound) -> SimulatedRound:
    return one._replace(retrieved=count)


#: The target reads two tokens (12 s). Drafting begins with the prompt's two (4 s).
FIRST = [
    row("pre-verify", (0, 13.25), (7, 12), (6.25, 0), (2, 1, 1, 1), 2),
    row("post-verify", (13.25, 13.25), (6, 12), (7.25, 0), (2, 2, 2, 3), 2),
    with_retrieved(1, row("post-verify", (26.5, 13.25), (7, 12), (6.25, 0), (3, 2, 2, 5), 2)),
]


def test_forwards_that_give_several_tokens() -> None:
    """Two forwards over a token and a guess of two take 5 s each. The target reads the last token,
    two that are pending and its guess (15 s); then a token and three that are pending (14 s)."""
    assert list(simulation(RIGHT).rounds()) == [
        *FIRST,
        with_retrieved(
            4, row("post-verify", (39.75, 16.25), (10, 15), (6.25, 0), (6, 5, 5, 10), 5)
        ),
        row("post-verify", (56, 15.25), (3, 14), (12.25, 0), (1, 4, 4, 14), 4),
    ]
    result = simulation(RIGHT).run()
    assert (result.draft_forwards, result.target_forwards, result.seconds) == (9, 5, 71.25)
    assert (result.drafted, result.accepted_runs) == (14, [14])


def test_a_rejection_after_which_the_target_goes_on() -> None:
    """The draft model then reads the target's own three tokens with a guess of three (8 s), and one
    more (3 s); the target its last token and a guess (14 s). Then nothing is left to draft."""
    assert list(simulation(WRONG).rounds()) == [
        *FIRST,
        row("post-verify", (39.75, 16.25), (8, 15), (8.25, 0), (2, 3, 2, 10), 5),
        with_retrieved(
            2, row("pre-verify", (56, 15.25), (11, 14), (4.25, 0), (4, 3, 3, 13), 4)
        ),
        row("post-verify", (71.25, 13.25), (0, 12), (13.25, 0), (0, 1, 1, 14), 2),
    ]  # fmt: skip


@pytest.mark.parametrize(("draft", "found"), [(REPEATING, RIGHT), (wrong_at(REPEATING, 7), WRONG)])
def test_what_is_recorded_is_what_the_decoder_did(
    by_hand: Decode, draft: list[int], found: Retrievals
) -> None:
    rounds = by_hand(DECODER, REPEATING, draft).rounds
    assert Retrievals((tuple(retrieved(rounds, 2)),)) == found
    assert DECODER.simulated_as() == Retrieving(2, 4)
    # And takes as long, where a message takes half a second and a decision no time.
    simulated = list(simulation(found, costs=Costs(crossing=0.0)).rounds())
    assert [(one.draft_seconds, one.target_seconds) for one in simulated] == [
        (one.draft_seconds, one.target_seconds) for one in rounds
    ]
    assert [one.start for one in simulated] == [one.start for one in rounds]


def test_rounds_that_do_not_say_what_forwards_gave_are_of_before() -> None:
    old = Round("pre-verify", drafted=2, judged=1, accepted=1, verified_length=1, target_tokens=2)
    with pytest.raises(ValueError, match="do not say what each draft forward gave"):
        list(retrieved([old], 2))


def test_drafting_may_take_longer() -> None:
    """Four times as long: 28 s beside 12 s. Beside the other either takes twice as long: the target
    24 s, in which 12 s of drafting are done; 16 s are left."""
    slow = Surface((1, 2), (0,), ((12.0, 16.0),))
    made = simulation(RIGHT, costs=Costs())
    first = next(replace(made, forwards=replace(TIMES, draft=slow)).rounds())
    assert (first.draft_seconds, first.target_seconds) == (28, 12)
    assert (first.seconds, first.wait_draft_seconds, first.wait_target_seconds) == (28, 0, 16)
    beside = replace(TIMES, draft=slow, slowdown=Slowdown(2.0, 2.0))
    first = next(replace(made, forwards=beside).rounds())
    assert (first.draft_seconds, first.target_seconds, first.seconds) == (40, 24, 40)


def test_choosing_and_looking_up_take_time() -> None:
    """Half a second for each token that took no forward of its own. Looking up takes a second, for
    each forward of the draft model, and each of the target unless it reads no guesses."""
    choosing = replace(simulation(RIGHT), forwards=replace(TIMES, choosing=0.5))
    assert [one.draft_seconds for one in choosing.rounds()] == [7, 6, 7.5, 12, 3]
    costs = Costs(lookup=1.0)
    looked = list(simulation(RIGHT, costs=costs).rounds())
    assert [one.draft_seconds for one in looked] == [9, 8, 9, 12, 4]
    assert [one.target_seconds for one in looked] == [13, 13, 13, 16, 15]
    alone = replace(simulation(RIGHT, costs=costs), schedule=Retrieving(2, 4, target_reads=False))
    assert [one.target_seconds for one in alone.rounds()] == [12, 12, 12, 15, 14]


def test_what_forwards_read_after_how_many_tokens() -> None:
    """A forward takes as many seconds as tokens come before it. The draft model reads the prompt's
    two first; after the rejection it goes on after the prompt, five tokens and two accepted ones,
    and once it has read three of the target's and given three after it, after 14."""
    by_context = Surface((1,), (0, 100), ((0.0,), (100.0,)))
    made = replace(simulation(WRONG), forwards=ForwardTimes(by_context, by_context))
    rounds = list(made.rounds())
    assert [one.draft_seconds for one in rounds] == [0 + 2, 3 + 4, 5 + 6, 8 + 9, 9 + 14, 0]
    # All that is final but the last token.
    assert [one.target_seconds for one in rounds] == [0, 2, 4, 6, 11, 14]


def test_only_what_was_recorded_can_be_simulated() -> None:
    """Texts are taken in turn, with their own prompts' lengths."""
    both = Retrievals((*RIGHT.prompts, *WRONG.prompts))
    texts = [list(simulation(both).rounds(index)) for index in range(3)]
    assert texts[0] == texts[2] == list(simulation(RIGHT).rounds()) != texts[1]
    with pytest.raises(ValueError, match="prompt 1: 14 tokens were recorded, 12 are to be sim"):
        simulation(both, max_new_tokens=12).rounds(1)
    # Two draft forwards a round and guesses of three tokens are what there was.
    just = replace(simulation(WRONG), schedule=Retrieving(2, 3))
    assert just.run() == simulation(WRONG).run()
    with pytest.raises(ValueError, match="has 2 draft forwards and guesses of up to 3 tokens, mo"):
        replace(simulation(WRONG), schedule=Retrieving(2, 2)).run()
    for schedule in (Retrieving(1, 4), Retrieving(2, 1)):
        with pytest.raises(ValueError, match="only the settings that were recorded"):
            replace(simulation(RIGHT), schedule=schedule).run()
    rate: Any = Rate(0.5, of=BOTH)
    with pytest.raises(ValueError, match=r"only from recorded rounds \(Retrievals\); got FixedT"):
        simulation(rate).run()


def test_a_recorded_text_says_nothing_else() -> None:
    text = RIGHT.text(0, 14, np.random.default_rng(0))
    assert text.confidence(3) == 0.5 and not text.within(3, 9, rejected=False)
    assert text.at_hand(3, 7) == 7
    with pytest.raises(ValueError, match="of recorded rounds only those are known"):
        text.accepted(0, 1)


def test_which_forwards_are_timed_for_it() -> None:
    """Of guesses of one token, and doubled up to the longest; the target reads up to two."""
    asked = Extents.of([Retrieving(3, 10), None, Retrieving(5, 1)])
    assert asked == Extents(frozenset({2, 3, 4, 8, 16, 21}), frozenset({2, 4, 8, 11}))
