"""Where texts loop, and how drafts fared there, on texts with chosen tokens."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from make_record import make_record
from test_traces import traces
from written_run import fates

from decoders.round import Round
from pearl_eval.results.loops import by_repetition, by_text, repeats


@pytest.mark.parametrize(
    ("ids", "span", "marks"),
    [
        ([1, 2, 3, 1, 2, 3, 1], 3, ".....rr"),
        ([1, 2, 3, 1, 2, 4, 1], 3, "......."),
        # What repeats may overlap what it repeats.
        ([7, 7, 7, 7, 7], 3, "...rr"),
        ([1, 2, 1], 1, "..r"),
        ([5, 5], 3, ".."),
        ([], 3, ""),
    ],
)
def test_a_token_repeats_that_ends_tokens_that_were_there(
    ids: list[int], span: int, marks: str
) -> None:
    assert repeats(ids, span) == [mark == "r" for mark in marks]


def test_ten_tokens_make_a_repetition() -> None:
    assert repeats([*range(10), *range(10)]) == [False] * 19 + [True]
    assert not any(repeats([*range(9), 99, *range(9)]))


def test_what_happened_where_a_text_repeats_is_told_apart(tmp_path: Path) -> None:
    """Fourteen times one token: from place 10 on it repeats."""
    rounds = [
        # Reads the prompt, and is not timed.
        Round("verify", drafted_at=[0, 1], fates=fates("ar"), verified_length=2),
        # Gives no token: its 0.5 s are the next one's, which gives six.
        Round("draft", start=1.0, verified_length=2),
        Round("verify", start=1.5, drafted_at=[5], fates=fates("a"), verified_length=8),
        # Two tokens before, two where it repeats, 0.25 s each.
        Round(
            "verify",
            start=1.75,
            drafted_at=[8, 9, 10, 11, 12],
            fates=fates("aaar."),
            verified_length=12,
        ),
        # The last is for a place beyond the text.
        Round(
            "verify", start=2.75, drafted_at=[12, 13, 14], fates=fates("arr"), verified_length=14
        ),
    ]
    record = make_record(output_ids=[7] * 14, new_tokens=14, seconds=4.75, speedup=1.5)
    frame = by_repetition(traces(tmp_path, (record, rounds)))
    assert frame.drop(columns=["sample", "turn"]).to_dict("records") == [
        {
            "task_id": "Task/0",
            "warmup": False,
            "speedup": 1.5,
            "repeats": False,
            "tokens": 10,
            "judged": 5,
            "accepted": 4,
            "timed": 8,
            "seconds": pytest.approx(0.75 + 0.5),
        },
        {
            "task_id": "Task/0",
            "warmup": False,
            "speedup": 1.5,
            "repeats": True,
            "tokens": 4,
            "judged": 4,
            "accepted": 2,
            "timed": 4,
            "seconds": pytest.approx(0.5 + 2.0),
        },
    ]


def test_each_text_is_looked_at_alone(tmp_path: Path) -> None:
    """The second is the first once more."""
    ids = list(range(12))
    written = [
        (make_record(index, output_ids=ids, warmup=index == 0), [Round("decode")])
        for index in range(2)
    ]
    frame = by_repetition(traces(tmp_path, *written))
    assert frame["tokens"].tolist() == [12, 0, 12, 0]
    assert frame["warmup"].tolist() == [True, True, False, False]


def test_the_share_of_each_text_that_repeats() -> None:
    """A turn is a text of its own, and so is one of the same name in another run."""
    columns = ["run", "task_id", "sample", "turn", "repeats", "tokens", "speedup"]
    rows = [
        ("a", "T/0", 0, 0, False, 6, 1.5), ("a", "T/0", 0, 0, True, 2, 1.5),
        ("a", "T/0", 0, 1, False, 4, 2.0), ("a", "T/0", 0, 1, True, 0, 2.0),
        ("b", "T/0", 0, 0, False, 1, 3.0), ("b", "T/0", 0, 0, True, 4, 3.0),
    ]  # fmt: skip
    found = by_text(pd.DataFrame(rows, columns=columns), ["run"]).reset_index()
    assert found[["run", "turn"]].to_numpy().tolist() == [["a", 0], ["a", 1], ["b", 0]]
    assert found["share"].tolist() == [0.25, 0.0, 0.8]
    assert found["speedup"].tolist() == [1.5, 2.0, 3.0]
