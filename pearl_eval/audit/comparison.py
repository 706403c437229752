"""Two files of outputs for the same prompts: where they part, and whether either is at fault."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pearl_eval.audit.rows import Place
from pearl_eval.audit.verdicts import VIOLATION, JudgedOutput
from pearl_eval.checks.verdict import first_difference


@dataclass(frozen=True)
class Parting:
    """Two outputs of one prompt.

    ``position`` is the first at which they differ; ``None`` where they do not. ``tokens`` are those
    there, ``None`` where one has ended, and ``found`` what each is: ``own``, ``tie`` or
    ``violation``.
    """

    name: str
    places: tuple[Place, Place]
    position: int | None = None
    tokens: tuple[int | None, int | None] = (None, None)
    found: tuple[str, str] = ("own", "own")

    @property
    def meaning(self) -> str:
        """Why they part."""
        if self.position is None:
            return "same"
        wrong = [one == VIOLATION for one in self.found]
        if all(wrong):
            return "both wrong"
        return "first wrong" if wrong[0] else "second wrong" if wrong[1] else "rounding"


def pair_up(
    first: Sequence[JudgedOutput], second: Sequence[JudgedOutput]
) -> tuple[list[tuple[JudgedOutput, JudgedOutput]], list[JudgedOutput]]:
    """The outputs of the same prompts, and those that have no counterpart.

    By their names, where both files name each row differently; else by their prompts, several of
    one prompt in their order.
    """
    by_name = all(
        len({one.text.row.name for one in rows} - {""}) == len(rows) for rows in (first, second)
    )
    waiting: dict[object, list[JudgedOutput]] = defaultdict(list)
    for one in second:
        waiting[_key(one, by_name)].append(one)
    pairs, alone = [], []
    for one in first:
        found = waiting[_key(one, by_name)]
        if found and found[0].text.prompt == one.text.prompt:
            pairs.append((one, found.pop(0)))
        else:
            alone.append(one)
    return pairs, alone + [one for left in waiting.values() for one in left]


def part(first: JudgedOutput, second: JudgedOutput) -> Parting:
    """Where two outputs of one prompt differ, and what each is there."""
    texts = first.text, second.text
    name = texts[0].row.name or texts[1].row.name
    places = texts[0].row.place, texts[1].row.place
    position = first_difference(texts[0].output, texts[1].output)
    if position is None:
        return Parting(name, places)
    ours, theirs = (
        text.output[position] if position < len(text.output) else None for text in texts
    )
    return Parting(
        name, places, position, (ours, theirs), (first.at(position), second.at(position))
    )


def _key(judged: JudgedOutput, by_name: bool) -> object:
    return judged.text.row.name if by_name else tuple(judged.text.prompt)
