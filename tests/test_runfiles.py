from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from make_record import make_record

from decoders.decoder import Round
from pearl_eval.errors import UserError
from pearl_eval.records import read_lines
from pearl_eval.runfiles import RunFiles


def test_each_prompt_is_on_disk_before_the_next(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
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
        target_start drafted_ids drafted_at target_tokens"""
    assert list(rounds.columns) == columns.split()


def test_closing_twice_or_without_rounds_is_fine(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    files.close()
    files.close()
    assert pd.read_parquet(tmp_path / "rounds.parquet").empty


def test_a_directory_that_holds_a_run_is_refused_and_kept(tmp_path: Path) -> None:
    RunFiles(tmp_path).append(make_record(), [])
    before = (tmp_path / "records.jsonl").read_bytes()
    with pytest.raises(UserError, match="holds a run already"):
        RunFiles(tmp_path)
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written"):
        RunFiles(tmp_path / "file" / "run")


def test_only_a_newline_ends_a_record(tmp_path: Path) -> None:
    """Models write other signs that split lines, which JSON holds as they are."""
    files = RunFiles(tmp_path)
    files.append(make_record(text="one\u2028two\x85three\nfour"), [])
    assert [record["text"] for record in read_lines(tmp_path / "records.jsonl")] == [
        "one\u2028two\x85three\nfour"
    ]
