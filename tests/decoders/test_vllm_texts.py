"""Which text of vLLM's a row is, and what was drafted for it."""

from __future__ import annotations

import numpy as np
import pytest

from decoders.vllm.texts import Changes, ServedText, ServedTexts

ROOM = 40


class Rows:
    """vLLM's rows: texts, of which a step tells what they have gained."""

    def __init__(self, most: int = 8) -> None:
        self.texts = ServedTexts(most, ROOM)
        self.tokens = np.full((8, ROOM), 99, dtype=np.int32)

    def step(self, *rows: tuple[list[int], list[int]]) -> tuple[list[int | None], Changes]:
        """Rows as (text before, gained); gives the number of each row's text."""
        self.tokens[:] = 99
        for row, (before, gained) in enumerate(rows):
            self.tokens[row, : len(before) + len(gained)] = before + gained
        lengths = [len(before) + len(gained) for before, gained in rows]
        found, changes = self.texts.step([gained for _, gained in rows], lengths, self.tokens)
        return [text and text.number for text in found], changes


def numbers(texts: list[ServedText]) -> list[int]:
    return [text.number for text in texts]


def test_a_text_is_known_by_what_it_is_in_whatever_row() -> None:
    rows = Rows()
    found, changes = rows.step(([1, 2], [3]), ([4, 5], [6]))
    assert found == [1, 2] and numbers(changes.begun) == [1, 2]
    # The first row's request has ended, the second has its row, a third has come.
    found, changes = rows.step(([4, 5, 6], [7, 8]), ([9], [1]))
    assert found == [2, 3]
    assert numbers(changes.over) == [1] and numbers(changes.begun) == [3]
    [(text, update, start, gained)] = changes.updates
    assert (text.number, update, start, gained) == (2, 1, 3, [7, 8])
    assert text.as_bytes() == np.array([4, 5, 6, 7, 8], dtype=np.int32).tobytes()
    found, changes = rows.step(([4, 5, 6, 7, 8], [9]))
    assert [update[1:] for update in changes.updates] == [(2, 5, [9])]


def test_what_a_step_does_not_ask_about_is_over_and_begins_anew_when_it_comes_again() -> None:
    rows = Rows()
    rows.step(([1, 2], [3]), ([4], [5]))
    _, changes = rows.step(([4, 5], [6]))
    assert numbers(changes.over) == [1]
    # As one that was preempted and is back, at the very text that it had.
    found, changes = rows.step(([1, 2, 3], [8]), ([4, 5, 6], [7]))
    assert found == [3, 2] and numbers(changes.begun) == [3]


def test_a_prompt_that_comes_again_has_none_of_the_drafts_it_had() -> None:
    rows = Rows()
    for gained in ([3], [4, 5]):
        [number], _ = rows.step(([1, 2] if gained == [3] else [1, 2, 3], gained))
    [text] = rows.texts
    text.publish(0, 3, 4)
    found, changes = rows.step(([1, 2], [3]))
    assert found == [2] and numbers(changes.over) == [number] == [1]
    [text] = rows.texts
    assert text.pending == [] and not text.is_read


def test_while_a_prompt_is_read_it_has_no_text_yet_and_others_go_on() -> None:
    rows = Rows()
    rows.step(([1, 2], [3]))
    found, changes = rows.step(([1, 2, 3], [4]), ([5, 6, 7, 8], []))
    assert found == [1, None] and changes.begun == []
    # A text that gains nothing in a step is not over.
    found, changes = rows.step(([1, 2, 3, 4], []), ([5, 6, 7, 8], [9]))
    assert found == [1, 2] and changes.over == [] and changes.updates == []


