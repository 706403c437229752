"""Random configurations: each runs, or is refused in one clear line."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Run = Callable[..., tuple[int, str, str]]
DECODERS = ["autoregressive", "speculative", "pearl", "pearl_async", "pearl_shared", "lookahead"]
DECODERS += ["draft_only", "assisted_constant", "prompt_lookup", "generate", "pearl_no_pre_verify"]
GROUPS = {
    "decoder": DECODERS,
    "task": ["humaneval", "humaneval_mini", "gsm8k_mini", "dialogue_mini"],
    "sampling": ["greedy", "temperature", "coupled"],
    "runtime": ["eager", "cuda_graphs"],
    "reference": ["inline", "cached"],
    "protocol": ["standard", "paper"],
}
#: Values of whatever a setting may be mistaken for.
VALUES = [
    "0",
    "1",
    "2",
    "3",
    "7",
    "-1",
    "1000000",
    "99999999999999999999",
    "0.5",
    "1e-9",
    "1e30",
    "-0.0",
    ".nan",
    ".inf",
    "-.inf",
    "null",
    "true",
    "x",
    "auto",
    "[]",
    "[0]",
    "[1,2]",
    "[x]",
    "{}",
    "{a:1}",
    "''",
    "'",
    "'",
    '"ü"',
    "/no/where",
    "${seed}",
    "${nothing}",
    "???",
    "cpu",
    "cuda",
    "cuda:3",
    "float32",
    "bfloat16",
    "float16",
]
SETTINGS = [
    "decoder.gamma",
    "decoder.ahead",
    "decoder.pre_verify",
    "decoder.window",
    "decoder.post_verify",
    "decoder.both_ends",
    "decoder.schedule",
    "decoder.ngram",
    "decoder.guesses",
    "decoder.max_matching_ngram_size",
    "decoder._target_",
    "sampling.temperature",
    "sampling.top_k",
    "sampling.top_p",
    "sampling.draft_temperature",
    "sampling.draft_top_k",
    "sampling.draft_top_p",
    "sampling.coupled",
    "task.limit",
    "task.max_new_tokens",
    "task.k",
    "task.samples_per_task",
    "task.check_seconds",
    "task.check_memory_mb",
    "task.stop_words",
    "task.system_prompt",
    "task.isolation",
    "task.data",
    "pair.dtype",
    "pair.target.path",
    "pair.draft.path",
    "pair.target.gpus",
    "pair.target.revision",
    "runtime.forward",
    "runtime.target_device",
    "runtime.cores",
    "runtime.gpus",
    "runtime.share_devices",
    "runtime.devices_timeout",
    "runtime.idle_timeout",
    "runtime.draft_device",
    "runtime.target_cores",
    "runtime.draft_cores",
    "runtime.target_threads",
    "runtime.draft_threads",
    "runtime.spin_seconds",
    "runtime.start_timeout",
    "runtime.answer_timeout",
    "runtime.fixed_window",
    "reference.mode",
    "reference.folder",
    "reference.wait_timeout",
    "reference.tolerance_factor",
    "tracking.backend",
    "tracking.mode",
    "tracking.table_rows",
    "protocol",
    "seed",
    "nonsense",
    "+decoder.new",
    "+task.new",
    "~decoder.gamma",
    "~seed",
]


def mutation(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from(VALUES).map(lambda value: f"{name}={value}")


arguments = st.tuples(
    st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(choices) for name, choices in GROUPS.items()}
    ),
    st.lists(st.sampled_from(SETTINGS).flatmap(mutation), max_size=2, unique=True),
)
NUMBERS = itertools.count()
#: Longest a run may take, of a few tokens as it is.
SECONDS = 120
#: The random ones, by parts.
PARTS = 10


@contextlib.contextmanager
def limited(asked: list[str]) -> Iterator[None]:
    """A run that hangs is told with what was asked of it."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not over after {SECONDS} s: {asked}")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(run_cli: Run, folder: Path, chosen: dict[str, str], mutations: list[str]) -> str:
    run = f"run{next(NUMBERS)}"
    own = [f"{name}={value}" for name, value in chosen.items()]
    limits = ["task.limit=2", "task.max_new_tokens=6", "runtime.answer_timeout=30"]
    # What is asked for twice is the later.
    asked = [*own, *limits, *mutations]
    with limited(asked):
        code, _, err = run_cli(*asked, f"hydra.run.dir={run}")
    assert "Traceback" not in err, (asked, err)
    if code == 0:
        summary = json.loads((folder / run / "summary.json").read_text())
        assert summary["violations"] == 0, asked
        return "runs"
    last = err.splitlines()[-1]
    assert code == 2 and last.startswith("pearl-eval: error: ") and len(last) > 40, (asked, err)
    assert not (folder / run / "summary.json").exists()
    return "refused"


def fuzz(run_cli: Run, folder: Path, examples: int, derandomize: bool) -> dict[str, int]:
    counts = {"runs": 0, "refused": 0}

    @settings(
        max_examples=examples,
        derandomize=derandomize,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a smaller example would take too many runs
        suppress_health_check=list(HealthCheck),
    )
    @given(arguments)
    def check_one(made: tuple[dict[str, str], list[str]]) -> None:
        counts[check(run_cli, folder, *made)] += 1

    check_one()
    print(counts)
    return counts


@pytest.mark.nightly
def test_random_configurations(run_cli: Run, tmp_path: Path) -> None:
    """The same ones each time."""
    counts = fuzz(run_cli, tmp_path, 20, derandomize=True)
    assert min(counts.values()) >= 3


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(PARTS))
def test_many_random_configurations(run_cli: Run, tmp_path: Path, part: int) -> None:
    counts = fuzz(run_cli, tmp_path, 2000 // PARTS, derandomize=False)
    assert min(counts.values()) >= 20
