"""Where outputs may end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from pearl_eval.audit.processors import Applied

#: What engines say of an output that reached its limit, and of one that ended by itself.
_LIMITS = ("length", "max_tokens", "max_length")
_STOPS = ("", "stop", "eos", "eos_token", "stop_token", "end_turn")


class EndKind(Enum):
    """Whether an output ends where it should.

    ``proper``: at a stop token, a stop string or the limit. ``improper``: elsewhere. ``next``: if
    the target would stop next, as engines leave the stop token out. ``unknown``: it is not told why
    it ended.
    """

    proper = "proper"
    improper = "improper"
    next = "next"
    unknown = "unknown"


@dataclass(frozen=True)
class OutputEnd:
    """Whether an output ends where it should; if not, ``why``, and the ``position`` in it."""

    kind: EndKind
    why: str = ""
    position: int = 0


@dataclass(frozen=True)
class Ends:
    """The target's own stop tokens.

    Parameters
    ----------
    certain
        Those at which every engine ends a text.
    possible
        Those at which one may: the end of a turn in a chat template, too.
    padding
        What fills outputs up that ended before others, if anything does.
    context
        The longest text of the target.
    """

    certain: Sequence[int]
    possible: Sequence[int]
    padding: int | None = None
    context: int = field(default=2**31)

    def unpadded(self, output: list[int]) -> list[int]:
        """An output without what fills it up behind its stop token."""
        end = len(output)
        before = {self.padding, *self.possible}
        while end > 1 and output[end - 1] == self.padding and output[end - 2] in before:
            end -= 1
        # Fillings alone are none: there was no stop token before them.
        return output[:end] if end and output[end - 1] in self.possible else output

    def forbidden(self, applied: Applied) -> list[int]:
        """What a minimal length forbids."""
        return list(dict.fromkeys([*self.certain, *applied.stop_ids]))

    def stops(self, applied: Applied) -> list[int]:
        """All that may end an output."""
        own = () if applied.ignore_eos else self.possible
        return list(dict.fromkeys([*own, *applied.stop_ids]))

    def judge(
        self,
        applied: Applied,
        output: Sequence[int],
        said: str,
        *,
        prompt_tokens: int,
        finish_reason: str,
        stop_reason: str | int | None,
        retokenised: bool,
    ) -> OutputEnd:
        """Whether an output, whose text is ``said``, ends where it should."""
        certain = {*applied.stop_ids, *(() if applied.ignore_eos else self.certain)}
        for position, token in enumerate(output[:-1]):
            if token in certain:
                return _improper(f"goes on after the stop token {token}", position + 1)
        count, limit, reason = len(output), applied.limit, finish_reason.lower()
        if limit is not None and count > limit and not retokenised:
            return _improper(f"has {count} tokens, more than the limit of {limit}", limit)
        last = output[-1] if output else None
        if last is not None and (last in self.stops(applied) or last == stop_reason):
            return OutputEnd(EndKind.proper)
        if count == limit or prompt_tokens + count >= self.context:
            return OutputEnd(EndKind.proper)
        if reason in _LIMITS:
            if limit is None or retokenised:
                return OutputEnd(EndKind.unknown)
            return _improper(f"ends at {count} tokens for its length, the limit is {limit}", count)
        strings = [*applied.stops, *([stop_reason] if isinstance(stop_reason, str) else [])]
        if strings:
            # Which is left out of most texts, so that there may be nothing to be seen of it.
            found = any(one in said for one in strings)
            return OutputEnd(EndKind.proper if found else EndKind.unknown)
        if stop_reason is not None or reason not in _STOPS or (not reason and limit is None):
            return OutputEnd(EndKind.unknown)
        if not self.stops(applied):
            return _improper(f"ends at {count} tokens, the limit is {limit}", count)
        return OutputEnd(EndKind.next)


def _improper(why: str, position: int) -> OutputEnd:
    return OutputEnd(EndKind.improper, why, position)
