"""Dialogues written out by a model's own chat template, as text and as tokens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from pearl_eval.errors import UserError

#: As transformers takes them: a role and a content each.
Messages = list[dict[str, str]]

#: A message or answer of which no template has a word.
_SAID = "Seventeen"
#: What transformers calls its warning that a text is longer than its model's context.
_TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"
#: transformers has this from 5.20 on: what looks like a control token in a message is read as text.
_SANITIZE = "sanitize_control_tokens"
_SANITIZES = _SANITIZE in inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters


def dialogue_ids(
    tokenizer: PreTrainedTokenizerBase,
    system_prompt: str,
    turns: Sequence[str],
    answers: Sequence[str],
) -> list[int]:
    """The tokens of a dialogue up to where the model answers.

    Control tokens are the template's alone: what looks like one in a message is read as text.

    Parameters
    ----------
    tokenizer
        The model's tokenizer, which has its chat template.
    system_prompt
        Put before the first of ``turns`` where the template has no place for it: it refuses the
        role, as Gemma's does, or leaves it out. Empty for none.
    turns
        The user's messages, those after the next answer too.
    answers
        The model's answers so far.

    Raises
    ------
    UserError
        The tokenizer has no chat template, or it can't write this dialogue, or it, or
        transformers before 5.20, makes a control token of a message's text in any case.
    """
    found = _messages(tokenizer, system_prompt, turns, answers)
    # What is too long is said by ``Pair.check_context``. A template has no ``verbose`` to turn off.
    tokenizer.deprecation_warnings[_TOO_LONG] = True
    options: dict[str, Any] = {"add_generation_prompt": True, "return_dict": False}
    if _SANITIZES:
        options[_SANITIZE] = True
    else:
        _refuse_control_tokens(tokenizer, found)
    try:
        ids = tokenizer.apply_chat_template(found, **options)
    except ValueError as error:
        raise UserError(f"{tokenizer.name_or_path}: can't read a dialogue: {error}") from error
    return list(ids)


def user_opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What stands before a user's message in the tokenizer's own chat format; empty without one."""
    try:
        written = tokenizer.apply_chat_template(
            [{"role": "user", "content": _SAID}], tokenize=False
        )
    except (ValueError, TemplateError):
        return []
    before, found, _ = str(written).partition(_SAID)
    return list(tokenizer(before, add_special_tokens=False).input_ids) if found else []


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The control token that a chat template writes behind an answer of the model.

    ``None`` where there is no template, or one that ends an answer with mere text or not at all.
    A generation config may lack it, and the model then goes on with turns of both sides.
    """
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _SAID}]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception:  # whatever a template does: said where a dialogue is to be written
        return None
    _, answered, rest = text.rpartition(_SAID)
    rest = rest.lstrip()
    if not answered:
        return None
    special = {
        added.content: token
        for token, added in tokenizer.added_tokens_decoder.items()
        if added.special and added.content
    }
    found = [content for content in special if rest.startswith(content)]
    return special[max(found, key=len)] if found else None


def _refuse_control_tokens(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> None:
    for added in tokenizer.added_tokens_decoder.values():
        if added.special and any(added.content in message["content"] for message in messages):
            raise UserError(
                f"{tokenizer.name_or_path}: a message has {added.content!r}, of which this version"
                " of transformers makes a control token; leave it out, or take transformers 5.20"
                " or newer"
            )


def _messages(
    tokenizer: PreTrainedTokenizerBase,
    system_prompt: str,
    turns: Sequence[str],
    answers: Sequence[str],
) -> Messages:
    """A dialogue up to where the model answers, as the chat template can write it."""
    try:
        tokenizer.get_chat_template()
    except ValueError:
        raise UserError(
            f"{tokenizer.name_or_path}: its tokenizer has no chat template, which a task of"
            " dialogues needs; take an instruction-tuned target model"
        ) from None
    plain = [{"role": "user", "content": turns[0]}]
    for answer, turn in zip(answers, turns[1:], strict=False):
        plain.append({"role": "assistant", "content": answer})
        plain.append({"role": "user", "content": turn})
    try:
        if system_prompt:
            with_system = [{"role": "system", "content": system_prompt}, *plain]
            try:
                text = _write(tokenizer, with_system)
            except TemplateError:
                text = ""
            if system_prompt.strip() in text:
                return with_system
            plain[0]["content"] = f"{system_prompt}\n\n{turns[0]}"
        _write(tokenizer, plain)
        return plain
    except TemplateError as error:
        raise UserError(
            f"{tokenizer.name_or_path}: its chat template can't write a dialogue: {error}"
        ) from error


def _write(tokenizer: PreTrainedTokenizerBase, dialogue: Messages) -> str:
    """The text of a dialogue up to where the model answers."""
    return str(tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=True))
