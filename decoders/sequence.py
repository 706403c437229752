"""The text being decoded: its tokens, its limit and where it stops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeVar

from decoders.sampling.sampler import Draft

Tokens = TypeVar("Tokens", list[int], Draft)


class Text:
    """Verified tokens of one prompt, and the rule that ends them.

    Parameters
    ----------
    prompt
        Prompt token ids, at least one.
    limit
        Longest generation, in tokens.
    stop_ids
        Tokens that end the text; the stop token itself is kept. Empty: generate to the limit.
    """

    def __init__(self, prompt: Sequence[int], limit: int, stop_ids: Iterable[int] = ()) -> None:
        if not prompt:
            raise ValueError("a prompt needs at least one token")
        if limit < 1:
            raise ValueError(f"the longest generation must be at least 1 token, got {limit}")
        self.tokens = list(prompt)
        self.prompt_length = len(prompt)
        self.limit = limit
        self.stop_ids = frozenset(stop_ids)
        self.finish_reason: str | None = None

    @property
    def output(self) -> list[int]:
        """The tokens generated so far."""
        return self.tokens[self.prompt_length :]

    def positions(self, start: int, count: int) -> list[int]:
        """Positions in the generated text, from 0, of ``count`` tokens from ``start`` on.

        ``start`` counts the prompt's tokens, too.
        """
        first = start - self.prompt_length
        return list(range(first, first + count))

    @property
    def remaining(self) -> int:
        """How many tokens may still be generated."""
        return self.limit - (len(self.tokens) - self.prompt_length)

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    def until_stop(self, tokens: Tokens) -> Tokens:
        """``tokens`` up to and including the first stop token, and at most ``remaining`` of them.

        Nothing after it can become part of the text, so nothing after it need be judged.
        """
        kept = 0
        for token in islice(tokens, self.remaining):
            kept += 1
            if token in self.stop_ids:
                break
        return tokens[:kept]

    def append(self, tokens: Sequence[int]) -> None:
        """Add verified tokens; the text ends at a stop token or at its limit."""
        kept = self.until_stop(list(tokens))
        self.tokens += kept
        if kept and kept[-1] in self.stop_ids:
            self.finish_reason = "stop"
        elif self.remaining == 0:
            self.finish_reason = "length"
