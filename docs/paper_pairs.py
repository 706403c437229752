"""The paper's pairs on A100s, predicted, beside what its authors report.

Nothing here is measured by us. Forward times follow from the models' shapes and the card's memory
bandwidth (a roofline), and from the waiting that the authors measured. Run as a program, it prints
the tables of docs/simulation.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.optimize import brentq

from analysis.frames.table import Cell, Table
from analysis.paper.reported import CONDITIONS, MARK, Reported, figures
from pearl_eval.errors import UserError
from pearl_eval.simulation import (
    Ahead,
    Alone,
    ForwardTimes,
    Hardware,
    Parallel,
    Rate,
    Schedule,
    Sequential,
    Simulation,
)
from pearl_eval.sizes.model_shapes import model_shape

#: Bytes/s of an A100-SXM4-80GB by its data sheet, and the share of it that is achieved: at 0.9 a
#: target forward of CodeLlama 70B takes 0.075 s, of which the authors report 0.07.
BANDWIDTH, BANDWIDTH_SHARE = 2.039e12, 0.9
#: Its bfloat16 operations/s, and the share of them that such products achieve.
FLOPS, FLOPS_SHARE = 312e12, 0.6
#: In a step of the authors' vanilla speculative decoding with CodeLlama 7B & 70B the target waits
#: for 10 forwards of the draft model of 32 layers. Reading weights would take half of that: what
#: bounds them is the host's launching of kernels, so much a layer.
(_WAIT,) = figures("wait of the target", pair="codellama_7b_70b")
LAYER_SECONDS = _WAIT.value / 10 / 32

A100 = Hardware(BANDWIDTH * BANDWIDTH_SHARE, FLOPS * FLOPS_SHARE, LAYER_SECONDS)
#: Tokens of a prompt, about; of little weight.
_PROMPT = 200
#: How far ahead the draft model may run without a barrier.
_AHEAD = 96
_TOKENS = 20 * 1024


@dataclass(frozen=True)
class PaperPair:
    """A pair of the paper with the draft lengths of its scripts.

    Those of Llama 3.1, of which there are none, are Llama 2's.
    """

    name: str
    draft: str
    target: str
    pearl_gamma: int
    speculative_gamma: int

    def forwards(self, hardware: Hardware = A100) -> ForwardTimes:
        target, draft = model_shape(self.target), model_shape(self.draft)
        return ForwardTimes.from_shapes(target, draft, hardware)

    @property
    def pearl(self) -> Parallel:
        return Parallel(self.pearl_gamma)

    @property
    def compared(self) -> dict[str, Schedule]:
        """What PEARL is predicted beside, by the names of its columns."""
        return {"speculative": Sequential(self.speculative_gamma), "pearl_async": Ahead(_AHEAD)}

    def tokens_per_second(self, schedule: Schedule, rate: float, max_new_tokens: int) -> float:
        """Predicted speed, at an acceptance rate, for texts of ``max_new_tokens`` tokens."""
        simulation = Simulation(
            schedule, self.forwards(), Rate(rate), max_new_tokens=max_new_tokens, prompts=[_PROMPT]
        )
        return simulation.run(_TOKENS).tokens_per_second

    def speedup(self, schedule: Schedule, rate: float, max_new_tokens: int) -> float:
        reference = self.tokens_per_second(Alone(), rate, max_new_tokens)
        return self.tokens_per_second(schedule, rate, max_new_tokens) / reference

    def implied_rate(self, speedup: float, max_new_tokens: int) -> float | None:
        """The acceptance rate at which PEARL is predicted to be so fast; None where none is."""

        def beyond(rate: float) -> float:
            return self.speedup(self.pearl, rate, max_new_tokens) - speedup

        if beyond(1.0) < 0 or beyond(0.0) > 0:
            return None
        return float(brentq(beyond, 0.0, 1.0, xtol=1e-3))


_CODELLAMA_7B = "codellama/CodeLlama-7b-Instruct-hf"
_DEEPSEEK_33B = "deepseek-ai/deepseek-coder-33b-instruct"

#: The paper's pairs, by the names of their configurations, which a test holds them to.
PAIRS = {
    "codellama_7b_34b": PaperPair(
        "CodeLlama 7B & 34B", _CODELLAMA_7B, "codellama/CodeLlama-34b-Instruct-hf", 3, 6
    ),
    "codellama_7b_70b": PaperPair(
        "CodeLlama 7B & 70B", _CODELLAMA_7B, "codellama/CodeLlama-70b-Instruct-hf", 5, 10
    ),
    "llama2_7b_70b": PaperPair(
        "Llama 2 7B & 70B",
        "meta-llama/Llama-2-7b-chat-hf",
        "meta-llama/Llama-2-70b-chat-hf",
        5,
        10,
    ),
    "llama31_8b_70b": PaperPair(
        "Llama 3.1 8B & 70B",
        "meta-llama/Llama-3.1-8B-Instruct",
        "meta-llama/Llama-3.1-70B-Instruct",
        5,
        10,
    ),
    "deepseek_1b_33b": PaperPair(
        "DeepSeek 1.3B & 33B", "deepseek-ai/deepseek-coder-1.3b-instruct", _DEEPSEEK_33B, 4, 8
    ),
    "deepseek_6b_33b": PaperPair(
        "DeepSeek 6.7B & 33B", "deepseek-ai/deepseek-coder-6.7b-instruct", _DEEPSEEK_33B, 3, 6
    ),
}
#: Acceptance rates that speedups are predicted at.
RATES = (0.7, 0.8, 0.9)


def times_table() -> Table:
    """Forward times of each pair, and the draft length of the authors' scripts."""
    cells: list[Cell] = []
    for pair in PAIRS.values():
        times = pair.forwards()
        row = (pair.name,)
        cells += [
            Cell("", row, "t_draft", 1e3 * times.draft(1, 0), form=".1f", unit=" ms"),
            Cell("", row, "t_target", 1e3 * times.target(1, 0), form=".1f", unit=" ms"),
            Cell("", row, "c", times.speed_ratio, form=".1f"),
            Cell("", row, "γ of PEARL's scripts", pair.pearl_gamma, form="d"),
        ]
    return Table("times", "Forward times on A100s, predicted", ("pair",), cells)


