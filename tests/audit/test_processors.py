"""What was applied to scores: by hand, and resolved from rows and defaults."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_pair import make_tokenizer

from pearl_eval.audit.processors import (
    CONTROLS,
    Applied,
    Processed,
    _biases,
    _sequences,
    _words,
)
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
        ({"bad_words_ids": [4]}, r"bad_words_ids=\[4\] is no list of lists of token ids"),
        ({"suppress_tokens": ["x"]}, r"suppress_tokens=\['x'\] is no list of token ids"),
        ({"begin_suppress_tokens": 4}, "begin_suppress_tokens=4 is no list of token ids"),
        ({"stop_token_ids": [True]}, r"stop_token_ids=\[True\] is no list of token ids"),
        *(
            ({name: "x"}, f"{name}='x' is no number")
            for name in ("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
        ),
        *(
            ({name: "x"}, f"{name}='x' is no number")
            for name in ("repetition_penalty", "min_new_tokens", "min_length", "max_tokens")
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_by_name(told: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnfitRow, match=f"^{reason}".replace("{", r"\{")):
        Applied.of(told, {})
    Applied.of({"presence_penalty": 0.0, "num_beams": 1, "n": 2, "seed": 3}, {})
    Applied.of({"response_format": {"type": "text"}}, {})


NEVER = (
    "top_h forced_bos_token_id forced_eos_token_id exponential_decay_length_penalty"
    " watermarking_config dola_layers allowed_token_ids allowed_tokens structured_outputs"
    " guided_decoding guided_json guided_regex guided_choice guided_grammar json_schema regex ebnf"
    " grammar custom_logit_processor thinking_token_budget"
)
#: What no processor does, by a value at which it would do nothing and another.
SOMETIMES = {
    "presence_penalty": (0, 1), "frequency_penalty": (0, 1), "num_beams": (1, 0),
    "use_beam_search": (False, True), "num_beam_groups": (1, 2), "best_of": (1, 2),
    "penalty_alpha": (0, 1), "guidance_scale": (1, 0), "encoder_repetition_penalty": (1, 0),
    "encoder_no_repeat_ngram_size": (0, 1), "token_healing": (False, True),
    "logits_processors": ([], ["x"]), "logits_processor": ([], ["x"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NEVER.split())
def test_what_no_processor_does_is_refused_whatever_it_is(name: str) -> None:
    assert name in CONTROLS
    for value in (0, "x"):
        with pytest.raises(UnfitRow, match=f"^{name}=.* was applied, which no processor of"):
            Applied.of({name: value}, {})
    Applied.of({name: None}, {})


@pytest.mark.parametrize("name", SOMETIMES)
def test_what_no_processor_does_may_be_said_to_do_nothing(name: str) -> None:
    assert name in CONTROLS
    nothing, something = SOMETIMES[name]
    assert Applied.of({name: nothing}, {}).describe() == ""
    with pytest.raises(UnfitRow, match=f"^{name}=.* was applied, which no processor of"):
        Applied.of({name: something}, {})


def test_what_changes_no_score_is_passed_over() -> None:
    names = (
        "n seed logprobs prompt_logprobs top_logprobs detokenize output_kind skip_special_tokens"
        " spaces_between_special_tokens include_stop_str_in_output truncate_prompt_tokens"
        " output_text_buffer_length extra_args stream user skip_clone skip_reading_prefix_cache"
        " flat_logprobs return_token_ids renormalize_logits remove_invalid_values use_cache"
        " length_penalty early_stopping echo add_special_tokens priority request_id"
    )
    assert Applied.of(dict.fromkeys(names.split(), 3), {}) == Applied(False, {}, {})


def test_settings_of_sampling_are_those_that_do_something_in_their_order() -> None:
    told = {"eta_cutoff": 0.3, "epsilon_cutoff": 0.2, "typical_p": 0.9, "min_p": 0.1, "top_p": 0.8}
    told |= {"top_k": 3, "temperature": 0.5}
    applied = Applied.of(told, {})
    names = "temperature top_k top_p min_p typical_p epsilon_cutoff eta_cutoff"
    assert list(applied.warpers) == names.split() and applied.warpers == told
    nothing = {"typical_p": 1.0, "min_p": 0.0, "epsilon_cutoff": 0, "eta_cutoff": 0, "top_p": 1}
    assert Applied.of({"temperature": 1.0, **nothing}, {}).warpers == {}
    assert not Applied.of({"do_sample": True, "temperature": 0}, {}).random


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({"epsilon_cutoff": 0.3}, [1]),
        ({"eta_cutoff": 0.3}, [0, 1]),
        ({"typical_p": 0.2}, [0]),
        ({"top_p": 0.2}, [1]),
    ],
)
def test_what_is_left_to_be_drawn_from(told: dict[str, float], kept: list[int]) -> None:
    """Of probabilities of 0.237, 0.644, 0.032 and 0.087, whose entropy is 0.948 nats.

    An eta of 0.3 cuts off what is below √0.3 e^−0.948 = 0.21. The most typical token is that whose
    −ln p is nearest to the entropy: 1.44 and 0.44 of the first two.
    """
    rows = torch.tensor([LOGITS], dtype=torch.float64)
    warped = processed([2], 1, temperature=1.0, **told).warped(rows, 1)
    assert warped[0].isfinite().nonzero()[:, 0].tolist() == kept


def test_a_temperature_and_a_penalty_pull_scores_apart_together() -> None:
    assert processed([2], 1, repetition_penalty=2.0, temperature=0.5).sharpness == 4.0
    assert processed([2], 1).sharpness == 1.0


def test_a_minimal_length_forbids_nothing_where_nothing_ends_a_text() -> None:
    applied = Applied.of({"min_tokens": 1, "min_length": 3}, {})
    made = Processed(applied, [2], 1, [], make_tokenizer())
    assert made.scores(torch.tensor([LOGITS]), 1).tolist() == [LOGITS]


def test_words_are_forbidden_after_a_space_as_well() -> None:
    """If they are as many tokens there, of which the first is another."""
    known = {
        "x": [4], " x": [9], "yz": [5, 6], " yz": [7, 6], "w": [1], " w": [8, 1], "v": [3],
        " v": [3],
    }  # fmt: skip

    def tokenizer(text: str, add_special_tokens: bool) -> Any:
        assert not add_special_tokens
        return SimpleNamespace(input_ids=known[text])

    found = _words([" x", "yz", "w", "v"], tokenizer)  # type: ignore[arg-type]
    assert found == [[4], [9], [5, 6], [7, 6], [1], [3]]


def test_biases_are_read_in_either_form() -> None:
    assert _biases({"3": 1, 4: -2.5}) == [[[3], 1.0], [[4], -2.5]]
    assert _sequences({(0, 1): 2}) == _sequences([[[0, 1], 2]]) == [[[0, 1], 2.0]]
    assert _biases(None) == _sequences(None) == []


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
