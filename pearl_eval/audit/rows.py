"""What an output is as it comes out of a file, before any tokenizer or model has looked at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class UnfitRow(ValueError):
    """Why a row can't be judged. The others still are."""


@dataclass(frozen=True)
class Place:
    """Where a row is: the file, as it was named, and the line in it, from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


@dataclass(frozen=True)
class Unusable:
    """A row that could not be judged, and why."""

    place: Place
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True)
class Messages:
    """A prompt that the model's chat template writes out, with what that is given besides."""

    messages: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recorded:
    """A prompt of a run of ours: of which run, and which problem, with the earlier answers."""

    folder: Path
    task_id: str
    answers: Sequence[Sequence[int]] = ()


#: A text, token ids, a dialogue, or a prompt that a run of ours can make again.
Prompt = str | list[int] | Messages | Recorded


@dataclass(frozen=True)
class AuditRow:
    """A prompt and what an engine made of it.

    Parameters
    ----------
    place
        Where it was read.
    name
        What it is called, for people and to find its counterpart in another file; may be empty.
    prompt, prompt_text
        What was continued; and its text, where the file has that beside its tokens.
    output
        Token ids; ``None`` where there is only ``text``.
    text
        The output as text, where the file has it.
    settings
        What was applied to the scores, and where texts end, by the names that engines use.
    finish_reason, stop_reason
        Why it ended, as the engine told; empty where it did not. ``stop_reason`` is the string or
        the token that ended it.
    special_tokens
        Whether the tokenizer adds its own to a prompt of text.
    own_run
        Whether it is of a run of ours, to which no engine's defaults were applied.
    model
        What the engine calls the model; may be empty.
    """

    place: Place
    name: str
    prompt: Prompt
    output: list[int] | None
    text: str | None = None
    prompt_text: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: str = ""
    stop_reason: str | int | None = None
    special_tokens: bool = True
    own_run: bool = False
    model: str = ""
