"""What is derived from rounds, on rounds with chosen values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from make_record import make_record

from decoders.round import Round
from pearl_eval.errors import UserError
from pearl_eval.evaluation.run_files import RunFiles
from pearl_eval.results.records import Record
from pearl_eval.results.traces import Traces, read_rounds, write_rounds


def traces(directory: Path, *prompts: tuple[Record, list[Round]]) -> Traces:
    """Written and read as a run's files are."""
    files = RunFiles(directory, {})
    for record, rounds in prompts:
        files.append(record, rounds)
    files.close()
    return Traces.read(directory)


def post_verify(**values: Any) -> Round:
    defaults: dict[str, Any] = {"drafted": 4, "draft_seconds": 0.2, "target_seconds": 0.3}
    defaults |= {"busy_seconds": 0.3}
    return Round("post-verify", **(defaults | values))


def test_acceptance_by_block_position_is_conditional_and_its_product_joint(tmp_path: Path) -> None:
    """Four blocks: all of 3 accepted; rejected at 2, at 1; all of a shorter one accepted."""
    blocks = [(3, 3), (2, 1), (1, 0), (2, 2)]
    rounds = [Round("verify", judged=judged, accepted=accepted) for judged, accepted in blocks]
    frame = traces(tmp_path, (make_record(), rounds)).by_block_position()
    assert list(frame["position"]) == [1, 2, 3]
    assert list(frame["judged"]) == [4, 3, 1]
    assert list(frame["accepted"]) == [3, 2, 1]
    assert list(frame["conditional"]) == pytest.approx([3 / 4, 2 / 3, 1])
    assert list(frame["joint"]) == pytest.approx([3 / 4, 1 / 2, 1 / 2])


def test_a_verification_is_a_forward_that_judges(tmp_path: Path) -> None:
    """2 accepted; none; 1 beside one that was but compared; and two rounds that verify nothing."""
    rounds = [
        Round("verify", judged=3, accepted=2, own_tokens=1, verified_length=3),
        Round("verify", judged=1, accepted=0, own_tokens=1, verified_length=4),
        Round("decode", own_tokens=1, verified_length=5),
        Round(
            "verify", judged=2, accepted=2, own_tokens=1, verified_length=7,
            compared=1, compared_accepted=1,
        ),
        Round(
            "decode", judged=1, accepted=1, own_tokens=1, verified_length=8,
            compared=1, compared_accepted=1,
        ),
    ]  # fmt: skip
    run = traces(tmp_path, (make_record(), rounds))
    assert run.verifications() == [2, 0, 1]
    assert run.accepted_per_verification() == [1, 1, 1]
    assert run.acceptance_by_position() == pytest.approx([2 / 3, 1 / 3])
    figures = run.figures()
    assert (figures["verifications"], figures["accepted_per_verification"]) == (3, [1, 1, 1])
    assert figures["acceptance_by_position"] == pytest.approx([2 / 3, 1 / 3])
    assert 1 + sum(figures["acceptance_by_position"]) == pytest.approx(1 + 3 / 3)
    # Pieces of 5: the last begin at 5 and 7, of which the first verifies one token.
    assert list(run.by_text_position(step=5)["acceptance_length"]) == [2.0, 2.0]
    # Rounds of before do not say what was but compared, and it follows.
    older = run.rounds.drop(columns=["compared", "compared_accepted", "verified", "warmup"])
    record = run.records.assign(seconds=1.0).drop(columns="verifications")
    again = Traces.of(record.to_dict("records"), older.drop(columns=["length_before"]))
    assert again.verifications() == [2, 0, 1]
    assert list(again.records["verifications"]) == [[2, 0, 1]]


def test_where_nothing_but_compared_tokens_was_judged_there_is_no_length(tmp_path: Path) -> None:
    compared = {"judged": 1, "accepted": 1, "compared": 1, "compared_accepted": 1}
    rounds = [Round("decode", own_tokens=1, verified_length=1, **compared)]
    (piece,) = traces(tmp_path, (make_record(), rounds)).figures()["by_text_position"]
    assert piece["acceptance_length"] is None and piece["rate"] == 1.0


