"""Prompts and outputs as the target's token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jinja2 import TemplateError

from pearl_eval.audit.ends import Ends
from pearl_eval.audit.own_runs import OwnRuns
from pearl_eval.audit.processors import Applied
from pearl_eval.audit.rows import AuditRow, Messages, Recorded, UnfitRow
from pearl_eval.errors import reason
from pearl_eval.pairs.pair import Pair


@dataclass(frozen=True)
class RowText:
    """A row whose prompt and output are token ids, and what was applied to its scores.

    ``retokenised``: the output was given as text, so its tokens are those of the tokenizer, which
    need not be those that the engine generated.
    """

    row: AuditRow
    prompt: list[int]
    output: list[int]
    applied: Applied
    retokenised: bool = False

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.output

    @property
    def begin(self) -> int:
        return len(self.prompt)


class TextReading:
    """Makes texts of rows.

    Parameters
    ----------
    pair
        The pair whose target is held against.
    special_tokens
        Whether the tokenizer adds its own to prompts; ``None``: as each row has it.
    """

    def __init__(self, pair: Pair, special_tokens: bool | None = None) -> None:
        self._pair = pair
        self._tokenizer = pair.tokenizer
        self._special = special_tokens
        self._runs = OwnRuns(pair)
        self._size = max(len(pair.tokenizer), 1 + max(pair.tokenizer.get_vocab().values()))

    def text(self, row: AuditRow, applied: Applied, ends: Ends) -> RowText:
        """A row as tokens. UnfitRow where it can't be, or they can't be the target's."""
        prompt = self._prompt(row)
        if not prompt:
            raise UnfitRow("its prompt is empty, so nothing says what the first token should be")
        self._check_ids("prompt", prompt)
        if row.output is not None:
            output = list(row.output)
            self._check_ids("output", output)
            self._check_text("prompt", prompt, row.prompt_text)
            self._check_text("output", output, row.text)
            if not applied.ignore_eos:
                output = ends.unpadded(output)
        elif row.text is None:
            raise UnfitRow("it has no output: neither token ids nor text")
        else:
            output = self._output(prompt, row.text)
        context = self._pair.contexts["target"]
        if len(prompt) + len(output) > context:
            raise UnfitRow(
                f"its prompt of {len(prompt)} tokens and output of {len(output)} do not fit the"
                f" target's context of {context}"
            )
        return RowText(row, prompt, output, applied, row.output is None)

    def otherwise(self, text: RowText, position: int, token: int) -> RowText | None:
        """The same output of text in other tokens, with ``token`` at a position.

        Where a text can be written in several ways, an engine may have chosen another than the
        tokenizer would. ``None`` where the token is none that the text could go on with.
        """
        assert text.row.text is not None
        whole, head = text.row.text, [*text.output[:position], token]
        said = self._decoded(text.prompt, head)
        if token == text.output[position] or not said or not whole.startswith(said):
            return None
        rest = whole[len(said) :]
        tail = self._plain(rest) if rest else []
        if self._decoded(text.prompt, head + tail) != whole:
            return None
        return replace(text, output=head + tail)

    def _prompt(self, row: AuditRow) -> list[int]:
        prompt = row.prompt
        if isinstance(prompt, list):
            return prompt
        if isinstance(prompt, Recorded):
            return self._runs.prompt(prompt)
        if isinstance(prompt, Messages):
            return self._written(prompt)
        special = row.special_tokens if self._special is None else self._special
        # As engines read it: what looks like a control token is one.
        return list(self._tokenizer(prompt, add_special_tokens=special, verbose=False).input_ids)

    def _written(self, prompt: Messages) -> list[int]:
        """A dialogue by the chat template, as engines write it."""
        options = dict(prompt.options)
        on = bool(options.pop("continue_final_message", False))
        try:
            ids = self._tokenizer.apply_chat_template(
                [dict(one) for one in prompt.messages],
                add_generation_prompt=not on,
                continue_final_message=on,
                return_dict=False,
                **options,
            )
        except (ValueError, TypeError, TemplateError) as error:
            said = f"{reason(error):.200}"
            raise UnfitRow(
                f"the target's chat template can't write its messages: {said}"
            ) from error
        return list(ids)

    def _output(self, prompt: list[int], text: str) -> list[int]:
        """The tokens of a text that continues a prompt."""
        if not text:
            return []
        alone = self._plain(text)
        # Some tokenizers put a space before what they are given alone.
        head = str(self._tokenizer.decode(prompt, skip_special_tokens=True))
        whole, before = self._plain(head + text), self._plain(head)
        candidates = [alone]
        if whole[: len(before)] == before:
            candidates.insert(0, whole[len(before) :])
        for ids in candidates:
            if self._decoded(prompt, ids) == text:
                return ids
        raise UnfitRow(
            "its text is not what its tokens are decoded to, so they can't be told from it"
        )

    def _plain(self, text: str) -> list[int]:
        """The tokens of a text, without any that the tokenizer adds."""
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def _decoded(self, prompt: Sequence[int], output: Sequence[int]) -> str:
        return self._pair.decode(prompt, output)

    def _check_ids(self, what: str, ids: Sequence[int]) -> None:
        for position, token in enumerate(ids):
            if not 0 <= token < self._size:
                raise UnfitRow(
                    f"token {token} at position {position} of its {what} is beyond the target's"
                    f" vocabulary of {self._size}: ids of another tokenizer?"
                )

    def _check_text(self, what: str, ids: list[int], text: str | None) -> None:
        """Refuse ids that are not those of the text beside them, by the target's tokenizer."""
        # What is cut within a letter ends in signs that stand for no letter.
        expected = (text or "").strip().rstrip("\ufffd").strip()
        for skip in (True, False):
            found = str(self._tokenizer.decode(ids, skip_special_tokens=skip))
            if expected in found:
                return
        raise UnfitRow(
            f"its {what}'s token ids read {found.strip()[:40]!r} by the target's tokenizer, and its"
            f" text {expected[:40]!r}: ids of another tokenizer?"
        )
