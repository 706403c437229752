"""The training mixture: which kind of document comes how often, never a held-out one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

from tiny_pair.corpus.dialogue import (
    CATEGORIES,
    SYSTEM_PROMPTS,
    Dialogue,
    draw_dialogue,
    open_exchange,
)
from tiny_pair.corpus.document import Document, held_out
from tiny_pair.corpus.functions import FunctionProblem, render
from tiny_pair.corpus.languages import LANGUAGES
from tiny_pair.corpus.plans import draw_plan
from tiny_pair.corpus.stdlib import draw_prose, draw_source
from tiny_pair.corpus.word_problems import WordProblem, document, draw_problem

Problem = TypeVar("Problem", FunctionProblem, WordProblem, Dialogue)

SHARES = {"function": 34, "english": 24, "translated": 14, "dialogue": 19, "stdlib": 9}
OTHER_LANGUAGES = tuple(code for code in LANGUAGES if code != "en")


def draw_document(
    rng: random.Random, shots: int = 0, shares: Mapping[str, float] = SHARES
) -> Document:
    """One training document.

    Parameters
    ----------
    rng : random.Random
    shots : int, optional
        Largest number of worked examples before a word problem; they make a document long.
    shares : mapping of str to float, optional
        How often each kind comes.
    """
    kind = rng.choices(list(shares), weights=list(shares.values()))[0]
    if kind == "function":
        return _function(rng).document()
    if kind == "stdlib":
        return draw_source(rng)
    if kind == "dialogue":
        return _dialogue(rng).document()
    if kind == "english":
        return _word_problem(rng, "en", shots)
    return _word_problem(rng, rng.choice(OTHER_LANGUAGES), 0)


def draw_prompt(rng: random.Random, shots: int = 0) -> str:
    """The prompt of a document, for the target to continue: what distillation learns from."""
    while True:
        chosen = rng.random()
        if chosen < 0.15:
            return _dialogue(rng).prompt(1)
        if chosen < 0.22:
            return odd_prompt(rng)
        text = draw_document(rng, shots)
        if text.prompt:
            return text.prompt
        lines = text.completion.split("\n")
        return "\n".join(lines[: max(1, len(lines) // 3)])


def odd_prompt(rng: random.Random) -> str:
    """A task's layout around text that no generator answers, as real prompts will look."""
    prose = draw_prose(rng, rng.randint(1, 4))
    layout = rng.choice(("qa", "question", "chat", "function"))
    if layout == "qa":
        return f"Q: {prose} How many are there in total?\nA:"
    if layout == "question":
        return f"Question: {prose}\n\nAnswer:"
    if layout == "chat":
        users = (prose, "")
        return Dialogue("open", rng.choice(SYSTEM_PROMPTS), users, ("", "")).prompt(0)
    problem = render(draw_plan(rng), rng)
    start = problem.prompt.index('"""') + 3
    example = problem.prompt[problem.prompt.index("    >>>") :] if ">>>" in problem.prompt else ""
    return f"{problem.prompt[:start]} {prose}\n{example}".strip()


def draw_few_shot(rng: random.Random, examples: int) -> Document:
    """A word problem after ``examples`` worked ones; half of the time about other things."""
    problem = _allowed(lambda: draw_problem(rng))
    odd = rng.random() < 0.5
    shots = [_odd_example(rng, 4) if odd else _example(rng) for _ in range(examples)]
    return document(problem, shots, "qa")


def tokenizer_text(rng: random.Random, documents: int) -> Iterator[str]:
    """What the vocabulary is learnt from: the mixture and more English than it has."""
    for _ in range(documents):
        yield draw_document(rng, 1).text
        yield draw_prose(rng, 2)


def held_out_functions(seed: int, count: int) -> Iterator[FunctionProblem]:
    """Functions whose computation no training document has."""
    rng = random.Random(f"held-out functions {seed}")
    yield from _distinct(lambda: render(draw_plan(rng), rng), count)


def held_out_word_problems(seed: int, count: int, language: str = "en") -> Iterator[WordProblem]:
    """Word problems whose numbers and events no training document has."""
    rng = random.Random(f"held-out word problems {seed} {language}")
    yield from _distinct(lambda: draw_problem(rng, language), count)


def held_out_dialogues(seed: int, count: int) -> Iterator[Dialogue]:
    """Dialogues whose questions no training document has, the categories in turn."""
    rng = random.Random(f"held-out dialogues {seed}")
    for index in range(count):
        category = CATEGORIES[index * len(CATEGORIES) // count]
        yield from _distinct(partial(draw_dialogue, rng, category), 1)


def _distinct(draw: Callable[[], Problem], count: int) -> Iterator[Problem]:
    seen: set[str] = set()
    while len(seen) < count:
        problem = draw()
        if held_out(problem.key) and problem.key not in seen:
            seen.add(problem.key)
            yield problem


def _allowed(draw: Callable[[], Problem]) -> Problem:
    while True:
        problem = draw()
        if not held_out(problem.key):
            return problem


def _function(rng: random.Random) -> FunctionProblem:
    prose = draw_prose(rng, 1) if rng.random() < 0.12 else ""
    return _allowed(lambda: render(draw_plan(rng), rng, prose))


def _dialogue(rng: random.Random) -> Dialogue:
    if rng.random() < 0.15:
        users, assistants = open_exchange(rng)
        return Dialogue("open", rng.choice(SYSTEM_PROMPTS), users, assistants)
    while True:
        made = _allowed(lambda: draw_dialogue(rng))
        # A dialogue may quote a problem; that problem must not be a held-out one either.
        if not any(held_out(key) for key in made.quotes):
            return made


def _word_problem(rng: random.Random, language: str, shots: int) -> Document:
    problem = _allowed(lambda: draw_problem(rng, language))
    if rng.random() < 0.08:
        problem = WordProblem(
            problem.key, language, f"{draw_prose(rng, 1)} {problem.question}", problem.steps,
            problem.answer,
        )  # fmt: skip
    layout = "question" if language != "en" else rng.choice(("qa", "qa", "question"))
    examples = []
    if layout == "qa" and shots and rng.random() < 0.6:
        examples = [_example(rng) for _ in range(rng.randint(1, shots))]
    return document(problem, examples, layout)


def _example(rng: random.Random) -> WordProblem:
    """A worked example; one in five is about something else, as a user's own may be."""
    return _odd_example(rng, 2) if rng.random() < 0.2 else _allowed(lambda: draw_problem(rng))


def _odd_example(rng: random.Random, sentences: int) -> WordProblem:
    question = f"{draw_prose(rng, rng.randint(1, sentences))} How many are left?"
    steps = draw_prose(rng, rng.randint(1, sentences))
    return WordProblem("", "en", question, steps, rng.randint(1, 99))
