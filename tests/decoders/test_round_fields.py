"""What each field of a round says, of every decoder: worked out on paper, see ``by_hand``.

A target forward takes 10 s and a second for each token it reads, a draft forward 2 s and a second
for each, a message half a second. The text is the tokens 10 … 23; the draft model says the same,
but 42 for 12 and 48 for 18.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from by_hand import Decode, by_hand, wrong_at

from decoders.accepted_runs import acceptance_length, verifications
from decoders.assisted import Assisted
from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.draft_only import DraftOnly
from decoders.generate import Generate
from decoders.generation import Generation
from decoders.lookahead import Lookahead
from decoders.model.reading import Kept, Reading, TreeReading
from decoders.pearl import Pearl
from decoders.pearl_adaptive import PearlAdaptive
from decoders.pearl_async import PearlAsync
from decoders.pearl_shared import PearlShared
from decoders.prompt_lookup import PromptLookup
from decoders.round import Round
from decoders.sampling.temperature import Temperature
from decoders.speculative import Speculative
from pearl_eval.results.latency import Latency

__all__ = ["by_hand"]

TEXT = list(range(10, 24))
DRAFT = wrong_at(TEXT, 2, 8)
#: Four tokens that come three times, for decoders that guess by what was there before.
REPEATING = [10, 11, 12, 13] * 3 + [14, 15]


def row(
    mode: str,
    starts: tuple[float, float, float],
    seconds: tuple[float, float],
    waits: tuple[float, float],
    drafted: tuple[list[int], list[int]],
    counts: tuple[int, int, int],
    target_tokens: int,
    bytes_sent: int = 0,
) -> Round:
    """A round: when it, the draft model and the target began (0: it did not run); how long each of
    the two ran, and waited; tokens drafted, and for where; how many were judged and accepted, and
    are final then."""
    ids, places = drafted
    judged, accepted, verified = counts
    return Round(
        mode,
        drafted=len(ids),
        judged=judged,
        accepted=accepted,
        draft_seconds=seconds[0],
        target_seconds=seconds[1],
        wait_draft_seconds=waits[0],
        wait_target_seconds=waits[1],
        start=starts[0],
        bytes_sent=bytes_sent,
        verified_length=verified,
        draft_start=starts[1],
        target_start=starts[2],
        drafted_ids=ids,
        drafted_at=places,
        target_tokens=target_tokens,
    )


NOTHING: tuple[list[int], list[int]] = ([], [])


def told(rounds: list[Round]) -> list[Round]:
    """Rounds with what ``row`` says of them; the rest is what ``became`` and ``settled`` have."""
    rest: dict[str, Any] = {"fates": [], "own_tokens": 0, "busy_seconds": 0.0}
    return [replace(one, **rest, compared=0, compared_accepted=0) for one in rounds]


def settled(generation: Generation) -> list[tuple[int, int]]:
    """How many tokens of each round were but compared with the target's own, and how many of them
    agreed."""
    return [(one.compared, one.compared_accepted) for one in generation.rounds]


def became(generation: Generation) -> list[tuple[str, int, float]]:
    """What became of each round's drafted tokens (accepted, rejected, discarded: ``a``, ``r``,
    ``.``), how many tokens were the target's own choice, and for how long a model ran."""
    marks = {"accepted": "a", "rejected": "r", "discarded": "."}
    return [
        ("".join(marks[fate] for fate in one.fates), one.own_tokens, one.busy_seconds)
        for one in generation.rounds
    ]


def totals(generation: Generation) -> tuple[Any, ...]:
    """Seconds of all and of the first target forward, forwards of target and draft model, runs."""
    return (
        generation.seconds,
        generation.seconds_prefill,
        generation.target_forwards,
        generation.draft_forwards,
        generation.accepted_runs,
    )


def test_what_a_round_does_not_say_is_nothing() -> None:
    assert Round("decode") == row("decode", (0, 0, 0), (0, 0), (0, 0), NOTHING, (0, 0, 0), 0)


def test_autoregressive(by_hand: Decode) -> None:
    """The prompt's two tokens are read for the first one: 12 s; then one for each."""
    generation = by_hand(Autoregressive(), TEXT, DRAFT, limit=3)
    assert told(generation.rounds) == [
        row("decode", (0, 0, 0), (0, 12), (0, 0), NOTHING, (0, 0, 1), 2),
        row("decode", (12, 0, 12), (0, 11), (0, 0), NOTHING, (0, 0, 2), 1),
        row("decode", (23, 0, 23), (0, 11), (0, 0), NOTHING, (0, 0, 3), 1),
    ]
    assert (generation.output_ids, generation.finish_reason) == ([10, 11, 12], "length")
    assert totals(generation) == (34, 12, 3, 0, [])
    assert became(generation) == [("", 1, 12), ("", 1, 11), ("", 1, 11)]