def test_text_position_is_where_a_round_began_in_its_own_prompt(tmp_path: Path) -> None:
    first = [
        Round("verify", judged=4, accepted=3, verified_length=9),
        Round("verify", judged=4, accepted=0, verified_length=10),
        Round("verify", judged=2, accepted=1, verified_length=12),
        Round("decode", verified_length=32),
    ]
    second = [Round("verify", judged=4, accepted=4, verified_length=40)]
    prompts = (make_record(0), first), (make_record(1), second)
    frame = traces(tmp_path, *prompts).by_text_position(step=10)
    assert frame.to_dict("list") == {
        "start": [0, 10],
        "judged": [12, 2],
        "accepted": [7, 1],
        "acceptance_length": [1 + 7 / 3, 2.0],
        "rate": [7 / 12, 1 / 2],
    }


def test_pieces_of_a_text_are_of_32_tokens(tmp_path: Path) -> None:
    lengths = (31, 32, 64, 70)
    rounds = [Round("verify", judged=2, accepted=1, verified_length=one) for one in lengths]
    pieces = traces(tmp_path, (make_record(), rounds)).figures()["by_text_position"]
    assert [(one["start"], one["judged"]) for one in pieces] == [(0, 4), (32, 2), (64, 2)]


def test_runs_and_modes_are_counted(tmp_path: Path) -> None:
    rounds = [
        Round("pre-verify", judged=1, accepted=0),
        Round("pre-verify", judged=1, accepted=1),
        post_verify(judged=4, accepted=4),
        Round("pre-verify", judged=0),
    ]
    prompts = (
        (make_record(0, accepted_runs=[0, 5]), rounds),
        (make_record(1, accepted_runs=[5]), []),
    )
    run = traces(tmp_path, *prompts)
    assert dict(run.run_lengths()) == {0: 1, 5: 2}
    assert run.mode_shares() == {"pre-verify": 0.75, "post-verify": 0.25}
    assert run.pre_verify_failure_rate() == 0.5


def test_modes_come_in_the_order_they_occur_in(tmp_path: Path) -> None:
    rounds = [Round("post-verify"), Round("pre-verify"), Round("pre-verify"), Round("draft")]
    shares = traces(tmp_path, (make_record(), rounds)).mode_shares()
    assert list(shares.items()) == [("post-verify", 0.25), ("pre-verify", 0.5), ("draft", 0.25)]


def test_overhead_is_what_no_model_ran_in(tmp_path: Path) -> None:
    """The last round lasts to the prompt's end."""
    rounds = [
        Round("verify", start=start, busy_seconds=busy)
        for start, busy in ((0.0, 0.3), (0.4, 0.5), (1.0, 0.2), (1.25, 0.2))
    ]
    run = traces(tmp_path, (make_record(seconds=1.5), rounds))
    assert list(run.rounds["wall"]) == pytest.approx([0.4, 0.6, 0.25, 0.25])
    assert list(run.rounds["overhead"]) == pytest.approx([0.1, 0.1, 0.05, 0.05])


def test_the_warm_up_counts_for_tokens_and_not_for_times(tmp_path: Path) -> None:
    slow = post_verify(
        accepted=1, judged=2, wait_draft_seconds=9.0, bytes_sent=10, busy_seconds=0.5
    )
    quick = post_verify(accepted=3, judged=3, wait_draft_seconds=0.5, bytes_sent=30)
    prompts = (make_record(0, warmup=True), [slow]), (make_record(1), [quick])
    figures = traces(tmp_path, *prompts).figures()
    assert figures["wait_draft_seconds_per_round"] == 0.5
    assert figures["overhead_seconds_per_round"] == pytest.approx(1.0 - 0.3)
    assert figures["overhead_fraction"] == pytest.approx(0.7)
    assert (figures["rounds"], figures["bytes_per_round"]) == (2, 20)
    assert (figures["drafted_tokens"], figures["wasted_tokens"]) == (8, 4)
    assert figures["wasted_fraction"] == 0.5
    assert figures["target_forwards_per_token"] == pytest.approx(8 / 20)


