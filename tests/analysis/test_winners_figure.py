"""The picture of the map: its regions, lines and marks, and what is written beside them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pearl_eval.figures.palette import BLUE, INK, looks
from pearl_eval.figures.winners import CLOSE, Mark, Panel, Rival, draw_winners, interpolated

RATIOS, RATES = [1.0, 8.0, 40.0], [0.5, 1.0]


def rising(first: float, last: float) -> np.ndarray:
    """From the one at α = 0.5 to the other at α = 1, whatever c is."""
    return np.tile([first, last], (3, 1))


@pytest.fixture(scope="module")
def figure() -> Figure:
    """Three maps and two of a rival. a is 0.9 times as fast as alone, x to z 0.3 times, and b from
    0.5 to 12 times: 23 times for each 1 of α. The rival is from 30 % behind to 120 % ahead."""
    speeds = {"b": rising(0.5, 12), "a": rising(0.9, 0.9)} | dict.fromkeys("zyx", rising(0.3, 0.3))
    left, right = Mark(1.5, "slow pair"), Mark(1.75, "fast pair", at_end=True)
    rivals = [Rival(name, rising(0.7, 2.2), rising(1, 1)) for name in ("four", "five")]
    panels = [Panel("one", speeds), Panel("two", speeds, [left, right]), Panel("three", speeds)]
    return draw_winners(RATIOS, RATES, panels, rivals, [(1.25, 0.6, "b")], (0.7, 0.9), "made up")


def contours(axes: Axes, colour: str) -> QuadContourSet:
    """The lines of a colour."""
    sets = [one for one in axes.collections if isinstance(one, QuadContourSet) and not one.filled]
    (found,) = (one for one in sets if to_hex(one.get_edgecolor()[0]) == colour.lower())
    return found


def drawn(lines: QuadContourSet) -> list[float]:
    """The values that have a line."""
    pairs = zip(lines.levels, lines.get_paths(), strict=True)
    return [level for level, path in pairs if len(path)]


def rates_of(lines: QuadContourSet, value: float) -> list[float]:
    """Where α is on the line of a value, whatever c is there."""
    path = lines.get_paths()[list(lines.levels).index(value)]
    return sorted({round(rate, 3) for rate in path.vertices[:, 0]})


def test_a_surface_is_interpolated_along_one_axis() -> None:
    own = interpolated([1.0, 2.0, 4.0], np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]), 0)
    assert own.shape == (240, 2)
    assert own[0].tolist() == [1, 10] and own[-1].tolist() == pytest.approx([4, 40])
    # Values of the axis lie by the same factor from each other.
    assert own[1, 0] / own[0, 0] == pytest.approx(own[-1, 0] / own[-2, 0])
    other = interpolated([1.0, 4.0], np.array([[1.0, 4.0], [10.0, 40.0]]), 1)
    assert other.shape == (2, 240) and other[1, -1] == pytest.approx(40)


def test_how_maps_are_laid_out(figure: Figure) -> None:
    """Two beside each other, and room for a sixth that is not there."""
    axes = figure.axes
    assert [one.get_visible() for one in axes] == [*[True] * 5, False]
    assert [one.get_title() for one in axes] == ["one", "two", "three", "four", "five", ""]
    places = [one.get_subplotspec() for one in axes]
    assert [(place.rowspan.start, place.colspan.start) for place in places] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1),
    ]  # fmt: skip
    assert figure.get_size_inches().tolist() == pytest.approx([10.8, 15.1])
    # Beside the first of each row, and below the last of each column.
    assert [one.get_ylabel() for one in axes] == ["speed ratio c", ""] * 3
    assert [one.get_xlabel() for one in axes] == ["", "", "", *["acceptance rate α"] * 2, ""]
    # All have one scale.
    for one in axes[1:]:
        assert one.get_shared_x_axes().joined(axes[0], one)
        assert one.get_shared_y_axes().joined(axes[0], one)
    assert axes[0].get_yscale() == "log"
    ticks = [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32]
    assert list(axes[0].get_yticks()) == ticks
    assert not list(axes[0].yaxis.get_minorticklocs())
    assert axes[0].yaxis.get_major_formatter()(1.5) == "1.5"
    titles = [*(one.title for one in axes[:5]), figure._suptitle]
    assert [text.get_fontsize() for text in titles] == [*[9.5] * 5, 10]
    # Of a smaller map those that are on it, its ends too.
    small = draw_winners(
        [1.5, 2.0, 3.0],
        RATES,
        [Panel("one", {"a": rising(1, 1), "b": rising(2, 2)})],
        [],
        [],
        (0.7, 0.9),
        "",
    )
    assert list(small.axes[0].get_yticks()) == [1.5, 2, 3]


def test_the_fastest_has_the_region(figure: Figure) -> None:
    """b from α = 0.5174 on, where it is 0.9 times as fast: of 240 values from 0.5 to 1 by the same
    factor the first twelve are below that."""
    for axes in figure.axes[:3]:
        regions = axes.collections[0]
        numbers = np.asarray(regions.get_array()).reshape(240, 240)
        assert set(numbers[:, :12].ravel()) == {1} and set(numbers[:, 12:].ravel()) == {0}
        assert regions.get_clim() == (-0.5, 4.5) and regions.get_rasterized()
        # Names as they were given, so that b has the number 0; the colours are those of
        # ``looks``, of which 55 % are seen on white.
        look = looks("abxyz")
        for number, name in enumerate("bazyx"):
            tint = np.array(regions.cmap(number))
            assert tint[:3] == pytest.approx(to_rgb(look[name][0]), abs=0.01)
            assert tint[3] == pytest.approx(0.55, abs=0.01)


def test_lines_are_of_the_fastest_and_of_its_lead(figure: Figure) -> None:
    """b is twice as fast where α = 0.5 + 1.5 / 23. It is 20 % ahead of a where it is 1.08 times as
    fast, and a of b where that is 0.75 times."""
    first = figure.axes[0]
    fastest, lead = contours(first, INK), contours(first, BLUE)
    assert drawn(fastest) == [1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]
    assert rates_of(fastest, 2) == pytest.approx([0.565], abs=0.001)
    assert drawn(lead) == [0.05, 0.1, 0.2, 0.4]
    assert rates_of(lead, 0.2) == pytest.approx([0.511, 0.525], abs=0.001)
    (dotted,) = (one for one in first.collections if isinstance(one, QuadContourSet) and one.filled)
    assert list(dotted.levels) == [-1, CLOSE] == [-1, 0.02] and dotted.hatches == ["...."]
    assert dotted.get_edgecolor().tolist() == [[1, 1, 1, 0.8]] and set(dotted.get_linewidth()) == {
        0
    }
    assert {text.get_text() for text in first.texts} >= {"2.5×", "10×", "+5%", "+20%"}
    assert {text.get_fontsize() for text in first.texts} == {7.5}
    assert set(fastest.get_linewidths()) == {0.9} and set(lead.get_linewidths()) == {1.0}
    assert {style[1] is not None for style in lead.get_linestyles()} == {True}
    assert {style[1] is None for style in fastest.get_linestyles()} == {True}


def test_a_rival_is_ahead_of_the_others_by_what_its_lines_say(figure: Figure) -> None:
    """By 3 for each 1 of α, and as fast as they are at α = 0.6."""
    for axes in figure.axes[3:5]:
        lines = contours(axes, INK)
        assert drawn(lines) == [-0.2, -0.1, -0.05, 0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8]
        assert rates_of(lines, 0) == pytest.approx([0.6], abs=0.001)
        widths = dict(zip(lines.levels, lines.get_linewidths(), strict=True))
        assert widths.pop(0) == 1.8 and set(widths.values()) == {0.8}
        assert "+20%" in {text.get_text() for text in axes.texts}
        assert {text.get_fontsize() for text in axes.texts} == {7.5}
        image = axes.collections[0]
        assert image.get_clim() == (-0.6, 0.6) and image.cmap.name == "PuOr"
        assert image.get_rasterized()
        ahead = np.asarray(image.get_array()).reshape(240, 240)
        assert (ahead.min(), ahead.max()) == pytest.approx((-0.3, 1.2))
        # α is along, c upwards; both from the least on.
        mesh = image.get_coordinates()
        assert mesh[0, 0].tolist() == pytest.approx([0.5, 1])
        assert (mesh[0, -1, 0], mesh[-1, 0, 1]) == (pytest.approx(1), pytest.approx(40))


def test_where_marks_and_points_are(figure: Figure) -> None:
    """Numbers count the marks of all maps, and stand before the line or behind it."""
    first, second = figure.axes[:2]
    numbers = {text.get_text(): text for text in second.texts if text.get_text().isdecimal()}
    assert not [text for text in first.texts if text.get_text().isdecimal()]
    assert {name: (one.xy, one.xyann) for name, one in numbers.items()} == {
        "1": ((0.7, 1.5), (-9, 0)),
        "2": ((0.9, 1.75), (9, 0)),
    }
    assert {one.get_fontsize() for one in numbers.values()} == {7.5}
    lines = [line for line in second.lines if line.get_marker() == "|"]
    assert [list(line.get_ydata()) for line in lines] == [[1.5, 1.5], [1.75, 1.75]]
    assert [list(line.get_xdata()) for line in lines] == [[0.7, 0.9]] * 2
    assert {line.get_linewidth() for line in lines} == {2.2}
    points = [[line for line in one.lines if line.get_marker() == "o"] for one in figure.axes]
    assert [len(own) for own in points] == [1, 1, 1, 0, 0, 0]
    ((point,), *_) = points
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (0.6, 1.25)
    assert to_hex(point.get_color()) == looks("abxyz")["b"][0].lower()
    assert (point.get_markersize(), point.get_markeredgewidth()) == (7, 1)
    # A point on the edge of the map is seen as a whole.
    assert not point.get_clip_on()


def test_a_point_of_what_the_map_has_not_is_left_out() -> None:
    speeds = {"a": rising(1, 1), "b": rising(2, 2)}
    points = [(1.5, 0.6, "b"), (1.5, 0.6, "unheard of")]
    made = draw_winners(RATIOS, RATES, [Panel("one", speeds)], [], points, (0.7, 0.9), "made up")
    (axes,) = made.axes
    assert len([line for line in axes.lines if line.get_marker() == "o"]) == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("acceptance rate α", "speed ratio c")
    assert made.get_size_inches().tolist() == pytest.approx([5.4, 6.3])
    assert made.get_suptitle().endswith("predicted\nmade up")


def test_what_the_legend_says(figure: Figure) -> None:
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [
        *(f"{name} is the fastest" for name in "bazyx"),
        "dotted: ahead of the second by less than 2%",
        "speed ÷ autoregressive",
        "ahead of the second by",
        "measured: the fastest of those that ran",
    ]
    patches = legend.get_patches()
    tints = [to_hex(patch.get_facecolor(), keep_alpha=True) for patch in patches[:5]]
    regions = figure.axes[0].collections[0]
    assert tints == [to_hex(regions.cmap(number), keep_alpha=True) for number in range(5)]
    assert patches[5].get_hatch() == "...."
    # Of the points a few colours stand for all.
    look = looks("abxyz")
    points = [line for line in legend.findobj(Line2D) if line.get_marker() == "o"]
    assert [to_hex(line.get_color()) for line in points] == [
        look[name][0].lower() for name in "azy"
    ]
    assert legend.get_title().get_text() == "1  slow pair\n2  fast pair"
    assert legend._ncols == 3 and not legend.get_frame_on()
    sizes = [*legend.get_texts(), legend.get_title()]
    assert {text.get_fontsize() for text in sizes} == {8}
    speeds = {"a": rising(1, 1), "b": rising(2, 2)}
    plain = draw_winners(RATIOS, RATES, [Panel("one", speeds)], [], [], (0.7, 0.9), "")
    (legend,) = plain.legends
    assert len(legend.get_texts()) == 5 and not legend.get_title().get_text()


def test_what_is_drawn_does_not_change() -> None:
    """A mark has its number at the left end unless told otherwise, and a map has none."""
    assert asdict(Mark(2.0, "a")) == {"speed_ratio": 2.0, "name": "a", "at_end": False}
    assert not Panel("one", {}).marks
    for made in (Mark(2.0, "a"), Panel("a", {}), Rival("a", rising(1, 1), rising(1, 1))):
        with pytest.raises(FrozenInstanceError):
            made.title = made.name = "b"  # type: ignore[misc, union-attr, attr-defined]
