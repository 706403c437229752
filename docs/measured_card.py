"""The paper's pairs on a card whose forwards were timed, beside what its bandwidth alone says.

The file is what ``make gpu-check`` leaves of a pair of shapes (``forwards_*.json``): forward times
as in a ``profile.json``, the shapes of the two models, and how fast the card reads memory and
multiplies when it does nothing else. Everything that is said of the paper's pairs is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.frames.table import Cell, Table
from analysis.paper.pairs import PAIRS, RATES
from pearl_eval.errors import UserError
from pearl_eval.results.records import read_json
from pearl_eval.simulation import (
    Alone,
    ForwardTimes,
    Hardware,
    Rate,
    Schedule,
    Simulation,
    Slowdown,
)
from pearl_eval.sizes.model_shapes import ModelShape

#: Tokens of a text, and of all texts of a prediction.
_TEXT, _TOKENS = 1024, 8 * 1024
_PROMPT = 200


@dataclass(frozen=True)
class MeasuredCard:
    """A card by the forwards of two models on it.

    ``roofline`` is what its bandwidth and its products say, ``measured`` what the forwards say;
    ``slowdown`` is what the two models cost each other there. ``rehearsed``: it was no GPU.
    """

    name: str
    roofline: Hardware
    measured: Hardware
    slowdown: Slowdown
    rehearsed: bool

    @classmethod
    def read(cls, path: Path) -> MeasuredCard:
        """From a file of ``make gpu-check``."""
        advice = "give one of the files forwards_*.json that make gpu-check leaves"
        if not path.is_file():
            raise UserError(f"{path}: there is no such file; {advice}")
        content = read_json(path, advice)
        try:
            return cls.of(content)
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise UserError(f"{path} is damaged ({error!r}): {advice}") from error

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> MeasuredCard:
        """From what such a file holds."""
        card = content["card"]
        times = ForwardTimes.from_profile(content)
        shapes = {role: ModelShape(**shape) for role, shape in content["shapes"].items()}
        width = int(content["bytes_per_value"])
        reading = max(float(card["reading"]), float(card["with_vector"]))
        roofline = Hardware(reading, float(card["flops"]), bytes_per_value=width)
        context = times.target.contexts[0]
        seconds = {"target": times.target(1, context), "draft": times.draft(1, context)}
        return cls(
            str(card["name"]),
            roofline,
            fitted(roofline, shapes, seconds, context),
            times.slowdown,
            bool(content["rehearsed"]),
        )


def fitted(
    roofline: Hardware, shapes: Mapping[str, ModelShape], seconds: Mapping[str, float], context: int
) -> Hardware:
    """Hardware on which forwards of one token take the ``seconds`` that they took, by role.

    The model that came nearer to the roofline tells the bandwidth that forwards achieve. If the
    other took longer than reading takes at that, it was bound by what each of its layers takes at
    least.
    """
    achieved = {}
    for role, shape in shapes.items():
        values = shape.multiplied + shape.cached * (context + 1)
        achieved[role] = values * roofline.bytes_per_value / seconds[role]
    reader = max(achieved, key=lambda role: achieved[role])
    bandwidth = achieved[reader]
    bound = [
        seconds[role] / shapes[role].num_hidden_layers
        for role in shapes
        if achieved[role] < bandwidth
    ]
    return replace(roofline, bandwidth=bandwidth, layer_seconds=max(bound, default=0.0))


def times_table(card: MeasuredCard) -> Table:
    """Forward times of each pair, and c, by both."""
    cells: list[Cell] = []
    for pair in PAIRS.values():
        for by, hardware in _ways(card).items():
            times = pair.forwards(hardware)
            row = (pair.name, by)
            cells += [
                Cell("", row, "t_draft", 1e3 * times.draft(1, 0), form=".2f", unit=" ms"),
                Cell("", row, "t_target", 1e3 * times.target(1, 0), form=".2f", unit=" ms"),
                Cell("", row, "c", times.speed_ratio, form=".1f"),
            ]
    title = f"Forward times on {_name(card)}, predicted"
    return Table("times", title, ("pair", "by"), cells, notes=[_note(card)])


def speedups_table(card: MeasuredCard) -> Table:
    """Speedups of each pair at three acceptance rates, by both, and with both models on one card.

    PEARL's draft length is c there.
    """
    cells: list[Cell] = []
    for pair in PAIRS.values():
        for by, hardware in _ways(card).items():
            apart = pair.forwards(hardware)
            pearl = replace(pair.pearl, gamma=max(1, round(apart.speed_ratio)))
            rows: dict[str, tuple[Schedule, ForwardTimes]] = {"pearl": (pearl, apart)}
            rows |= {name: (one, apart) for name, one in pair.compared.items()}
            if hardware is card.measured:
                rows["pearl, one card"] = (pearl, replace(apart, slowdown=card.slowdown))
            cells += [
                Cell(
                    "",
                    (pair.name, decoder, by),
                    f"α = {rate}",
                    _speedup(schedule, times, rate),
                    unit="×",
                )
                for decoder, (schedule, times) in rows.items()
                for rate in RATES
            ]
    title = f"Speedups on {_name(card)}, predicted"
    return Table("speedups", title, ("pair", "decoder", "by"), cells)


def _ways(card: MeasuredCard) -> dict[str, Hardware]:
    return {"bandwidth": card.roofline, "forwards": card.measured}


def _speedup(schedule: Schedule, times: ForwardTimes, rate: float) -> float:
    speeds = [
        Simulation(one, times, Rate(rate), max_new_tokens=_TEXT, prompts=[_PROMPT])
        .run(_TOKENS)
        .tokens_per_second
        for one in (schedule, Alone())
    ]
    return speeds[0] / speeds[1]


def _name(card: MeasuredCard) -> str:
    return f"{card.name} (a rehearsal: no GPU)" if card.rehearsed else card.name


def _note(card: MeasuredCard) -> str:
    roofline, measured, slowdown = card.roofline, card.measured, card.slowdown
    return (
        f"bandwidth: {roofline.bandwidth / 1e9:.0f} GB/s, as a large read alone; forwards:"
        f" {measured.bandwidth / 1e9:.0f} GB/s and at least"
        f" {1e6 * measured.layer_seconds:.1f} µs a layer, as forwards of one token took. While both"
        f" models compute on the card the target takes {slowdown.target:.2f} times as long, the"
        f" draft model {slowdown.draft:.2f} times. As if one card held each model."
    )


def print_predicted(forwards: Path) -> None:
    """Print the paper's pairs on the card of a file of ``forwards``."""
    card = MeasuredCard.read(forwards)
    print("\n\n".join(table(card).markdown() for table in (times_table, speedups_table)))