def test_two_models_may_wait_for_each_other_though_one_rests_in_some_rounds(tmp_path: Path) -> None:
    rounds = [
        Round("decode", target_seconds=0.3),
        Round("verify", draft_seconds=0.2, target_seconds=0.3, start=0.3, wait_draft_seconds=0.1),
        Round("draft", draft_seconds=0.2, start=0.6),
    ]
    run = traces(tmp_path, (make_record(), rounds))
    assert run.uses_both and not run.judges
    assert run.figures()["wait_draft_seconds_per_round"] == pytest.approx(0.1 / 3)


def test_what_does_not_exist_is_null_and_not_zero(tmp_path: Path) -> None:
    record = make_record(judged=0, accepted=0, accepted_runs=[], draft_forwards=0)
    figures = traces(tmp_path, (record, [Round("decode", target_seconds=0.1)])).figures()
    absent = {name for name, value in figures.items() if value is None}
    assert absent == {
        "pre_verify_failure_rate",
        "draft_forwards_per_token",
        "drafted_tokens",
        "wasted_tokens",
        "wasted_fraction",
        "wait_draft_seconds_per_round",
        "wait_target_seconds_per_round",
        "bytes_per_round",
        "accepted_run_lengths",
        "verifications",
        "accepted_per_verification",
        "acceptance_by_position",
        "awaited_tokens_per_round",
        "unjudged_tokens_per_round",
        "by_chance",
        "hit_rate",
        "outcomes_per_round",
        "branch_tokens_per_round",
        "branch_seconds_per_round",
        "by_outcome",
        "by_block_position",
        "by_text_position",
    }


def test_what_a_decoder_chose_among_and_foresaw(tmp_path: Path) -> None:
    """Three rounds; the first reads the prompt, of 7 tokens.

    In the second 3 of 5 tokens at hand are given to the target, for 2 of which it waited, with the
    chances 0.95, 0.42 and 0.45: the first is accepted, the second is not, and the third is not
    judged. One more was compared with the target's own. In the third both of 2 are accepted. Of the
    fourth it is not known what was at hand.
    """
    rounds = [
        Round("decode", verified_length=1, target_tokens=7, own_tokens=1, at_hand=1),
        Round(
            "verify", start=1.0, verified_length=3, target_tokens=4, judged=3, accepted=2,
            compared=1, compared_accepted=1, at_hand=5, awaited=2, chances=[0.95, 0.42, 0.45],
        ),
        Round(
            "verify", start=2.0, verified_length=6, target_tokens=3, judged=2, accepted=2,
            at_hand=2, chances=[1.0, 0.48],
        ),
        Round("verify", start=3.0, verified_length=8, target_tokens=3, judged=2, accepted=1),
    ]  # fmt: skip
    figures = traces(tmp_path, (make_record(), rounds)).figures()
    assert figures["awaited_tokens_per_round"] == 2 / 4
    # One in the first as well, of which none is counted as judged.
    assert figures["unjudged_tokens_per_round"] == 3 / 4
    assert figures["by_chance"] == [
        {"low": 0.4, "high": 0.5, "predicted": pytest.approx(0.45), "judged": 2, "accepted": 1},
        {"low": 0.9, "high": 1.0, "predicted": pytest.approx(0.975), "judged": 2, "accepted": 2},
    ]


def test_what_was_prepared_for_what_became_of_the_draft_before(tmp_path: Path) -> None:
    """Three drafts were wanted: after no accepted token a hit and a miss, after two a hit."""
    rounds = [
        Round("decode", verified_length=1, branch_forwards=1, branch_tokens=1),
        Round("hit", start=1.0, verified_length=2, judged=1, outcomes=3, fan_out=2, hit=True,
              branch_forwards=4, branch_tokens=9, branch_seconds=0.5),
        Round("miss", start=2.0, verified_length=5, judged=2, accepted=2, outcomes=6, fan_out=1,
              branch_forwards=3, branch_tokens=11, branch_seconds=0.25),
        Round("hit", start=3.0, verified_length=9, judged=3, accepted=3, outcomes=6, fan_out=3,
              hit=True, branch_forwards=4, branch_tokens=15, branch_seconds=0.25),
        Round("decode", start=4.0, verified_length=10),
    ]  # fmt: skip
    # Two prompts, of which the first warms up, and so is in no times.
    records = make_record(0, warmup=True), make_record(1)
    prompts = [(one, [dataclasses.replace(each) for each in rounds]) for one in records]
    prompts[0][1][0].branch_tokens = 6
    figures = traces(tmp_path, *prompts).figures()
    assert figures["hit_rate"] == pytest.approx(2 / 3)
    assert figures["outcomes_per_round"] == 5
    assert figures["branch_tokens_per_round"] == pytest.approx((41 + 36) / 10)
    assert figures["branch_seconds_per_round"] == pytest.approx(1.0 / 5)
    assert figures["by_outcome"] == [
        {"accepted": 0, "rounds": 4, "fan_out": 1.5, "hits": 2},
        {"accepted": 2, "rounds": 2, "fan_out": 3.0, "hits": 2},
    ]


