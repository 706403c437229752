"""Dialogues as lists of messages, each with a role and a content, as APIs of servers take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: What a system prompt's role is called.
_SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class Conversation:
    """A dialogue that a model is to go on with.

    ``earlier`` are the user's messages that were answered, with their answers; ``turns`` are those
    that the model answers, one after the other.
    """

    turns: tuple[str, ...]
    earlier: tuple[tuple[str, str], ...] = ()
    system_prompt: str = ""


def read_messages(messages: Any) -> Conversation:
    """The dialogue that a list of messages is.

    An answer at its end is what the model is to write itself, so it is left out. ``ValueError`` for
    what is no such list, or has what a dialogue of texts does not: tools, pictures.
    """
    found = list(_read(messages))
    system = ""
    if found and found[0][0] in _SYSTEM:
        system = found.pop(0)[1]
    if found and found[-1][0] == "assistant":
        found.pop()
    earlier: list[tuple[str, str]] = []
    turns: list[str] = []
    for role, text in found:
        if role == "user":
            turns.append(text)
        elif role == "assistant" and len(turns) == 1:
            earlier.append((turns.pop(), text))
        elif role == "assistant":
            raise ValueError(
                "messages: an answer of the assistant must follow one message of the user,"
                f" {text!r:.40} follows {'none' if not turns else len(turns)}"
            )
        else:
            raise ValueError(f"messages: the {role} message must be the first")
    if not turns:
        raise ValueError("messages: there is no message of the user to be answered")
    return Conversation(tuple(turns), tuple(earlier), system)


def _read(messages: Any) -> Iterator[tuple[str, str]]:
    """Role and text of each message."""
    if not isinstance(messages, list):
        raise ValueError(f"messages must be a list, got {messages!r:.60}")
    for message in messages:
        if not isinstance(message, Mapping):
            raise ValueError(f"messages must be objects with role and content, got {message!r:.60}")
        role, text = message.get("role"), _text(message.get("content"))
        if role not in ("user", "assistant", *_SYSTEM) or message.get("tool_calls"):
            raise ValueError(
                "messages are those of a system, a user and an assistant, without tools,"
                f" got {dict(message)!r:.80}"
            )
        if text is None or not text.strip():
            raise ValueError(f"messages: a content must be a text, got {dict(message)!r:.80}")
        yield role, text


def _text(content: Any) -> str | None:
    """The text of a content, which may come in parts; ``None`` where it is no text alone."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    parts = [
        part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
        for part in content
    ]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(parts) else None
