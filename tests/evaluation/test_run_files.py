from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from make_record import make_record
from written_run import SUMMARY

from decoders.round import Round
from pearl_eval.errors import UserError
from pearl_eval.evaluation.run_files import AnotherRun, RunFiles, RunInUse
from pearl_eval.results.journal import Journal, held, replacing, write_json
from pearl_eval.results.records import read_lines

SOME = {"seed": 1}
#: As many rounds with a target forward as ``make_record`` says.
ROUNDS = [Round("decode", target_seconds=0.1) for _ in range(4)]


def begun(directory: Path, prompts: int) -> None:
    """Begin a run that ends after some prompts, as if by force."""
    files = RunFiles(directory, SOME)
    files.begin({"gamma": 3})
    for index in range(prompts):
        files.append(make_record(index), ROUNDS)
    # A process that is killed closes its files, and does nothing else.
    files._open.close()


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_each_prompt_is_on_disk_before_the_next(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, {})
    for index in range(2):
        files.append(make_record(index), [Round("decode"), Round("decode", start=0.1)])
        lines = (tmp_path / "records.jsonl").read_text().splitlines()
        assert [json.loads(line)["task_id"] for line in lines] == [
            f"Task/{i}" for i in range(index + 1)
        ]
    files.close()
    rounds = pd.read_parquet(tmp_path / "rounds.parquet")
    assert list(rounds["task_id"]) == ["Task/0"] * 2 + ["Task/1"] * 2
    assert list(rounds["round"]) == [0, 1, 0, 1]
    columns = """task_id sample turn round mode drafted judged accepted draft_seconds target_seconds
        wait_draft_seconds wait_target_seconds start bytes_sent verified_length draft_start
        target_start drafted_ids drafted_at target_tokens fates own_tokens busy_seconds compared
        compared_accepted end step_start step_seconds wait_start drafted_from drafted_until
        at_hand awaited confidences chances retrieved
        outcomes fan_out hit branch_forwards branch_tokens branch_seconds guessed given
        prepared"""
    assert list(rounds.columns) == columns.split()


def test_closing_twice_or_without_rounds_is_fine(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, {})
    files.close()
    files.close()
    assert pd.read_parquet(tmp_path / "rounds.parquet").empty


def test_a_directory_that_holds_another_run_is_refused_and_kept(tmp_path: Path) -> None:
    begun(tmp_path, prompts=1)
    before = contents(tmp_path)
    with pytest.raises(AnotherRun, match=r"it differs in seed \(1 there, 2 here\): choose another"):
        RunFiles(tmp_path, {"seed": 2})
    assert contents(tmp_path) == before


def test_what_records_of_before_lack_follows_from_their_rounds(tmp_path: Path) -> None:
    """Those that have it keep it, whatever rounds say."""
    rounds = [
        Round("verify", target_seconds=0.1, judged=2, accepted=1, verified_length=2),
        *(Round("decode", target_seconds=0.1, start=0.25, verified_length=2) for _ in range(2)),
        Round("decode", target_seconds=0.1, start=0.5, verified_length=4),
    ]
    begun = RunFiles(tmp_path, SOME)
    begun.begin({})
    begun.append(make_record(0, seconds=1.5), rounds)
    begun.append(make_record(1, verifications=[9], ttft_seconds=9.0), rounds)
    begun._open.close()
    with RunFiles(tmp_path, SOME) as files:
        first, second = (one.record for one in files.finished.values())
    assert (first.verifications, first.ttft_seconds, first.itl_seconds_p50) == ([1], 0.25, 1.25)
    assert first.tpot_seconds == pytest.approx(1.25 / 3)
    assert (second.verifications, second.ttft_seconds, second.tpot_seconds) == ([9], 9.0, None)


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    begun(tmp_path, prompts=2)
    with RunFiles(tmp_path, SOME) as files:
        assert [record.task_id for record in files.records] == ["Task/0", "Task/1"]
        assert [len(one.rounds) for one in files.finished.values()] == [4, 4]
        assert (files.settings, files.attempts, files.summary) == ({"gamma": 3}, 2, None)
        files.append(make_record(2), ROUNDS)
        assert list(files.rounds()["task_id"].unique()) == ["Task/0", "Task/1", "Task/2"]
        files.write_summary(SUMMARY | {"decoder": "pearl", "prompts": 3})
        files.end()
    with RunFiles(tmp_path, SOME) as files:
        written = SUMMARY | {"decoder": "pearl", "prompts": 3}
        assert files.summary is not None
        assert {name: files.summary[name] for name in written} == written | {
            "traces": files.summary["traces"]
        }
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"records.jsonl", "rounds.parquet", "run.json", "summary.json"}


