"""The live progress bar of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pearl_eval.results.records import Record
from pearl_eval.results.speed import Speed
from pearl_eval.shell.console import console

T = TypeVar("T")


class RunProgress:
    """A live bar over the prompts of a run, with its speed and speedup so far."""

    def __init__(self, progress: Progress, label: str, prompts: int) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=prompts, speed="loading models")
        self._records: list[Record] = []
        progress.refresh()

    def tell(self, text: str) -> None:
        """Show what is being done before the first prompt is."""
        self._show(text, advance=0)

    def advance(self, record: Record) -> None:
        """One more prompt is done."""
        self._records.append(record)
        speed = Speed.of(self._records)
        text = ""
        if speed.speedup is not None:
            text = f"{speed.tokens_per_second:.0f} tokens/s, speedup {speed.speedup:.2f}×"
        self._show(text, advance=1)

    def _show(self, text: str, advance: int) -> None:
        self._progress.update(self._task, advance=advance, speed=text)
        self._progress.refresh()


@contextmanager
def run_progress(label: str, prompts: int) -> Iterator[RunProgress]:
    """Show a run's progress while the body of a ``with`` runs."""
    with _progress() as progress:
        yield RunProgress(progress, label, prompts)


def steps(items: Sequence[T], label: str) -> Iterator[T]:
    """Give ``items`` one after the other, with a bar that says how many are done."""
    with _progress() as progress:
        task = progress.add_task(label, total=len(items), speed="")
        progress.refresh()
        for item in items:
            yield item
            progress.advance(task)
            progress.refresh()


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    # Refreshed by hand only: a refreshing thread would compute beside what is being timed.
    return Progress(*columns, console=console(stderr=True), auto_refresh=False)
