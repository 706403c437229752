"""What a task is: problems, and what becomes of the answers that a model gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, ClassVar, TypeVar

from tasks.rows.rows import Rows
from tasks.scoring.score import Score

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One entry of a task: a prompt that the model continues, or a dialogue that it takes part in.

    A dialogue has no ``prompt`` but the user's messages as ``turns``, each of which the model
    answers, and may have a ``system_prompt``. What came ``earlier``, messages of the user with the
    answers that they got, is read and not answered again. ``data`` is whatever scoring and output
    need.
    """

    task_id: str
    prompt: str = ""
    category: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[str, ...] = ()
    system_prompt: str = ""
    earlier: tuple[tuple[str, str], ...] = ()

    @classmethod
    def ask(
        cls,
        task_id: str,
        prompt: str,
        chat: bool,
        category: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> Problem:
        """A problem whose prompt is continued, or in a ``chat`` is the one message of a user."""
        turns = (prompt,) if chat else ()
        return cls(task_id, "" if chat else prompt, category, data or {}, turns)


@dataclass
class Task(ABC):
    """A set of problems. Subclasses are dataclasses: their fields are their settings.

    Parameters
    ----------
    limit
        Number of problems taken, as many of each category as of every other; ``None`` takes all.
    spread
        Whether those are spread over the task, rather than the first ones of each category.
    max_new_tokens
        Longest generation, in tokens.
    """

    #: What ``accuracy`` is called for this task.
    accuracy_name: ClassVar[str] = "same answer"

    #: How often the model answers in each problem, at most.
    turns: ClassVar[int] = 1

    limit: int | None = None
    spread: bool = False
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        #: What ``load`` read, by what it is to the task.
        self.sources: dict[str, Rows] = {}
        if self.limit is not None and self.limit < 1:
            raise ValueError(
                f"task.limit is the number of problems and must be at least 1, got {self.limit};"
                " leave it out (task.limit=null) to take all"
            )
        if self.max_new_tokens < 1:
            raise ValueError(
                "task.max_new_tokens is the longest generation and must be at least 1,"
                f" got {self.max_new_tokens}"
            )

    @abstractmethod
    def load(self) -> Sequence[Problem]:
        """All problems of the task, in their own order."""

    def score(self, problem: Problem, text: str) -> Score | None:
        """Whether ``text``, decoded from the generated tokens, solves the problem.

        ``None`` where no answer is right by itself. Then the target model's own counts as right,
        as ``accuracy_name`` must say. ``UNSCORED`` where none is to count as right.
        """
        return None

    @property
    def samples(self) -> int:
        """How often each problem is decoded, each time with other random numbers."""
        return 1

    def prepare(self) -> None:
        """See that scoring can work here. Raises ``ValueError`` where it can't."""

    def figures(self, correct: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
        """Figures of the task's own, from whether each sample was right, by ``task_id``."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Facts for ``summary.json``, known once the problems are loaded."""
        data = {
            name: {"source": rows.source, "sha256": rows.sha256, "rows": len(rows)}
            for name, rows in self.sources.items()
        }
        return {"data": data}

    def lines(
        self, problem: Problem, texts: Sequence[str], model: str
    ) -> Mapping[str, dict[str, Any]]:
        """What a finished problem adds to files of the task's own: a JSON line, by file name.

        ``texts`` were generated, one for each turn of a dialogue; ``model`` names what made them.
        """
        return {}

    def size(self) -> int | None:
        """How many problems a run is about, told without a network; ``None`` where it can't be."""
        return len(self.problems())

    def texts(self) -> int | None:
        """How many texts are generated for them, at most; ``None`` where ``size`` is."""
        size = self.size()
        return None if size is None else size * self.turns * self.samples

    def problems(self) -> list[Problem]:
        """The problems this run is about."""
        return evenly(self.load(), self.limit, *self.kinds(), spread=self.spread)

    def kinds(self) -> tuple[Callable[[Problem], Any], ...]:
        """What tells problems apart for ``limit``: of each kind as many are taken."""
        return (lambda problem: problem.category,)


def count_texts(problems: Iterable[Problem]) -> int:
    """How many texts are generated for some problems, each decoded once."""
    return sum(max(1, len(problem.turns)) for problem in problems)


def evenly(
    rows: Sequence[T], limit: int | None, *kinds: Callable[[T], Any], spread: bool = False
) -> list[T]:
    """So many of some problems, as many of each kind, the first of each, in their own order.

    Parameters
    ----------
    rows
        All there are.
    limit
        How many are taken; a larger number takes what a smaller one does, and more. ``None`` takes
        all.
    kinds
        What tells them apart. After the first, each further one is about those of one kind by the
        one before.
    spread
        Not the first of each kind, but some from all over it.
    """
    order = _halving(len(rows)) if spread else list(range(len(rows)))
    for kind in reversed(kinds):
        order = _in_turn(order, [kind(row) for row in rows])
    return [rows[index] for index in sorted(order[:limit])]


def _halving(count: int) -> list[int]:
    """``range(count)`` in an order whose every beginning is spread over it: 0, its middle, …

    That of van der Corput's sequence: numbers by their binary digits read backwards.
    """
    digits = count.bit_length()
    backwards = (int(f"{i:0{digits}b}"[::-1], 2) for i in range(1 << digits))
    return [index for index in backwards if index < count]


def _in_turn(order: Sequence[int], kinds: Sequence[Any]) -> list[int]:
    """One of each kind, then another of each, and so on; the kinds as they come in ``order``."""
    members: dict[Any, list[int]] = {}
    for index in order:
        members.setdefault(kinds[index], []).append(index)
    rounds = zip_longest(*members.values())
    return [index for one in rounds for index in one if index is not None]
