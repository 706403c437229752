"""The three held-out sets, in the formats of HumanEval, GSM8K and MT-bench."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tiny_pair.corpus.mixture import (
    held_out_dialogues,
    held_out_functions,
    held_out_word_problems,
)

FIRST_QUESTION_ID = 1001


def write_held_out(folder: Path, seed: int, count: int) -> list[Path]:
    """Write ``humaneval_mini``, ``gsm8k_mini`` and ``dialogue_mini`` as JSON lines.

    Parameters
    ----------
    folder : Path
    seed : int
    count : int
        Problems in each.

    Returns
    -------
    list of Path
        The files written.
    """
    functions = held_out_functions(seed, count)
    dialogues = held_out_dialogues(seed, count)
    return [
        _write(
            folder / "humaneval_mini.jsonl",
            (problem.row(f"HumanEvalMini/{index}") for index, problem in enumerate(functions)),
        ),
        _write(
            folder / "gsm8k_mini.jsonl",
            (problem.row() for problem in held_out_word_problems(seed, count)),
        ),
        _write(
            folder / "dialogue_mini.jsonl",
            (made.row(FIRST_QUESTION_ID + index) for index, made in enumerate(dialogues)),
        ),
    ]


def _write(path: Path, rows: Iterable[dict[str, object] | dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path
