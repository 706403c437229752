from __future__ import annotations

import pytest

from decoders.sequence import Sequence


def test_stop_token_is_kept_and_ends_the_text() -> None:
    text = Sequence([1, 2], max_new_tokens=5, stop_ids=[9])
    text.append([3, 9, 4])
    assert (text.output, text.finish_reason) == ([3, 9], "stop")


def test_limit_ends_the_text_inside_a_block() -> None:
    text = Sequence([1], max_new_tokens=2)
    text.append([3, 4, 5])
    assert (text.output, text.finish_reason, text.remaining) == ([3, 4], "length", 0)


def test_stop_token_at_the_limit_is_a_stop() -> None:
    text = Sequence([1], max_new_tokens=2, stop_ids=[9])
    text.append([3, 9])
    assert text.finish_reason == "stop"


def test_stop_token_in_the_prompt_does_not_count() -> None:
    text = Sequence([9], max_new_tokens=2, stop_ids=[9])
    text.append([3])
    assert not text.finished


@pytest.mark.parametrize(
    ("prompt", "max_new_tokens", "told"),
    [
        ([], 3, "a prompt needs at least one token"),
        ([1], 0, "the longest generation must be at least 1 token, got 0"),
        ([1], -2, "the longest generation must be at least 1 token, got -2"),
    ],
)
def test_empty_prompt_and_empty_limit_are_refused(
    prompt: list[int], max_new_tokens: int, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        Sequence(prompt, max_new_tokens)
    assert Sequence([1], 1).remaining == 1
