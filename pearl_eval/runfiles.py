"""Writes what a run leaves behind: ``records.jsonl``, ``rounds.parquet`` and ``summary.json``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from decoders.decoder import Round
from pearl_eval.errors import UserError
from pearl_eval.records import RECORDS, ROUNDS, SUMMARY, Record, read_lines

#: Rounds as they come in; made into ``rounds.parquet`` at the end, since an unfinished Parquet file
#: can't be read.
_ROUNDS_JOURNAL = "rounds.jsonl"


class RunFiles:
    """Writes a run's files. Every prompt is on disk before the next begins.

    Parameters
    ----------
    directory
        The run's output directory; refused if it holds a run already.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lines: dict[str, None] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._records = (directory / RECORDS).open("x", encoding="utf-8")
            self._rounds = (directory / _ROUNDS_JOURNAL).open("w", encoding="utf-8")
        except FileExistsError:
            raise UserError(f"{directory} holds a run already") from None
        except OSError as error:
            raise UserError(f"{directory} can't be written: {error.strerror}") from error

    def append(self, record: Record, rounds: Iterable[Round]) -> None:
        """Add a finished prompt."""
        key = {"task_id": record.task_id, "sample": record.sample, "turn": record.turn}
        rows = (key | {"round": i} | dataclasses.asdict(r) for i, r in enumerate(rounds))
        _write_lines(self._rounds, rows)
        _write_lines(self._records, [dataclasses.asdict(record)])

    def append_lines(self, lines: Mapping[str, dict[str, Any]]) -> None:
        """Add a JSON line to each of the files named: those that are the task's own."""
        self._lines |= dict.fromkeys(lines)
        for name, line in lines.items():
            with (self.directory / name).open("a", encoding="utf-8") as file:
                _write_lines(file, [line])

    def close(self) -> None:
        """Make ``rounds.parquet`` of the rounds so far."""
        self._records.close()
        self._rounds.close()
        journal = self.directory / _ROUNDS_JOURNAL
        if journal.exists():
            rounds_frame(read_lines(journal)).to_parquet(self.directory / ROUNDS, index=False)
            journal.unlink()

    @property
    def paths(self) -> list[Path]:
        """The files that were written so far."""
        paths = (self.directory / name for name in (RECORDS, ROUNDS, SUMMARY, *self._lines))
        return [path for path in paths if path.exists()]

    def write_summary(self, summary: dict[str, Any]) -> None:
        (self.directory / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")


def rounds_frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Rounds as a frame with the columns of ``rounds.parquet``, also where there are none."""
    columns = ["task_id", "sample", "turn", "round", *(f.name for f in dataclasses.fields(Round))]
    return pd.DataFrame(list(rows), columns=columns)


def _write_lines(file: TextIO, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    file.flush()
