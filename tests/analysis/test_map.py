"""The map of the fastest decoder: what is simulated for it, what is marked on it, how it looks."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analysis import map as map_command
from analysis.commands import MAP
from analysis.map import MAPS, draw_map, marks, pairs_table, predict_map, read_measured
from analysis.paper.pairs import H100, PAIRS
from analysis.theory.winners import (
    TEXT,
    Effort,
    MapPoint,
    Preparation,
    Winners,
    contenders,
    predict_point,
    replicated,
)
from pearl_eval.errors import UserError
from pearl_eval.figures.winners import Mark, interpolated
from pearl_eval.simulation import (
    Adaptive,
    Ahead,
    Alone,
    Branching,
    Parallel,
    Replicas,
    Sequential,
)

#: One text, as rough as can be.
ROUGH = Effort(TEXT, TEXT)
#: As few points as a map can have.
TINY = partial(predict_map, size=(2, 2), effort=ROUGH)


@pytest.fixture(scope="module")
def tiny() -> Winners:
    return TINY([(3.0, 0.6, "pearl")])


def test_each_decoder_has_its_settings() -> None:
    """Drafts that take longer than a target forward are tried up to one token beyond it."""
    own = contenders(2.5)
    assert own == {
        "autoregressive": [Alone()],
        "speculative": [Sequential(gamma) for gamma in range(1, 21)],
        "pearl": [Parallel(gamma) for gamma in (1, 2, 3, 4)],
        "pearl_async": [Ahead(96)],
        "pearl_adaptive": [Adaptive(96, branches=True)],
        "ssd": [Branching(gamma, f) for gamma, f in product((1, 2, 3, 4), (1, 2, 3, 4))],
    }
    far = contenders(30.0)
    assert len(far["pearl"]) == 31
    assert far["ssd"] == [Branching(gamma, f) for gamma in range(1, 13) for f in range(1, 5)]
    assert replicated(2.5, 4) == [Replicas(1, 4), Replicas(2, 4), Replicas(3, 4)]


def test_a_draft_forward_takes_longer_for_each_further_token() -> None:
    """γ = 1, all right: 128 rounds of a target forward of 4 and a draft forward, which reads the
    prompt's one token in the first, and then two, at 1.5."""
    place = MapPoint(4.0, 1.0, Preparation(cost=0.5))
    assert place.speedup(Sequential(1), TEXT) == pytest.approx(4 * 256 / (128 * 4 + 1 + 127 * 1.5))
    assert MapPoint(4.0, 1.0).speedup(Sequential(1), TEXT) == pytest.approx(4 * 256 / (128 * 5))
    assert place.speedup(Alone(), TEXT) == 1


def test_a_token_that_is_harder_to_guess_is_prepared_for_less_often() -> None:
    usual, harder = (
        MapPoint(6.0, 0.5, Preparation(tail=tail)).speedup(Branching(2, 4), TEXT)
        for tail in (1.0, 0.3)
    )
    assert harder < usual


def test_settings_are_chosen_roughly_and_the_chosen_is_simulated_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def speedup(self: MapPoint, schedule: Any, tokens: int) -> float:
        asked.append((schedule, tokens))
        return {1: 2.0, 2: 3.0, 3: 2.5}[schedule.gamma] + tokens / 1000

    monkeypatch.setattr(MapPoint, "speedup", speedup)
    place, settings = MapPoint(3.0, 0.5), [Sequential(gamma) for gamma in (1, 2, 3)]
    best = Effort(100, 200).best(place, settings)
    assert (best.schedule, best.speedup) == (Sequential(2), 3.2)
    assert asked == [*((one, 100) for one in settings), (Sequential(2), 200)]
    asked.clear()
    assert Effort(100, 200).best(place, settings[:2]).schedule == Sequential(2) and len(asked) == 3
    # Where there is nothing to choose it takes no time.
    asked.clear()
    assert Effort(100, 200).best(place, settings[2:]).speedup == 2.7 and len(asked) == 1
    assert Effort() == Effort(2 * 256, 16 * 256)