def test_draft_only(by_hand: Decode) -> None:
    """The draft model's own text, its mistakes included; the target never runs."""
    generation = by_hand(DraftOnly(), TEXT, DRAFT, limit=3)
    assert told(generation.rounds) == [
        row("draft", (0, 0, 0), (4, 0), (0, 0), ([10], [0]), (0, 0, 1), 0),
        row("draft", (4, 4, 0), (3, 0), (0, 0), ([11], [1]), (0, 0, 2), 0),
        row("draft", (7, 7, 0), (3, 0), (0, 0), ([42], [2]), (0, 0, 3), 0),
    ]
    assert generation.output_ids == [10, 11, 42]
    assert totals(generation) == (10, 0, 0, 3, [])
    assert became(generation) == [("a", 0, 4), ("a", 0, 3), ("a", 0, 3)]


#: γ = 3. The draft model reads the prompt with its first token (4 s), and where all was accepted
#: the last accepted token with the target's own (4 s); all else one by one (3 s). The target reads
#: what it added itself and the drafted three, at first the prompt. For the last token nothing is
#: drafted: the target adds it.
SPECULATIVE = [
    row("verify", (0, 0, 10), (10, 15), (15, 10), ([10, 11, 42], [0, 1, 2]), (3, 2, 3), 5),
    row("verify", (25, 25, 34), (9, 14), (14, 9), ([13, 14, 15], [3, 4, 5]), (3, 3, 7), 4),
    row("verify", (48, 48, 58), (10, 14), (14, 10), ([17, 48, 19], [7, 8, 9]), (2, 1, 9), 4),
    row("verify", (72, 72, 81), (9, 14), (14, 9), ([19, 20, 21], [9, 10, 11]), (3, 3, 13), 4),
    row("verify", (95, 95, 95), (0, 11), (11, 0), NOTHING, (0, 0, 14), 1),
]


def test_speculative(by_hand: Decode) -> None:
    generation = by_hand(Speculative(3), TEXT, DRAFT)
    assert told(generation.rounds) == SPECULATIVE
    assert (generation.output_ids, generation.finish_reason) == (TEXT, "length")
    assert totals(generation) == (106, 15, 5, 12, [2, 3, 1, 3])
    assert became(generation) == [
        ("aar", 1, 25), ("aaa", 1, 23), ("ar.", 1, 24), ("aaa", 1, 23), ("", 1, 11),
    ]  # fmt: skip
    assert generation.events == [
        Reading(0, [1, 2, 10, 11, 42], 4),
        Reading(4, [12, 13, 14, 15], 4),
        Reading(8, [16, 17, 48, 19], 4),
        Reading(10, [18, 19, 20, 21], 4),
        Reading(14, [22], 1),
    ]
    # In the last round nothing is judged, so it verifies nothing.
    assert verifications(generation.rounds) == [2, 3, 1, 3]
    assert acceptance_length(verifications(generation.rounds)) == 3.25
    assert settled(generation) == [(0, 0)] * 5


def test_speculative_judges_up_to_a_stop_token(by_hand: Decode) -> None:
    """14 stops the text: of 13, 14 and 15 two are judged, and the target adds nothing."""
    generation = by_hand(Speculative(3), TEXT, DRAFT, stop_ids=[14])
    assert told(generation.rounds) == [
        SPECULATIVE[0],
        row("verify", (25, 25, 34), (9, 14), (14, 9), ([13, 14, 15], [3, 4, 5]), (2, 2, 5), 4),
    ]
    assert (generation.output_ids, generation.finish_reason) == (TEXT[:5], "stop")
    assert totals(generation) == (48, 15, 2, 6, [2, 2])
    assert became(generation) == [("aar", 1, 25), ("aa.", 0, 23)]


#: γ = 4. A round lasts as long as the target (11 s for a token, 14 s for four), or the draft model
#: and two messages (3 s for each token and 1 s), whichever is longer; a request is 1 byte and its
#: answer 100. What was drafted beyond the first token of a rejected block is discarded.
PEARL = [
    # The draft model reads the prompt, too: 4 + 3 × 3 s. The target 2 tokens: 12 s.
    row(
        "pre-verify", (0, 0, 0), (13, 12), (1, 2),
        ([10, 11, 42, 13], [0, 1, 2, 3]), (1, 1, 1), 2, 101,
    ),
    # 11 accepted, 42 rejected.
    row(
        "post-verify", (14, 14, 14), (12, 14), (2, 0),
        ([14, 15, 16, 17], [4, 5, 6, 7]), (2, 1, 3), 4, 101,
    ),
    row(
        "pre-verify", (28, 28, 28), (12, 11), (1, 2),
        ([13, 14, 15, 16], [3, 4, 5, 6]), (1, 1, 4), 1, 101,
    ),
    row(
        "post-verify", (41, 41, 41), (12, 14), (2, 0),
        ([17, 48, 19, 20], [7, 8, 9, 10]), (4, 4, 8), 4, 101,
    ),
    # 48 rejected. Three tokens are left to draft: 9 s.
    row(
        "post-verify", (55, 55, 55), (9, 14), (5, 0),
        ([21, 22, 23], [11, 12, 13]), (1, 0, 9), 4, 101,
    ),
    row(
        "pre-verify", (69, 69, 69), (12, 11), (1, 2),
        ([19, 20, 21, 22], [9, 10, 11, 12]), (1, 1, 10), 1, 101,
    ),
    # One token is left to draft: 3 s.
    row("post-verify", (82, 82, 82), (3, 14), (11, 0), ([23], [13]), (4, 4, 14), 4, 101),
]  # fmt: skip


