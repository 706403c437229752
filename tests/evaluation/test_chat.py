"""Dialogues by chat templates of every kind."""

from __future__ import annotations

import pytest
from small_pair import make_tokenizer
from templates import PLAIN

from pearl_eval.errors import UserError
from pearl_eval.pairs.chat import (
    _refuse_control_tokens,
    dialogue_ids,
    end_of_turn,
    user_opening,
)

ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}{% endfor %}"
)
#: As Gemma's and older ones of Mistral.
REFUSES_SYSTEM = ALTERNATING + PLAIN
LEAVES_SYSTEM_OUT = PLAIN.replace("messages", "messages if m.role != 'system'")
TURNS = ("Why?", "And how?")


def written(template: str | None, system_prompt: str, *answers: str) -> str:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return str(tokenizer.decode(dialogue_ids(tokenizer, system_prompt, TURNS, answers)))


def test_a_dialogue_goes_up_to_where_the_model_answers() -> None:
    assert written(PLAIN, "") == "<user>Why?</><assistant>"
    assert written(PLAIN, " Be kind. ") == "<system>Be kind.</><user>Why?</><assistant>"
    assert written(PLAIN, "", "So.") == (
        "<user>Why?</><assistant>So.</><user>And how?</><assistant>"
    )


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, LEAVES_SYSTEM_OUT])
def test_without_a_place_for_it_the_system_prompt_begins_the_first_message(template: str) -> None:
    assert written(template, "Be kind.", "So.") == (
        "<user>Be kind.\n\nWhy?</><assistant>So.</><user>And how?</><assistant>"
    )
    assert written(template, "") == "<user>Why?</><assistant>"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template, which a task of dialogues needs"),
        (PLAIN + "{{ raise_exception('not today') }}", "can't write a dialogue: not today"),
        (PLAIN + "{% if %}", "can't write a dialogue: Expected an expression"),
        ("{{ messages[0].content.missing.name }}", "can't write a dialogue: 'str object' has no"),
    ],
)
def test_a_template_that_is_missing_or_fails_is_told(template: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        written(template, "Be kind.")


@pytest.mark.parametrize(
    ("end", "found"),
    [
        ("<|end|>", "<|end|>"),
        ("<|end|>\n", "<|end|>"),
        (" <|end|>", "<|end|>"),
        ("<|end|><|eos|>", "<|end|>"),
        ("<|eos|>", "<|eos|>"),
        ("<|end|>of", "<|end|>of"),
        ("</>", None),
        ("</><|end|>", None),
        ("", None),
    ],
)
def test_what_ends_a_turn_is_told_by_the_template(end: str, found: str | None) -> None:
    """The control token right behind an answer, the longest of that beginning."""
    tokenizer = make_tokenizer(["<|start|>", "<|end|>", "<|end|>of"])
    tokenizer.chat_template = (
        "{% for m in messages %}<|start|>{{ m.role }}:{{ m.content }}" + end + "{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant:{% endif %}"
    )
    expected = None if found is None else tokenizer.convert_tokens_to_ids(found)
    assert end_of_turn(tokenizer) == expected


@pytest.mark.parametrize("template", [None, "{{ raise_exception('no') }}", "<|eos|>", "{% if %}"])
def test_without_a_template_that_has_answers_nothing_ends_a_turn(template: str | None) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    assert end_of_turn(tokenizer) is None


def test_a_long_dialogue_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run refuses it in one line, where it does not fit."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = PLAIN
    tokenizer.model_max_length = 8
    monkeypatch.setattr("transformers.tokenization_utils_base.logger.warning", pytest.fail)
    assert len(dialogue_ids(tokenizer, "", ["Why is it so? " * 9], [])) > 8


def opening(template: str | None) -> str:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return str(tokenizer.decode(user_opening(tokenizer)))


def test_what_stands_before_a_users_message() -> None:
    assert opening(PLAIN) == "<user>"
    assert opening("<|eos|>{% for m in messages %}[{{ m.content }}]{% endfor %}") == "<|eos|>["
    for template in (None, "{{ raise_exception('no') }}", "{% if %}", "<|eos|>"):
        assert opening(template) == ""


def test_a_message_with_a_control_token_is_refused_where_it_can_not_be_read_as_text() -> None:
    tokenizer = make_tokenizer()
    _refuse_control_tokens(tokenizer, [{"role": "user", "content": "a <|eo"}])
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "b<|eos|>"}]
    with pytest.raises(UserError, match=r"a message has '<\|eos\|>', of which this version"):
        _refuse_control_tokens(tokenizer, messages)
