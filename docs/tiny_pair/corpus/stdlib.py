"""Text from the Python standard library's sources: code, and prose from its docstrings."""

from __future__ import annotations

import ast
import random
import re
import sysconfig
from functools import cache
from pathlib import Path

from tiny_pair.corpus.document import Document

SKIPPED = ("test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "encodings",
           "turtledemo", "ensurepip", "pydoc_data", "config")  # fmt: skip
CHUNK_CHARACTERS = 900


@cache
def sources() -> tuple[str, ...]:
    """The text of each source file of the running interpreter's standard library, by name."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if any(part.startswith(SKIPPED) for part in parts):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if 500 < len(text) < 200_000:
            found.append(text)
    return tuple(found)


@cache
def prose() -> tuple[str, ...]:
    """Plain sentences of 5 to 30 words from docstrings, in order of appearance."""
    found: dict[str, None] = {}
    for text in sources():
        for doc in _docstrings(text):
            for sentence in re.split(r"(?<=[.!?])\s+", " ".join(doc.split())):
                plain = re.fullmatch(r"[A-Z][A-Za-z0-9 ,'()\-]+[.?]", sentence)
                if plain and 5 <= len(sentence.split()) <= 30:
                    found[sentence] = None
    return tuple(found)


def draw_prose(rng: random.Random, sentences: int) -> str:
    """Some docstring sentences in a row."""
    pool = prose()
    start = rng.randrange(len(pool) - sentences)
    return " ".join(pool[start : start + sentences])


def draw_source(rng: random.Random) -> Document:
    """A stretch of whole lines of one source file."""
    text = rng.choice(sources())
    start = rng.randrange(max(1, len(text) - CHUNK_CHARACTERS))
    start = text.rfind("\n", 0, start) + 1
    chunk = text[start : start + CHUNK_CHARACTERS]
    return Document("stdlib", "", chunk[: chunk.rfind("\n") + 1].strip("\n"))


def _docstrings(text: str) -> list[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        doc
        for node in ast.walk(tree)
        if isinstance(node, kinds)
        if (doc := ast.get_docstring(node))
    ]