def test_pearl(by_hand: Decode) -> None:
    generation = by_hand(Pearl(4), TEXT, DRAFT)
    assert told(generation.rounds) == PEARL
    assert (generation.output_ids, generation.finish_reason) == (TEXT, "length")
    # 10 and 11, then 13 … 17, then 19 … 23.
    assert totals(generation) == (96, 12, 7, 24, [2, 5, 5])
    assert became(generation) == [
        ("aar.", 0, 13), ("....", 1, 14), ("aaaa", 0, 12), ("ar..", 0, 14), ("...", 1, 14),
        ("aaaa", 0, 12), ("a", 0, 14),
    ]  # fmt: skip
    # 14 tokens in 7 steps, so 2 a step; the acceptance length is 2.71 all the same.
    assert verifications(generation.rounds) == [1, 1, 1, 4, 0, 1, 4]
    assert acceptance_length(verifications(generation.rounds)) == 1 + 12 / 7
    assert settled(generation) == [(0, 0)] * 7
    # A round's tokens come at its end, the first at 14 s and the last 13 at 96 s at the latest.
    found = Latency.of_rounds(generation.rounds, generation.seconds)
    assert found == Latency(14, 82 / 13, (14, 13, 14, 14, 13, 14))


def test_pearl_judges_up_to_a_stop_token(by_hand: Decode) -> None:
    """15 stops the text in the fourth round, in which 14, 15, 16 and 17 would be judged."""
    generation = by_hand(Pearl(4), TEXT, DRAFT, stop_ids=[15])
    assert told(generation.rounds) == [
        *PEARL[:3],
        row(
            "post-verify", (41, 41, 41), (12, 14), (2, 0),
            ([17, 48, 19, 20], [7, 8, 9, 10]), (2, 2, 6), 4, 101,
        ),
    ]  # fmt: skip
    assert (generation.output_ids, generation.finish_reason) == (TEXT[:6], "stop")
    assert totals(generation) == (55, 12, 4, 16, [2, 3])
    assert became(generation) == [
        ("aar.", 0, 13), ("....", 1, 14), ("aaa.", 0, 12), ("....", 0, 14),
    ]  # fmt: skip


def test_pearl_asks_for_the_distribution_of_a_rejected_token(by_hand: Decode) -> None:
    """Sampling: after each of the two rejections a message more goes each way, for which both
    models wait, and which is no forward of either."""
    generation = by_hand(Pearl(4), TEXT, DRAFT, sampler=Temperature())
    expected = [
        *PEARL[:1],
        row(
            "post-verify", (14, 14, 14), (12, 14), (3, 0),
            ([14, 15, 16, 17], [4, 5, 6, 7]), (2, 1, 3), 4, 202,
        ),
    ]  # fmt: skip
    assert told(generation.rounds[:2]) == expected
    assert generation.output_ids == TEXT
    assert [one.start for one in generation.rounds] == [0, 14, 29, 42, 56, 71, 84]
    assert [one.bytes_sent for one in generation.rounds] == [101, 202, 101, 101, 202, 101, 101]
    assert [one.wait_draft_seconds for one in generation.rounds] == [1, 3, 1, 2, 6, 1, 11]
    assert totals(generation) == (98, 12, 7, 24, [2, 5, 5])


