"""Rows are read from the files that users have, and what is wrong is named by file and row."""

from __future__ import annotations

import csv as csv_library
import gzip
import hashlib
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from tasks.gsm8k import Gsm8k
from tasks.humaneval import HumanEval
from tasks.mgsm import Mgsm
from tasks.mt_bench import MtBench
from tasks.rows.files import find_file
from tasks.rows.rows import Rows, read_rows

ROWS = [
    {"question": 'What is "2+3", in words?\nAnd 6?', "answer": "2+3=5\n#### 5"},
    {"question": "NA", "answer": "007, so\n#### 1,234"},
]
FIELDS = {"question": str, "answer": str}
BOM = b"\xef\xbb\xbf"


def lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: list[dict]) -> bytes:
    return bytes(pd.DataFrame(rows).to_parquet())


def csv(rows: list[dict]) -> bytes:
    return pd.DataFrame(rows).to_csv(index=False).encode()


#: What makes a file of rows, by how it is called.
FORMATS: dict[str, Callable[[list[dict]], bytes]] = {
    "d.jsonl": lines,
    "bom.jsonl": lambda rows: BOM + lines(rows),
    "crlf.jsonl": lambda rows: lines(rows).replace(b"\n", b"\r\n"),
    "lines.json": lines,
    "array.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "array.jsonl": lambda rows: BOM + json.dumps(rows).encode(),
    "no_suffix": lines,
    "spaces.jsonl": lambda rows: b" \n" + lines(rows) + b"\t\n  ",
    "d.csv": csv,
    "bom.csv": lambda rows: BOM + csv(rows),
    "d.parquet": parquet,
    "d.jsonl.gz": lambda rows: gzip.compress(lines(rows)),
    "D.CSV.GZ": lambda rows: gzip.compress(csv(rows)),
    "array.json.gz": lambda rows: gzip.compress(json.dumps(rows).encode()),
    "d.parquet.gz": lambda rows: gzip.compress(parquet(rows)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_give_the_same_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name](ROWS))
    rows = read_rows(str(path), FIELDS)
    assert list(rows) == ROWS
    (tmp_path / "same.jsonl").write_bytes(lines(ROWS))
    assert rows.sha256 == read_rows(str(tmp_path / "same.jsonl"), FIELDS).sha256


