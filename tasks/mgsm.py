"""MGSM: GSM8K problems in other languages (Shi et al., 2023)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tasks.answers import final_number, find_number
from tasks.rows import Hub, load_rows
from tasks.task import Problem, Score, Task

LANGUAGES = ("bn", "de", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
#: Written with a comma before decimals, and dots or spaces between groups of digits.
_DECIMAL_COMMA = frozenset({"de", "es", "fr", "ru"})
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
        Folder with ``mgsm_LANG.tsv``, question and answer.
    hub
        The files that are taken without one; ``{language}`` stands for the language.
    """

    accuracy_name = "accuracy"

    languages: list[str] = field(default_factory=lambda: list(LANGUAGES))
    per_language: int = 10
    data: str | None = None
    hub: Hub | None = None

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
            data = str(Path(self.data) / f"mgsm_{language}.tsv") if self.data else None
            hub = self.hub and replace(
                self.hub, files=(self.hub.files or "").replace("{language}", language)
            )
            rows = load_rows(data, hub, _FIELDS, "task.data")
            self.sources[language] = rows
            for index, row in enumerate(rows[: self.per_language]):
                if find_number(row["answer"]) is None:
                    raise ValueError(f"{rows.source}, row {index}: the answer is no number")
                prompt = f"Question: {row['question']}\n\nAnswer:"
                problems.append(Problem(f"MGSM/{language}/{index}", prompt, language, row))
        return problems

    def score(self, problem: Problem, text: str) -> Score:
        text = text.split("\nQuestion:")[0]
        found = final_number(text, problem.category in _DECIMAL_COMMA)
        return Score(found is not None and found == find_number(problem.data["answer"]))
