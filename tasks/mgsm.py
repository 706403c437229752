"""MGSM: GSM8K problems in other languages (Shi et al., 2023)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.rows.files import find_file
from tasks.rows.rows import Hub, load_rows
from tasks.scoring.answers import (
    THE_ANSWER_IS,
    AnswerRule,
    final_number,
    said,
    same_as_in_harness,
)
from tasks.scoring.numbers import find_number
from tasks.scoring.score import Score
from tasks.task import Problem, Task

LANGUAGES = ("bn", "de", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
#: Dots and spaces stand between groups of digits there.
_DECIMAL_COMMA = frozenset({"de", "es", "fr", "ru"})
#: What lm-evaluation-harness's strict-match looks for, in the answers of ``mgsm_native_cot_LANG``.
_STRICT = {
    "bn": f"{THE_ANSWER_IS} NUMBER",
    "de": "Die Antwort lautet NUMBER",
    "en": f"{THE_ANSWER_IS} NUMBER",
    "es": "La respuesta es NUMBER",
    "fr": "La réponse est NUMBER",
    "ja": "答えはNUMBERです。",
    "ru": "Ответ — NUMBER",
    "sw": "Jibu ni NUMBER",
    "te": "సమాధానం NUMBER",
    "th": "คำตอบคือ NUMBER",
    "zh": "答案是 NUMBER。",
}
#: What else an answer is said with. The Telugu above is but the word for it.
_SAID = {
    **{language: (phrase.partition("NUMBER")[0].strip(),) for language, phrase in _STRICT.items()},
    "de": ("Die Antwort lautet", "Die Antwort ist"),
    "te": (),
}
_FIELDS = {"question": str, "answer": str}


@dataclass
class Mgsm(Task):
    """Zero-shot questions in ten languages; each language is a category.

    The prompt is ``Question: …`` and ``Answer:``, as in the paper's scripts; the answer is the
    number that the generated text comes to, up to the next question.

    Parameters
    ----------
    languages
        Those that are asked, in this order.
    per_language
        Problems of each, from the first on.
    data
        Folder with ``mgsm_LANG.tsv``, question and answer; or with another format of rows.
    hub
        The files that are taken without one; ``{language}`` stands for the language.
    answer
        How the answer is found in a generated text; by default leniently.
    chat
        Whether the prompt is the message of a user, in the model's own chat format.
    """

    accuracy_name = "accuracy"

    languages: list[str] = field(default_factory=lambda: list(LANGUAGES))
    per_language: int = 10
    data: str | None = None
    hub: Hub | None = None
    answer: AnswerRule = AnswerRule.default
    chat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [one for one in self.languages if one not in (*LANGUAGES, "en")]
        if unknown or not self.languages:
            raise ValueError(
                f"task.languages are some of {', '.join(LANGUAGES)} and en, got {self.languages}"
            )
        if self.per_language < 1:
            raise ValueError(f"task.per_language must be at least 1, got {self.per_language}")

    def size(self) -> int | None:
        if self.data:
            return super().size()
        return min(len(self.languages) * self.per_language, self.limit or sys.maxsize)

    def load(self) -> Sequence[Problem]:
        problems = []
        for language in self.languages:
            data = str(find_file(self.data, f"mgsm_{language}")) if self.data else None
            hub = self.hub and replace(
                self.hub, files=(self.hub.files or "").replace("{language}", language)
            )
            rows = load_rows(data, hub, _FIELDS, "task.data", adapt=_with_answer)
            self.sources[language] = rows
            for index, row in enumerate(rows[: self.per_language]):
                if find_number(row["answer"]) is None:
                    raise ValueError(
                        f"{rows.where(index)}: the answer must be a number, got"
                        f" {row['answer']!r:.60}"
                    )
                prompt = f"Question: {row['question']}\n\nAnswer:"
                task_id = f"MGSM/{language}/{index}"
                problems.append(Problem.ask(task_id, prompt, self.chat, language, row))
        return problems

    def score(self, problem: Problem, text: str) -> Score:
        language, answer = problem.category, problem.data["answer"]
        text = said(text, unfinished=self.answer.harness)
        if self.answer.harness:
            text = text.split("Question:")[0]
            strict = _STRICT[language]
            return Score(same_as_in_harness(text, answer, self.answer, strict, True))
        text = text.split("\nQuestion:")[0]
        phrases = (THE_ANSWER_IS, *_SAID[language])
        found = final_number(text, language in _DECIMAL_COMMA, phrases)
        return Score(found is not None and found == find_number(answer))


def _with_answer(row: dict[str, Any]) -> dict[str, Any]:
    """The hub's own tables have the answer as a number, and a worked one only for training."""
    number = row.get("answer_number")
    if row.get("answer") is None and number is not None:
        return row | {"answer": str(number)}
    return row