def test_pearl_without_pre_verify(by_hand: Decode) -> None:
    """After a rejection the target waits while a block is drafted, and then reads all of it."""
    generation = by_hand(Pearl(4, pre_verify=False), TEXT, DRAFT)
    assert told(generation.rounds) == [
        row(
            "draft", (0, 0, 0), (13, 0), (1, 14),
            ([10, 11, 42, 13], [0, 1, 2, 3]), (0, 0, 0), 0, 101,
        ),
        # The prompt and a block: 6 tokens.
        row(
            "post-verify", (14, 14, 14), (12, 16), (4, 0),
            ([14, 15, 16, 17], [4, 5, 6, 7]), (3, 2, 3), 6, 101,
        ),
        row(
            "draft", (30, 30, 0), (12, 0), (1, 13),
            ([13, 14, 15, 16], [3, 4, 5, 6]), (0, 0, 3), 0, 101,
        ),
        # The target's own 12 and a block: 5 tokens. The block and 17 are accepted.
        row(
            "post-verify", (43, 43, 43), (12, 15), (3, 0),
            ([17, 48, 19, 20], [7, 8, 9, 10]), (5, 5, 8), 5, 101,
        ),
        row(
            "post-verify", (58, 58, 58), (9, 14), (5, 0),
            ([21, 22, 23], [11, 12, 13]), (1, 0, 9), 4, 101,
        ),
        row(
            "draft", (72, 72, 0), (12, 0), (1, 13),
            ([19, 20, 21, 22], [9, 10, 11, 12]), (0, 0, 9), 0, 101,
        ),
        row("post-verify", (85, 85, 85), (3, 15), (12, 0), ([23], [13]), (5, 5, 14), 5, 101),
    ]  # fmt: skip
    assert generation.output_ids == TEXT
    assert totals(generation) == (100, 16, 4, 24, [2, 5, 5])
    assert became(generation) == [
        ("aar.", 0, 13), ("....", 1, 16), ("aaaa", 0, 12), ("ar..", 0, 15), ("...", 1, 14),
        ("aaaa", 0, 12), ("a", 0, 15),
    ]  # fmt: skip


def test_pearl_without_post_verify(by_hand: Decode) -> None:
    """The draft model waits while a block is judged. After a wholly accepted one the target's own
    token, 17 and 23, is kept; then the draft model reads 16 and 17 (4 s)."""
    generation = by_hand(Pearl(4, post_verify=False), TEXT, DRAFT)
    assert told(generation.rounds) == [
        PEARL[0],
        row("verify", (14, 0, 14), (0, 14), (14, 0), NOTHING, (2, 1, 3), 4),
        PEARL[2],
        row("verify", (41, 0, 41), (0, 14), (14, 0), NOTHING, (3, 3, 8), 4),
        row(
            "pre-verify", (55, 55, 55), (13, 11), (1, 3),
            ([48, 19, 20, 21], [8, 9, 10, 11]), (1, 0, 9), 1, 101,
        ),
        row(
            "pre-verify", (69, 69, 69), (12, 11), (1, 2),
            ([19, 20, 21, 22], [9, 10, 11, 12]), (1, 1, 10), 1, 101,
        ),
        row("verify", (82, 0, 82), (0, 14), (14, 0), NOTHING, (3, 3, 14), 4),
    ]  # fmt: skip
    assert generation.output_ids == TEXT
    assert totals(generation)[:4] == (96, 12, 7, 16)
    assert became(generation) == [
        ("aar.", 0, 13), ("", 1, 14), ("aaaa", 0, 12), ("", 1, 14), ("r...", 1, 13),
        ("aaaa", 0, 12), ("", 1, 14),
    ]  # fmt: skip


def test_pearl_shared_one_end_is_pearl(by_hand: Decode) -> None:
    """Here, where the models do not slow each other down."""
    generation = by_hand(PearlShared(4, both_ends=False), TEXT, DRAFT, ends=2)
    assert told(generation.rounds) == PEARL


def test_pearl_shared(by_hand: Decode) -> None:
    """The last end's copy of the draft model drafts until the target is half done and half a second
    (the message) more, and ends the token it is at. Half a second later the other copy goes on, and
    first reads what it has not seen. Asked, cut, asked: 3 bytes; two answers.
    """
    generation = by_hand(PearlShared(4), TEXT, DRAFT, ends=2)
    assert told(generation.rounds) == [
        # From 0.5: 10 and 11 by 7.5 (cut at 6.5). From 8: the prompt and these, 6 s, and 3 s.
        row(
            "pre-verify", (0, 0, 0), (16, 12), (1.5, 5.5),
            ([10, 11, 42, 13], [0, 1, 2, 3]), (1, 1, 1), 2, 203,
        ),
        # Each copy reads its own last token and the other's two: 5 s, and 3 s.
        row(
            "post-verify", (17.5, 17.5, 17.5), (16, 14), (1.5, 3.5),
            ([14, 15, 16, 17], [4, 5, 6, 7]), (2, 1, 3), 4, 203,
        ),
        # Rejected: the one reads 12 (3 + 3 s), the other 12, 13 and 14 (5 + 3 s).
        row(
            "pre-verify", (35, 35, 35), (14, 11), (1.5, 4.5),
            ([13, 14, 15, 16], [3, 4, 5, 6]), (1, 1, 4), 1, 203,
        ),
        row(
            "post-verify", (50.5, 50.5, 50.5), (16, 14), (1.5, 3.5),
            ([17, 48, 19, 20], [7, 8, 9, 10]), (4, 4, 8), 4, 203,
        ),
        # Two tokens by the one (5 + 3 s), one by the other (5 s).
        row(
            "post-verify", (68, 68, 68), (13, 14), (1.5, 0.5),
            ([21, 22, 23], [11, 12, 13]), (1, 0, 9), 4, 203,
        ),
        row(
            "pre-verify", (82.5, 82.5, 82.5), (14, 11), (1.5, 4.5),
            ([19, 20, 21, 22], [9, 10, 11, 12]), (1, 1, 10), 1, 203,
        ),
        # One token, done before the target is half done: nothing to hand over.
        row("post-verify", (98, 98, 98), (5, 14), (9, 0), ([23], [13]), (4, 4, 14), 4, 101),
    ]  # fmt: skip
    assert generation.output_ids == TEXT
    assert totals(generation) == (112, 12, 7, 24, [2, 5, 5])
    assert became(generation) == [
        ("aar.", 0, 16), ("....", 1, 16), ("aaaa", 0, 14), ("ar..", 0, 16), ("...", 1, 14),
        ("aaaa", 0, 14), ("a", 0, 14),
    ]  # fmt: skip


