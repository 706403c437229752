"""A draft process that goes wrong inside vLLM harms nothing."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_pair import SmallPair, running
from vllm_by_hand import Engine, Request, config

from decoders.vllm.draft import DraftProcess
from decoders.vllm.proposer import PearlProposer

Start = Callable[..., PearlProposer]
TRUTH = [7, 8, 9, 20, 21, 22, 23, 24, 25, 26]


@pytest.fixture
def start(small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """PEARL with a draft process that has a fault."""
    started = []

    def start(fault: str, **pearl: Any) -> PearlProposer:
        helpers = str(Path(__file__).resolve().parents[1] / "helpers")
        monkeypatch.setenv("PYTHONPATH", f"{helpers}:{os.environ.get('PYTHONPATH', '')}")
        monkeypatch.setenv("FAULT", fault)
        monkeypatch.setattr(DraftProcess, "module", "faulty_draft")
        limits = {"start_timeout": 20.0, "answer_timeout": 20.0, **pearl}
        one = PearlProposer(config(str(small_pair.folder / "draft"), **limits))
        started.append(one)
        one.load_model(None)
        return one

    yield start
    for one in started:
        one.close()


def finished(pearl: PearlProposer) -> list[dict[str, Any]]:
    """The log of a request that gets its tokens whatever becomes of the draft process."""
    request = Request([1, 2, 3], TRUTH)
    engine = Engine(pearl)
    engine.step(request)
    engine.until_read()
    engine.finish(request)
    assert request.text == [1, 2, 3, *TRUTH]
    return pearl.take_log()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("token", "expected a token id from 0 to 299, got 300"),
        ("position", "expected a token for position"),
        ("lineage", "expected a lineage from"),
        ("seconds", "expected a time in seconds, got nan"),
        ("confidence", "expected a probability, got 1.5"),
        ("message", "expected 'drafted', got 'what?'"),
        ("word", "expected 'drafted', got \"('proposal', [1, 2])\""),
        ("short", "makes no sense: not enough values to unpack"),
        ("fails", "failed: OutOfMemoryError: no room"),
        ("killed", "was killed by SIGKILL"),
    ],
)
def test_nothing_is_drafted_from_then_on_and_there_is_one_warning(
    start: Start, caplog: pytest.LogCaptureFixture, fault: str, reason: str
) -> None:
    with caplog.at_level(logging.WARNING):
        pearl = start(fault, wait=1)
        pid = pearl.pid
        log = finished(pearl)
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"PEARL: the draft process (pid {pid}) ") and reason in warning
    assert warning.endswith("; vLLM goes on without drafts")
    failed = [entry["failed"] for entry in log]
    assert failed[0] is None and reason in failed[-1]
    after = [entry for entry in log if entry["failed"]]
    assert len(after) > 1
    assert all(row["handed"] == [] for entry in after for row in entry["rows"])
    assert pearl.pid is None and not running(pid)


@pytest.mark.parametrize("wait", [0, 1])
def test_a_draft_process_that_is_stopped_is_waited_for_once(
    start: Start, caplog: pytest.LogCaptureFixture, wait: int
) -> None:
    pearl = start("stopped", wait=wait, answer_timeout=0.2)
    pid = pearl.pid
    assert pid is not None
    request = Request([1, 2, 3], list(range(20, 220)))
    engine = Engine(pearl)
    while not request.is_over:
        engine.step(request)
        if pearl.pid is not None:
            time.sleep(0.02)
    assert "silent for" in str(pearl.take_log()[-1]["failed"])
    assert len(caplog.records) == 1 and not running(pid)


def test_it_may_be_idle_for_longer_than_it_may_be_silent(start: Start) -> None:
    pearl = start("none", wait=0, answer_timeout=0.3)
    engine = Engine(pearl)
    for _ in range(2):
        request = Request([1, 2, 3], [7])
        engine.step(request)
        time.sleep(0.4)
    engine.step(Request([1, 2, 3], [7]))
    assert pearl.take_log()[-1]["failed"] is None


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("never ready", "was not ready within 0.5 s"),
        ("not loaded", "failed: OSError: no such model"),
        ("ends", "ended with exit code 3"),
    ],
)
def test_one_that_does_not_start_is_done_without(
    start: Start, caplog: pytest.LogCaptureFixture, fault: str, reason: str
) -> None:
    pearl = start(fault, start_timeout=0.5 if fault == "never ready" else 20.0)
    log = finished(pearl)
    [warning] = [record.getMessage() for record in caplog.records]
    assert reason in warning
    assert all(reason in entry["failed"] for entry in log)


def test_an_error_of_ours_does_not_leave_propose(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pearl = start("none")
    monkeypatch.setattr(pearl._texts, "step", lambda *rows: [][1])
    log = finished(pearl)
    assert log[0]["failed"] == "IndexError in propose: list index out of range"
    assert len(caplog.records) == 1


def test_another_rank_has_no_draft_process(small_pair: SmallPair) -> None:
    pearl = PearlProposer(config(str(small_pair.folder / "draft"), rank=1))
    pearl.load_model(None)
    assert pearl.pid is None
    request = Request([1, 2, 3], TRUTH)
    assert Engine(pearl).finish(request) == len(TRUTH)
    assert pearl.take_log() == []
