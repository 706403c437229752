"""The paper's pairs on A100s, predicted, beside what its authors report.

Nothing here is measured by us. Forward times follow from the models' shapes and the card's memory
bandwidth (a roofline), and from the waiting that the authors measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.optimize import brentq

from pearl_eval.model_shapes import model_shape
from pearl_eval.simulation import ForwardTimes, Hardware, Rate, Simulation

#: Bytes/s of an A100-SXM4-80GB by its data sheet, and the share of it that is achieved: at 0.9 a
#: target forward of CodeLlama 70B takes 0.075 s, of which the authors report 0.07.
BANDWIDTH, BANDWIDTH_SHARE = 2.039e12, 0.9
#: Its bfloat16 operations/s, and the share of them that such products achieve.
FLOPS, FLOPS_SHARE = 312e12, 0.6
#: In the authors' vanilla speculative decoding with CodeLlama 7B & 70B the target waits 0.14 s a
#: step, in which the draft model of 32 layers makes 10 forwards. Reading weights would take half
#: of that: what bounds them is the host's launching of kernels, so much a layer.
LAYER_SECONDS = 0.14 / 10 / 32

A100 = Hardware(BANDWIDTH * BANDWIDTH_SHARE, FLOPS * FLOPS_SHARE, LAYER_SECONDS)
#: Tokens of a prompt, about; of little weight.
_PROMPT = 200
_TOKENS = 20 * 1024


@dataclass(frozen=True)
class PaperPair:
    """A pair of the paper with the draft lengths of its scripts."""

    name: str
    draft: str
    target: str
    pearl_gamma: int
    speculative_gamma: int

    def forwards(self) -> ForwardTimes:
        return ForwardTimes.from_shapes(model_shape(self.target), model_shape(self.draft), A100)

    def tokens_per_second(self, decoder: str, rate: float, limit: int) -> float:
        """Predicted speed, at an acceptance rate, for texts of ``limit`` tokens."""
        gamma = self.speculative_gamma if decoder == "speculative" else self.pearl_gamma
        simulation = Simulation(
            decoder, self.forwards(), Rate(rate), gamma, limit=limit, prompts=[_PROMPT]
        )
        return simulation.run(_TOKENS).tokens_per_second

    def speedup(self, decoder: str, rate: float, limit: int) -> float:
        reference = self.tokens_per_second("autoregressive", rate, limit)
        return self.tokens_per_second(decoder, rate, limit) / reference

    def implied_rate(self, speedup: float, limit: int) -> float | None:
        """The acceptance rate at which PEARL is predicted to be so fast; None where none is."""

        def beyond(rate: float) -> float:
            return self.speedup("pearl", rate, limit) - speedup

        if beyond(1.0) < 0 or beyond(0.0) > 0:
            return None
        return float(brentq(beyond, 0.0, 1.0, xtol=1e-3))


_CODELLAMA_7B = "codellama/CodeLlama-7b-Instruct-hf"
_DEEPSEEK_33B = "deepseek-ai/deepseek-coder-33b-instruct"

#: Draft lengths: the authors' scripts; those of Llama 3.1, of which there are none, are Llama 2's.
PAIRS = {
    pair.name: pair
    for pair in (
        PaperPair("CodeLlama 7B & 34B", _CODELLAMA_7B, "codellama/CodeLlama-34b-Instruct-hf", 3, 6),
        PaperPair(
            "CodeLlama 7B & 70B", _CODELLAMA_7B, "codellama/CodeLlama-70b-Instruct-hf", 5, 10
        ),
        PaperPair(
            "Llama 2 7B & 70B",
            "meta-llama/Llama-2-7b-chat-hf",
            "meta-llama/Llama-2-70b-chat-hf",
            5,
            10,
        ),
        PaperPair(
            "Llama 3.1 8B & 70B",
            "meta-llama/Llama-3.1-8B-Instruct",
            "meta-llama/Llama-3.1-70B-Instruct",
            5,
            10,
        ),
        PaperPair(
            "DeepSeek 1.3B & 33B", "deepseek-ai/deepseek-coder-1.3b-instruct", _DEEPSEEK_33B, 4, 8
        ),
        PaperPair(
            "DeepSeek 6.7B & 33B", "deepseek-ai/deepseek-coder-6.7b-instruct", _DEEPSEEK_33B, 3, 6
        ),
    )
}


@dataclass(frozen=True)
class Reported:
    """A speedup of PEARL as its authors report it. ``limit``: tokens of a text."""

    pair: str
    task: str
    limit: int
    speedup: float


@dataclass(frozen=True)
class Shared:
    """Tokens/s of PEARL they report, each model with its own GPUs and both sharing them."""

    pair: str
    task: str
    limit: int
    apart: float
    shared: float


REPORTED = (
    Reported("Llama 3.1 8B & 70B", "HumanEval", 1024, 3.87),
    Reported("Llama 3.1 8B & 70B", "GSM8K", 256, 3.81),
    Reported("Llama 3.1 8B & 70B", "MT-bench", 256, 3.59),
    Reported("Llama 3.1 8B & 70B", "MGSM", 256, 3.95),
)
RESOURCE_COMPETITION = (
    Shared("Llama 2 7B & 70B", "MT-bench", 256, 24.28, 22.83),
    Shared("Llama 3.1 8B & 70B", "MT-bench", 256, 32.14, 30.78),
    Shared("DeepSeek 1.3B & 33B", "HumanEval", 1024, 57.76, 53.86),
)


def pairs_table() -> str:
    """Forward times and speedups of each pair at three acceptance rates, as Markdown."""
    rates = (0.7, 0.8, 0.9)
    lines = [
        "| pair | predicted t_draft, t_target | predicted c | γ of PEARL's scripts"
        " | predicted speedups at α = 0.7, 0.8, 0.9: PEARL | speculative | without a barrier |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for pair in PAIRS.values():
        times = pair.forwards()
        speedups = [
            ", ".join(f"{pair.speedup(name, rate, 1024):.2f}×" for rate in rates)
            for name in ("pearl", "speculative", "pearl_async")
        ]
        lines.append(
            f"| {pair.name} | {1e3 * times.draft(1, 0):.1f} ms, {1e3 * times.target(1, 0):.1f} ms"
            f" | {times.speed_ratio:.1f} | {pair.pearl_gamma} | {' | '.join(speedups)} |"
        )
    return "\n".join(lines)


def reported_table() -> str:
    """Reported speedups and the acceptance rate that each implies, as Markdown."""
    lines = [
        "| pair | task | speedup, reported | α it implies, predicted"
        " | speculative at that α, predicted | without a barrier, predicted |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in REPORTED:
        pair = PAIRS[one.pair]
        rate = pair.implied_rate(one.speedup, one.limit)
        others = ["–", "–"]
        if rate is not None:
            others = [
                f"{pair.speedup(name, rate, one.limit):.2f}×"
                for name in ("speculative", "pearl_async")
            ]
        lines.append(
            f"| {one.pair} | {one.task} | {one.speedup:.2f}×"
            f" | {_rate(rate)} | {' | '.join(others)} |"
        )
    return "\n".join(lines)


def shared_table() -> str:
    """Resource competition, reported and predicted, as Markdown."""
    lines = [
        "| pair | task | tokens/s, reported | autoregressive tokens/s, predicted"
        " | α implied, predicted | shared ÷ apart, reported | predicted |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in RESOURCE_COMPETITION:
        pair = PAIRS[one.pair]
        reference = pair.tokens_per_second("autoregressive", 0.0, one.limit)
        rate = pair.implied_rate(one.apart / reference, one.limit)
        ratio = "–"
        if rate is not None:
            speeds = [
                pair.tokens_per_second(name, rate, one.limit) for name in ("pearl_shared", "pearl")
            ]
            ratio = f"{speeds[0] / speeds[1]:.3f}"
        lines.append(
            f"| {one.pair} | {one.task} | {one.apart} → {one.shared} | {reference:.1f}"
            f" | {_rate(rate)} | {one.shared / one.apart:.3f} | {ratio} |"
        )
    return "\n".join(lines)


def _rate(rate: float | None) -> str:
    return "none: beyond what c allows" if rate is None else f"{rate:.2f}"


def main() -> None:
    """``python -m analysis.paper_pairs``: the tables of docs/simulation.md."""
    print(pairs_table(), reported_table(), shared_table(), sep="\n\n")


if __name__ == "__main__":
    main()
