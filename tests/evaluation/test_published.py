"""What each published figure means: of records and rounds made by hand, each value on paper.

Numbers are distinct, so that a figure which is taken from another field, or counts what it should
leave out, is another one.
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from make_record import make_record

from decoders.generation import Generation
from decoders.round import UNKNOWN, Round
from pearl_eval.checks.distribution import Fit
from pearl_eval.checks.verdict import Verdict, first_difference, unchecked_verdict
from pearl_eval.config.schema import Names
from pearl_eval.evaluation.outcome import record_of
from pearl_eval.evaluation.plan import Prompt, _seed
from pearl_eval.evaluation.reference import ReferenceRun
from pearl_eval.evaluation.run_files import rounds_frame
from pearl_eval.evaluation.summary import summarize
from pearl_eval.results.records import Record, biased
from pearl_eval.results.table import Row, category_cells, category_headings, cells, headings, notes
from pearl_eval.results.traces import Traces
from pearl_eval.tracking.metrics import prompt_metrics, worst_prompts
from tasks.scoring.score import Score
from tasks.task import Problem

#: Two rounds: 12 tokens in 4 s, of 7 judged 4 are accepted.
GENERATION = Generation(
    output_ids=list(range(12)),
    finish_reason="stop",
    seconds=4.0,
    rounds=[
        Round(
            "pre-verify",
            drafted=5,
            judged=1,
            accepted=1,
            draft_seconds=0.5,
            target_seconds=0.75,
            wait_draft_seconds=0.25,
            wait_target_seconds=0.125,
        ),
        Round(
            "post-verify",
            drafted=8,
            judged=6,
            accepted=3,
            draft_seconds=1.0,
            target_seconds=1.5,
            wait_draft_seconds=2.0,
            wait_target_seconds=4.0,
        ),
        # Neither a forward of the draft model nor one of the target.
        Round("draft", drafted=2, wait_draft_seconds=0.5),
    ],
    accepted_runs=[4, 0],
)


def made(turn: int = 0, **values: Any) -> Record:
    """A record of that generation; the reference makes 6 tokens in 3 s."""
    answers = tuple("x" for _ in range(turn - 1))
    problem = Problem("T/7", "?", "math", turns=("?",) * turn)
    arguments: dict[str, Any] = {
        "prompt": Prompt(problem, [5, 6, 7, 8, 9], seed=3, sample=2, answers=answers),
        "generation": GENERATION,
        "reference": ReferenceRun(list(range(6)), 3.0, 40.0),
        "verdict": Verdict("tie", 5, "near", 0.0625),
        "text": "abc",
        "score": Score(True, "passed"),
        "reference_score": Score(False, "failed"),
        "warmup": True,
        "synthetic": False,
        "joules": 30.0,
    }
    return record_of(**(arguments | values))


def test_record() -> None:
    record = made()
    assert asdict(record) == {
        "task_id": "T/7",
        "sample": 2,
        "turn": 0,
        "category": "math",
        "synthetic": False,
        "warmup": True,
        "prompt_tokens": 5,
        "output_ids": list(range(12)),
        "text": "abc",
        "new_tokens": 12,
        "seconds": 4.0,
        "seconds_prefill": 0.75,
        "reference_seconds": 3.0,
        "reference_output_ids": list(range(6)),
        "speedup": 1.5,  # 12 / 4 over 6 / 3
        "target_forwards": 2,
        "draft_forwards": 13,  # 5 + 8; what was drafted without a forward is none
        "judged": 7,
        "accepted": 4,
        "wait_draft_seconds": 2.75,
        "wait_target_seconds": 4.125,
        "accepted_runs": [4, 0],
        "exact_match": False,
        "first_divergence": 5,
        "verdict": "tie",
        "correct": True,
        "reference_correct": False,
        "result": "passed",
        "finish_reason": "stop",
        "violation": "",
        "joules": 30.0,
        "reference_joules": 40.0,
        "tie": "near",
        "runner_up_pass_rate": 0.0625,
        "lost": "",
        "verifications": [1, 3],
        # Of rounds that say nothing of when tokens were there.
        "ttft_seconds": None,
        "tpot_seconds": None,
        "itl_seconds_p50": None,
        "itl_seconds_p95": None,
        "itl_seconds_p99": None,
        "equal_hardware_seconds": None,
        "equal_hardware_new_tokens": None,
    }
    assert record.key == ("T/7", 2, 0)


def test_record_of_what_was_not_scored_and_of_a_violation() -> None:
    verdict = Verdict("violation", 5, "position 5: no")
    record = made(verdict=verdict, score=None, reference_score=None, warmup=False, synthetic=True)
    assert (record.correct, record.reference_correct, record.result) == (None, None, "")
    assert (record.warmup, record.synthetic, record.exact_match) == (False, True, False)
    assert (record.violation, record.tie) == ("T/7, position 5: no", "")
    second = made(2, verdict=verdict)
    assert second.violation == "T/7, turn 2, position 5: no" and second.key == ("T/7", 2, 2)
    assert made(verdict=Verdict("identical")).exact_match


def test_record_as_a_line() -> None:
    assert made().line() == "T/7: 12 tokens in 4.00 s, 1.50×, 4/7 accepted, tie, right, warm-up"
    other = make_record(correct=False, verdict="identical", speedup=2.0, judged=0)
    assert other.line() == "Task/0: 10 tokens in 1.00 s, 2.00×, identical, wrong"
    assert make_record(turn=2, correct=None, judged=0).line() == (
        "Task/0, turn 2: 10 tokens in 1.00 s, 2.00×, identical"
    )


#: Of two categories; the first is the warm-up, which is left out of speeds and shares of time.
RECORDS = [
    make_record(
        0, category="x", warmup=True, new_tokens=10, seconds=100.0, reference_seconds=200.0,
        reference_output_ids=[1] * 10, target_forwards=4, draft_forwards=11, judged=9, accepted=6,
        wait_draft_seconds=50.0, wait_target_seconds=60.0, accepted_runs=[3, 3],
        correct=True, reference_correct=False,
    ),
    make_record(
        1, category="x", new_tokens=12, seconds=3.0, reference_seconds=7.0,
        reference_output_ids=[1] * 14, target_forwards=5, draft_forwards=13, judged=10, accepted=7,
        wait_draft_seconds=0.75, wait_target_seconds=0.3, accepted_runs=[4, 2, 1],
        verdict="tie", exact_match=False, correct=True, reference_correct=True,
    ),
    make_record(
        2, category="y", new_tokens=18, seconds=5.0, reference_seconds=6.5,
        reference_output_ids=[1] * 13, target_forwards=7, draft_forwards=17, judged=12, accepted=5,
        wait_draft_seconds=0.45, wait_target_seconds=1.3, accepted_runs=[0, 5],
        verdict="violation", exact_match=False, correct=False, reference_correct=True,
    ),
    make_record(
        3, category="y", new_tokens=20, seconds=4.0, reference_seconds=5.0,
        reference_output_ids=[1] * 20, target_forwards=8, draft_forwards=19, judged=14, accepted=9,
        wait_draft_seconds=0.6, wait_target_seconds=0.4, accepted_runs=[9],
        correct=True, reference_correct=False,
    ),
]  # fmt: skip


def summary_of(records: list[Record], **values: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "settings": {"gamma": 4},
        "about": {"idea": "as it is"},
        "synthetic": False,
        "accuracy_name": "pass@1",
        "fit": Fit(60, 0.25, 0.125),
        "cost": {"joules_per_token": 1.0},
        "facts": {"data": {"rows": 3}},
        "traces": {"rounds": 9},
        "latency": {"ttft_seconds_p50": 0.25},
        "devices": {"decoder": ["core 1", "core 0"], "reference": ["core 1"]},
        "seed": 5,
        "reference": "cached",
        "peak_memory_bytes": 77,
        "environment": {"dtype": "float32"},
    }
    names = Names("pearl", "tiny", "humaneval")
    return summarize(records, names, **(arguments | values))


#: What records without verifications, and without a second reference, have not.
NOTHING = dict.fromkeys(
    ("acceptance_length", "equal_hardware_tokens_per_second", "equal_hardware_speedup")
)


def without_intervals(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if not name.endswith("speedup_ci95")}


def test_summary() -> None:
    """Timed are 12 + 18 + 20 tokens in 12 s; by the reference 14 + 13 + 20 in 18.5 s."""
    summary = without_intervals(summary_of(RECORDS))
    by_category = summary.pop("by_category")
    wilson = summary.pop("accuracy_ci95")
    assert summary == {
        "prompts": 4,
        "tokens_per_second": pytest.approx(50 / 12),
        "reference_tokens_per_second": pytest.approx(47 / 18.5),
        "mean_prompt_tokens_per_second": pytest.approx((12 / 3 + 18 / 5 + 20 / 4) / 3),
        "reference_mean_prompt_tokens_per_second": pytest.approx((14 / 7 + 13 / 6.5 + 20 / 5) / 3),
        "speedup": pytest.approx((50 / 12) / (47 / 18.5)),
        "speedup_of_mean_speeds": pytest.approx((4 + 3.6 + 5) / (2 + 2 + 4)),
        "timed_problems": 3,
        "mean_accepted_tokens": 27 / 8,  # 3, 3; 4, 2, 1; 0, 5; 9
        "acceptance_rate": 27 / 45,
        "accuracy": 3 / 4,
        "tokens_per_target_forward": 60 / 24,
        "target_forwards": 24,
        "draft_forwards": 60,
        "wait_fraction_draft": pytest.approx(1.8 / 12),
        "wait_fraction_target": pytest.approx(2 / 12),
        "new_tokens": 60,
        "exact_match_rate": 2 / 4,
        "ties": 1,
        "violations": 1,
        "lossy": 0,
        "lost_from": None,
        # test_summary.py has more of these.
        **NOTHING,
        "equal_hardware_tokens_per_second_per_device": None,
        "ttft_seconds_p50": 0.25,
        "tokens_per_second_per_device": pytest.approx(50 / 12 / 2),
        "reference_tokens_per_second_per_device": pytest.approx(47 / 18.5),
        "devices": {"decoder": ["core 1", "core 0"], "reference": ["core 1"]},
        "runner_up_pass_rate": None,
        "sampled_tokens": 60,
        "sampling_p_value": 0.25,
        "sampling_smallest_bias": 0.125,
        "reference_accuracy": 2 / 4,
        "accuracy_p_value": 1.0,  # right where the other is not: 2 against 1
        "accuracy_name": "pass@1",
        "cost": {"joules_per_token": 1.0},
        "traces": {"rounds": 9},
        "peak_memory_bytes": 77,
        "decoder": "pearl",
        "decoder_settings": {"gamma": 4},
        "decoder_about": {"idea": "as it is"},
        "pair": "tiny",
        "task": "humaneval",
        "synthetic": False,
        "pass_at_k": None,
        "isolation": None,
        "verification": None,
        "data": {"rows": 3},
        "seed": 5,
        "reference": "cached",
        "environment": {"dtype": "float32"},
    }
    # z² = 3.8415: (0.75 + 3.8415/8 ± 1.95996 √(0.1875/4 + 3.8415/64)) / (1 + 3.8415/4).
    assert wilson == pytest.approx([0.300642, 0.954413], abs=1e-5)
    assert list(by_category) == ["x", "y"]
    assert without_intervals(by_category["x"]) == {
        "prompts": 2,
        "tokens_per_second": pytest.approx(12 / 3),
        "reference_tokens_per_second": pytest.approx(14 / 7),
        "mean_prompt_tokens_per_second": pytest.approx(12 / 3),
        "reference_mean_prompt_tokens_per_second": pytest.approx(14 / 7),
        "speedup": pytest.approx(2.0),
        "speedup_of_mean_speeds": pytest.approx(2.0),
        "timed_problems": 1,
        **NOTHING,
        "mean_accepted_tokens": 13 / 5,
        "acceptance_rate": 13 / 19,
        "accuracy": 1.0,
    }
    assert without_intervals(by_category["y"]) == {
        "prompts": 2,
        "tokens_per_second": pytest.approx(38 / 9),
        "reference_tokens_per_second": pytest.approx(33 / 11.5),
        "mean_prompt_tokens_per_second": pytest.approx((18 / 5 + 20 / 4) / 2),
        "reference_mean_prompt_tokens_per_second": pytest.approx((13 / 6.5 + 20 / 5) / 2),
        "speedup": pytest.approx((38 / 9) / (33 / 11.5)),
        "speedup_of_mean_speeds": pytest.approx((3.6 + 5) / (2 + 4)),
        "timed_problems": 2,
        **NOTHING,
        "mean_accepted_tokens": 14 / 3,
        "acceptance_rate": 14 / 26,
        "accuracy": 1 / 2,
    }


def test_verdicts_are_counted_each_for_itself() -> None:
    kinds = ["tie"] + ["violation"] * 2 + ["lossy"] * 3 + ["identical"] * 4
    same = [kind == "identical" for kind in kinds]
    summary = summary_of(
        [make_record(i, verdict=kinds[i], exact_match=same[i]) for i in range(len(kinds))]
    )
    assert (summary["ties"], summary["violations"], summary["lossy"]) == (1, 2, 3)
    assert summary["exact_match_rate"] == 0.4


def test_what_ties_would_have_excused_is_over_their_tokens() -> None:
    """10 tokens at 0.5, 30 at 0.1; the output that is no tie has no rate."""
    records = [
        make_record(0, new_tokens=10, runner_up_pass_rate=0.5),
        make_record(1, new_tokens=30, runner_up_pass_rate=0.1),
        make_record(2, new_tokens=60),
    ]
    assert summary_of(records)["runner_up_pass_rate"] == pytest.approx(8 / 40)


def test_what_was_lost_is_said_from_the_first_prompt_on() -> None:
    records = [make_record(one, lost="died" if one > 1 else "") for one in range(4)]
    assert summary_of(records)["lost_from"] == records[2].task_id
    assert [prompt_metrics(one)["prompt/lost"] for one in records] == [0, 0, 1, 1]


def test_waiting_that_is_not_known_is_no_share_of_the_time() -> None:
    rounds = [Round(wait_draft_seconds=1.0), Round(wait_draft_seconds=UNKNOWN)]
    record = made(generation=replace(GENERATION, rounds=rounds))
    assert (record.wait_draft_seconds, record.wait_target_seconds) == (None, 0.0)
    summary = summary_of([make_record(0), make_record(1, wait_draft_seconds=None)])
    assert summary["wait_fraction_draft"] is None
    metrics = prompt_metrics(make_record(0, wait_draft_seconds=None))
    assert "prompt/wait_fraction_draft" not in metrics
    assert metrics["prompt/wait_fraction_target"] >= 0


@pytest.mark.parametrize("problems", [1, 2])
def test_below_three_problems_there_is_no_interval(problems: int) -> None:
    """Whatever two ratios are, what spread there is cannot be told from them."""
    summary = summary_of([make_record(i, seconds=1.0 + i) for i in range(problems)])
    assert summary["speedup_ci95"] is None and summary["timed_problems"] == problems


def test_scores_of_which_some_have_no_references() -> None:
    """Then there is nothing to compare, and what was not scored is left out of the accuracy."""
    scores = [(True, True), (True, None), (False, False), (None, None)]
    summary = summary_of(
        [make_record(correct=ours, reference_correct=theirs) for ours, theirs in scores]
    )
    assert summary["accuracy"] == pytest.approx(2 / 3)
    assert summary["reference_accuracy"] is None and summary["accuracy_p_value"] is None


def test_samples_of_a_problem_count_together_in_the_comparison_of_scores() -> None:
    """Three of four right against two; none against four; four against four: one win, one loss."""
    ours = {"a": [True] * 3 + [False], "b": [False] * 4, "c": [True] * 4}
    theirs = {"a": [True] * 2 + [False] * 2, "b": [True] * 4, "c": [True] * 4}
    records = [
        make_record(task_id=name, sample=sample, correct=right, reference_correct=wrong)
        for name in ours
        for sample, (right, wrong) in enumerate(zip(ours[name], theirs[name], strict=True))
    ]
    summary = summary_of(records)
    assert (summary["accuracy"], summary["reference_accuracy"]) == (7 / 12, 10 / 12)
    assert summary["accuracy_p_value"] == 1.0
    # Three problems: z² = 3.8415, share 7/12.
    middle, half = (
        (7 / 12 + 3.8415 / 6) / 2.28049,
        1.95996 / 2.28049 * (35 / 432 + 3.8415 / 36) ** 0.5,
    )
    assert summary["accuracy_ci95"] == pytest.approx([middle - half, middle + half], abs=1e-4)


#: A warm-up of one round, then a prompt of four.
ROUNDS = {
    0: [
        Round(
            "pre-verify", 4, 1, 0, 2.0, 3.0, 5.0, 6.0, start=0.0, bytes_sent=10,
            verified_length=1, busy_seconds=3.0,
        )
    ],
    1: [
        # 2 s, of which the draft model runs 1.5 and the target 1.
        Round(
            "pre-verify", 4, 1, 1, 1.5, 1.0, 0.25, 0.75, start=0.0, bytes_sent=20,
            verified_length=1, busy_seconds=1.5,
        ),
        # 2 s: 1 and 1.75.
        Round(
            "post-verify", 3, 4, 2, 1.0, 1.75, 1.0, 0.25, start=2.0, bytes_sent=30,
            verified_length=4, busy_seconds=1.75,
        ),
        # 2 s: 0.5, then 1.
        Round(
            "verify", 2, 2, 2, 0.5, 1.0, 1.0, 0.5, start=4.0, draft_start=4.0, target_start=4.75,
            verified_length=40, busy_seconds=1.5,
        ),
        # 3 s: the target 2.
        Round(
            "pre-verify", 0, 1, 0, 0.0, 2.0, 0.75, 0.0, start=6.0, verified_length=41,
            busy_seconds=2.0,
        ),
    ],
}  # fmt: skip


def traces_of_both() -> Traces:
    records = [
        make_record(
            0, warmup=True, seconds=10.0, new_tokens=2, target_forwards=5, draft_forwards=10,
            accepted_runs=[0],
        ),
        make_record(
            1, seconds=9.0, new_tokens=40, target_forwards=16, draft_forwards=53,
            accepted_runs=[3, 2, 0],
        ),
    ]  # fmt: skip
    rows = [
        {"task_id": f"Task/{prompt}", "sample": 0, "turn": 0, "round": number} | asdict(one)
        for prompt, rounds in ROUNDS.items()
        for number, one in enumerate(rounds)
    ]
    return Traces.of([asdict(record) for record in records], rounds_frame(rows))


def test_traces() -> None:
    """Times are of the second prompt's four rounds, all else of both prompts' five."""
    assert traces_of_both().figures() == {
        "rounds": 5,
        "mode_shares": {"pre-verify": 3 / 5, "post-verify": 1 / 5, "verify": 1 / 5},
        "pre_verify_failure_rate": pytest.approx(2 / 3),
        "target_forwards_per_token": 21 / 42,
        "draft_forwards_per_token": 63 / 42,
        "drafted_tokens": 13,
        "wasted_tokens": 8,  # 5 are accepted
        "wasted_fraction": 8 / 13,
        "wait_draft_seconds_per_round": 3.0 / 4,
        "wait_target_seconds_per_round": 1.5 / 4,
        "overhead_seconds_per_round": (0.5 + 0.25 + 0.5 + 1.0) / 4,
        "overhead_fraction": 2.25 / 9,
        "bytes_per_round": 60 / 5,
        "accepted_run_lengths": {"0": 2, "2": 1, "3": 1},
        "awaited_tokens_per_round": None,
        "unjudged_tokens_per_round": None,
        "by_chance": None,
        "hit_rate": None,
        "outcomes_per_round": None,
        "branch_tokens_per_round": None,
        "branch_seconds_per_round": None,
        "by_outcome": None,
        "by_block_position": [
            {"position": 1, "judged": 5, "accepted": 3, "conditional": 0.6, "joint": 0.6},
            {"position": 2, "judged": 2, "accepted": 2, "conditional": 1.0, "joint": 0.6},
            {"position": 3, "judged": 1, "accepted": 0, "conditional": 0.0, "joint": 0.0},
            {"position": 4, "judged": 1, "accepted": 0, "conditional": 0.0, "joint": 0.0},
        ],
        # Rounds began at 0; 0, 1, 4 and 40.
        "by_text_position": [
            # 1 + 5 accepted in 4 verifications; 1 + 0 in one.
            {"start": 0, "judged": 8, "accepted": 5, "rate": 0.625, "acceptance_length": 2.25},
            {"start": 32, "judged": 1, "accepted": 0, "rate": 0.0, "acceptance_length": 1.0},
        ],
        # Of five verifications two accepted nothing, one a token, two both.
        "verifications": 5,
        "accepted_per_verification": [2, 1, 2],
        "acceptance_by_position": [0.6, 0.4],
    }


def test_columns_that_are_derived_of_rounds() -> None:
    rounds = traces_of_both().rounds
    assert list(rounds["warmup"]) == [True] + [False] * 4
    assert list(rounds["length_before"]) == [0, 0, 1, 4, 40]
    assert list(rounds["wall"]) == [10.0, 2.0, 2.0, 2.0, 3.0]
    assert list(rounds["overhead"]) == [10.0 - 3.0, 0.5, 0.25, 0.5, 1.0]


def test_metrics_of_a_prompt() -> None:
    """Fields of the record that are a number, a name or a word, and rates."""
    record = made(verdict=Verdict("violation", 5, "no", 0.0625))
    metrics = prompt_metrics(record)
    assert metrics == {
        "prompt/task_id": "T/7",
        "prompt/sample": 2,
        "prompt/turn": 0,
        "prompt/category": "math",
        "prompt/synthetic": 0,
        "prompt/warmup": 1,
        "prompt/prompt_tokens": 5,
        "prompt/new_tokens": 12,
        "prompt/seconds": 4.0,
        "prompt/seconds_prefill": 0.75,
        "prompt/reference_seconds": 3.0,
        "prompt/speedup": 1.5,
        "prompt/target_forwards": 2,
        "prompt/draft_forwards": 13,
        "prompt/judged": 7,
        "prompt/accepted": 4,
        "prompt/wait_draft_seconds": 2.75,
        "prompt/wait_target_seconds": 4.125,
        "prompt/exact_match": 0,
        "prompt/first_divergence": 5,
        "prompt/verdict": "violation",
        "prompt/correct": 1,
        "prompt/reference_correct": 0,
        "prompt/result": "passed",
        "prompt/finish_reason": "stop",
        "prompt/violation": 1,
        "prompt/tie": 0,
        "prompt/lost": 0,
        "prompt/runner_up_pass_rate": 0.0625,
        "prompt/joules": 30.0,
        "prompt/reference_joules": 40.0,
        "prompt/tokens_per_second": 3.0,
        "prompt/reference_tokens_per_second": 2.0,
        "prompt/acceptance_rate": 4 / 7,
        "prompt/mean_accepted_tokens": 2.0,
        "prompt/acceptance_length": 3.0,  # 1 + 4 accepted in two verifications
        "prompt/wait_fraction_draft": 2.75 / 4,
        "prompt/wait_fraction_target": 4.125 / 4,
    }
    large = {"output_ids", "reference_output_ids", "text", "accepted_runs", "verifications"}
    # This record has none of these.
    lacking = {name for name, value in asdict(made()).items() if value is None}
    assert {f.name for f in fields(Record)} - large - lacking < {
        name.split("/")[1] for name in metrics
    }


def test_a_row_of_the_worst_prompts() -> None:
    row = worst_prompts([made(warmup=False)], 5).to_dict("records")
    assert row == [
        {
            "task_id": "T/7",
            "sample": 2,
            "turn": 0,
            "category": "math",
            "speedup": 1.5,
            "acceptance_rate": 4 / 7,
            "new_tokens": 12,
            "verdict": "tie",
            "text": "abc",
        }
    ]


def row_of(**figures: Any) -> Row:
    """A row of the table; each figure is another one."""
    summary = {
        "tokens_per_second": 12.34, "speedup": 2.345, "speedup_ci95": [1.234, 3.456],
        "mean_accepted_tokens": 4.567, "acceptance_rate": 0.6789, "draft_forwards": 7,
        "wait_fraction_draft": 0.12, "wait_fraction_target": 0.34, "accuracy": 0.8765,
        "accuracy_name": "pass@1", "reference": "inline", "prompts": 8, "exact_match_rate": 0.75,
        "ties": 2, "violations": 0, "lossy": 0, "sampled_tokens": None, "sampling_p_value": None,
        "sampling_smallest_bias": None, "synthetic": False, "runner_up_pass_rate": None,
        "decoder_about": {},
    }  # fmt: skip
    return Row("pearl", "run", summary | figures)


def test_a_row_of_the_table() -> None:
    row = row_of()
    assert dict(zip(headings([row]), cells(row), strict=True)) == {
        "tokens/s": "12.3",
        "speedup\n(95 % CI)": "2.35× (1.23–3.46)",
        "mean accepted\ntokens": "4.57",
        "acceptance\nlength": "–",
        "acceptance\nrate": "0.679",
        "waited\ndraft / target": "12% / 34%",
        "equivalence": "identical 6/8, 2 ties",
        "pass@1": "0.876",
        "reference": "inline",
    }
    assert cells(row_of(draft_forwards=1))[5] == "12% / 34%"
    assert cells(row_of(draft_forwards=0))[5] == "–"
    assert cells(row_of(speedup_ci95=None))[1] == "2.35×"
    mixed = [row_of(), row_of(decoder_about={"engine": "vLLM"}), Row("pearl", "run", error="no")]
    assert headings(mixed)[:2] == ["engine", "tokens/s"]
    assert [cells(one, mixed)[0] for one in mixed] == ["transformers", "vLLM", "–"]
    assert {len(cells(one, mixed)) for one in mixed} == {len(headings(mixed))}
    assert "Across engines compare tokens/s" in notes(mixed)[0]
    assert notes([row_of(lost_from="Task/3")])[0].endswith(
        "from Task/3 on it had no drafts (records.jsonl says why, under lost)."
    )
    assert cells(Row("pearl", "run", error="no")) == ["–"] * 6 + ["failed", "–", "–"]


def test_a_row_of_the_table_of_categories() -> None:
    row = row_of(accuracy_name="same answer")
    assert row.summary is not None
    assert dict(zip(category_headings([row]), category_cells(row.summary), strict=True)) == {
        "tokens/s": "12.3",
        "speedup\n(95 % CI)": "2.35× (1.23–3.46)",
        "mean accepted\ntokens": "4.57",
        "same\nanswer": "0.876",
        "acceptance\nlength": "–",
        "acceptance\nrate": "0.679",
        "prompts": "8",
    }


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({"ties": 0, "exact_match_rate": 1.0}, "identical 8/8"),
        ({"ties": 1, "exact_match_rate": 7 / 8}, "identical 7/8, 1 tie"),
        ({"violations": 3}, "VIOLATION 3/8"),
        ({"violations": 3, "lossy": 2}, "VIOLATION 3/8"),
        ({"lossy": 2, "ties": 0}, "lossy, identical 6/8"),
        ({"sampled_tokens": 90, "sampling_p_value": 0.034}, "sampled, p = 0.034"),
        ({"sampled_tokens": 90, "sampling_p_value": 0.034, "exact_match_rate": 1.0, "ties": 0},
         "identical 8/8"),
    ],
)  # fmt: skip
def test_equivalence_in_the_table(figures: dict[str, Any], text: str) -> None:
    assert cells(row_of(**figures))[6] == text


def test_rows_that_violate_or_failed() -> None:
    assert not row_of().violates and not row_of().failed
    assert row_of(violations=1).violates
    assert Row("pearl", "run", error="no").failed and not Row("pearl", "run", error="no").violates


def test_notes_below_the_table() -> None:
    assert notes([row_of()]) == []
    assert notes([row_of(synthetic=True)])[0].startswith("Synthetic pair")
    assert notes([row_of(reference="cached")])[0].startswith("pearl: against a cached reference")
    sampled = row_of(sampled_tokens=90, sampling_smallest_bias=0.0123)
    assert notes([sampled])[0].startswith("pearl: 90 sampled tokens; a bias of 1.2% of")
    assert notes([row_of(verification="token")]) == []
    blocks = notes([row_of(verification="block")])[0]
    assert blocks.startswith("pearl: drafted tokens judged as blocks (sampling.verification=block)")
    tied = row_of(ties=2, prompts=8, runner_up_pass_rate=0.0345)
    assert "2 of 8 outputs differ by rounding" in notes([tied])[0] and "3.5%" in notes([tied])[0]
    assert notes([row_of(ties=0, runner_up_pass_rate=0.0345)]) == []
    assert notes([row_of(prompts=1)])[0].startswith("No speeds")
    assert notes([Row("pearl", "run", error="no")]) == []


def test_seeds_of_prompts_stay_what_they_are() -> None:
    """A run can be made again only where they do."""
    assert _seed(0, "HumanEval/0", 0) == 1659196653
    assert _seed(0, "HumanEval/0", 1) == 2460049627
    assert _seed(1, "HumanEval/0", 0) == 220405056


def test_what_is_biased() -> None:
    """Below one in a million."""
    assert biased({"sampling_p_value": 0.9e-6}) and not biased({"sampling_p_value": 1e-6})
    assert not biased({"sampling_p_value": None})


@pytest.mark.parametrize(
    ("output", "reference", "first"),
    [
        ([1, 2, 3], [1, 2, 3], None),
        ([1, 2, 3], [1, 5, 3], 1),
        ([5], [1, 5, 3], 0),
        ([1, 2], [1, 2, 3], 2),
        ([1, 2, 3], [1], 1),
        ([], [], None),
        ([], [1], 0),
    ],
)
def test_first_difference(output: list[int], reference: list[int], first: int | None) -> None:
    assert first_difference(output, reference) == first
    verdict = unchecked_verdict("lossy", output, reference)
    assert verdict == (Verdict("identical") if first is None else Verdict("lossy", first))
