"""Canonical solutions tried out against their own tests, before anything is decoded."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.progress import track

from tasks.scoring.checker import Checker

#: What has passed in this process: the runs of a sweep have the same problems.
_passed: set[tuple[Checker, str]] = set()


@contextlib.contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """A thread for each core; what has not begun is left out when its user gives up."""
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class Trials:
    """Tries the canonical solutions of rows that have one.

    Parameters
    ----------
    checker
        What completions will be checked with.
    """

    def __init__(self, checker: Checker) -> None:
        self._checker = checker

    def run(self, rows: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        """The result of each row that has a solution, by its index: ``passed``, or why not."""
        indices = [index for index, row in enumerate(rows) if row.get("canonical_solution")]
        results = {index: "passed" for index in indices}
        left = [index for index in indices if (self._checker, _key(rows[index])) not in _passed]
        with _pool() as pool:
            checks = pool.map(self._try, (rows[index] for index in left))
            shown = track(
                checks,
                "canonical solutions",
                len(left),
                console=Console(stderr=True),
                disable=not sys.stderr.isatty(),
                transient=True,
            )
            results.update(zip(left, shown, strict=True))
        for index, result in results.items():
            if result != "passed":
                # Once more, alone: among others it may have run out of time.
                results[index] = self._try(rows[index])
        _passed.update(
            (self._checker, _key(rows[index]))
            for index, result in results.items()
            if result == "passed"
        )
        return results

    def _try(self, row: Mapping[str, Any]) -> str:
        return self._checker.check(row, row["canonical_solution"]).result


def _key(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(row), sort_keys=True, default=str).encode()).hexdigest()