def test_samples_and_turns_of_one_problem_are_told_apart(tmp_path: Path) -> None:
    records = [make_record(0, sample=s, turn=t) for s in range(2) for t in (1, 2)]
    rounds = [Round("decode", verified_length=5), Round("decode", start=0.5, verified_length=10)]
    run = traces(tmp_path, *((r, [dataclasses.replace(one) for one in rounds]) for r in records))
    assert list(run.rounds["length_before"]) == [0, 5] * 4
    assert list(run.rounds["wall"]) == [0.5, 0.5] * 4


def test_a_directory_without_a_run_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="records"):
        Traces.read(tmp_path)


def test_what_a_record_or_the_rounds_lack_is_told_with_its_place(tmp_path: Path) -> None:
    traces(tmp_path, (make_record(0), [Round("decode")]), (make_record(1), [Round("decode")]))
    path = tmp_path / "records.jsonl"
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first + second.replace('"speedup"', '"speeedup"'))
    told = r"records\.jsonl, line 2, is damaged \(it lacks 'speedup'\)"
    with pytest.raises(UserError, match=told):
        Traces.read(tmp_path)
    path.write_text(first + second)
    write_rounds(read_rounds(tmp_path).drop(columns=["mode", "fates"]), tmp_path / "rounds.parquet")
    with pytest.raises(UserError, match=r"rounds\.parquet is damaged \(it lacks 'mode'\)"):
        Traces.read(tmp_path)


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("records", "seconds verdict output_ids new_tokens accepted_runs speedup target_forwards"),
        ("records", "draft_forwards"),
        ("rounds", "mode drafted judged accepted start verified_length draft_seconds"),
        ("rounds", "target_seconds draft_start target_start busy_seconds drafted_ids drafted_at"),
        ("rounds", "fates own_tokens"),
    ],
)
def test_all_that_is_read_must_be_there(tmp_path: Path, file: str, names: str) -> None:
    traces(tmp_path, (make_record(0), [Round("decode")]))
    path = tmp_path / "records.jsonl"
    whole, rounds = path.read_text(), read_rounds(tmp_path)
    for name in names.split():
        if file == "records":
            path.write_text(whole.replace(f'"{name}"', '"else"'))
        else:
            write_rounds(rounds.drop(columns=name), tmp_path / "rounds.parquet")
        with pytest.raises(UserError, match=rf"is damaged \(it lacks '{name}'\)"):
            Traces.read(tmp_path)


def test_rounds_that_cannot_be_read_are_not_called_damaged(tmp_path: Path) -> None:
    """A folder is there instead of the file; another program's lock would be told alike."""
    (tmp_path / "rounds.parquet").mkdir()
    with pytest.raises(IsADirectoryError):
        read_rounds(tmp_path)


def test_rounds_that_are_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rounds\.parquet is missing: run it again"):
        read_rounds(tmp_path)
    (tmp_path / "rounds.parquet").write_bytes(b"PAR1 no more of it")
    with pytest.raises(UserError, match=r"rounds\.parquet is damaged"):
        read_rounds(tmp_path)
    write_rounds(pd.DataFrame({"mode": ["decode"], "judged": [3]}), tmp_path / "rounds.parquet")
    assert list(read_rounds(tmp_path)) == ["mode", "judged"]
    assert list(read_rounds(tmp_path, ["judged"])) == ["judged"]
