"""What each model did when: the lanes of several decoders, over one stretch of one prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text

from decoders.round import Fate
from pearl_eval.figures.fonts import cells, families
from pearl_eval.figures.palette import (
    BLUE,
    BLUE_INK,
    GREEN,
    GREEN_INK,
    IDLE,
    SKY,
    VERMILLION,
    styled,
)
from pearl_eval.results.stretch import MOMENT, Decoding, Stretch

_DISCARDED = "#F6D3BC"
_WAITING: dict[str, Any] = {"facecolor": "none", "edgecolor": IDLE, "hatch": "////"}
_ENGINE_WAITING = _WAITING | {"facecolor": "white"}
#: What an engine does in a step beside its target's forward.
WORK = "#C9C9CC"
_WORK: dict[str, Any] = {"facecolor": WORK, "edgecolor": "white"}
_FATES = {Fate.accepted: GREEN, Fate.rejected: VERMILLION, Fate.discarded: _DISCARDED}
_LEGEND: list[tuple[str, dict[str, Any]]] = [
    ("drafted, accepted", {"facecolor": GREEN}),
    ("drafted, rejected", {"facecolor": VERMILLION}),
    ("drafted, discarded", {"facecolor": _DISCARDED}),
    ("the target's own token", {"facecolor": BLUE}),
    ("target forward: accepted of judged", {"facecolor": SKY}),
    ("waiting", _WAITING),
]
#: Where an engine is among those shown.
_OF_ENGINES = [("the engine's other work", _WORK)]
#: Sizes in inches, but for fonts: points.
_WIDTH, _LEFT, _RIGHT, _LANE, _HEADING, _GAP = 10.0, 0.95, 0.15, 0.34, 0.32, 0.2
_BRANCH = 0.17
_INSIDE = _WIDTH - _LEFT - _RIGHT
_ABOVE, _BELOW = 0.75, 0.85
_FONT, _SMALLEST = 8.5, 5.0
#: Width of a character of a monospaced font over its size.
_ASPECT = 0.61


@styled
def draw_lanes(
    shown: Sequence[Decoding], stretch: Stretch, text_of: Callable[[int], str], where: str
) -> Figure:
    """Lanes for the draft model, the target and the text of each decoder, on one axis of time.

    Parameters
    ----------
    shown
        The same prompt decoded by each decoder, from the top.
    stretch
        What part of it.
    text_of
        The text of a token id.
    where
        Which prompt of what, for the subtitle.
    """
    lanes = [_lanes(one, stretch) for one in shown]
    heights = [_HEADING + sum(own.values()) for own in lanes]
    inside = sum(heights) + (len(shown) - 1) * _GAP
    height = _ABOVE + inside + _BELOW
    figure = Figure(figsize=(_WIDTH, height))
    box = (_LEFT / _WIDTH, _BELOW / height, 1 - (_LEFT + _RIGHT) / _WIDTH, inside / height)
    axes = figure.add_axes(box)
    axes.set_xlim(0, 1e3 * stretch.seconds)
    axes.set_ylim(inside, 0)
    axes.set_yticks([])
    axes.set_xlabel("milliseconds", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.spines["left"].set_visible(False)
    drawing = _Lanes(axes, stretch, text_of)
    for index, one in enumerate(shown):
        drawing.add(one, lanes[index], sum(heights[:index]) + index * _GAP)
    title = _title(shown, stretch)
    figure.text(0.015, 1 - 0.28 / height, title, fontsize=12.5, weight="bold")
    figure.text(0.015, 1 - 0.52 / height, where, fontsize=9)
    # In one row, or two where that would be too long.
    legend, columns = _LEGEND, len(_LEGEND)
    if any(map(_steps, shown)):
        legend, columns = _LEGEND + _OF_ENGINES, 4
    figure.legend(
        handles=[Patch(label=label, linewidth=0, **style) for label, style in legend],
        loc="lower center",
        ncols=columns,
        fontsize=_FONT,
        frameon=False,
        handlelength=1.5,
        columnspacing=1.5,
    )
    return figure


def _lanes(one: Decoding, stretch: Stretch) -> dict[str, float]:
    """The lanes of a decoder, from the top, and their heights."""
    own = f"{one.run.summary['decoder_about']['engine']}'s step" if _steps(one) else "target model"
    lanes = {own: _LANE, "text": _LANE}
    if (one.rounds["draft_seconds"] > 0).any():
        return {"draft model": _LANE} | lanes
    if one.rounds["drafted"].any():
        shown = [_branches(row["drafted_at"]) for row in one.within(stretch)]
        most = max((branch + 1 for row in shown for branch, _ in row), default=1)
        return {"guesses": max(_LANE, most * _BRANCH)} | lanes
    return lanes


def _steps(one: Decoding) -> bool:
    """Whether an engine told of its steps."""
    return bool((one.rounds["step_seconds"] > 0).any())


def _branches(places: Sequence[int]) -> list[tuple[int, int]]:
    """Of each token of a tree given depth first, the branch it is first in and its depth there."""
    found: list[tuple[int, int]] = []
    branch, before = 0, -1
    for place in places:
        branch += bool(found) and place <= before
        before = place
        found.append((branch, place - places[0]))
    return found


def _title(shown: Sequence[Decoding], stretch: Stretch) -> str:
    """What is seen, in words; runs of different decoders go by these alone."""
    decoders = [one.run.summary["decoder"] for one in shown]
    several = len(set(decoders)) < len(decoders)
    names = [one.run.label for one in shown] if several else decoders
    first, *others = [(name, one.written(stretch)) for name, one in zip(names, shown, strict=True)]
    text = f"In {1e3 * stretch.seconds:.0f} ms, {first[0]} wrote {first[1]} tokens"
    return ", ".join([text, *(f"{name} {count}" for name, count in others)])


class _Lanes:
    """Draws decoders one below the other. Times are milliseconds, heights inches."""

    def __init__(self, axes: Axes, stretch: Stretch, text_of: Callable[[int], str]) -> None:
        self._axes = axes
        self._stretch = stretch
        self._span = 1e3 * stretch.seconds
        self._text_of = text_of
        self._begin = 0.0

    def add(self, one: Decoding, heights: dict[str, float], top: float) -> None:
        """Draw a decoder's lanes, which are so high, from ``top`` on."""
        self._begin = one.begin(self._stretch.token)
        heading = top + _HEADING / 2
        label = self._label(0, heading, one.run.label, weight="bold", fontsize=10.5)
        self._axes.annotate(
            one.run.summary["decoder_about"]["idea"],
            (1, 0.5),
            xycoords=label,
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
        )
        count = f"{one.written(self._stretch)} tokens"
        self._label(_INSIDE, heading, count, weight="bold", fontsize=10.5, ha="right")
        lanes: dict[str, float] = {}
        y = top + _HEADING
        *drafting, target, text = heights
        for lane, height in heights.items():
            lanes[lane] = y
            self._label(-0.07, y + height / 2, lane, ha="right", fontsize=8.5)
            # A model alone waits for no other; when an engine's target waits is told.
            waits = lane == "draft model" or (lane == target and not _steps(one))
            if waits and "draft model" in drafting:
                self._box(0, self._span, y, _LANE, **_WAITING)
            y += height
        drafted_until = 0.0
        for row in one.within(self._stretch):
            if row["step_seconds"] > 0:
                self._span_of(row["step_start"], row["step_seconds"], lanes[target], **_WORK)
            if row["draft_seconds"] > 0:
                # Where it runs on by itself, when it began is known up to the time of a message.
                start = max(drafted_until, row["draft_start"])
                drafted_until = start + row["draft_seconds"]
                self._draft(row, start, lanes["draft model"])
            elif row["drafted"] and "guesses" in lanes:
                # Else it is a draft that was prepared in an earlier round, all of it.
                self._guesses(row, lanes["guesses"], heights["guesses"])
            if row["wait_start"] > 0:
                waited = row["wait_target_seconds"]
                self._span_of(row["wait_start"], waited, lanes[target], **_ENGINE_WAITING)
                if row["awaited"]:
                    left, right = (self._ms(row["wait_start"] + end) for end in (0, waited))
                    self._write(left, right, lanes[target], f"for {row['awaited']}", "black")
            if row["target_seconds"] > 0:
                self._target(row, lanes[target])
            # What is not final when the stretch is over is not counted either.
            if row["start"] + row["wall"] <= self._begin + self._stretch.seconds + MOMENT:
                self._text(row, one, lanes[text])

    def _draft(self, row: dict[str, Any], start: float, y: float) -> None:
        """A block for each token. All of a round are equally long where it holds but their sum."""
        count = row["drafted"]
        each = row["draft_seconds"] / max(1, count)
        begun, ended = row["drafted_from"], row["drafted_until"]
        if not len(begun):
            begun = [start + place * each for place in range(count)]
            ended = [start + (place + 1) * each for place in range(count)]
        drafted = zip(begun, ended, row["drafted_ids"], row["fates"], strict=True)
        for left, right, token, fate in drafted:
            self._token(self._ms(left), self._ms(right), y, token, fate)

    def _guesses(self, row: dict[str, Any], y: float, height: float) -> None:
        """What no model drafted, above the forward that judges it: a row for each branch."""
        tree = _branches(row["drafted_at"])
        begin, columns = row["target_start"], 1 + max(depth for _, depth in tree)
        each, rows = row["target_seconds"] / columns, 1 + tree[-1][0]
        high = min(_LANE, height / rows)
        top = y + height - rows * high
        for (branch, depth), token, fate in zip(
            tree, row["drafted_ids"], row["fates"], strict=True
        ):
            left, right = self._ms(begin + depth * each), self._ms(begin + (depth + 1) * each)
            self._token(left, right, top + branch * high, token, fate, high)

    def _token(
        self, left: float, right: float, y: float, token: int, fate: str, height: float = _LANE
    ) -> None:
        self._box(left, right, y, height, facecolor=_FATES[Fate(fate)], edgecolor="white")
        colour = "#333333" if fate == Fate.discarded else "white"
        self._write(left, right, y, self._text_of(token), colour, height)

    def _target(self, row: dict[str, Any], y: float) -> None:
        left = self._ms(row["target_start"])
        right = self._ms(row["target_start"] + row["target_seconds"])
        self._box(left, right, y, facecolor=SKY, edgecolor="white")
        judged, accepted = row["judged"], row["accepted"]
        shorter = f"{accepted} of {judged}" if judged else ""
        says = f"{row['mode']}: {shorter}" if judged else row["mode"]
        # Of a decoder that chooses how many to judge; the first forward reads the prompt besides.
        chooses = row["at_hand"] and row["length_before"]
        unjudged = row["at_hand"] - (row["target_tokens"] - 1) if chooses else 0
        longer = f"{says}, {unjudged} left" if unjudged > 0 else says
        told = (longer, says, shorter)
        fits = [text for text in told if self._size(left, right, text) >= _SMALLEST]
        self._write(left, right, y, fits[0] if fits else "", "black")

    def _text(self, row: dict[str, Any], one: Decoding, y: float) -> None:
        """What the round added to the text, over the round's time."""
        ids = one.output_ids[row["length_before"] : row["verified_length"]]
        drafted = len(ids) - row["own_tokens"]
        each = row["wall"] / max(1, len(ids))
        for place, token in enumerate(ids):
            left, right = (self._ms(row["start"] + i * each) for i in (place, place + 1))
            colour = GREEN_INK if place < drafted else BLUE_INK
            self._write(left, right, y, self._text_of(token), colour, weight="bold")

    def _ms(self, seconds: float) -> float:
        return 1e3 * (seconds - self._begin)

    def _label(self, inches: float, y: float, text: str, **style: Any) -> Text:
        x = inches / _INSIDE * self._span
        return self._axes.text(x, y, text, va="center", clip_on=False, **style)

    def _box(
        self, left: float, right: float, y: float, height: float = _LANE, **style: Any
    ) -> None:
        margin = 0.06 * height
        box = Rectangle((left, y + margin), right - left, height - 2 * margin, lw=0.6, **style)
        self._axes.add_patch(box)

    def _span_of(self, start: float, seconds: float, y: float, **style: Any) -> None:
        self._box(self._ms(start), self._ms(start + seconds), y, **style)

    def _size(self, left: float, right: float, text: str) -> float:
        """The font size, in points, at which a text fits between two times."""
        left, right = max(0.0, left), min(self._span, right)
        points = (right - left) / self._span * _INSIDE * 72 - 2
        return min(_FONT, points / (_ASPECT * max(1, cells(text))))

    def _write(
        self,
        left: float,
        right: float,
        y: float,
        text: str,
        colour: str,
        height: float = _LANE,
        **style: Any,
    ) -> None:
        """Write a text between two times, smaller where it must be, cut where that is too small."""
        while text.rstrip("…") and self._size(left, right, text) < _SMALLEST:
            text = text.rstrip("…")[:-1] + "…"
        size = self._size(left, right, text)
        if text.rstrip("…") and size >= _SMALLEST:
            fonts = families(text)
            if len(fonts) > 1:
                style["weight"] = "normal"  # of others there may be no bold one
            middle = (max(0.0, left) + min(self._span, right)) / 2
            self._axes.text(
                middle,
                y + height / 2,
                text,
                color=colour,
                fontsize=size,
                family=fonts,
                ha="center",
                va="center",
                **style,
            )
