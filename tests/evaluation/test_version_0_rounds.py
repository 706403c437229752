"""What became of drafted tokens, told of rounds that did not record it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pandas as pd
import pytest
from written_run import OUTPUT, autoregressive, pearl

from decoders.round import Round
from pearl_eval.results.version_0_rounds import upgrade_rounds

KEY = ("Task/1", 0, 0)
NEW = ["fates", "own_tokens", "busy_seconds"]


def upgraded(rounds: list[Round], output: list[int]) -> pd.DataFrame:
    """Rounds as they were, read now."""
    key = dict(zip(("task_id", "sample", "turn"), KEY, strict=True))
    frame = pd.DataFrame([key | asdict(one) for one in rounds]).drop(columns=NEW)
    return upgrade_rounds(frame, {KEY: output})


def fates(rounds: list[Round], output: list[int]) -> list[str]:
    marks = {"accepted": "a", "rejected": "r", "discarded": "."}
    return ["".join(marks[one] for one in own) for own in upgraded(rounds, output)["fates"]]


@pytest.mark.parametrize("rounds", [autoregressive(), pearl()], ids=["autoregressive", "pearl"])
def test_rounds_get_what_is_recorded_today(rounds: list[Round]) -> None:
    frame = upgraded(rounds, OUTPUT)
    assert list(frame["fates"]) == [one.fates for one in rounds]
    assert list(frame["own_tokens"]) == [one.own_tokens for one in rounds]
    assert list(frame["busy_seconds"]) == [one.busy_seconds for one in rounds]


def test_the_target_waits_for_a_whole_block_without_pre_verify() -> None:
    """No token of the block that is drafted meanwhile is the target's own."""
    block = {"drafted": 2, "drafted_ids": [100, 101], "drafted_at": [0, 1]}
    rounds = [
        Round("draft", **block, draft_seconds=0.2),
        Round("post-verify", judged=2, accepted=2, target_seconds=0.3, verified_length=2),
    ]
    frame = upgraded(rounds, [100, 101])
    assert list(frame["own_tokens"]) == [0, 0]
    assert list(frame["busy_seconds"]) == [0.2, 0.3]
    assert list(frame["fates"]) == [["accepted", "accepted"], []]


def by_turns(**values: Any) -> Round:
    return Round("verify", drafted=2, draft_seconds=0.1, target_seconds=0.1, **values)


def test_a_draft_that_starts_anew_in_the_same_place_is_not_discarded() -> None:
    """The last token of a block is wrong, so the next block begins right after it."""
    rounds = [
        by_turns(judged=2, accepted=1, verified_length=2, drafted_ids=[100, 7]),
        by_turns(judged=2, accepted=1, verified_length=4, drafted_ids=[102, 7]),
        by_turns(judged=2, accepted=2, verified_length=6, drafted_ids=[104, 105]),
    ]
    for index, one in enumerate(rounds):
        one.start, one.drafted_at = 0.3 * index, [2 * index, 2 * index + 1]
        one.draft_start, one.target_start = one.start, one.start + 0.15
    assert fates(rounds, OUTPUT) == ["ar", "ar", "aa"]
    frame = upgraded(rounds, OUTPUT)
    assert list(frame["own_tokens"]) == [1, 1, 0]
    assert list(frame["busy_seconds"]) == [0.2] * 3
    assert list(frame["draft_start"]) == [one.draft_start for one in rounds]


def test_a_block_that_ends_beyond_the_text() -> None:
    """The output is 5, 6, 7, 8, 9: of 5 6 3 the third is wrong, of 8 1 2 the second."""
    first = by_turns(drafted_ids=[5, 6, 3], drafted_at=[0, 1, 2], verified_length=3)
    second = by_turns(drafted_ids=[8, 1, 2], drafted_at=[3, 4, 5], verified_length=5)
    first.target_start = 1.0
    second.start = second.draft_start = 3.0
    second.target_start = 4.0
    assert fates([first, second], [5, 6, 7, 8, 9]) == ["aar", "ar."]


def test_what_runs_on_by_itself() -> None:
    """Each round reads what was drafted during the one before, so that after a rejection a round's
    tokens and one more are discarded, even if one agrees by chance. It began before it was read."""
    drafts = [([0, 1], [100, 7]), ([2, 3], [102, 9]), ([4, 2, 3], [8, 102, 103])]
    rounds = [
        Round(
            "verify",
            drafted=len(ids),
            judged=2,
            accepted=1,
            draft_seconds=0.15,
            target_seconds=0.19,
            start=0.2 * number,
            verified_length=2 * number,
            draft_start=0.2 * number,
            target_start=0.2 * number + 0.01,
            drafted_ids=ids,
            drafted_at=places,
        )
        for number, (places, ids) in enumerate(drafts, start=1)
    ]
    prompt = Round("decode", target_seconds=0.2, verified_length=1)
    rounds = [prompt, *rounds]
    assert fates(rounds, OUTPUT) == ["", "ar", "..", ".aa"]
    frame = upgraded(rounds, OUTPUT)
    assert list(frame["draft_start"]) == pytest.approx([0, 0.05, 0.25, 0.45])
    assert list(frame["own_tokens"]) == [1, 1, 1, 1]
    assert list(frame["busy_seconds"]) == [0.2, 0.19, 0.19, 0.19]
    # The last token of a round is the target's, even where all others agree.
    rounds[2] = replace(rounds[2], accepted=2)
    assert list(upgraded(rounds, OUTPUT)["own_tokens"]) == [1, 1, 1, 1]


def test_a_tree_of_guesses() -> None:
    """Depth first, and no model drafted them. The output is 5, 6, 7."""
    guesses = {
        (5, 0): "a", (6, 1): "a", (3, 2): "r", (9, 2): "r",
        (8, 0): "r", (6, 1, "after 8"): ".", (7, 2, "after 8"): ".",
        (5, 0, "again"): "a", (6, 1, "again"): "a", (7, 2): "a",
        (1, 3): ".",
    }  # fmt: skip
    ids, places = [guess[0] for guess in guesses], [guess[1] for guess in guesses]
    one = Round("verify", drafted=11, drafted_ids=ids, drafted_at=places, verified_length=3)
    assert fates([one], [5, 6, 7]) == ["".join(guesses.values())]


def test_prompts_are_told_apart() -> None:
    """What is known of one prompt is nothing of another."""
    rounds = pearl()
    frame = pd.DataFrame(
        [{"task_id": "Task/1", "sample": s, "turn": 0} | asdict(r) for s in (0, 1) for r in rounds]
    ).drop(columns=NEW)
    both = upgrade_rounds(frame, {("Task/1", s, 0): OUTPUT for s in (0, 1)})
    assert list(both["own_tokens"]) == [one.own_tokens for one in rounds] * 2
    assert list(both["fates"]) == [one.fates for one in rounds] * 2