#: The draft model makes a token each 3 s from 4.5 on (0.5 and 4 s), which is there half a second
#: later; it goes on from a correction half a second after that was found, or after the token it is
#: at. A token is 100 bytes, news of what is verified 1.
ASYNC = [
    row("decode", (0, 0, 0), (0, 12), (0, 0), NOTHING, (0, 0, 1), 2, 1),
    # There at 5, 8 and 11. 10 agrees with the target's own; 11 is accepted, 42 rejected.
    row("verify", (12, 2, 12), (10, 13), (0, 0), ([10, 11, 42], [0, 1, 2]), (3, 2, 3), 3, 301),
    # There at 14, 17, 20 and 23, but after 42. The target decodes 13.
    row(
        "decode", (25, 13, 25), (12, 11), (0, 0),
        ([13, 14, 15, 16], [3, 4, 5, 6]), (0, 0, 4), 1, 401,
    ),
    # 17, which followed 42, is there at 26; what follows 12 at 29, 32 and 35. 13 agrees.
    row(
        "verify", (36, 24, 36), (12, 13), (0, 0),
        ([17, 13, 14, 15], [7, 3, 4, 5]), (3, 3, 7), 3, 401,
    ),
    # There at 38, 41, 44 and 47. 16 agrees; 17 is accepted, 48 rejected, 19 not judged.
    row(
        "verify", (49, 37, 49), (12, 14), (0, 0),
        ([16, 17, 48, 19], [6, 7, 8, 9]), (3, 2, 9), 4, 401,
    ),
    # There at 50, 53 and 56, but after 48; 22 is the last that need be drafted.
    row("decode", (63, 54, 63), (9, 11), (0, 0), ([20, 21, 22], [10, 11, 12]), (0, 0, 10), 1, 301),
]  # fmt: skip


def test_pearl_async(by_hand: Decode) -> None:
    generation = by_hand(PearlAsync(), TEXT, DRAFT)
    assert told(generation.rounds) == [
        *ASYNC,
        # The draft model waited from 55.5 to 63.5 for the correction. 19 agrees.
        row(
            "verify", (74, 65, 74), (9, 13), (8, 0),
            ([19, 20, 21], [9, 10, 11]), (3, 3, 13), 3, 301,
        ),
        # 22 agrees with the target's own. At 98 the draft process is told to stop, and says so.
        row("decode", (87, 84, 87), (3, 11), (0, 0), ([22], [12]), (1, 1, 14), 1, 201),
    ]  # fmt: skip
    assert (generation.output_ids, generation.finish_reason) == (TEXT, "length")
    # 10 and 11; 13 … 17; 19 … 22.
    assert totals(generation) == (99, 12, 8, 22, [2, 5, 4])
    assert became(generation) == [
        ("", 1, 12), ("aar", 1, 13), ("....", 1, 11), (".aaa", 1, 13), ("aar.", 1, 14),
        ("...", 1, 11), ("aaa", 1, 13), ("a", 1, 11),
    ]  # fmt: skip
    # 10, 13, 16, 19 and 22 were the target's own before they came; that judged the others.
    assert settled(generation) == [
        (0, 0), (1, 1), (0, 0), (1, 1), (1, 1), (0, 0), (1, 1), (1, 1),
    ]  # fmt: skip
    assert verifications(generation.rounds) == [1, 2, 1, 2]
    assert acceptance_length(verifications(generation.rounds)) == 2.5


