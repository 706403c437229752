"""The map of which decoder is predicted to be the fastest where, and what was measured on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.frames.markdown import markdown_table
from analysis.paper.pairs import A100, H100, PAIRS, RATES
from analysis.theory.winners import TEXT, WIDE, Effort, Place, Winners, contenders, predict_place
from pearl_eval.errors import UserError
from pearl_eval.figures.saving import check_format, save_figure
from pearl_eval.figures.winners import Mark, Panel, Rival, draw_winners
from pearl_eval.results.records import BENCH, read_json
from pearl_eval.shell.progress import steps as bar
from pearl_eval.simulation import Branching

#: Those that the map has regions of.
DECODERS = tuple(contenders(1.0))
#: Of c and of α the least and the most, and at how many values speeds are simulated; between them
#: they are interpolated.
_RATIOS, _RATES = (1.0, 12.0), (0.5, 0.95)
SIZE = (12, 10)
#: By what share of its time each further token makes a draft forward longer.
WIDTH_COSTS = {
    0.0: "A wide draft forward is free (GPUs, by their roofline)",
    0.02: "A draft forward takes 2 % more for each further token",
    0.1: "A draft forward takes 10 % more for each further token",
}
#: Replicas of the target that distributed speculative inference has.
_REPLICAS = (2, 4)
_CARDS = {"A100": A100, "H100, CUDA graphs": H100}

#: c, α, and the decoder that was the fastest there.
Measured = tuple[float, float, str]
#: Goes through a sequence, and may tell how far it is.
Steps = Callable[[Sequence[Any]], Iterable[Any]]


def marks() -> list[Mark]:
    """The paper's pairs on both cards, those of about one speed ratio together."""
    found: dict[tuple[str, float], list[str]] = {}
    for card, hardware in _CARDS.items():
        for pair in PAIRS.values():
            ratio = round(pair.forwards(hardware).speed_ratio, 1)
            near = next(
                (key for key in found if key[0] == card and abs(key[1] - ratio) < 0.2), None
            )
            found.setdefault(near or (card, ratio), []).append(pair.name)
    return [
        Mark(ratio, f"{', '.join(names)} on {card}: c = {ratio:g}")
        for (card, ratio), names in found.items()
    ]


def read_measured(directory: Path) -> list[Measured]:
    """The fastest decoder of each pair that ``pearl-eval bench`` measured into a directory.

    Raises :class:`UserError` where there is none, or none of which c and α are known.
    """
    path = directory / BENCH
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give what pearl-eval bench wrote") from None
    contest = content.get("contest")
    pairs = [*(content.get("grid") or ()), *([contest] if contest else ())]
    found = [point for pair in pairs if (point := _fastest(pair))]
    if not found:
        raise UserError(
            f"{path} has no pair of which c, an acceptance rate and the speed of a decoder of the map"
            f" are known; run pearl-eval bench decoders=[{','.join(DECODERS)}]"
        )
    return found


def _fastest(pair: Mapping[str, Any]) -> Measured | None:
    speeds = {
        one["decoder"]: one["ratios"]["reference"]["value"]
        for one in pair["best"]
        if one["decoder"] in DECODERS
    }
    if not speeds or pair.get("acceptance_rate") is None:
        return None
    return pair["speed_ratio"], pair["acceptance_rate"], max(speeds, key=lambda one: speeds[one])


def predict_map(
    measured: Sequence[Measured] = (),
    size: tuple[int, int] = SIZE,
    effort: Effort | None = None,
    steps: Steps = iter,
) -> Winners:
    """Simulate as many values of c and of α as ``size`` says, as far as measured points lie."""
    ends = (
        (min(least, *own), max(most, *own)) if own else (least, most)
        for (least, most), own in zip(
            (_RATIOS, _RATES), ([one[at] for one in measured] for at in (0, 1)), strict=True
        )
    )
    axes = (
        [float(one) for one in np.linspace(*limits, count)]
        for limits, count in zip(ends, size, strict=True)
    )
    return Winners.predict(*axes, list(WIDTH_COSTS), _REPLICAS, effort, steps)


def draw_map(winners: Winners, measured: Sequence[Measured] = ()) -> Figure:
    """What is predicted, with the paper's pairs and what was measured on it."""
    known = [one for one in marks() if one.speed_ratio <= winners.ratios[-1]]
    panels = [
        Panel(title, winners.at(cost), known if not cost else ())
        for cost, title in WIDTH_COSTS.items()
    ]
    others = np.max(list(winners.at(0.0).values()), axis=0)
    rivals = [
        Rival(f"{number} replicas of the target (dsi) beside the fastest of map 1", own, others)
        for number, own in winners.replicas.items()
    ]
    subtitle = f"by simulation, without overhead, the target's window free, texts of {TEXT} tokens"
    return draw_winners(
        winners.ratios, winners.rates, panels, rivals, measured, (RATES[0], RATES[-1]), subtitle
    )


def pairs_table(effort: Effort | None = None, steps: Steps = iter) -> str:
    """Every decoder's speedup on the marked pairs where a wide draft forward is free, as Markdown;
    with the settings of ssd."""
    rows = []
    for mark, rate in steps(list(product(marks(), RATES))):
        found = predict_place(Place(mark.speed_ratio, rate), effort or Effort())
        best = max(one.speedup for one in found.values())
        cells = {name: f"{one.speedup:.2f}×" for name, one in found.items()}
        cells |= {name: f"**{cells[name]}**" for name, one in found.items() if one.speedup == best}
        prepared = found[WIDE].schedule
        assert isinstance(prepared, Branching)
        settings = f"γ = {prepared.gamma}, {prepared.fan_out}"
        rows.append((mark.name, f"{rate:g}", *(cells[name] for name in DECODERS), settings))
    heads = ("pairs", "α", *DECODERS, "of ssd: γ, fan-out")
    return markdown_table(heads, rows)


def write_map(directory: Sequence[Path] = (), output: Path = Path("map.png")) -> None:
    """Simulate and draw the map, with what was measured into these directories; print its path."""
    check_format(output)
    measured = [point for one in directory for point in read_measured(one)]
    winners = predict_map(measured, steps=partial(bar, label="the map's points"))
    table = pairs_table(steps=partial(bar, label="the marked pairs"))
    print(f"Speed ÷ autoregressive, predicted, where a wide draft forward is free:\n\n{table}\n")
    print(save_figure(draw_map(winners, measured), output))
