"""Times to tokens, on rounds with chosen ends."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from make_record import make_record

from decoders.generation import Generation
from decoders.round import Round
from pearl_eval.checks.verdict import Verdict
from pearl_eval.evaluation.outcome import record_of
from pearl_eval.evaluation.plan import Prompt
from pearl_eval.evaluation.reference import ReferenceRun
from pearl_eval.evaluation.run_files import RunFiles
from pearl_eval.results.latency import Latency, percentiles
from pearl_eval.results.traces import Traces
from tasks.task import Problem

#: Two tokens at 0.25 s, none at 0.5, one at 0.75, three at 1.75.
ROUNDS = [
    Round("verify", judged=3, accepted=1, own_tokens=1, start=0.0, verified_length=2),
    Round("draft", start=0.25, verified_length=2),
    Round("verify", judged=2, accepted=0, own_tokens=1, start=0.5, verified_length=3),
    Round("verify", judged=3, accepted=3, own_tokens=0, start=0.75, verified_length=6),
]
SECONDS = 1.75


def test_tokens_come_at_the_end_of_the_round_that_verified_them() -> None:
    """The gaps are between 0.25, 0.75 and 1.75; the five tokens after the first take 1.5 s."""
    found = Latency.of_rounds(ROUNDS, SECONDS)
    assert found == Latency(0.25, pytest.approx(1.5 / 5), (0.5, 1.0))


def test_a_round_without_tokens_first_is_waited_for() -> None:
    late = [Round("draft", start=0.0), Round("verify", start=0.5, verified_length=1)]
    assert Latency.of_rounds(late, 0.75) == Latency(0.75, None, ())


def test_what_comes_after_the_last_token_is_no_latency() -> None:
    ends = [*ROUNDS, Round("draft", start=1.75, verified_length=6)]
    assert Latency.of_rounds(ends, 9.0) == Latency(0.25, pytest.approx(0.3), (0.5, 1.0))


def test_an_engine_says_when_tokens_were_there(tmp_path: Path) -> None:
    """It begins the second round at 0.25 s, and tells of the first one's tokens at 0.5."""
    ahead = [
        Round("decode", start=0.0, verified_length=1, end=0.5),
        Round("decode", start=0.25, verified_length=2, end=1.0),
    ]
    assert Latency.of_rounds(ahead, 1.25) == Latency(0.5, 0.5, (0.5,))
    files = RunFiles(tmp_path, {})
    files.append(make_record(seconds=1.25), ahead)
    files.close()
    assert Traces.read(tmp_path).latency()["ttft_seconds_p50"] == 0.5
    one = Round(start=10.0, end=12.5)
    one.since(10.0)
    assert (one.start, one.end) == (0.0, 2.5)


def test_times_that_are_not_known_give_none() -> None:
    assert Latency.of_rounds([], 1.0) == Latency(None, None, ())
    unknown = [ROUNDS[0], Round("verify", start=math.nan, verified_length=3)]
    assert Latency.of_rounds(unknown, 1.0) == Latency(None, None, ())


def test_percentiles_are_between_the_times_there_are() -> None:
    """As numpy, and so vLLM's benchmark, has them: linear between the two nearest."""
    found = percentiles("ttft_seconds", [3.0, 1.0, 2.0])
    assert list(found) == ["ttft_seconds_p50", "ttft_seconds_p95", "ttft_seconds_p99"]
    assert list(found.values()) == pytest.approx([2.0, 2.9, 2.98])
    assert percentiles("x", []) == {"x_p50": None, "x_p95": None, "x_p99": None}


def test_a_record_says_when_its_tokens_came_and_what_was_verified() -> None:
    record = record_of(
        Prompt(Problem("Task/0"), [1], 0),
        Generation([5] * 6, "length", SECONDS, ROUNDS, [1, 0, 3]),
        ReferenceRun([5] * 6, 4.0, None),
        Verdict("identical"),
        "",
        score=None,
        reference_score=None,
        warmup=False,
        synthetic=False,
        joules=None,
        equal=ReferenceRun([5] * 7, 3.0, None),
    )
    assert record.verifications == [1, 0, 3]
    assert (record.ttft_seconds, record.tpot_seconds) == (0.25, pytest.approx(0.3))
    assert record.itl_seconds_p50 == 0.75
    assert (record.itl_seconds_p95, record.itl_seconds_p99) == pytest.approx((0.975, 0.995))
    assert (record.equal_hardware_seconds, record.equal_hardware_new_tokens) == (3.0, 7)


def test_a_run_has_percentiles_over_prompts_and_over_all_gaps(tmp_path: Path) -> None:
    """Not of the warm-up. The other prompt has its tokens at 2, 5 and 10 s."""
    other = [
        Round("decode", start=start, own_tokens=1, verified_length=i)
        for i, start in enumerate((0.0, 2.0, 5.0), start=1)
    ]
    files = RunFiles(tmp_path, {})
    slow = [Round("decode", start=0.0, verified_length=1), Round("decode", start=90.0)]
    for index, (rounds, seconds) in enumerate(((slow, 99.0), (ROUNDS, SECONDS), (other, 10.0))):
        # As a run of before left them: without what is derived from rounds.
        files.append(make_record(index, warmup=index == 0, seconds=seconds), rounds)
    files.close()
    traces = Traces.read(tmp_path)
    found = traces.latency()
    assert found["ttft_seconds_p50"] == pytest.approx((0.25 + 2.0) / 2)
    assert found["tpot_seconds_p50"] == pytest.approx((0.3 + 8.0 / 2) / 2)
    # 0.5, 1, 3 and 5.
    assert found["itl_seconds_p50"] == 2.0
    assert found["itl_seconds_p99"] == pytest.approx(3 + 0.97 * 2)
    records = traces.records
    assert list(records["ttft_seconds"]) == [90.0, 0.25, 2.0]
    assert list(records["itl_seconds_p50"][1:]) == [0.75, 4.0]
    assert list(records["verifications"]) == [[], [1, 0, 3], []]
