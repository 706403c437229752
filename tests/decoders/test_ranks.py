"""A rank dies, raises, hangs: it is said, in seconds, and nothing is left running."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import pytest
from small_pair import SmallPair, make_model, running
from test_tensor_parallel import OPTIONS, PROMPT, share
from torch import distributed
from transformers import LlamaConfig, LlamaForCausalLM

from decoders.autoregressive import Autoregressive
from decoders.lookahead import Lookahead
from decoders.model.cached_model import CachedModel
from decoders.process.models import Models
from decoders.process.placement import Placement
from decoders.process.ranks import Ranks
from decoders.process.tensor_parallel import follow, lead, led
from decoders.process.worker import WorkerError
from decoders.sampling.sampler import Greedy

Load = Callable[[], CachedModel]


def on_rank(rank: int, act: Callable[[], object], load: Load) -> CachedModel:
    """Load a share, but on one rank do something before."""
    if distributed.get_rank() == rank:
        act()
    return load()


def raise_error() -> None:
    raise RuntimeError("no such weights")


def die() -> None:
    os._exit(7)


@pytest.fixture
def load(small_pair: SmallPair) -> Load:
    return share(small_pair.folder / "target", 2)


def fail_to_start(load: Load, match: str, **options: object) -> None:
    processes = (replace(OPTIONS, **options),)  # type: ignore[arg-type]
    with (
        pytest.raises(WorkerError, match=match),
        led(load, processes, ("cpu", "cpu")),
    ):
        pytest.fail("it has started")
    assert not distributed.is_initialized()


@pytest.mark.slow
def test_three_ranks_give_the_tokens_of_one_process(tmp_path: Path) -> None:
    config = LlamaConfig(
        **make_model(300, layers=2, seed=3).config.to_dict()
        | {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8}
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    outputs = []

    def decode(target: CachedModel) -> None:
        for decoder in (Autoregressive(), Lookahead()):
            session = decoder.start(Models(target, lambda: target, OPTIONS), Greedy())
            outputs.append(session.decode(PROMPT, 16, []).output_ids)

    decode(share(tmp_path, 1)())
    with led(share(tmp_path, 3), (OPTIONS, OPTIONS), ("cpu",) * 3) as target:
        decode(target)
    assert outputs[0] == outputs[1] == outputs[2] == outputs[3]
    assert len(set(outputs[0])) > 3


def test_an_error_of_a_rank_while_it_loads_is_told(load: Load) -> None:
    fail_to_start(
        partial(on_rank, 1, raise_error, load),
        "^rank 1 of the target failed: RuntimeError: no such weights$",
    )


def test_the_death_of_a_rank_while_it_loads_is_told(load: Load) -> None:
    fail_to_start(partial(on_rank, 1, die, load), r"^rank 1 of the target .* exit code 7$")


def test_a_rank_that_fails_before_it_meets_the_others_is_told(load: Load) -> None:
    nowhere = Placement((100_000,))
    fail_to_start(load, "^rank 1 of the target failed: OSError", placement=nowhere)


def test_ranks_that_do_not_start_in_time_are_told(load: Load) -> None:
    fail_to_start(
        load,
        r"the target .*(did not (start|answer)|not be started) within 0\.001 s",
        start_timeout=0.001,
    )


@pytest.mark.parametrize(
    ("how", "match"),
    [
        (signal.SIGKILL, r"^rank 1 of the target \(pid \d+\) was killed by SIGKILL$"),
        pytest.param(
            signal.SIGSTOP,
            "^the ranks of the target lost each other: .*[Tt]imed out",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_rank_that_is_gone_is_told(load: Load, how: signal.Signals, match: str) -> None:
    ranks = Ranks(load, (replace(OPTIONS, answer_timeout=3.0),), ("cpu", "cpu"), follow)
    (pid,) = ranks.pids
    try:
        target = ranks.load()
        lead(target, ranks)
        target.extend(PROMPT, rows=1)
        os.kill(pid, how)
        with pytest.raises(WorkerError, match=match):
            target.extend([*PROMPT, 1], rows=1)
    finally:
        ranks.close()
    assert not running(pid)


def _lead_and_sleep(load: Load, told: Connection) -> None:
    ranks = Ranks(load, (OPTIONS,), ("cpu", "cpu"), follow)
    ranks.load()
    told.send(ranks.pids)
    time.sleep(60)


def test_ranks_end_when_rank_0_is_killed(load: Load) -> None:
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    rank_0 = context.Process(target=_lead_and_sleep, args=(load, theirs))
    rank_0.start()
    assert ours.poll(60)
    (pid,) = ours.recv()
    assert running(pid)
    rank_0.kill()
    rank_0.join()
    deadline = time.monotonic() + 20
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)


def test_an_error_of_rank_0_is_its_own(load: Load) -> None:
    with (
        led(load, (OPTIONS,), ("cpu", "cpu")) as target,
        pytest.raises(RuntimeError, match=r"^its own$") as caught,
    ):
        cast(Any, target.model).model.layers[1].register_forward_pre_hook(raise_own)
        target.extend(PROMPT, rows=1)
    assert not isinstance(caught.value, WorkerError)


def raise_own(*_: object) -> None:
    raise RuntimeError("its own")