def test_pearl_async_counts_what_comes_too_late(by_hand: Decode) -> None:
    """19 stops the text at 74. What is there at 67, 70, 73 and 76 was drafted in vain: until the
    draft process hears of it at 74.5 it is at 22, which is done at 75.5."""
    generation = by_hand(PearlAsync(), TEXT, DRAFT, stop_ids=[19])
    assert told(generation.rounds) == [
        *ASYNC[:5],
        row(
            "decode", (63, 42, 63), (9 + 12, 11), (8, 0),
            ([20, 21, 22, 19, 20, 21, 22], [10, 11, 12, 9, 10, 11, 12]), (0, 0, 10), 1, 801,
        ),
    ]  # fmt: skip
    assert (generation.output_ids, generation.finish_reason) == (TEXT[:10], "stop")
    assert totals(generation) == (76, 12, 6, 22, [2, 5])
    assert became(generation)[-1] == (".......", 1, 11)


def test_pearl_async_waits_where_it_is_as_far_ahead_as_it_may_be(by_hand: Decode) -> None:
    """Three tokens ahead. From 10.5 the draft model waits for news, which comes at 12.5; from 15.5
    until 25.5; from 34.5 until 36.5, and so on."""
    generation = by_hand(PearlAsync(ahead=3), TEXT, DRAFT)
    assert told(generation.rounds) == [
        *ASYNC[:2],
        row("decode", (25, 22, 25), (3, 11), (2, 0), ([13], [3]), (0, 0, 4), 1, 101),
        row("verify", (36, 27, 36), (9, 13), (10, 0), ([13, 14, 15], [3, 4, 5]), (3, 3, 7), 3, 301),
        row("decode", (49, 46, 49), (3, 11), (2, 0), ([16], [6]), (1, 1, 8), 1, 101),
        row("verify", (60, 51, 60), (9, 13), (10, 0), ([17, 48, 19], [7, 8, 9]), (2, 1, 9), 3, 301),
        row("decode", (73, 70, 73), (3, 11), (2, 0), ([20], [10]), (0, 0, 10), 1, 101),
        row(
            "verify", (84, 75, 84), (9, 13), (10, 0),
            ([19, 20, 21], [9, 10, 11]), (3, 3, 13), 3, 301,
        ),
        row("decode", (97, 94, 97), (3, 11), (2, 0), ([22], [12]), (1, 1, 14), 1, 201),
    ]  # fmt: skip
    assert totals(generation) == (109, 12, 9, 16, [2, 5, 4])
    # 17 is the target's own by then, so the third one's first is 48.
    assert verifications(generation.rounds) == [1, 2, 0, 2]


def test_pearl_async_that_waits_has_no_forward_without_a_drafted_token(by_hand: Decode) -> None:
    """As AMUSD. The first token is there at 5. From 32 on the target waits: until 35 for a token
    that still follows 42, until 38 for the first after 12; from 64 on until 68 for that after 18.
    """
    generation = by_hand(PearlAsync(waits=True), TEXT, DRAFT)
    assert told([replace(one, wait_start=0.0) for one in generation.rounds]) == [
        row("verify", (0, 0, 5), (4, 13), (0, 5), ([10], [0]), (1, 1, 2), 3, 101),
        # There at 8, 11, 14 and 17. 11 agrees with the target's own; 42 is rejected.
        row(
            "verify", (18, 6, 18), (12, 14), (0, 0),
            ([11, 42, 13, 14], [1, 2, 3, 4]), (2, 1, 3), 4, 401,
        ),
        # There at 20, 23, 26, 29, 32 and 35 after 42; then 13.
        row(
            "verify", (32, 11, 38), (21, 12), (0, 6),
            ([15, 16, 17, 48, 19, 20, 13], [5, 6, 7, 8, 9, 10, 3]), (1, 1, 5), 2, 701,
        ),
        row(
            "verify", (50, 38, 50), (12, 14), (0, 0),
            ([14, 15, 16, 17], [4, 5, 6, 7]), (4, 4, 9), 4, 401,
        ),
        # 48 was not the target's own. 22, after it, is there at 65, and 19 after 18 at 68.
        row(
            "verify", (64, 46, 68), (18, 12), (0, 4),
            ([48, 19, 20, 21, 22, 19], [8, 9, 10, 11, 12, 9]), (2, 1, 11), 2, 601,
        ),
        row(
            "verify", (80, 71, 80), (9, 13), (0, 0),
            ([20, 21, 22], [10, 11, 12]), (3, 3, 14), 3, 401,
        ),
    ]  # fmt: skip
    assert [one.wait_start for one in generation.rounds] == [0, 0, 32, 0, 64, 0]
    # A model runs while the target waits.
    assert [one.busy_seconds for one in generation.rounds] == [18, 14, 18, 14, 16, 13]
    assert all(verifications([one]) for one in generation.rounds)
    assert (generation.output_ids, totals(generation)[:4]) == (TEXT, (94, 13, 6, 25))