@pytest.mark.parametrize("torn", ['{"task_id": "Ta', "\0\0\0\n", "[]\n"])
def test_a_torn_last_line_is_dropped_with_its_rounds(tmp_path: Path, torn: str) -> None:
    begun(tmp_path, prompts=2)
    path = tmp_path / "records.jsonl"
    first = path.read_text().splitlines(keepends=True)[0]
    path.write_text(first + torn)
    with RunFiles(tmp_path, SOME) as files:
        assert [record.task_id for record in files.records] == ["Task/0"]
        assert path.read_text() == first
        assert len(files.rounds()) == 4


def test_what_is_cut_off_takes_nothing_else_with_it_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds of an unfinished prompt go without anything being written anew."""
    journal = Journal(tmp_path / "lines.jsonl")
    journal.append({"line": number} for number in range(4))
    monkeypatch.setattr(Journal, "append", pytest.fail)
    journal.keep(2)
    assert journal.read() == [{"line": 0}, {"line": 1}]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    journal = Journal(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        journal.append([{"a": 1}])


def test_a_file_is_written_as_a_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    write_json(path, {"é": 1})
    assert path.read_text() == '{\n  "\\u00e9": 1\n}\n'
    with pytest.raises(ValueError, match="no more"), replacing(path) as unfinished:
        unfinished.write_text("half of")
        raise ValueError("no more")
    assert json.loads(path.read_text()) == {"é": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["some.json"]


def test_a_folder_is_one_processes_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path) as ours, held(tmp_path) as theirs:
        assert (ours, theirs) == (True, False)
    with held(tmp_path) as again:
        assert again


def test_where_folders_can_not_be_locked_all_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with held(tmp_path) as ours:
        assert ours


def test_torn_rounds_are_dropped(tmp_path: Path) -> None:
    begun(tmp_path, prompts=1)
    with (tmp_path / "rounds.jsonl").open("a") as file:
        file.write('{"task_id": "Task/1", "sample": 0, "tu')
    with RunFiles(tmp_path, SOME) as files:
        files.append(make_record(1), ROUNDS)
        assert len(files.rounds()) == 8


def test_a_prompt_that_is_recorded_twice_is_refused(tmp_path: Path) -> None:
    begun(tmp_path, prompts=1)
    path = tmp_path / "records.jsonl"
    path.write_text(2 * path.read_text())
    with pytest.raises(UserError, match="a prompt is there twice"):
        RunFiles(tmp_path, SOME)


def test_lines_that_are_damaged_before_the_end_are_refused(tmp_path: Path) -> None:
    begun(tmp_path, prompts=2)
    path = tmp_path / "records.jsonl"
    path.write_text(path.read_text().replace("{", "", 1))
    with pytest.raises(UserError, match=r"records.jsonl, line 1, is damaged"):
        RunFiles(tmp_path, SOME)


@pytest.mark.parametrize("change", [lambda rows: rows[1:], lambda rows: [rows[0], *rows]])
def test_rounds_that_are_not_just_those_of_the_record_are_refused(
    tmp_path: Path, change: Callable[[list[str]], list[str]]
) -> None:
    begun(tmp_path, prompts=2)
    path = tmp_path / "rounds.jsonl"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match="does not have the rounds of Task/0"):
        RunFiles(tmp_path, SOME)


def test_rounds_of_prompts_that_are_not_recorded_are_dropped_at_the_end_alone(
    tmp_path: Path,
) -> None:
    begun(tmp_path, prompts=3)
    path = tmp_path / "records.jsonl"
    first, second, third = path.read_text().splitlines(keepends=True)
    path.write_text(first + third)
    with pytest.raises(UserError, match="it has rounds of prompts that are not recorded"):
        RunFiles(tmp_path, SOME)
    path.write_text(first + second)
    with RunFiles(tmp_path, SOME) as files:
        assert len(files.rounds()) == 8
        assert (tmp_path / "rounds.jsonl").read_text().count("\n") == 8


def test_a_run_whose_rounds_are_gone_is_refused(tmp_path: Path) -> None:
    begun(tmp_path, prompts=1)
    (tmp_path / "rounds.jsonl").unlink()
    with pytest.raises(UserError, match="is missing, so the run there can't be continued"):
        RunFiles(tmp_path, SOME)


@pytest.mark.parametrize("about", [{"identity": SOME}, {"attempts": 1}, {"attempts": "1"}])
def test_a_run_that_does_not_say_what_it_is_is_damaged(
    tmp_path: Path, about: dict[str, object]
) -> None:
    begun(tmp_path, prompts=1)
    (tmp_path / "run.json").write_text(json.dumps({"format_version": 1} | about))
    with pytest.raises(UserError, match=r"run\.json is damaged \(it does not say what the run is"):
        RunFiles(tmp_path, SOME)


def test_the_files_of_a_run_are_those_that_are_there(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, SOME)
    assert {one.name for one in files.paths} == {"records.jsonl", "run.json"}
    files.write_lines([{"b.jsonl": {"n": 1}}, {"a.jsonl": {"n": 2}}])
    files.rounds()
    files.write_summary(SUMMARY)
    assert [one.name for one in files.paths] == [
        "records.jsonl", "rounds.parquet", "summary.json", "run.json", "a.jsonl", "b.jsonl",
    ]  # fmt: skip
    files.close()


def test_settings_of_an_attempt_that_finished_no_prompt_do_not_count(tmp_path: Path) -> None:
    begun(tmp_path, prompts=0)
    with RunFiles(tmp_path, SOME) as files:
        assert files.settings is None and files.attempts == 2


def test_a_run_is_one_processes_at_a_time(tmp_path: Path) -> None:
    with (
        RunFiles(tmp_path, SOME),
        pytest.raises(RunInUse, match="another process is at work on the run there"),
    ):
        RunFiles(tmp_path, SOME)
    RunFiles(tmp_path, SOME).close()


def test_a_run_of_an_older_version_is_refused(tmp_path: Path) -> None:
    begun(tmp_path, prompts=1)
    (tmp_path / "run.json").unlink()
    with pytest.raises(UserError, match="does not say what it is"):
        RunFiles(tmp_path, SOME)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written"):
        RunFiles(tmp_path / "file" / "run", {})


def test_only_a_newline_ends_a_record(tmp_path: Path) -> None:
    """Models write other signs that split lines, which JSON holds as they are."""
    files = RunFiles(tmp_path, {})
    files.append(make_record(text="one\u2028two\x85three\nfour"), [])
    assert [record["text"] for record in read_lines(tmp_path / "records.jsonl")] == [
        "one\u2028two\x85three\nfour"
    ]


def test_lines_of_a_tasks_own_are_written_as_they_read(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, {})
    files.write_lines([{"a.jsonl": {"é": "ж"}, "b.jsonl": {"n": 1}}, {"a.jsonl": {"é": 2}}])
    files.close()
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == '{"é": "ж"}\n{"é": 2}\n'
    assert (tmp_path / "b.jsonl").read_text(encoding="utf-8") == '{"n": 1}\n'
