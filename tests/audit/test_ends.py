"""Where outputs may end."""

from __future__ import annotations

from typing import Any

import pytest

from pearl_eval.audit.ends import EndKind, Ends
from pearl_eval.audit.processors import Applied

#: 8 ends a text for every engine, 9 for some; 7 fills up.
ENDS = Ends([8], [8, 9], 7, context=20)


def judge(output: list[int], **more: Any) -> Any:
    told = {"finish_reason": "", "stop_reason": None, "retokenised": False, "said": "x"}
    settings = {key: more.pop(key) for key in list(more) if key not in told}
    told |= more
    said = told.pop("said")
    applied = Applied.of(settings, {})
    return ENDS.judge(applied, output, str(said), prompt_tokens=10, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("output", "more", "kind"),
    [
        ([1, 8], {}, "proper"),
        ([1, 9], {}, "proper"),
        ([1, 2], {"max_tokens": 2}, "proper"),
        ([1, 2], {"max_tokens": 2, "finish_reason": "length"}, "proper"),
        ([1] * 10, {"max_tokens": 99}, "proper"),  # the context is full
        ([1] * 9, {"max_tokens": 99}, "next"),
        ([1, 2], {"max_tokens": 3}, "next"),
        ([1, 2], {"finish_reason": "stop"}, "next"),
        ([], {"finish_reason": "stop"}, "next"),
        ([1, 2], {"finish_reason": "eos"}, "next"),
        ([1, 2], {"finish_reason": "eos_token"}, "next"),
        ([1, 2], {"finish_reason": "stop_token"}, "next"),
        ([1, 2], {"finish_reason": "END_TURN"}, "next"),
        ([1, 2], {}, "unknown"),
        ([1, 2], {"finish_reason": "length"}, "unknown"),
        ([1, 2], {"finish_reason": "abort", "max_tokens": 9}, "unknown"),
        ([1, 2], {"finish_reason": "length", "max_tokens": 9, "retokenised": True}, "unknown"),
        ([1, 2, 3], {"max_tokens": 2, "retokenised": True}, "next"),
        ([1, 5], {"stop_token_ids": [5]}, "proper"),
        ([1, 5], {"stop_reason": 5, "finish_reason": "stop"}, "proper"),
        ([1, 4], {"stop_reason": 5, "finish_reason": "stop"}, "unknown"),
        ([1, 2], {"stop": ["x"], "max_tokens": 9}, "proper"),
        ([1, 2], {"stop": "y", "max_tokens": 9}, "unknown"),
        ([1, 2], {"stop_reason": "x", "finish_reason": "stop"}, "proper"),
        ([8, 8], {"ignore_eos": True, "max_tokens": 2}, "proper"),
        ([1, 9, 2, 8], {}, "proper"),
    ],
)
def test_where_an_output_may_end(output: list[int], more: dict[str, Any], kind: str) -> None:
    assert judge(output, **more).kind is EndKind(kind)


@pytest.mark.parametrize(
    ("output", "more", "position", "why"),
    [
        ([1, 8, 2], {}, 2, "goes on after the stop token 8"),
        ([1, 5, 2], {"stop_token_ids": [5]}, 2, "goes on after the stop token 5"),
        ([1, 2, 3], {"max_tokens": 2}, 2, "has 3 tokens, more than the limit of 2"),
        (
            [1, 2],
            {"max_tokens": 3, "finish_reason": "length"},
            2,
            "ends at 2 tokens for its length",
        ),
        *(
            ([1, 2], {"max_tokens": 9, "finish_reason": one}, 2, "for its length, the limit is 9")
            for one in ("max_tokens", "max_length", "LENGTH")
        ),
        ([1, 8], {"max_tokens": 3, "ignore_eos": True}, 2, "ends at 2 tokens, the limit is 3"),
    ],
)
def test_where_it_may_not(output: list[int], more: dict[str, Any], position: int, why: str) -> None:
    end = judge(output, **more)
    assert (end.kind, end.position) == (EndKind.improper, position)
    assert why in end.why


def test_what_may_end_an_output_and_what_a_minimal_length_forbids() -> None:
    for told, stops, forbidden in (
        ({}, [8, 9], [8]),
        ({"stop_token_ids": [5, 8]}, [8, 9, 5], [8, 5]),
        ({"stop_token_ids": [5, 8], "ignore_eos": True}, [5, 8], [8, 5]),
    ):
        applied = Applied.of(told, {})
        assert (ENDS.stops(applied), ENDS.forbidden(applied)) == (stops, forbidden)


def test_what_fills_an_output_up_is_left_out() -> None:
    assert ENDS.unpadded([1, 8, 7, 7]) == [1, 8]
    assert ENDS.unpadded([1, 9, 7]) == [1, 9]
    # Not behind a stop token, or something else than what fills up.
    assert ENDS.unpadded([1, 2, 7, 7]) == [1, 2, 7, 7]
    assert ENDS.unpadded([1, 8, 2]) == [1, 8, 2]
    assert ENDS.unpadded([7, 7]) == [7, 7]
    same = Ends([8], [8], 8)
    assert same.unpadded([1, 8, 8, 8]) == [1, 8]
    assert same.unpadded([]) == []
