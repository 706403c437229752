"""The paper's pairs on GPUs, predicted: forward times by a roofline, speeds by simulation.

Nothing here is measured by us.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.optimize import brentq

from analysis.paper.reported import figures
from analysis.theory.winners import NAMES
from pearl_eval.simulation import (
    AHEAD,
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
#: An H100-SXM5-80GB by its data sheet, of which the same shares are achieved. Its kernels are
#: launched as CUDA graphs, which takes no time of the host's: the host of the A100s would bound it.
H100 = Hardware(3.35e12 * BANDWIDTH_SHARE, 989e12 * FLOPS_SHARE)
#: Tokens of a prompt, about; of little weight.
_PROMPT = 200
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
        schedules = (Sequential(self.speculative_gamma), Ahead(AHEAD))
        return {NAMES[type(one).__name__]: one for one in schedules}

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
