"""The ``pearl-eval-bench`` command: decoders side by side on the same prompts, in one run."""

from __future__ import annotations

import contextlib
import functools
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf
from rich.progress import track
from rich.table import Table

from decoders.decoder import Decoder, Models
from decoders.sampler import Greedy
from decoders.stopwatch import clock
from pearl_eval.command import hydra_command
from pearl_eval.config import RuntimeConfig, build
from pearl_eval.console import console
from pearl_eval.errors import UserError
from pearl_eval.pair import Pair
from pearl_eval.paths import config_dir
from pearl_eval.placement import placed
from pearl_eval.setup import Setup
from tasks.task import Task

#: What every other contender is compared with, and transformers' own decoding, always there.
REFERENCE = "autoregressive"
GENERATE = "generate"
#: Fewest pairs of measurements that have quartiles.
_FEWEST = 4

#: Decodes a prompt to so many tokens.
Decode = Callable[[list[int], int], list[int]]


@dataclass
class BenchConfig:
    """What is measured, on what, how often. Decoders with a draft length run with each of
    ``gammas``."""

    pair: Any = MISSING
    task: Any = MISSING
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    decoders: list[str] = field(default_factory=list)
    gammas: list[int] = field(default_factory=list)
    repeats: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Measurement:
    """One contender's decoding of one prompt."""

    contender: str
    prompt: int
    repeat: int
    seconds: float
    tokens: int
    same_output: bool


@dataclass(frozen=True)
class Ratio:
    """How many times as fast: median and quartiles of the ratios of paired measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: Sequence[Measurement], theirs: Sequence[Measurement]) -> Ratio:
        paired = {(m.prompt, m.repeat): m.seconds / m.tokens for m in theirs}
        ratios = [paired[m.prompt, m.repeat] / (m.seconds / m.tokens) for m in ours]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return cls(middle, low, high)

    def __str__(self) -> str:
        return f"{self.median:.2f}× ({self.low:.2f}–{self.high:.2f})"


class Results:
    """All measurements of a benchmark."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self.measurements = measurements
        self._by_contender: dict[str, list[Measurement]] = {}
        for one in measurements:
            self._by_contender.setdefault(one.contender, []).append(one)

    def contenders(self) -> list[str]:
        return list(self._by_contender)

    def tokens_per_second(self, contender: str) -> float:
        own = self._by_contender[contender]
        return sum(m.tokens for m in own) / sum(m.seconds for m in own)

    def same(self, contender: str) -> str:
        own = self._by_contender[contender]
        return f"{sum(m.same_output for m in own)}/{len(own)}"

    def ratio(self, contender: str, other: str) -> Ratio:
        return Ratio.of(self._by_contender[contender], self._by_contender[other])

    def best(self, decoder: str) -> str | None:
        """The fastest contender of a decoder, over its draft lengths."""
        own = [c for c in self._by_contender if c.split()[0] == decoder]
        return max(own, key=self.tokens_per_second, default=None)


@contextlib.contextmanager
def started(config: BenchConfig, models: Models) -> Iterator[dict[str, Decode]]:
    """The contenders by label, ready to decode. One draft process serves all draft lengths."""
    contenders: dict[str, Decode] = {}
    with contextlib.ExitStack() as stack:
        for name in dict.fromkeys([GENERATE, *config.decoders]):
            path = config_dir() / "decoder" / f"{name}.yaml"
            if not path.is_file():
                raise UserError(f"decoders: there is no decoder {name}")
            node = cast(DictConfig, OmegaConf.load(path))
            gammas: list[int | None] = list(config.gammas) if "gamma" in node else [None]
            if "gamma" in node:
                node.gamma = 1  # set for each text
            decoder = build("decoder", node, Decoder)
            stack.callback(decoder.stop)
            decoder.start(models, Greedy())
            for gamma in gammas:
                label = name if gamma is None else f"{name} γ={gamma}"
                contenders[label] = functools.partial(_decode, decoder, gamma)
        yield contenders


