"""What was applied to scores: by hand, and resolved from rows and defaults."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_pair import make_tokenizer

from pearl_eval.audit.processors import Applied, Processed
from pearl_eval.audit.rows import UnfitRow

INF = float("inf")
LOGITS = [1.0, 2.0, -1.0, 0.0]
EOS = 3


def processed(text: list[int], begin: int, **told: Any) -> Processed:
    return Processed(Applied.of(told, {}), text, begin, [EOS], make_tokenizer())


def scores(text: list[int], begin: int, position: int, **told: Any) -> list[list[float]]:
    """Scores of the same logits at each place of the text from ``position`` on."""
    rows = torch.tensor([LOGITS] * (len(text) + 1 - position), dtype=torch.float64)
    return processed(text, begin, **told).scores(rows, position).tolist()


def test_nothing_applied_is_the_logits_themselves() -> None:
    assert scores([2, 0], 1, 1) == [LOGITS] * 2


def test_a_penalty_divides_what_is_above_zero_and_multiplies_what_is_below() -> None:
    first, second = scores([2, 0], 1, 1, repetition_penalty=2.0)
    assert first == [1.0, 2.0, -2.0, 0.0]  # after token 2
    assert second == [0.5, 2.0, -2.0, 0.0]  # after tokens 2 and 0
    assert processed([2], 1, repetition_penalty=2.0).sharpness == 2.0
    assert processed([2], 1, repetition_penalty=0.5).sharpness == 2.0


def test_a_bias_is_added_before_a_penalty() -> None:
    assert scores([2], 1, 1, logit_bias={"0": 1.5}) == [[2.5, 2.0, -1.0, 0.0]]
    both = scores([0], 1, 1, logit_bias={0: 1.0}, repetition_penalty=2.0)
    assert both == [[1.0, 2.0, -1.0, 0.0]]
    after = scores([0, 1], 1, 1, sequence_bias=[[[0, 1], -5.0]])
    assert after == [[1.0, -3.0, -1.0, 0.0], LOGITS]


def test_a_minimal_length_forbids_to_end() -> None:
    first, second = scores([2, 0], 1, 1, min_tokens=1)
    assert (first[EOS], second[EOS]) == (-INF, 0.0)
    first, second, third = scores([2, 0, 0], 1, 1, min_length=3)
    assert (first[EOS], second[EOS], third[EOS]) == (-INF, -INF, 0.0)


def test_words_that_are_forbidden() -> None:
    assert scores([2], 1, 1, bad_words_ids=[[1]]) == [[1.0, -INF, -1.0, 0.0]]
    first, second = scores([0, 2], 1, 1, bad_words_ids=[[0, 1]])
    assert (first[1], second[1]) == (-INF, 2.0)
    assert scores([2], 1, 1, suppress_tokens=[0]) == [[-INF, 2.0, -1.0, 0.0]]
    first, second = scores([2, 0], 1, 1, begin_suppress_tokens=[0])
    assert (first[0], second[0]) == (-INF, 1.0)
    again = scores([1, 2, 1], 1, 3, no_repeat_ngram_size=2)
    assert again == [[1.0, 2.0, -INF, 0.0]]


def test_forbidden_words_of_text_are_those_at_a_beginning_and_after_a_space() -> None:
    tokenizer = make_tokenizer()
    rows = torch.zeros(1, len(tokenizer))
    made = Processed(Applied.of({"bad_words": ["x"]}, {}), [5], 1, [0], tokenizer)
    banned = made.scores(rows, 1)[0].isinf().nonzero()[:, 0].tolist()
    assert banned == [tokenizer("x").input_ids[0]]


def test_what_is_drawn_from() -> None:
    rows = torch.tensor([LOGITS], dtype=torch.float64)
    made = processed([2], 1, temperature=0.5, top_k=2)
    assert made.warped(rows, 1).tolist() == [[2.0, 4.0, -INF, -INF]]
    expected = torch.tensor([2.0, 4.0], dtype=torch.float64).softmax(0)
    assert torch.allclose(made.distribution(rows, 1)[0, :2], expected)
    assert made.sharpness == 2.0
    nucleus = processed([2], 1, temperature=1.0, top_p=0.6)  # 0.64 of it is on token 1
    assert nucleus.warped(rows, 1).isfinite().tolist() == [[False, True, False, False]]
    relative = processed([2], 1, temperature=1.0, min_p=0.2)  # exp(-1) is above, exp(-2) below
    assert relative.warped(rows, 1).isfinite().tolist() == [[True, True, False, False]]


def test_what_was_cut_off_may_have_been_drawn_within_rounding() -> None:
    made = processed([2], 1, temperature=1.0, top_k=1)
    rows = torch.tensor([LOGITS], dtype=torch.float64)
    assert made.could_draw(1, rows, 1, 0.0)
    assert not made.could_draw(0, rows, 1, 0.49)
    assert made.could_draw(0, rows, 1, 0.51)


@pytest.mark.parametrize(
    ("told", "defaults", "random", "said"),
    [
        ({}, {}, False, ""),
        ({"temperature": 0.7}, {}, True, "sampled: temperature=0.7"),
        ({"temperature": 1}, {}, True, "sampled"),
        ({"temperature": 0}, {"do_sample": True, "top_p": 0.9}, False, ""),
        ({"temperature": 0.7, "do_sample": False}, {}, False, ""),
        ({}, {"do_sample": True, "temperature": 0.6}, True, "sampled: temperature=0.6"),
        ({}, {"do_sample": False, "temperature": 0.6}, False, ""),
        ({}, {"repetition_penalty": 1.1}, False, "repetition_penalty=1.1"),
        ({"repetition_penalty": 1.0}, {"repetition_penalty": 1.1}, False, ""),
        ({"temperature": 1.0, "top_k": -1}, {"top_k": 20}, True, "sampled"),
        ({"temperature": 1.0, "top_k": 0, "top_p": 1.0}, {}, True, "sampled"),
        ({"temperature": 1.0, "min_p": 0.1}, {"top_k": 9}, True, "sampled: top_k=9, min_p=0.1"),
        ({"min_new_tokens": 0, "bad_words": []}, {}, False, ""),
    ],
)
def test_what_a_row_says_counts_before_its_defaults(
    told: dict[str, Any], defaults: dict[str, Any], random: bool, said: str
) -> None:
    applied = Applied.of(told, defaults)
    assert (applied.random, applied.describe()) == (random, said)


def test_where_texts_end_has_several_names() -> None:
    applied = Applied.of({"max_completion_tokens": 9, "stop": "x", "stop_token_ids": [4]}, {})
    assert (applied.limit, applied.stops, applied.stop_ids) == (9, ("x",), (4,))
    applied = Applied.of({"max_new_tokens": 8, "stop": ["x", "y"], "ignore_eos": True}, {})
    assert (applied.limit, applied.stops, applied.ignore_eos) == (8, ("x", "y"), True)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"guided_json": {"a": 1}}, "guided_json={'a': 1} was applied, which no processor"),
        ({"structured_outputs": {"regex": "x"}}, "structured_outputs="),
        ({"response_format": {"type": "json_object"}}, "response_format="),
        ({"presence_penalty": 0.5}, "presence_penalty=0.5 was applied"),
        ({"frequency_penalty": -1}, "frequency_penalty=-1 was applied"),
        ({"num_beams": 4}, "num_beams=4 was applied"),
        ({"magic": 1}, "magic=1 is nothing that is known"),
        ({"temperature": "hot"}, "temperature='hot' is no number"),
        ({"max_tokens": True}, "max_tokens=True is no number"),
        ({"stop_token_ids": 5}, "stop_token_ids=5 is no list of token ids"),
        ({"stop": ["a", 5]}, "stop="),
        ({"bad_words": "x"}, "bad_words='x' is no list of texts"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_name(told: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnfitRow, match=f"^{reason}".replace("{", r"\{")):
        Applied.of(told, {})
    Applied.of({"presence_penalty": 0.0, "num_beams": 1, "n": 2, "seed": 3}, {})
    Applied.of({"response_format": {"type": "text"}}, {})


def test_settings_that_a_processor_does_not_take() -> None:
    with pytest.raises(UnfitRow, match=r"top_p can't be applied with 1\.5"):
        processed([2], 1, temperature=1.0, top_p=1.5)
    with pytest.raises(UnfitRow, match="logit_bias='x' is no object"):
        processed([2], 1, logit_bias="x")
    with pytest.raises(
        UnfitRow, match=r"its biases have 300, which is no token of the target's 300"
    ):
        processed([2], 1, logit_bias={300: 1.0})
    processed([2], 1, logit_bias={299: 1.0})
    with pytest.raises(UnfitRow, match="its forbidden words have -1, which is no token"):
        processed([2], 1, bad_words_ids=[[4, -1]])
    with pytest.raises(UnfitRow, match=r"sequence_bias=.* is no list"):
        processed([2], 1, sequence_bias=[3])
