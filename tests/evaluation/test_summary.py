from __future__ import annotations

import dataclasses

import pytest
from make_record import make_record

from pearl_eval.config.schema import Names
from pearl_eval.evaluation.summary import summarize
from pearl_eval.results.records import Record
from pearl_eval.results.speed import Speed


def test_speedup_is_the_ratio_of_total_rates_without_the_warm_up() -> None:
    records = [
        make_record(0, warmup=True, seconds=100.0),
        make_record(1, seconds=1.0, reference_seconds=3.0),
        make_record(2, seconds=3.0, reference_seconds=5.0, new_tokens=20),
    ]
    speed = Speed.of(records)
    assert speed.tokens_per_second == pytest.approx(30 / 4)
    assert speed.reference_tokens_per_second == pytest.approx(20 / 8)
    assert speed.speedup == pytest.approx(3.0)


def test_pairing_cancels_what_both_runs_share() -> None:
    """Prompts of very different length, always exactly twice as fast: no spread at all."""
    records = [make_record(i, seconds=1.0 + i, reference_seconds=2.0 + 2 * i) for i in range(10)]
    assert Speed.of(records).speedup_ci95 == pytest.approx((2.0, 2.0))


def test_samples_of_one_problem_are_no_further_evidence() -> None:
    """Each problem measured four times over says no more than once: the interval is the same."""
    once = [make_record(i, seconds=1 + 0.2 * i) for i in range(8)]
    samples = [dataclasses.replace(one, sample=k) for one in once for k in range(4)]
    assert Speed.of(samples).speedup_ci95 == pytest.approx(Speed.of(once).speedup_ci95)


def test_no_speed_of_a_warm_up_alone() -> None:
    assert Speed.of([make_record(warmup=True)]) == Speed(*[None] * 7, 0)
    assert Speed.of([make_record(warmup=True), make_record(1)]).speedup_ci95 is None


def test_an_interval_needs_three_problems() -> None:
    """However many samples there are of each, and without the warm-up."""
    samples = [
        dataclasses.replace(make_record(i, seconds=1 + i, warmup=i == 0), sample=k)
        for i in range(4)
        for k in range(5)
    ]
    assert Speed.of([one for one in samples if one.task_id != "Task/3"]).speedup_ci95 is None
    assert Speed.of(samples).speedup_ci95 is not None


def summary_of(*records: Record) -> dict:
    return summarize(
        records,
        Names("pearl", "tiny", "humaneval"),
        settings={"gamma": 4},
        about={},
        synthetic=False,
        accuracy_name="pass@1",
        fit=None,
        cost={},
        facts={"data": {}},
        traces={},
        latency={"ttft_seconds_p50": 0.25},
        devices={"decoder": ["core 1", "core 0"], "reference": ["core 1"]},
        seed=0,
        reference="inline",
        peak_memory_bytes=1,
        environment={},
    )


def test_figures_of_a_run() -> None:
    summary = summary_of(
        make_record(0, correct=True, judged=1, accepted=1, warmup=True, wait_draft_seconds=9.0),
        make_record(1, accepted_runs=[7], verdict="tie", exact_match=False, judged=0, accepted=0),
        make_record(2, verdict="violation", exact_match=False, judged=4, accepted=2),
        make_record(3, judged=0, accepted=0, wait_draft_seconds=0.75, wait_target_seconds=1.5),
    )
    assert summary["lossy"] == 0
    assert summary["acceptance_rate"] == pytest.approx(3 / 5)
    assert summary["mean_accepted_tokens"] == pytest.approx((3 * 5 + 7) / 7)
    assert summary["tokens_per_target_forward"] == pytest.approx(40 / 16)
    assert (summary["wait_fraction_draft"], summary["wait_fraction_target"]) == (0.25, 0.5)
    assert (summary["ties"], summary["violations"], summary["exact_match_rate"]) == (1, 1, 0.5)
    assert summary["accuracy"] == 0.25
    assert summary["by_category"] is None


def test_each_category_has_figures_of_its_own() -> None:
    """The warm-up is in "writing", whose speeds leave it out."""
    summary = summary_of(
        make_record(0, category="writing", warmup=True, seconds=100.0, judged=2, accepted=2),
        make_record(1, category="math", seconds=1.0, reference_seconds=3.0, correct=True),
        make_record(2, category="writing", seconds=2.5, reference_seconds=5.0, judged=2),
        make_record(3, category="writing", seconds=0.5, reference_seconds=1.0, accepted_runs=[9]),
    )
    writing, math = summary["by_category"]["writing"], summary["by_category"]["math"]
    assert list(summary["by_category"]) == ["writing", "math"]
    assert (writing["prompts"], math["prompts"]) == (3, 1)
    assert (writing["tokens_per_second"], math["tokens_per_second"]) == pytest.approx((20 / 3, 10))
    assert (writing["speedup"], math["speedup"]) == pytest.approx((2.0, 3.0))
    assert writing["mean_prompt_tokens_per_second"] == pytest.approx((10 / 2.5 + 10 / 0.5) / 2)
    assert writing["reference_mean_prompt_tokens_per_second"] == pytest.approx((2 + 10) / 2)
    assert summary["mean_prompt_tokens_per_second"] == pytest.approx((10 + 4 + 20) / 3)
    assert writing["acceptance_rate"] == pytest.approx((2 + 5 + 5) / (2 + 2 + 8))
    assert writing["mean_accepted_tokens"] == pytest.approx((3 + 2 + 3 + 2 + 9) / 5)
    assert (writing["accuracy"], math["accuracy"]) == (0.0, 1.0)


