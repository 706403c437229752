"""Prompts that the draft model of ``pair=smollm2`` is distilled on: ``python prompts.py FOLDER``.

Code comes from the sources of the interpreter and of the packages that are installed beside it:
heads of functions with their docstrings to be continued, and whole files to be read. Questions of
GSM8K's training split (``--gsm8k FILE``) are asked as its task asks them, after examples, and as
that of MGSM does, without. What the target makes up itself begins with one of the openings.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

#: How code and questions begin in the tasks that the pair is measured on, and elsewhere.
OPENINGS = (
    "def", "\ndef", "from typing import List\n\n\ndef", "from typing import Dict\n\n\ndef",
    "import math\n\n\ndef", "import re\n\n\ndef", "from collections import Counter\n\n\ndef",
    "class", "import numpy as np\n\n\ndef", "#!/usr/bin/env python\n", "import os\nimport",
    "def is_", "def find_", "def count_", "def get_", "def sum_", "def max_", "def sort_",
    "def check_", "def remove_", "def reverse_", "def merge_", "def string_", "def compute_",
    "Q:", "Q: There are", "Q: A", "Q: If", "Q: John", "Q: Mary has", "Q: In a",
    "Q: Sarah", "Q: The", "Question: How many", "Problem:",
    "The", "In", "Write", "How", "What is", "Once upon a time", "Dear", "# ", "A", "To",
)  # fmt: skip
#: As questions without examples begin, for what is learned last.
QUESTIONS = ("Question:",) * 6 + tuple(
    f"Question: {word}"
    for word in (
        "A", "The", "John", "Mary", "There are", "In a", "Sarah", "Tom", "If", "Every", "Each",
        "Lisa", "At a", "James", "Jane", "Mike", "A farmer", "A store", "During", "After",
    )
)  # fmt: skip
#: Characters of a prompt, at least and at most.
_HEAD = 60, 900
#: Bytes of a file that is read whole, at most.
_FILE = 30_000


def sources() -> Iterator[Path]:
    """Python files of the standard library and of installed packages, tests left out."""
    paths = sysconfig.get_paths()
    for root in dict.fromkeys((paths["stdlib"], paths["purelib"])):
        for path in sorted(Path(root).rglob("*.py")):
            parts = path.relative_to(root).parts
            if not any("test" in part or part == "site-packages" for part in parts):
                yield path


def parsed(path: Path) -> tuple[str, ast.Module] | None:
    """The text of a file and its syntax; ``None`` where it is not this Python's."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, ast.parse(text)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError):
        return None


def heads(text: str, module: ast.Module) -> Iterator[str]:
    """Functions of a module up to the end of their docstrings, moved to the left margin."""
    lines = text.splitlines()
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            end = node.body[0].end_lineno
            if len(node.body) > 1 and end:
                taken = [line[node.col_offset :] for line in lines[node.lineno - 1 : end]]
                yield "\n".join(taken)


def code(prompts: int, files: int, seed: int) -> tuple[list[str], list[Path]]:
    """Heads of functions, and files, of as many packages as there are."""
    rng = random.Random(seed)
    by_package: dict[str, list[Path]] = {}
    for path in sources():
        by_package.setdefault(str(path.parents[0]), []).append(path)
    packages = list(by_package.values())
    found, read = list[str](), list[Path]()
    seen: set[str] = set()
    while packages and len(found) < prompts:
        package = rng.choice(packages)
        path = package.pop(rng.randrange(len(package)))
        if not package:
            packages.remove(package)
        source = parsed(path)
        if source is None:
            continue
        text, module = source
        own = [head for head in heads(text, module) if _HEAD[0] <= len(head) <= _HEAD[1]]
        if len(read) < files and 1_000 < len(text) < _FILE:
            read.append(path)
        # Few of one file, so that they are of many hands.
        for head in rng.sample(own, min(3, len(own))):
            if head not in seen:
                seen.add(head)
                found.append(head)
    return found[:prompts], read


def alone(path: Path) -> Iterator[str]:
    """Each question without examples, as ``tasks/mgsm.py`` writes them."""
    for line in path.open(encoding="utf-8"):
        yield f"Question: {json.loads(line)['question']}\n\nAnswer:"


def questions(path: Path, seed: int) -> Iterator[str]:
    """Each question after one to three examples, as ``tasks/gsm8k.py`` writes them."""
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    rng = random.Random(seed)
    for row in rows:
        shots = rng.sample(rows, rng.randint(1, 3))
        parts = [f"Q: {one['question']}\nA: {_answer(one['answer'])}" for one in shots]
        yield "\n\n".join([*parts, f"Q: {row['question']}\nA:"])


def _answer(text: str) -> str:
    worked, _, number = text.partition("####")
    steps = " ".join(worked.split())
    while "<<" in steps:
        before, _, rest = steps.partition("<<")
        steps = before + rest.partition(">>")[2]
    return f"{steps} The answer is {number.strip()}."


def write_rows(path: Path, prompts: list[str]) -> None:
    path.write_text(
        "".join(json.dumps({"prompt": one}) + "\n" for one in prompts), encoding="utf-8"
    )
    print(f"{len(prompts)} in {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gsm8k", type=Path, help="GSM8K's training split, JSON lines")
    parser.add_argument("--prompts", type=int, default=3000)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    found, read = code(given.prompts, given.files, given.seed)
    write_rows(given.folder / "code.jsonl", found)
    write_rows(given.folder / "openings.jsonl", list(OPENINGS))
    write_rows(given.folder / "more_openings.jsonl", [*OPENINGS, *QUESTIONS])
    if given.gsm8k:
        write_rows(given.folder / "questions.jsonl", list(questions(given.gsm8k, given.seed)))
        write_rows(given.folder / "alone.jsonl", list(alone(given.gsm8k)))
    whole = given.folder / "files"
    whole.mkdir(exist_ok=True)
    for index, path in enumerate(read):
        (whole / f"{index:04d}.txt").write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    print(f"{len(read)} files in {whole}")


if __name__ == "__main__":
    main()
