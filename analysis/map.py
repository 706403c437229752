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
from analysis.theory.winners import (
    NAMES,
    REFERENCE,
    SSD,
    TEXT,
    Effort,
    MapPoint,
    Preparation,
    Winners,
    predict_point,
    replicated,
)
from pearl_eval.errors import UserError
from pearl_eval.figures.saving import check_format, save_figure
from pearl_eval.figures.winners import Mark, Panel, Rival, draw_winners
from pearl_eval.results.records import BENCH, read_bench
from pearl_eval.shell.progress import steps as bar
from pearl_eval.simulation import Branching

#: Those that the map has regions of.
DECODERS = tuple(NAMES.values())
#: Of c and of α the least and the most, and at how many values speeds are simulated; between them
#: they are interpolated.
_RATIOS, _RATES = (1.25, 12.0), (0.5, 0.95)
SIZE = (12, 9)
#: What maps are of.
MAPS = {
    Preparation(): "a) Wide draft forwards are free (GPUs, by their roofline)",
    Preparation(cost=0.02): "b) 2 % of a draft forward for each further token it reads",
    Preparation(cost=0.1): "c) 10 % of a draft forward for each further token it reads",
    Preparation(tail=0.5): "d) As a), but the target's tokens are harder to guess",
}
#: Replicas of the target that distributed speculative inference has.
_REPLICAS = (2, 4)
_FIRST_CARD = "A100"
_CARDS = {_FIRST_CARD: A100, "H100 with CUDA graphs": H100}

#: c, α, and the decoder that was the fastest there.
Measured = tuple[float, float, str]
#: Goes through a sequence, and may tell how far it is.
Steps = Callable[[Sequence[Any]], Iterable[Any]]


def marks() -> list[Mark]:
    """The paper's pairs on both cards, those of about one speed ratio together, slow ones first."""
    found: dict[tuple[str, float], list[str]] = {}
    for card, hardware in _CARDS.items():
        for pair in PAIRS.values():
            ratio = round(pair.forwards(hardware).speed_ratio, 1)
            near = next(
                (key for key in found if key[0] == card and abs(key[1] - ratio) < 0.2), None
            )
            found.setdefault(near or (card, ratio), []).append(pair.name)
    return [
        Mark(ratio, f"{card}, c = {ratio:g}: {', '.join(names)}", at_end=card != _FIRST_CARD)
        for (card, ratio), names in sorted(found.items())
    ]


def read_measured(directory: Path) -> list[Measured]:
    """The fastest decoder of each pair that ``pearl-eval bench`` measured into a directory.

    Raises :class:`UserError` where there is none, or none of which c and α are known.
    """
    content = read_bench(directory)
    contest = content.get("contest")
    pairs = [*(content.get("grid") or ()), *([contest] if contest else ())]
    found = [point for pair in pairs if (point := _fastest(pair))]
    if not found:
        raise UserError(
            f"{directory / BENCH} has no pair with an acceptance rate and the speed of a decoder of"
            f" the map ({', '.join(DECODERS)}); run pearl-eval bench with some of them"
        )
    return found


def _fastest(pair: Mapping[str, Any]) -> Measured | None:
    speeds = {
        one["decoder"]: one["ratios"]["reference"]["value"]
        for one in pair["best"]
        if one["decoder"] in DECODERS
    }
    if not speeds or pair["acceptance_rate"] is None:
        return None
    return pair["speed_ratio"], pair["acceptance_rate"], max(speeds, key=lambda one: speeds[one])


def predict_map(
    measured: Sequence[Measured] = (),
    size: tuple[int, int] = SIZE,
    effort: Effort | None = None,
    steps: Steps = iter,
) -> Winners:
    """Simulate as many values of c and of α as ``size`` says, as far as measured points lie."""
    ratios = [*_RATIOS, *(ratio for ratio, _, _ in measured)]
    rates = [*_RATES, *(rate for _, rate, _ in measured)]
    return Winners.predict(
        np.geomspace(min(ratios), max(ratios), size[0]).tolist(),
        np.linspace(min(rates), max(rates), size[1]).tolist(),
        list(MAPS),
        _REPLICAS,
        effort,
        steps,
    )


def draw_map(winners: Winners, measured: Sequence[Measured] = ()) -> Figure:
    """What is predicted, with the paper's pairs and what was measured on it."""
    known = [one for one in marks() if one.speed_ratio <= winners.ratios[-1]]
    panels = [
        Panel(title, winners.of(one), known if one == Preparation() else ())
        for one, title in MAPS.items()
    ]
    others = np.max(list(winners.narrow.values()), axis=0)
    rivals = [
        Rival(f"{letter}) dsi, {number} replicas, beside all that draft one text", own, others)
        for letter, (number, own) in zip("ef", winners.replicas.items(), strict=False)
    ]
    subtitle = f"by simulation, without overhead, the target's window free, texts of {TEXT} tokens"
    return draw_winners(
        winners.ratios, winners.rates, panels, rivals, measured, (RATES[0], RATES[-1]), subtitle
    )


def pairs_table(effort: Effort | None = None, steps: Steps = iter) -> str:
    """Every decoder's speedup on the marked pairs where a wide draft forward is free, as Markdown;
    the settings of ssd; and distributed speculative inference, which contends with nobody."""
    effort, rows = effort or Effort(), []
    decoders = [name for name in DECODERS if name != REFERENCE]
    for mark, rate in steps(list(product(marks(), RATES))):
        place = MapPoint(mark.speed_ratio, rate)
        found = predict_point(place, effort)
        best = max(one.speedup for one in found.values())
        cells = {name: f"{one.speedup:.2f}×" for name, one in found.items()}
        cells |= {name: f"**{cells[name]}**" for name, one in found.items() if one.speedup == best}
        prepared = found[SSD].schedule
        assert isinstance(prepared, Branching)
        settings = f"{prepared.gamma}, {prepared.fan_out}"
        several = [
            f"{effort.best(place, replicated(place.speed_ratio, number)).speedup:.2f}×"
            for number in _REPLICAS
        ]
        row = (mark.name, f"{rate:g}", *(cells[name] for name in decoders), settings, *several)
        rows.append(row)
    needing = (f"dsi: needs {number} replicas of the target" for number in _REPLICAS)
    return markdown_table(("pairs", "α", *decoders, "ssd's γ, fan-out", *needing), rows)


def write_map(directory: Sequence[Path] = (), output: Path = Path("map.png")) -> None:
    """Simulate and draw the map, with what was measured into these directories; print its path."""
    check_format(output)
    measured = [point for one in directory for point in read_measured(one)]
    winners = predict_map(measured, steps=partial(bar, label="the map's points"))
    table = pairs_table(steps=partial(bar, label="the marked pairs"))
    print(f"Speed ÷ autoregressive, predicted, where a wide draft forward is free:\n\n{table}\n")
    print(save_figure(draw_map(winners, measured), output))
