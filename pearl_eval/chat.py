"""Dialogues written out by a model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from pearl_eval.errors import UserError


def render(
    tokenizer: PreTrainedTokenizerBase,
    system_prompt: str,
    turns: Sequence[str],
    answers: Sequence[str],
) -> str:
    """The text of a dialogue up to where the model answers.

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
        The tokenizer has no chat template, or it can't write this dialogue.
    """
    try:
        tokenizer.get_chat_template()
    except ValueError:
        raise UserError(
            f"{tokenizer.name_or_path}: its tokenizer has no chat template, which a task of"
            " dialogues needs; take an instruction-tuned target model"
        ) from None
    messages = [{"role": "user", "content": turns[0]}]
    for answer, turn in zip(answers, turns[1:], strict=False):
        messages.append({"role": "assistant", "content": answer})
        messages.append({"role": "user", "content": turn})
    try:
        if system_prompt:
            try:
                system = {"role": "system", "content": system_prompt}
                text = _apply(tokenizer, [system, *messages])
            except TemplateError:
                text = ""
            if system_prompt.strip() in text:
                return text
            messages[0]["content"] = f"{system_prompt}\n\n{turns[0]}"
        return _apply(tokenizer, messages)
    except TemplateError as error:
        raise UserError(
            f"{tokenizer.name_or_path}: its chat template can't write a dialogue: {error}"
        ) from error


def _apply(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