def measure(
    contenders: dict[str, Decode], prompts: Sequence[list[int]], limit: int, repeats: int
) -> Results:
    """Let every contender decode every prompt, ``repeats`` times, in an order that rotates."""
    labels = list(contenders)
    for decode in contenders.values():
        decode(prompts[0], limit)
    measurements = []
    rounds = [(repeat, index) for repeat in range(repeats) for index in range(len(prompts))]
    progress = track(rounds, "decoding side by side", console=console(stderr=True))
    for step, (repeat, index) in enumerate(progress):
        shift = step % len(labels)
        seconds: dict[str, float] = {}
        outputs: dict[str, list[int]] = {}
        for label in labels[shift:] + labels[:shift]:
            start = clock()
            outputs[label] = contenders[label](prompts[index], limit)
            seconds[label] = clock() - start
        expected = outputs[REFERENCE]
        for label, output in outputs.items():
            same = output == expected
            measurements.append(
                Measurement(label, index, repeat, seconds[label], len(output), same)
            )
    measurements.sort(key=lambda m: labels.index(m.contender))
    return Results(measurements)


def print_results(results: Results, title: str) -> None:
    """The table, on standard output."""
    out = console(stderr=False)
    best = results.best("speculative")
    table = Table(title=title, title_justify="left", title_style="bold")
    headings = ["contender", "tokens/s", "÷ autoregressive"]
    headings += ["÷ best speculative", "÷ generate", "same tokens"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    for contender in results.contenders():
        others = (REFERENCE, best, GENERATE)
        ratios = [str(results.ratio(contender, other)) if other else "–" for other in others]
        speed = f"{results.tokens_per_second(contender):.1f}"
        table.add_row(contender, speed, *ratios, results.same(contender))
    out.print(table)
    out.print("Ratios are medians (quartiles) over paired measurements.")


@hydra_command("bench")
def main(cfg: DictConfig) -> None:
    """Entry point of ``pearl-eval-bench``."""
    config = cast(BenchConfig, OmegaConf.merge(OmegaConf.structured(BenchConfig), cfg))
    task = build("task", config.task, Task)
    runtime = cast(RuntimeConfig, OmegaConf.to_object(cast(DictConfig, config.runtime)))
    setup = Setup.make(config.pair, runtime, uses_draft=True)
    pair = setup.pair
    prompts = [pair.prompt(problem) for problem in task.problems()]
    _check(config, pair, prompts, task.max_new_tokens)
    with placed(setup.processes.target):
        target = setup.load_target()
        with started(config, setup.models(target)) as contenders:
            results = measure(contenders, prompts, task.max_new_tokens, config.repeats)
    choices = HydraConfig.get().runtime.choices
    print_results(results, f"{choices['pair']}, {choices['task']}, {len(prompts)} prompts")
    directory = Path(HydraConfig.get().runtime.output_dir)
    content = {
        "measurements": [asdict(m) for m in results.measurements],
        "synthetic": pair.synthetic,
        "environment": setup.describe(),
    }
    (directory / "bench.json").write_text(json.dumps(content, indent=2) + "\n")
    console(stderr=False).print(f"written: {directory}/bench.json", soft_wrap=True)


def _check(config: BenchConfig, pair: Pair, prompts: Sequence[list[int]], limit: int) -> None:
    if any(gamma < 1 for gamma in config.gammas):
        raise UserError(f"gammas are draft lengths of at least 1 token, got {config.gammas}")
    if REFERENCE not in config.decoders:
        raise UserError(f"decoders: {REFERENCE} must be among them, to compare the others with")
    if config.repeats * len(prompts) < _FEWEST:
        raise UserError(
            f"repeats={config.repeats} of {len(prompts)} prompts are too few for a spread:"
            f" together at least {_FEWEST}"
        )
    pair.check_context({"the longest prompt": max(map(len, prompts))}, limit)


def _decode(decoder: Decoder, gamma: int | None, prompt: list[int], limit: int) -> list[int]:
    if gamma is not None:
        decoder.chosen_gamma = gamma
    return decoder.decode(prompt, limit, ()).output_ids


ConfigStore.instance().store(name="bench_schema", node=BenchConfig)

if __name__ == "__main__":
    main()
