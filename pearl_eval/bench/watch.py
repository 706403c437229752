"""One whole ``pearl-eval`` run, watched: what it costs beside decoding, and its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra import compose
from omegaconf import DictConfig, open_dict

from decoders.generation import Generation
from decoders.pearl import Pearl
from decoders.process import fork_server
from decoders.process.clock import clock
from decoders.process.drafter import Drafter
from decoders.process.memory_use import resident_bytes
from pearl_eval.config.schema import Names, RuntimeConfig, section
from pearl_eval.evaluation.evaluation import evaluate
from pearl_eval.results.records import RECORDS, read_lines
from pearl_eval.shell.command import DRAFT_MODULES

#: Comes with the package, and scores without running programs, which would count as cost.
_TASK = "gsm8k_mini"


@dataclass(frozen=True)
class Sight:
    """One prompt, decoded: when (seconds on the clock) and the memory then (bytes).

    ``first`` is how long the prompt's own forward took. ``main`` and ``draft`` are the resident
    memory of the two processes.
    """

    start: float
    first: float
    main: int
    draft: int


@dataclass
class WatchedPearl(Pearl):
    """PEARL that leaves a note of each prompt it decodes."""

    sights: ClassVar[list[Sight]] = []

    def decode(
        self, prompt: Sequence[int], limit: int, stop_ids: Sequence[int], seed: int = 0
    ) -> Generation:
        start = clock()
        generation = super().decode(prompt, limit, stop_ids, seed)
        assert isinstance(self.drafter, Drafter)
        memory = resident_bytes(), resident_bytes(self.drafter.pid)
        self.sights.append(Sight(start, generation.seconds_prefill, *memory))
        return generation


@dataclass(frozen=True)
class Whole:
    """What a whole run cost. ``start``: seconds from the command, its modules imported, to the
    first token. ``outside``: share of the time from the first prompt to the last that no decoding
    was timed in. ``memory``: after each prompt, tokens generated so far and resident bytes of both
    processes."""

    prompts: int
    start: float
    outside: float
    memory: list[tuple[int, int]]

    @property
    def bytes_per_token(self) -> float:
        """Growth of memory over the second half of the run, a token generated."""
        half = self.memory[len(self.memory) // 2 :]
        (tokens, memory), (more_tokens, more_memory) = half[0], half[-1]
        return (more_memory - memory) / max(1, more_tokens - tokens)


def watch(cfg: DictConfig, prompts: int, max_new_tokens: int, directory: Path) -> Whole:
    """Run ``pearl-eval decoder=pearl`` over two prompts or more on a benchmark's pair.

    Its files go to ``directory``.
    """
    # Imports are no part of the account, nor are those of the process that forks draft processes.
    fork_server.prepare(DRAFT_MODULES)
    fork_server.wait_ready(section("runtime", RuntimeConfig, cfg.runtime).start_timeout)
    begun = clock()
    WatchedPearl.sights.clear()
    run = compose(
        "config",
        [
            "decoder=pearl",
            f"decoder._target_={__name__}.{WatchedPearl.__name__}",
            f"task={_TASK}",
            f"task.limit={prompts}",
            f"task.max_new_tokens={max_new_tokens}",
            "protocol=paper",
        ],
    )
    with open_dict(run):
        run.pair, run.runtime, run.seed = cfg.pair, cfg.runtime, cfg.seed
    evaluate(run, Names("pearl", "benchmark", _TASK), directory, directory)
    records = list(read_lines(directory / RECORDS))
    return account(begun, WatchedPearl.sights, records)


def account(begun: float, sights: Sequence[Sight], records: Sequence[dict[str, Any]]) -> Whole:
    """Sum up a run that began at ``begun``, from what was seen and its ``records.jsonl``.

    By turns the reference decodes a prompt first and PEARL does: of the first, the reference.
    """
    first = sights[0].start - records[0]["reference_seconds"]
    last = len(records) - 1
    # The last prompt's own costs come after it, so the account is closed where it begins.
    until = sights[last].start - (0.0 if last % 2 else records[last]["reference_seconds"])
    timed = sum(record["seconds"] + record["reference_seconds"] for record in records[:last])
    tokens, memory = 0, []
    for sight, record in zip(sights, records, strict=True):
        tokens += record["new_tokens"] + len(record["reference_output_ids"])
        memory.append((tokens, sight.main + sight.draft))
    start = first + sights[0].first - begun
    return Whole(len(records), start, 1 - timed / (until - first), memory)