def test_a_map_has_what_each_of_its_points_gives(tiny: Winners) -> None:
    """Only those that read continuations side by side are asked what a wide forward costs. Axes
    reach as far as what was measured."""
    assert (tiny.ratios, tiny.rates) == (pytest.approx((1.25, 12.0)), (0.5, 0.95))
    assert list(tiny.wide) == list(MAPS) and list(tiny.replicas) == [2, 4]
    for (row, ratio), (column, rate) in product(enumerate(tiny.ratios), enumerate(tiny.rates)):
        free = predict_point(MapPoint(ratio, rate), ROUGH)
        for name, speeds in tiny.of(Preparation()).items():
            assert speeds[row, column] == free[name].speedup, name
        dear = Preparation(cost=0.1)
        place = MapPoint(ratio, rate, dear)
        for name in ("ssd", "pearl_adaptive"):
            best = ROUGH.best(place, contenders(ratio)[name])
            assert tiny.of(dear)[name][row, column] == best.speedup
        assert tiny.of(dear)["pearl"][row, column] == free["pearl"].speedup
        four = ROUGH.best(MapPoint(ratio, rate), replicated(ratio, 4)).speedup
        assert tiny.replicas[4][row, column] == four >= tiny.replicas[2][row, column]


def test_axes_reach_what_was_measured_and_each_point_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MapPoint, "speedup", lambda self, schedule, tokens: 1.0)
    told = []

    def steps(points: Any) -> Any:
        told.extend(points)
        return points

    found = predict_map([(1.0, 0.98, "pearl"), (2.0, 0.3, "ssd")], (4, 3), ROUGH, steps)
    # By the same factor from each other, and by the same step.
    assert found.ratios == pytest.approx((1.0, 12 ** (1 / 3), 12 ** (2 / 3), 12.0))
    assert found.rates == pytest.approx((0.3, 0.64, 0.98))
    assert told == list(product(range(4), range(3)))
    # Further out than what is simulated anyway, on the other side.
    found = predict_map([(16.0, 0.7, "pearl")], (2, 2), ROUGH)
    assert (found.ratios, found.rates) == (pytest.approx((1.25, 16.0)), (0.5, 0.95))
    found = predict_map(effort=ROUGH)
    assert (len(found.ratios), len(found.rates)) == (12, 9)


def test_maps_are_of_what_a_wide_forward_costs_and_of_harder_texts() -> None:
    assert list(MAPS) == [
        Preparation(0.0, 1.0),
        Preparation(0.02, 1.0),
        Preparation(0.1, 1.0),
        Preparation(0.0, 0.5),
    ]
    titles = list(MAPS.values())
    assert [title[0] for title in titles] == list("abcd")
    assert titles[1].startswith("b) 2 %") and titles[2].startswith("c) 10 %")


