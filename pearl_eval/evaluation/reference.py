"""The reference runs that speedup and equivalence are measured against: made now, or read."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pearl_eval.errors import UserError
from pearl_eval.evaluation.identity import Identity, differences
from pearl_eval.evaluation.plan import Plan, Prompt
from pearl_eval.results.formats import current, versioned
from pearl_eval.results.journal import Journal
from pearl_eval.results.records import KEY_FIELDS, Key
from pearl_eval.results.version_0 import upgrade_identity

_FILE = "reference.jsonl"
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class ReferenceRun:
    """The reference's output for one prompt, its seconds, and its energy where that is known."""

    output_ids: list[int]
    seconds: float
    joules: float | None


#: Decodes a prompt by the reference.
Measure = Callable[[Prompt], ReferenceRun]


class ReferenceCache:
    """Reference runs in a folder, made once and read by every run that they are the reference of.

    Several processes may want them at once: one makes them, the others wait for it. If it dies,
    the next goes on where it was.

    Parameters
    ----------
    folder
        Where they are, or will be.
    identity
        What they are. Those that are there may be others: :class:`UserError`.
    wait_timeout
        Longest wait for another process, in seconds.
    """

    def __init__(self, folder: Path, identity: Identity, wait_timeout: float) -> None:
        self.folder = folder
        self._wait_timeout = wait_timeout
        self._identity = identity
        self._runs: dict[Key, ReferenceRun] = {}

    def check(self) -> None:
        """Refuse references that are others, before anything is loaded or waits.

        What can't be read yet, or is damaged, is left to :meth:`complete`.
        """
        try:
            with (self.folder / _FILE).open("rb") as file:
                first = json.loads(file.readline())
        except (OSError, ValueError):
            return
        if isinstance(first, dict):
            self._check(first)

    def complete(
        self, plan: Plan, measure: Measure, tell: Callable[[str], None] = lambda text: None
    ) -> None:
        """See that there is one for every prompt of a run; make those that are missing.

        ``tell`` is told how far that is.
        """
        with self._held(tell) as journal:
            lines = journal.read()
            if not lines:
                # The first line says what the others are.
                journal.append([versioned({"identity": self._identity})])
            else:
                self._check(lines[0])
            try:
                self._runs = {_key(line): _run(line) for line in lines[1:]}
            except (KeyError, ValueError, TypeError) as error:
                raise UserError(
                    f"{journal.path} is damaged ({error}): move the folder away, and it is"
                    " measured anew"
                ) from None
            warm = False
            for done, prompt in enumerate(_prompts(plan, self.run)):
                if prompt.key in self._runs:
                    continue
                tell(f"measuring the reference: {done} of {plan.turns}")
                if not warm:
                    measure(prompt)
                    warm = True
                made = measure(prompt)
                self._runs[prompt.key] = made
                key = dict(zip(KEY_FIELDS, prompt.key, strict=True))
                journal.append([key | asdict(made)])

    def run(self, prompt: Prompt) -> ReferenceRun:
        """The reference run of a prompt."""
        return self._runs[prompt.key]

    @contextlib.contextmanager
    def _held(self, tell: Callable[[str], None]) -> Iterator[Journal]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            journal = Journal(self.folder / _FILE)
        except OSError as error:
            raise UserError(f"reference.folder: {error}") from error
        with contextlib.closing(journal):
            until = time.monotonic() + self._wait_timeout
            while not journal.lock():
                tell("waiting for the reference, which another run is measuring")
                if time.monotonic() > until:
                    raise UserError(
                        f"{self.folder}: another run still measures the reference after"
                        f" reference.wait_timeout={self._wait_timeout:g} s"
                    )
                time.sleep(_POLL_SECONDS)
            yield journal

    def _check(self, line: dict[str, Any]) -> None:
        stored = current(line, self.folder / _FILE, upgrade_identity).get("identity")
        differing = differences(stored if isinstance(stored, dict) else {}, self._identity)
        if differing:
            raise UserError(
                f"{self.folder} holds references of another run, which differ in {differing}:"
                " move it away, or choose another reference.folder, or reference=inline"
            )


def _prompts(plan: Plan, run: Measure) -> Iterator[Prompt]:
    """Every prompt of a run; a dialogue's next turn once its answer is known."""
    for first in plan.prompts:
        prompt: Prompt | None = first
        while prompt is not None:
            yield prompt
            prompt = plan.next_turn(prompt, plan.pair.answer(run(prompt).output_ids))


def _key(line: dict[str, object]) -> Key:
    return str(line["task_id"]), int(str(line["sample"])), int(str(line["turn"]))


def _run(line: dict[str, object]) -> ReferenceRun:
    ids, seconds, joules = line["output_ids"], line["seconds"], line["joules"]
    if not isinstance(ids, list) or not isinstance(seconds, float):
        raise ValueError(f"expected a list of token ids and seconds, got {ids!r:.40}, {seconds!r}")
    return ReferenceRun(ids, seconds, joules if isinstance(joules, float) else None)