def test_pearl_async_that_waits_decodes_a_last_token_alone(by_hand: Decode) -> None:
    """10 is accepted and 11 the target's own; the third and last token is nobody's to draft."""
    generation = by_hand(PearlAsync(waits=True), TEXT, DRAFT, limit=3)
    assert [(one.mode, one.judged, one.wait_target_seconds) for one in generation.rounds] == [
        ("verify", 1, 5),
        ("decode", 1, 0),
    ]
    assert generation.output_ids == TEXT[:3]


def test_pearl_adaptive_decides_itself_whether_it_waits() -> None:
    with pytest.raises(ValueError, match="pearl_adaptive weighs each time whether to wait"):
        PearlAdaptive(waits=True)


def test_lookahead(by_hand: Decode) -> None:
    """W = 2, N = 3, G = 2: the window is 3 tokens beside the text's last one.

    Its levels are [1 2] [2 1] at first, of the prompt; the n-grams read off it, by round: 2 2 11,
    2 1 12; 10 11 12, 1 12 13; 11 12 13, 12 13 10; 12 13 10, 13 10 11; 11 10 13, 10 11 10; and two
    of no use. What starts with the text's last token is guessed, the newest first.
    """
    generation = by_hand(Lookahead(2, 3, 2), REPEATING, [])
    assert told(generation.rounds) == [
        row("decode", (0, 0, 0), (0, 15), (0, 0), NOTHING, (0, 0, 1), 5),
        row("decode", (15, 0, 15), (0, 14), (0, 0), NOTHING, (0, 0, 2), 4),
        row("decode", (29, 0, 29), (0, 14), (0, 0), NOTHING, (0, 0, 3), 4),
        row("verify", (43, 0, 43), (0, 16), (0, 0), ([13, 10], [3, 4]), (2, 2, 6), 6),
        row("verify", (59, 0, 59), (0, 16), (0, 0), ([12, 13], [6, 7]), (2, 2, 9), 6),
        # 11 10 and 11 12 share a node.
        row("verify", (75, 0, 75), (0, 17), (0, 0), ([11, 10, 12], [9, 10, 10]), (2, 2, 12), 7),
        # Two tokens are left: no window, and of 10 11 one is guessed, which is wrong.
        row("verify", (92, 0, 92), (0, 12), (0, 0), ([10], [12]), (1, 0, 13), 2),
        row("decode", (104, 0, 104), (0, 11), (0, 0), NOTHING, (0, 0, 14), 1),
    ]
    assert generation.output_ids == REPEATING
    assert totals(generation) == (115, 15, 8, 0, [2, 2, 2, 0])
    assert verifications(generation.rounds) == [2, 2, 2, 0]
    # The fourth forward's tree has the guess 13 10 and a window of three; the guess is kept.
    read, kept = generation.events[6:8]
    assert isinstance(read, TreeReading)
    assert (read.start, read.tokens, read.tree.tokens[:2]) == (4, [12], [13, 10])
    assert (len(read.tree), read.nodes) == (5, [-1, 0, 1, 3, 4])
    assert kept == Kept(5, [0, 1])
    assert became(generation) == [
        ("", 1, 15), ("", 1, 14), ("", 1, 14), ("aa", 1, 16), ("aa", 1, 16), ("ara", 1, 17),
        ("r", 1, 12), ("", 1, 11),
    ]  # fmt: skip


def test_generate(by_hand: Decode) -> None:
    generation = by_hand(Generate(), TEXT, DRAFT, limit=3)
    assert told(generation.rounds) == [
        row("decode", (0, 0, 0), (0, 12), (0, 0), NOTHING, (0, 0, 1), 2),
        row("decode", (12, 12, 12), (0, 11), (0, 0), NOTHING, (0, 0, 2), 1),
        row("decode", (23, 23, 23), (0, 11), (0, 0), NOTHING, (0, 0, 3), 1),
    ]
    assert generation.output_ids == [10, 11, 12]
    assert totals(generation) == (34, 12, 3, 0, [])
    assert became(generation) == [("", 1, 12), ("", 1, 11), ("", 1, 11)]
    assert generation.events == [
        Reading(0, [1, 2], 1, by_library=True),
        Reading(2, [10], 1, by_library=True),
        Reading(3, [11], 1, by_library=True),
    ]


