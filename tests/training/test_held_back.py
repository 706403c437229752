"""Texts that have a stretch of words in common with a prompt that is held back."""

from __future__ import annotations

import pytest

from pearl_eval.training.held_back import HeldBack

HELD_BACK = ["Write a function, that adds: two numbers", "Short one"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("please WRITE a function that   adds", True),
        ("a function that adds two", True),
        ("function that adds two\nnumbers", True),
        ("a function that adds three numbers", False),
        ("a function adds two numbers that", False),
        # Shorter than a stretch: it counts as a whole.
        ("this is a (short) one", True),
        ("one short", False),
        ("", False),
    ],
)
def test_a_stretch_of_five_words_is_found(text: str, found: bool) -> None:
    assert HeldBack(HELD_BACK, 5)(text) is found


def test_the_number_of_words_counts() -> None:
    text = "a function that adds"
    assert [HeldBack(HELD_BACK[:1], words)(text) for words in (3, 4, 5)] == [True, True, False]


def test_nothing_is_held_back_by_nothing() -> None:
    assert not HeldBack([], 5)("a b c d e f")
    assert not HeldBack(["", "…"], 5)("a b c d e f")


def test_a_stretch_has_at_least_a_word() -> None:
    with pytest.raises(ValueError, match="at least 1 word, got 0"):
        HeldBack(HELD_BACK, 0)
