"""Writes what a run leaves behind, and takes up what an earlier attempt at it left."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import pandas as pd

from decoders.round import Round
from pearl_eval.errors import AnotherRun, RunInUse, UserError
from pearl_eval.evaluation.identity import Identity, differences, tells_code
from pearl_eval.results.additions import with_measures
from pearl_eval.results.formats import current, taken_version, versioned
from pearl_eval.results.journal import Journal, replacing, write_json
from pearl_eval.results.records import (
    ERROR,
    KEY_FIELDS,
    RECORDS,
    ROUNDS,
    RUN,
    SUMMARY,
    Key,
    Record,
    read_run,
    read_summary,
)
from pearl_eval.results.traces import read_rounds, write_rounds
from pearl_eval.results.version_0 import upgrade_record
from pearl_eval.results.version_0_rounds import upgrade_rounds

#: Rounds as they come in; made into ``rounds.parquet``, since an unfinished Parquet file can't be
#: read. As long as it is there the run is not over.
_ROUNDS_JOURNAL = "rounds.jsonl"
#: What to do about a file that is damaged.
_ANEW = "move the folder away and run anew"


@dataclass(frozen=True)
class Finished:
    """A prompt that is done: its record and its rounds."""

    record: Record
    rounds: list[Round]


class RunFiles:
    """The files of a run. Every prompt is on disk before the next begins.

    Parameters
    ----------
    directory
        The run's output directory. Where it holds a run already, that is continued.
    identity
        What the run is. A run that is another is refused, and left as it was.

    Attributes
    ----------
    records
        Those of the prompts that earlier attempts finished.
    finished
        The same with their rounds, where the run is not over.
    settings
        The decoder's settings as an earlier attempt had them in use; ``None`` where there is none.
    summary
        The run's figures, if it is over already.
    same_code
        Whether it is known that earlier attempts ran the same code.
    attempts
        How often the run was begun, this time included.
    """

    def __init__(self, directory: Path, identity: Identity) -> None:
        self.directory = directory
        self.records: list[Record] = []
        self.finished: dict[Key, Finished] = {}
        self.settings: dict[str, Any] | None = None
        self.summary: dict[str, Any] | None = None
        self.attempts = 1
        self.same_code = True
        self._identity = identity
        self._over = False
        self._lines: set[str] = set()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(directory / RECORDS)
        except OSError as error:
            raise UserError(f"{directory} can't be written: {error.strerror}") from error
        with contextlib.ExitStack() as stack:
            stack.callback(self._journal.close)
            if not self._journal.lock():
                raise RunInUse(directory)
            self._take_up(stack)
            self._open = stack.pop_all()

    def __enter__(self) -> RunFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self, settings: dict[str, Any]) -> None:
        """Say what settings the run's prompts are decoded with. Before the first is added."""
        self.settings = settings
        self._describe()

    def append(self, record: Record, rounds: Iterable[Round]) -> None:
        """Add a finished prompt."""
        key = dict(zip(KEY_FIELDS, record.key, strict=True))
        # Rounds first: a record that is there says that all of its prompt is.
        self._rounds.append(
            versioned(key | {"round": i} | dataclasses.asdict(r)) for i, r in enumerate(rounds)
        )
        self._journal.append([versioned(dataclasses.asdict(record))])

    def write_lines(self, lines: Iterable[Mapping[str, dict[str, Any]]]) -> None:
        """Write files of the task's own: lines, each with the name of its file."""
        files: dict[str, list[dict[str, Any]]] = {}
        for one in lines:
            for name, line in one.items():
                files.setdefault(name, []).append(line)
        for name, content in files.items():
            with replacing(self.directory / name) as unfinished:
                text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in content)
                unfinished.write_text(text, encoding="utf-8")
        self._lines |= set(files)

    def rounds(self) -> pd.DataFrame:
        """All rounds so far, which are then in ``rounds.parquet``."""
        with replacing(self.directory / ROUNDS) as unfinished:
            write_rounds(rounds_frame(self._read_rounds()), unfinished)
        return read_rounds(self.directory)

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_json(self.directory / SUMMARY, versioned(summary))

    def end(self) -> None:
        """The run is over: all that it leaves is written."""
        self._over = True
        (self.directory / _ROUNDS_JOURNAL).unlink(missing_ok=True)

    @property
    def paths(self) -> list[Path]:
        """The files for whoever reads the run, those that were written so far."""
        paths = (self.directory / n for n in (RECORDS, ROUNDS, SUMMARY, RUN, *sorted(self._lines)))
        return [path for path in paths if path.exists()]

    def close(self) -> None:
        """Let go of the run. If it is not over, what there is of it can be read all the same."""
        with self._open, contextlib.suppress(OSError):
            if not self._over:
                self.rounds()
        self._over = True

    def _take_up(self, stack: contextlib.ExitStack) -> None:
        """Find what an earlier attempt left."""
        lines = self._journal.read()
        about = read_run(self.directory)
        if about is None and lines:
            raise UserError(
                f"{self.directory} holds a run that does not say what it is, so it can't be"
                " continued: choose another directory"
            )
        if about is not None:
            identity, attempts = about.get("identity"), about.get("attempts")
            if not isinstance(identity, dict) or not isinstance(attempts, int):
                raise _damaged(self.directory / RUN, "it does not say what the run is")
            differing = differences(identity, self._identity)
            if differing:
                raise AnotherRun(
                    f"{self.directory} holds a run already, and it differs in {differing}: choose"
                    " another directory, or move that away"
                )
            self.settings = about.get("settings") if lines else None
            self.attempts = attempts + 1
            self.same_code = tells_code(identity)
        (self.directory / ERROR).unlink(missing_ok=True)
        try:
            path = self._journal.path
            self.records = [Record(**current(line, path, upgrade_record)) for line in lines]
        except TypeError as error:
            raise _damaged(self._journal.path, str(error)) from None
        if len({record.key for record in self.records}) < len(self.records):
            raise _damaged(self._journal.path, "a prompt is there twice")
        journal = self.directory / _ROUNDS_JOURNAL
        if lines and not journal.exists():
            try:
                self.summary, self._over = read_summary(self.directory), True
            except FileNotFoundError:
                raise UserError(
                    f"{journal} is missing, so the run there can't be continued"
                ) from None
            return
        self._describe()
        self._rounds = Journal(journal)
        stack.callback(self._rounds.close)
        self.finished = self._with_rounds(self.records)

    def _read_rounds(self) -> list[dict[str, Any]]:
        """The rounds so far. A run that was begun by version 0 has those first."""
        path = self._rounds.path
        rows = self._rounds.read()
        old = [row for row in rows if taken_version(row, path) == 0]
        outputs = {record.key: record.output_ids for record in self.records}
        try:
            frame = upgrade_rounds(pd.DataFrame(old), outputs) if old else pd.DataFrame()
        except KeyError as error:
            raise _damaged(path, f"a round without {error}") from None
        return [*cast(Any, frame.to_dict("records")), *rows[len(old) :]]

    def _with_rounds(self, records: list[Record]) -> dict[Key, Finished]:
        """Finished prompts; the rounds of one that was not are dropped."""
        rows = self._read_rounds()
        known = {record.key for record in records}
        try:
            kept = [row for row in rows if _key(row) in known]
        except KeyError as error:
            raise _damaged(self._rounds.path, f"a round without {error}") from None
        if len(kept) < len(rows):
            # Those of a prompt that was not finished, and so the last.
            if kept != rows[: len(kept)]:
                raise _damaged(self._rounds.path, "it has rounds of prompts that are not recorded")
            self._rounds.keep(len(kept))
        rounds = {key: list(group) for key, group in itertools.groupby(kept, _key)}
        finished = {}
        for record in records:
            try:
                made = [_round(row) for row in rounds.get(record.key, [])]
            except TypeError as error:
                raise _damaged(self._rounds.path, str(error)) from None
            if sum(one.target_seconds != 0 for one in made) != record.target_forwards:
                raise UserError(
                    f"{self._rounds.path} does not have the rounds of {record.task_id}: move the"
                    " folder away and run anew"
                )
            finished[record.key] = Finished(with_measures(record, made), made)
        return finished

    def _describe(self) -> None:
        about = {"attempts": self.attempts, "settings": self.settings, "identity": self._identity}
        write_json(self.directory / RUN, versioned(about))


def rounds_frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Rounds as a frame with the columns of ``rounds.parquet``, also where there are none."""
    columns = [*KEY_FIELDS, "round", *(f.name for f in dataclasses.fields(Round))]
    return pd.DataFrame(list(rows), columns=columns)


def _key(row: Mapping[str, Any]) -> Key:
    return row["task_id"], row["sample"], row["turn"]


def _round(row: Mapping[str, Any]) -> Round:
    return Round(**{k: v for k, v in row.items() if k not in (*KEY_FIELDS, "round")})


def _damaged(path: Path, how: str) -> UserError:
    return UserError(f"{path} is damaged ({how}): {_ANEW}")