def test_marks_are_of_one_card_and_within_two_tenths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed ratios are rounded; on the second card they are 2.247, 2.1, 2.562 and 2.594."""

    def paper_pair(name: str, ratio: float) -> Any:
        def forwards(card: float) -> Any:
            return SimpleNamespace(speed_ratio=ratio * card)

        return SimpleNamespace(name=name, forwards=forwards)

    made = [("A", 2.14), ("B", 2.0), ("C", 2.44), ("D", 2.47)]
    pairs = [paper_pair(*one) for one in reversed(made)]
    monkeypatch.setattr(map_command, "PAIRS", dict(enumerate(pairs)))
    monkeypatch.setattr(map_command, "_CARDS", {"A100": 1.0, "H100": 1.05})
    assert marks() == [
        Mark(2.0, "A100, c = 2: B, A", at_end=False),
        Mark(2.5, "A100, c = 2.5: D, C", at_end=False),
        Mark(2.1, "H100, c = 2.1: B, A", at_end=True),
        Mark(2.6, "H100, c = 2.6: D, C", at_end=True),
    ]


def test_pairs_of_about_one_speed_ratio_share_a_mark() -> None:
    """On H100s one is beyond the map."""
    found = {mark.name: (mark.speed_ratio, mark.at_end) for mark in marks()}
    assert found["A100, c = 2.6: CodeLlama 7B & 34B, DeepSeek 6.7B & 33B"] == (2.6, False)
    llama = PAIRS["llama31_8b_70b"].forwards(H100).speed_ratio
    assert found[f"H100 with CUDA graphs, c = {llama:.1f}: Llama 3.1 8B & 70B"] == (
        pytest.approx(llama, abs=0.05),
        True,
    )
    names = [name for one in found for name in one.split(": ")[1].split(", ")]
    assert sorted(names) == sorted(2 * [pair.name for pair in PAIRS.values()])
    assert [one for one, _ in found.values()] == [2.6, 3.4, 5.3, *sorted(
        ratio for ratio, at_end in found.values() if at_end
    )]  # fmt: skip


def pair(ratio: float, rate: float | None, **speeds: float) -> dict[str, Any]:
    """What ``bench.json`` says of one."""
    best = [
        {"decoder": name, "ratios": {"reference": {"value": speed}}}
        for name, speed in speeds.items()
    ]
    return {"speed_ratio": ratio, "acceptance_rate": rate, "best": best}


def bench(folder: Path, **content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(content))
    return folder


def test_the_fastest_of_each_measured_pair_is_read(tmp_path: Path) -> None:
    """Of decoders that the map has: looking drafts up is none."""
    cells = [pair(2.0, 0.6, pearl=1.5, ssd=1.2), pair(3.0, None, pearl=2.0)]
    contest = pair(7.0, 0.7, speculative=1.4, pearl_adaptive=1.6, prompt_lookup=9.0)
    folder = bench(tmp_path, grid=cells, contest=contest)
    assert read_measured(folder) == [(2.0, 0.6, "pearl"), (7.0, 0.7, "pearl_adaptive")]
    assert read_measured(bench(tmp_path, grid=None, contest=contest)) == [
        (7.0, 0.7, "pearl_adaptive")
    ]


def test_what_has_nothing_to_mark_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bench.json: no such file; give a directory that"):
        read_measured(tmp_path / "none")
    for content in ({"contest": pair(2.0, 0.5, lookahead=2.0)}, {"grid": []}):
        with pytest.raises(UserError, match=r"bench\.json has no pair with an acceptance rate and"):
            read_measured(bench(tmp_path, **content))
    with pytest.raises(UserError, match=r"bench.json is damaged \(it lacks 'reference'\)"):
        read_measured(bench(tmp_path, contest={"best": [{"decoder": "pearl", "ratios": {}}]}))


def test_a_map_is_drawn_with_marks_and_points(tiny: Winners) -> None:
    figure = draw_map(tiny, [(3.0, 0.6, "pearl")])
    axes = [one for one in figure.axes if one.get_visible()]
    titles = [one.get_title() for one in axes]
    assert titles[:4] == list(MAPS.values())
    assert [one.split(", beside")[0] for one in titles[4:]] == [
        "e) dsi, 2 replicas",
        "f) dsi, 4 replicas",
    ]
    # Pairs are marked where wide forwards are free, those that the map reaches.
    shown = [mark for mark in marks() if mark.speed_ratio <= 12]
    assert len(shown) < len(marks())
    for place in axes:
        lines = [line for line in place.lines if line.get_marker() == "|"]
        expected = shown if place is axes[0] else []
        assert [line.get_ydata()[0] for line in lines] == [one.speed_ratio for one in expected]
        assert all(list(line.get_xdata()) == [0.7, 0.9] for line in lines)
    for place in axes[:4]:
        assert len([line for line in place.lines if line.get_marker() == "o"]) == 1
    # Two replicas beside the fastest of those that draft one text.
    several = interpolated(tiny.ratios, interpolated(tiny.rates, tiny.replicas[2], 1), 0)
    others = interpolated(
        tiny.ratios, interpolated(tiny.rates, np.max(list(tiny.narrow.values()), axis=0), 1), 0
    )
    ahead = np.asarray(axes[4].collections[0].get_array()).reshape(240, 240)
    assert ahead == pytest.approx(several / others - 1)
    assert "texts of 256 tokens" in figure.get_suptitle()
    said = figure.legends[0].get_title().get_text().splitlines()
    assert said == [f"{number}  {mark.name}" for number, mark in enumerate(shown, start=1)]
    assert [text.get_text() for text in axes[0].texts if text.get_text().isdecimal()] == [
        str(number) for number in range(1, len(shown) + 1)
    ]


def test_a_mark_on_the_edge_is_on_the_map(tiny: Winners, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = [Mark(12.0, "on it"), Mark(12.1, "beyond it")]
    monkeypatch.setattr(map_command, "marks", lambda: edge)
    asked: list[Any] = []
    monkeypatch.setattr(map_command, "draw_winners", lambda *given: asked.extend(given))
    wide = replace(tiny, ratios=(1.25, 4.0, 12.0))
    draw_map(wide, [(3.0, 0.6, "pearl")])
    ratios, rates, panels, rivals, measured, marked, _ = asked
    assert (ratios, rates, measured) == (wide.ratios, wide.rates, [(3.0, 0.6, "pearl")])
    assert [list(panel.marks) for panel in panels] == [edge[:1], [], [], []]
    assert (len(rivals), marked) == (2, (0.7, 0.9))


def test_the_table_says_what_each_decoder_gives_on_the_marked_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(map_command, "marks", lambda: marks()[:1])
    monkeypatch.setattr(map_command, "RATES", (0.8,))
    lines = pairs_table(ROUGH).splitlines()
    found = predict_point(MapPoint(2.6, 0.8), ROUGH)
    best = max(one.speedup for one in found.values())
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert len(lines) == 3 and cells[:2] == [marks()[0].name, "0.8"]
    # Autoregressive decoding is what they are compared with.
    names = ["speculative", "pearl", "pearl_async", "pearl_adaptive", "ssd"]
    speedups = [found[name].speedup for name in names]
    assert cells[2:7] == [f"**{one:.2f}×**" if one == best else f"{one:.2f}×" for one in speedups]
    own = found["ssd"].schedule
    assert isinstance(own, Branching) and cells[7] == f"{own.gamma}, {own.fan_out}"
    assert cells[8:] == [
        f"{ROUGH.best(MapPoint(2.6, 0.8), replicated(2.6, number)).speedup:.2f}×"
        for number in (2, 4)
    ]
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        *("pairs", "α", *names, "ssd's γ, fan-out"),
        *(f"dsi: needs {number} replicas of the target" for number in (2, 4)),
    ]


def test_unless_told_otherwise_as_many_tokens_are_simulated_as_for_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = set()

    def speedup(self: MapPoint, schedule: Any, tokens: int) -> float:
        asked.add(tokens)
        return 1.0

    monkeypatch.setattr(MapPoint, "speedup", speedup)
    assert pairs_table().count("**1.00×**") == len(marks()) * 3 * 5 and asked == {512, 4096}
    asked.clear()
    assert predict_map(size=(2, 2)).replicas[2].tolist() == [[1, 1], [1, 1]]
    assert asked == {512, 4096}


def test_what_a_map_is_of_does_not_change(tiny: Winners) -> None:
    """Places and settings are looked up by it."""
    chosen = ROUGH.best(MapPoint(2.0, 0.5), [Alone()])
    for made in (Preparation(), MapPoint(2.0, 0.5), ROUGH, chosen, tiny):
        with pytest.raises(FrozenInstanceError):
            made.speedup = made.rates = made.cost = made.chosen = 0  # type: ignore[misc]


def test_the_command_draws_it(
    tiny: Winners,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = bench(tmp_path, contest=pair(3.0, 0.6, pearl=2.0))
    asked = []

    def predict(measured: Any, steps: Any) -> Winners:
        asked.extend(measured)
        return tiny

    monkeypatch.setattr(map_command, "predict_map", predict)
    monkeypatch.setattr(map_command, "pairs_table", lambda steps: "the table")
    output = tmp_path / "drawn.png"
    MAP.main("map", [str(folder), "-o", str(output)])
    out = capsys.readouterr().out
    assert asked == [(3.0, 0.6, "pearl")] and output.stat().st_size > 10_000
    assert "predicted" in out and "the table" in out and out.endswith(f"{output}\n")
    # What can't be drawn is said before anything is simulated.
    asked.clear()
    with pytest.raises(SystemExit, match="2"):
        MAP.main("map", [str(folder), "-o", str(tmp_path / "drawn.xyz")])
    assert not asked