def speedups_table() -> Table:
    """Speedups of each pair at three acceptance rates, for texts of 1024 tokens."""
    cells = [
        Cell("", (pair.name, name), f"α = {rate}", pair.speedup(schedule, rate, 1024), unit="×")
        for pair in PAIRS.values()
        for name, schedule in ({"pearl": pair.pearl} | pair.compared).items()
        for rate in RATES
    ]
    return Table("speedups", "Speedups on A100s, predicted", ("pair", "decoder"), cells)


def reported_table() -> Table:
    """Reported speedups and the acceptance rate that each implies."""
    cells: list[Cell] = []
    cited = figures("speedup", decoder="pearl")
    for one in cited:
        pair, max_new_tokens = _of(one)
        row = (pair.name, one.task)
        rate = pair.implied_rate(one.value, max_new_tokens)
        cells += [
            Cell("", row, "pearl, reported", one.value, unit=one.unit, source=one.source),
            Cell("", row, "α it implies, predicted", rate),
        ]
        cells += [
            Cell("", row, f"{name} at that α, predicted", speedup, unit="×")
            for name, schedule in pair.compared.items()
            for speedup in [None if rate is None else pair.speedup(schedule, rate, max_new_tokens)]
        ]
    title = "What the reported speedups imply"
    return Table("implied", title, ("pair", "task"), cells, notes=_notes(cited))


def shared_table() -> Table:
    """Resource competition, reported and predicted."""
    cells: list[Cell] = []
    apart = figures("tokens_per_second", decoder="pearl")
    for one in apart:
        (shared,) = figures(one.figure, decoder="pearl_shared", pair=one.pair, task=one.task)
        pair, max_new_tokens = _of(one)
        row = (pair.name, one.task)
        reference = pair.tokens_per_second(Alone(), 0.0, max_new_tokens)
        rate = pair.implied_rate(one.value / reference, max_new_tokens)
        ratio = None
        if rate is not None:
            both_ends = replace(pair.pearl, ends=2)
            ratio = pair.speedup(both_ends, rate, max_new_tokens) / pair.speedup(
                pair.pearl, rate, max_new_tokens
            )
        cells += [
            Cell("", row, "pearl, tokens/s, reported", one.value, source=one.source),
            Cell("", row, "pearl_shared, tokens/s, reported", shared.value, source=one.source),
            Cell("", row, "autoregressive, tokens/s, predicted", reference, form=".1f"),
            Cell("", row, "α implied, predicted", rate),
            Cell("", row, "shared ÷ apart, reported", shared.value / one.value, form=".3f"),
            Cell("", row, "shared ÷ apart, predicted", ratio, form=".3f"),
        ]
    title = "Resource competition, reported and predicted"
    return Table("sharing", title, ("pair", "task"), cells, notes=_notes(apart))


def _of(one: Reported) -> tuple[PaperPair, int]:
    """The pair of a figure, and the tokens of a text."""
    assert one.max_new_tokens is not None
    return PAIRS[one.pair], one.max_new_tokens


def _notes(cited: Sequence[Reported]) -> list[str]:
    sources = "; ".join(dict.fromkeys(one.source for one in cited))
    return [f"Reported: {MARK.removeprefix('reported ')}, {CONDITIONS}. From {sources}."]


def main() -> None:
    """Print the tables, on A100s or on the card of a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--forwards",
        type=Path,
        metavar="FILE",
        help="predict for the card of a forwards_*.json that make gpu-check left",
    )
    forwards = parser.parse_args().forwards
    if forwards is None:
        tables = (times_table(), speedups_table(), reported_table(), shared_table())
        print("\n\n".join(table.markdown() for table in tables))
        return
    from measured_card import print_predicted

    try:
        print_predicted(forwards)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