@pytest.mark.parametrize("schedule", ["constant", "confidence"])
def test_assisted(by_hand: Decode, schedule: str) -> None:
    """As our own, but that transformers' draft model reads two tokens first in every round (4 s).

    Sure of every token, it drafts as many as it may by either schedule.
    """
    generation = by_hand(Assisted(schedule, 3), TEXT, DRAFT)
    assert told(generation.rounds) == [
        SPECULATIVE[0],
        row("verify", (25, 25, 35), (10, 14), (14, 10), ([13, 14, 15], [3, 4, 5]), (3, 3, 7), 4),
        row("verify", (49, 49, 59), (10, 14), (14, 10), ([17, 48, 19], [7, 8, 9]), (2, 1, 9), 4),
        row("verify", (73, 73, 83), (10, 14), (14, 10), ([19, 20, 21], [9, 10, 11]), (3, 3, 13), 4),
        row("decode", (97, 97, 97), (0, 11), (11, 0), NOTHING, (0, 0, 14), 1),
    ]
    assert totals(generation) == (108, 15, 5, 12, [2, 3, 1, 3])
    assert became(generation) == [
        ("aar", 1, 25), ("aaa", 1, 24), ("ar.", 1, 24), ("aaa", 1, 24), ("", 1, 11),
    ]  # fmt: skip
    # The draft model's forwards are none of these.
    assert generation.events[:3] == [
        Reading(0, [1, 2, 10, 11, 42], 4, by_library=True),
        Reading(4, [12, 13, 14, 15], 4, by_library=True),
        Reading(8, [16, 17, 48, 19], 4, by_library=True),
    ]


def test_assisted_heuristic(by_hand: Decode) -> None:
    """3 tokens; one less after a rejection; two more after none; one less."""
    generation = by_hand(Assisted("heuristic", 3), TEXT, DRAFT)
    assert told(generation.rounds) == [
        SPECULATIVE[0],
        row("verify", (25, 25, 32), (7, 13), (13, 7), ([13, 14], [3, 4]), (2, 2, 6), 3),
        row(
            "verify", (45, 45, 58), (13, 15), (15, 13),
            ([16, 17, 48, 19], [6, 7, 8, 9]), (3, 2, 9), 5,
        ),
        row("verify", (73, 73, 83), (10, 14), (14, 10), ([19, 20, 21], [9, 10, 11]), (3, 3, 13), 4),
        row("decode", (97, 97, 97), (0, 11), (11, 0), NOTHING, (0, 0, 14), 1),
    ]  # fmt: skip
    assert totals(generation) == (108, 15, 5, 12, [2, 2, 2, 3])


def test_prompt_lookup(by_hand: Decode) -> None:
    """Guessed once the text's last token is one that was there: what followed it then."""
    generation = by_hand(PromptLookup(3, 2), REPEATING, [])
    assert [one.mode for one in generation.rounds] == ["decode"] * 5 + ["verify"] * 2 + ["decode"]
    assert told(generation.rounds[4:]) == [
        row("decode", (45, 45, 45), (0, 11), (0, 0), NOTHING, (0, 0, 5), 1),
        row("verify", (56, 56, 56), (0, 14), (0, 0), ([11, 12, 13], [5, 6, 7]), (3, 3, 9), 4),
        row("verify", (70, 70, 70), (0, 14), (0, 0), ([11, 12, 13], [9, 10, 11]), (3, 3, 13), 4),
        row("decode", (84, 84, 84), (0, 11), (0, 0), NOTHING, (0, 0, 14), 1),
    ]
    assert generation.output_ids == REPEATING
    assert totals(generation) == (95, 12, 8, 0, [3, 3])
    assert became(generation)[4:] == [("", 1, 11), ("aaa", 1, 14), ("aaa", 1, 14), ("", 1, 11)]


@pytest.mark.parametrize("decoder", [Pearl(4), PearlAsync(), Speculative(3)], ids=str)
def test_a_wrong_guess_at_a_stop_is_no_stop(by_hand: Decode, decoder: Decoder) -> None:
    """48, which the draft model says where the text goes on with 18, is a stop token here."""
    generation = by_hand(decoder, TEXT, DRAFT, stop_ids=[48])
    assert (generation.output_ids, generation.finish_reason) == (TEXT, "length")


@pytest.mark.parametrize(("wrong", "accepted"), [((), 1.0), (range(14), 0.0)])
def test_pearl_async_drafts_always_and_never_right(
    by_hand: Decode, wrong: Any, accepted: float
) -> None:
    generation = by_hand(PearlAsync(), TEXT, wrong_at(TEXT, *wrong))
    judged = sum(one.judged for one in generation.rounds)
    assert judged and sum(one.accepted for one in generation.rounds) == accepted * judged
    assert generation.output_ids == TEXT


def test_pearl_async_drafts_no_token_twice_where_all_are_right(by_hand: Decode) -> None:
    """13 of 14: the last is the target's own."""
    assert by_hand(PearlAsync(), TEXT, TEXT).draft_forwards == 13