BAD = [ROWS[0], {"question": "?", "answer": 5}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.jsonl", lines(BAD), "line 2: answer must be a str, got 5"),
        ("d.json", json.dumps(BAD).encode(), "row 1: answer must be a str, got 5"),
        ("d.csv", b"question,reply\n?,5\n", "line 2: no field 'answer' .*'question', 'reply'"),
        ("d.csv", b"question,answer\n?,5,6,7\n", "line 2: 4 columns, not 2 as in the first"),
        (
            "d.csv",
            b"question,answer,question\n?,5,!\n",
            "line 1: two columns are called 'question'",
        ),
        ("d.csv", b"b,a,b,a\n", "line 1: two columns are called 'a'"),
        ("d.csv", b'question,answer\n"a\nb",c\n"?"\n', "line 4: 1 columns, not 2"),
        ("d.csv", b'question,answer\n"?,5\n', "line 2: not comma-separated"),
        ("d.csv", b"", "no problems in it"),
        ("d.csv", b"question,answer\n", "no problems in it"),
        ("d.json", b"[]", "no problems in it"),
        ("d.json", b'[{"question": 1', "line 1: not JSON"),
        ("d.json", b"[" * 10**5, "line 1: not JSON"),
        ("d.jsonl", BOM, "no problems in it"),
        ("d.parquet", b"PAR1", r"\.parquet: not a Parquet file"),
        ("d.parquet", lines(ROWS), r"\.parquet: not a Parquet file"),
        ("d.jsonl.gz", lines(ROWS), r"\.gz: not gzip"),
        ("d.jsonl.gz", gzip.compress(lines(ROWS))[:-9], r"\.gz: not gzip"),
        ("d.jsonl", gzip.compress(lines(ROWS)), r"not UTF-8 text .*\.parquet.*\.gz"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_rows(str(path), FIELDS)
    assert str(path) in str(error.value)


def test_tasks_name_the_row(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(b"\n" + lines([ROWS[0], {"question": "?", "answer": "x"}]))
    with pytest.raises(
        ValueError, match=r"d\.jsonl, line 3: an answer must end in #### and a number, got '"
    ):
        Gsm8k(data=str(tmp_path / "d.jsonl"), shots=0).load()
    (tmp_path / "mgsm_de.tsv").write_text("?\t1\n\n?\tx\n")
    with pytest.raises(
        ValueError, match=r"mgsm_de\.tsv, line 3: the answer must be a number, got 'x'"
    ):
        Mgsm(data=str(tmp_path), languages=["de"]).load()


@pytest.mark.parametrize("name", ["d.csv", "d.tsv"])
def test_a_field_may_be_longer_than_csv_allows_by_itself(tmp_path: Path, name: str) -> None:
    limit = csv_library.field_size_limit(100)
    try:
        head = "question,answer\n" if name == "d.csv" else ""
        divider = "," if name == "d.csv" else "\t"
        (tmp_path / name).write_text(f"{head}{'x' * 999}{divider}5\n")
        (row,) = read_rows(str(tmp_path / name), FIELDS)
    finally:
        csv_library.field_size_limit(limit)
    assert row == {"question": "x" * 999, "answer": "5"}


def test_a_file_is_found_by_its_stem_whatever_its_format(tmp_path: Path) -> None:
    assert find_file(str(tmp_path), "d") == tmp_path / "d.tsv"
    for name in ("d.parquet.gz", "d.parquet", "d.csv", "d.jsonl.gz", "d.jsonl", "d.tsv"):
        (tmp_path / name).touch()
        assert find_file(str(tmp_path), "d") == tmp_path / name


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(lines([ROWS[0], {"question": "\ud83d", "answer": "5"}]))
    with pytest.raises(ValueError, match=r"d\.jsonl, line 2: '\\ud83d' is half of a character"):
        read_rows(str(tmp_path / "d.jsonl"), FIELDS)


def test_rows_without_places_are_told_by_their_number() -> None:
    rows = Rows(ROWS, "the package")
    assert (rows.where(1), len(rows), rows[1]) == ("the package, row 1", 2, ROWS[1])


def test_a_checksum_is_of_rows_as_json_with_their_fields_in_order() -> None:
    text = '[{"a": "é", "b": 2}]'
    rows = Rows([{"b": 2, "a": "é"}], "")
    assert rows.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_byte_order_mark_is_no_part_of_the_first_prompt(tmp_path: Path) -> None:
    (tmp_path / "mgsm_de.tsv").write_bytes(BOM + b"Wie viel?\t3\n")
    (problem,) = Mgsm(data=str(tmp_path), languages=["de"]).problems()
    assert problem.prompt == "Question: Wie viel?\n\nAnswer:"
    (tmp_path / "d.jsonl").write_bytes(BOM + lines(ROWS[:1]))
    (problem,) = Gsm8k(data=str(tmp_path / "d.jsonl"), shots=0).problems()
    assert problem.prompt.startswith('Q: What is "2+3"')


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv.gz"])
def test_a_folder_of_languages_in_another_format(tmp_path: Path, suffix: str) -> None:
    """As on the hub, where ``answer`` is empty."""
    rows = [{"question": "Wie viel?", "answer": None, "answer_number": 1234}]
    if suffix != ".parquet":
        rows = [{"question": "Wie viel?", "answer": "1,234"}]
    (tmp_path / f"mgsm_de{suffix}").write_bytes(
        FORMATS[f"d{suffix}".replace("d.csv.gz", "D.CSV.GZ")](rows)
    )
    task = Mgsm(data=str(tmp_path), languages=["de"])
    (problem,) = task.problems()
    assert task.score(problem, "1.234").correct and not task.score(problem, "1").correct


def test_lists_and_dates_of_a_table(tmp_path: Path) -> None:
    """A column that the task has no use for may be of a type that JSON has not."""
    rows = [{"question_id": "a", "turns": ["Why?", "How?"], "made": date(2024, 1, 2), "raw": b"x"}]
    (tmp_path / "d.parquet").write_bytes(parquet(rows))
    (problem,) = MtBench(data=str(tmp_path / "d.parquet")).problems()
    assert problem.turns == ("Why?", "How?") and problem.task_id == "MT-bench/a"


def test_humaneval_of_a_table(tmp_path: Path) -> None:
    (row,) = (dict(p.data) for p in HumanEval(limit=1).problems())
    (tmp_path / "d.parquet").write_bytes(parquet([row]))
    (problem,) = HumanEval(data=str(tmp_path / "d.parquet")).problems()
    assert problem.data == row
