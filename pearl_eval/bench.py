"""The ``pearl-eval-bench`` command: the framework's own cost, beside transformers' ``generate``."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from rich.progress import track

from decoders.autoregressive import Autoregressive
from decoders.decoder import Models
from decoders.model import CachedModel
from decoders.sampler import Greedy
from decoders.stopwatch import clock
from pearl_eval.command import hydra_command
from pearl_eval.config import RuntimeConfig, build
from pearl_eval.console import console
from pearl_eval.errors import UserError
from pearl_eval.pair import PairSource
from pearl_eval.placement import Processes, placed
from tasks.task import Task

#: Fewest pairs of measurements that have quartiles.
_FEWEST = 4


@dataclass
class BenchConfig:
    """What is measured, on what, how often."""

    pair: Any = MISSING
    task: Any = MISSING
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    repeats: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Comparison:
    """Seconds of one prompt's decoding by our autoregressive decoder and by ``generate``."""

    ours: float
    generate: float
    same_output: bool

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.generate / self.ours


def compare(decoder: Autoregressive, prompt: list[int], limit: int, swap: bool) -> Comparison:
    """Decode one prompt both ways, one after the other; ``swap`` puts ``generate`` first."""
    seconds: dict[str, float] = {}
    outputs: dict[str, list[int]] = {}
    for name in ("generate", "ours") if swap else ("ours", "generate"):
        start = clock()
        if name == "ours":
            outputs[name] = decoder.decode(prompt, limit, ()).output_ids
        else:
            outputs[name] = _generate(decoder.target, prompt, limit)
        seconds[name] = clock() - start
    return Comparison(seconds["ours"], seconds["generate"], outputs["ours"] == outputs["generate"])


def _generate(target: CachedModel, prompt: list[int], limit: int) -> list[int]:
    model = cast(Any, target.model)
    ids = torch.tensor([prompt], device=target.device)
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=limit,
        do_sample=False,
        use_cache=True,
        eos_token_id=None,
        pad_token_id=0,
    )
    return output[0, len(prompt) :].tolist()


@hydra_command("bench")
def main(cfg: DictConfig) -> None:
    """Entry point of ``pearl-eval-bench``."""
    settings = cast(BenchConfig, OmegaConf.merge(OmegaConf.structured(BenchConfig), cfg))
    task = build("task", settings.task, Task)
    runtime = cast(RuntimeConfig, OmegaConf.to_object(cast(DictConfig, settings.runtime)))
    source = build("pair", settings.pair, PairSource)
    devices = source.choose_devices(runtime)
    processes = Processes.choose(runtime, devices.all_cpu)
    pair = source.open(devices, uses_draft=False)
    prompts = [pair.encode(problem.prompt) for problem in task.problems()]
    if settings.repeats * len(prompts) < _FEWEST:
        raise UserError(
            f"repeats={settings.repeats} of {len(prompts)} prompts are too few for a spread:"
            f" together at least {_FEWEST}"
        )
    longest = max(map(len, prompts))
    pair.check_context({"the longest prompt": longest}, task.max_new_tokens)
    with placed(processes.target):
        decoder = Autoregressive()
        decoder.start(Models(pair.load_target(), pair.load_draft, processes.draft), Greedy())
        compare(decoder, prompts[0], task.max_new_tokens, swap=False)
        # Each prompt goes first half of the times, whatever the number of prompts.
        order = [
            (prompt, (index + repeat) % 2 == 1)
            for repeat in range(settings.repeats)
            for index, prompt in enumerate(prompts)
        ]
        results = [
            compare(decoder, prompt, task.max_new_tokens, swap)
            for prompt, swap in track(
                order, "autoregressive, generate", console=console(stderr=True)
            )
        ]
    ratios = [result.ratio for result in results]
    low, _, high = statistics.quantiles(ratios, n=4)
    same = sum(result.same_output for result in results)
    out = console(stderr=False)
    out.print(
        f"autoregressive ÷ transformers generate: median {statistics.median(ratios):.3f}"
        f" (quartiles {low:.3f}–{high:.3f}, {len(ratios)} interleaved pairs)"
    )
    out.print(f"same tokens: {same}/{len(results)}")


ConfigStore.instance().store(name="bench_schema", node=BenchConfig)

if __name__ == "__main__":
    main()