def test_spec_benchs_speedup_is_of_the_means_of_problems() -> None:
    """A dialogue is one problem, of its turns' tokens over their seconds; the warm-up is none."""
    first, second = (
        make_record(1, seconds=one, reference_seconds=theirs)
        for one, theirs in ((1.0, 2.0), (4.0, 8.0))
    )
    records = [
        make_record(0, warmup=True, seconds=0.125),
        dataclasses.replace(first, turn=1),
        dataclasses.replace(second, turn=2),
        make_record(2, seconds=0.5, reference_seconds=5.0),
    ]
    summary = summary_of(*records)
    # 20 tokens in 5 s and 10 in 0.5 s; by the reference 20 in 10 s and 10 in 5 s.
    assert summary["speedup_of_mean_speeds"] == pytest.approx((4 + 20) / (2 + 2))
    assert summary["speedup"] == pytest.approx((30 / 5.5) / (30 / 15))


def test_acceptance_length_is_one_more_than_a_verification_accepts() -> None:
    """Over all verifications, not over prompts; the warm-up's count. Of the three prompts one has
    accepted tokens that no verification judged."""
    summary = summary_of(
        make_record(0, category="math", warmup=True, verifications=[4, 0]),
        make_record(1, category="math", verifications=[2]),
        make_record(2, category="writing", verifications=[], judged=3, accepted=3),
    )
    assert summary["acceptance_length"] == 1 + (4 + 0 + 2) / 3
    assert summary["by_category"]["math"]["acceptance_length"] == 3.0
    assert summary["by_category"]["writing"]["acceptance_length"] is None


def test_equal_hardware_is_a_speedup_of_its_own() -> None:
    """10 tokens in 1 s each against 9 in 1.5 s, on two cores; the warm-up is left out."""
    equal = {"equal_hardware_seconds": 1.5, "equal_hardware_new_tokens": 9}
    records = [make_record(i, category="math", **equal) for i in range(1, 4)]
    summary = summary_of(make_record(0, warmup=True, seconds=50.0, **equal), *records)
    assert summary["speedup"] == pytest.approx(2.0)
    assert summary["equal_hardware_tokens_per_second"] == pytest.approx(6.0)
    assert summary["equal_hardware_speedup"] == pytest.approx(10 / 6)
    assert summary["equal_hardware_speedup_ci95"] == pytest.approx([10 / 6, 10 / 6])
    assert summary["tokens_per_second_per_device"] == pytest.approx(10 / 2)
    assert summary["reference_tokens_per_second_per_device"] == pytest.approx(5.0)
    assert summary["equal_hardware_tokens_per_second_per_device"] == pytest.approx(6 / 2)
    assert summary["by_category"]["math"]["equal_hardware_speedup"] == pytest.approx(10 / 6)
    assert summary["devices"]["decoder"] == ["core 1", "core 0"]
    assert summary["ttft_seconds_p50"] == 0.25


def test_equal_hardware_needs_every_timed_prompt() -> None:
    equal = {"equal_hardware_seconds": 1.5, "equal_hardware_new_tokens": 9}
    for records in (
        [make_record(1, **equal), make_record(2)],
        [make_record(1, warmup=True, **equal)],
        [make_record(1)],
    ):
        summary = summary_of(*records)
        assert summary["equal_hardware_speedup"] is None
        assert summary["equal_hardware_tokens_per_second_per_device"] is None
    few = summary_of(make_record(0, warmup=True), make_record(1, **equal), make_record(2, **equal))
    assert few["equal_hardware_speedup"] == pytest.approx(10 / 6)
    assert few["equal_hardware_speedup_ci95"] is None


def test_figures_that_do_not_exist_are_null() -> None:
    summary = summary_of(make_record(accepted_runs=[], judged=0, accepted=0, correct=None))
    assert summary["acceptance_length"] is None
    assert summary["equal_hardware_speedup"] is None
    assert summary["acceptance_rate"] is None
    assert summary["mean_accepted_tokens"] is None
    assert summary["accuracy"] is None


def test_accuracy_has_an_interval_and_is_compared_with_the_references() -> None:
    """Eight right of ten against two: six on which only ours is right, none the other way."""
    records = [make_record(i, correct=i < 8, reference_correct=i < 2) for i in range(10)]
    summary = summary_of(*records)
    assert summary["accuracy"] == 0.8
    # Wilson's interval, from a table.
    assert summary["accuracy_ci95"] == pytest.approx([0.4902, 0.9433], abs=1e-4)
    assert summary["reference_accuracy"] == 0.2
    assert summary["accuracy_p_value"] == pytest.approx(2 * 0.5**6)


def test_equal_scores_are_no_difference() -> None:
    records = [make_record(i, correct=i < 4, reference_correct=i < 4) for i in range(6)]
    assert summary_of(*records)["accuracy_p_value"] == 1.0


def test_scores_of_one_problems_samples_are_no_further_evidence() -> None:
    """Ours is right on six problems more, in all four samples of each."""
    samples = [
        dataclasses.replace(make_record(i, correct=i < 8, reference_correct=i < 2), sample=k)
        for i in range(10)
        for k in range(4)
    ]
    summary = summary_of(*samples)
    assert summary["accuracy_ci95"] == pytest.approx([0.4902, 0.9433], abs=1e-4)
    assert summary["accuracy_p_value"] == pytest.approx(2 * 0.5**6)