def test_requests_with_the_same_text_share_it_until_they_part() -> None:
    rows = Rows()
    found, changes = rows.step(([1, 2], [3]), ([1, 2], [3]))
    assert found == [1, 1] and numbers(changes.begun) == [1]
    found, changes = rows.step(([1, 2, 3], [4, 5]), ([1, 2, 3], [4, 5]))
    assert found == [1, 1] and len(changes.updates) == 1
    found, changes = rows.step(([1, 2, 3, 4, 5], [6]), ([1, 2, 3, 4, 5], [7]))
    assert found == [1, 2]
    assert [update[1:] for update in changes.updates] == [(2, 5, [6])]
    assert numbers(changes.begun) == [2] and changes.over == []


def test_texts_of_the_same_length_are_told_apart() -> None:
    rows = Rows()
    rows.step(([1, 2], [3]), ([1, 2], [4]), ([5, 2], [3]))
    found, changes = rows.step(([5, 2, 3], [1]), ([1, 2, 3], [1]), ([1, 2, 4], [1]))
    assert found == [3, 1, 2] and changes.begun == changes.over == []


def test_beyond_the_most_there_are_no_texts_until_one_is_over() -> None:
    rows = Rows(most=2)
    found, changes = rows.step(([1], [2]), ([3], [4]), ([5], [6]))
    assert found == [1, 2, None] and numbers(changes.begun) == [1, 2]
    found, _ = rows.step(([3, 4], [5]), ([5, 6], [7]))
    assert found == [2, 3]


def drafted(tokens: list[int], lineage: int = 0, start: int = 3) -> ServedText:
    text = ServedText(1, np.array([1, 2, 3], dtype=np.int32), ROOM)
    for position, token in enumerate(tokens, start):
        text.publish(lineage, position, token)
    return text


def test_drafts_that_the_target_agrees_with_are_counted_once_and_the_others_are_pending() -> None:
    text = drafted([4, 5, 6, 7])
    assert text.settle() == (0, 0) and text.pending == [4, 5, 6, 7] and text.reach == 7
    text.add([4, 5])
    assert text.settle() == (2, 0) and text.settle() == (0, 0)
    assert text.pending == [6, 7] and text.reach == 7
    text.publish(0, 7, 8)
    text.add([6])
    assert text.settle() == (1, 0) and text.pending == [7, 8] and text.reach == 8


def test_after_a_disagreement_nothing_counts_until_it_was_heard_of() -> None:
    text = drafted([4, 5, 6, 7])
    assert text.add([4, 9]) == 1
    assert text.settle() == (1, 1) and text.pending == [] and text.reach == 5
    text.publish(0, 7, 8)
    assert text.settle() == (0, 0) and text.pending == [] and text.reach == 5
    # Those of update 1 follow its text, of 5 tokens.
    text.publish(1, 5, 10)
    text.publish(1, 6, 11)
    assert text.settle() == (0, 0) and text.pending == [10, 11] and text.reach == 7


def test_a_target_that_is_ahead_is_compared_once_the_drafts_have_come() -> None:
    text = drafted([4])
    text.add([4, 5, 6])
    assert text.settle() == (1, 0) and text.pending == [] and text.reach == 4
    text.publish(0, 4, 5)
    assert text.settle() == (1, 0) and text.pending == []
    text.publish(0, 5, 7)
    assert text.settle() == (0, 1) and text.pending == [] and text.reach == 6


@pytest.mark.parametrize(
    ("lineage", "position", "message"),
    [
        (0, 4, "expected a token for position 5, got one for 4"),
        (2, 5, "expected a lineage from 0 to 1, got 2"),
        (-1, 5, "expected a lineage from 0 to 1, got -1"),
        (1, 5, "expected a token for position 4, got one for 5"),
    ],
)
def test_drafts_that_can_not_be_are_none(lineage: int, position: int, message: str) -> None:
    text = drafted([4, 5])
    text.add([4])
    with pytest.raises(ValueError, match=message):
        text.publish(lineage, position, 6)


def test_a_lineage_does_not_go_back() -> None:
    text = drafted([4])
    text.add([9])
    text.publish(1, 4, 10)
    with pytest.raises(ValueError, match="expected a lineage from 1 to 1, got 0"):
        text.publish(0, 4, 5)
