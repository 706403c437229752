"""What of a run becomes metrics and tables."""

from __future__ import annotations

import pandas as pd
import pytest
from make_record import make_record
from tracked import some_records, some_rounds

from pearl_eval.results.table import equivalence_text
from pearl_eval.tracking.metrics import (
    equivalence_html,
    prompt_metrics,
    run_length_histogram,
    sampled_rounds,
    worst_prompts,
)


def test_what_is_true_or_false_can_be_drawn_and_what_is_not_there_is_left_out() -> None:
    metrics = prompt_metrics(make_record(verdict="violation", exact_match=False, judged=0))
    assert (metrics["prompt/violation"], metrics["prompt/exact_match"]) == (1, 0)
    assert not isinstance(metrics["prompt/violation"], bool)
    assert "prompt/acceptance_rate" not in metrics and "prompt/first_divergence" not in metrics


def test_acceptance_length_and_times_to_tokens_are_metrics() -> None:
    times = {"ttft_seconds": 0.25, "tpot_seconds": 0.0625, "itl_seconds_p99": 0.5}
    metrics = prompt_metrics(make_record(verifications=[3, 0], **times))
    assert metrics["prompt/acceptance_length"] == 2.5
    assert {metrics[f"prompt/{name}"] for name in times} == {0.25, 0.0625, 0.5}
    assert "prompt/verifications" not in metrics
    assert "prompt/acceptance_length" not in prompt_metrics(make_record(verifications=[]))


def test_speeds_are_tokens_over_seconds() -> None:
    record = make_record(seconds=4.0, reference_seconds=8.0, reference_output_ids=[1] * 9)
    metrics = prompt_metrics(record)
    assert metrics["prompt/tokens_per_second"] == 2.5
    assert metrics["prompt/reference_tokens_per_second"] == 1.125


def test_a_short_table_of_rounds_is_whole() -> None:
    rounds = pd.DataFrame(some_rounds(prompts=4, each=5))
    assert len(sampled_rounds(rounds, limit=20)) == 20
    assert rounds["drafted_ids"][0] == [5, 6], "the caller's rounds stay as they are"


def test_of_one_prompt_with_too_many_rounds_there_are_the_first() -> None:
    rounds = pd.DataFrame(some_rounds(prompts=2, each=50))
    kept = sampled_rounds(rounds, limit=30)
    assert list(kept["round"]) == list(range(30)) and set(kept["task_id"]) == {"Task/0"}


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (10, "eeaaddbbcc"),
        # Every second prompt, every third,
        (9, "eeddcc"),
        (6, "eeddcc"),
        (5, "eebb"),
        (4, "eebb"),
        # and the first alone, since every fourth of five would be two.
        (3, "ee"),
        (2, "ee"),
        (1, "e"),
    ],
)
def test_prompts_are_evenly_spread_and_whole(limit: int, kept: str) -> None:
    """Five prompts of two rounds, which are not in the order of their names."""
    prompts = {"task_id": list("eeaaddbbcc"), "sample": 0, "turn": 0, "round": [0, 1] * 5}
    rounds = pd.DataFrame(prompts | {"drafted_ids": [[5, 6]] * 10})
    found = sampled_rounds(rounds, limit)
    assert "".join(found["task_id"]) == kept
    assert list(found["round"]) == ([0, 1] * 5)[: len(kept)]
    assert set(found["drafted_ids"]) == {"5 6"}


def test_worst_prompts_are_the_slowest_without_the_warm_up() -> None:
    worst = worst_prompts([*some_records(), make_record(9, speedup=0.5, text="x" * 999)], count=3)
    assert list(worst["task_id"]) == ["Task/9", "Task/1", "Task/2"]
    assert worst["text"][0] == "x" * 300


def test_each_length_of_a_run_has_its_own_bin() -> None:
    histogram = run_length_histogram([make_record(accepted_runs=[0, 3]), make_record(1)])
    assert histogram is not None
    counts, edges = histogram
    assert list(counts) == [1, 0, 1, 2] and list(edges) == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert run_length_histogram([make_record(accepted_runs=[])]) is None


@pytest.mark.parametrize(("longest", "bins"), [(510, 511), (511, 512), (512, 512), (600, 512)])
def test_there_are_no_more_bins_than_are_shown(longest: int, bins: int) -> None:
    histogram = run_length_histogram([make_record(accepted_runs=[0, longest])])
    assert histogram is not None
    counts, edges = histogram
    assert (len(counts), edges[0], edges[-1]) == (bins, -0.5, longest + 0.5)


def test_violations_are_a_red_number() -> None:
    same = {"violations": 0, "prompts": 12, "exact_match_rate": 11 / 12, "ties": 1}
    same |= {"sampled_tokens": None, "sampling_p_value": None, "lossy": 0}
    assert ">0<" in equivalence_html(same) and "#2e7d32" in equivalence_html(same)
    wrong = equivalence_html(same | {"violations": 3})
    assert ">3<" in wrong and "#d32f2f" in wrong
    lossy = equivalence_html(same | {"exact_match_rate": 0.25, "ties": 0, "lossy": 9})
    assert ">9<" in lossy and "#757575" in lossy and "does not claim" in lossy
    sampled = same | {"exact_match_rate": 0.0, "sampled_tokens": 900}
    assert "#2e7d32" in equivalence_html(sampled | {"sampling_p_value": 0.2})
    assert "#d32f2f" in equivalence_html(sampled | {"sampling_p_value": 1e-9})


def test_sampled_output_that_the_decoder_does_not_claim_is_lossy() -> None:
    """And not sampled from the target, however well its tokens happen to fit."""
    sampled = {"violations": 0, "prompts": 12, "exact_match_rate": 0.25, "ties": 0}
    sampled |= {"sampled_tokens": 900, "sampling_p_value": 0.2, "lossy": 0}
    lossy = sampled | {"lossy": 9}
    assert equivalence_text(sampled) == "sampled, p = 0.2"
    assert equivalence_text(lossy) == "lossy, identical 3/12"
    assert ">9<" in equivalence_html(lossy) and "does not claim" in equivalence_html(lossy)
    assert ">9<" in equivalence_html(lossy | {"sampling_p_value": 1e-9})
