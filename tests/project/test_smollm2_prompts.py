"""What writes the prompts that the draft model of ``pair=smollm2`` is distilled on."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from omegaconf import OmegaConf

from tasks.gsm8k import Gsm8k
from tasks.mgsm import Mgsm

FOLDER = Path(__file__).resolve().parents[2] / "docs/smollm2"
#: Subjects and requests that messages are put together from.
WORDS: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / "messages.yaml"))

MODULE = '''"""A module that says of itself what it is for, in words to be read for facts: {}"""

class Some:
    def indented(self, first):
        """Says what an indented function does, in a line that is long enough."""
        return first

def bare(first):
    return first

def only_said():
    """Says what a function does that has nothing else in it, long enough to be taken."""

def one(a):
    """The first of three functions at the margin, with a docstring that is long enough."""
    return a

def two(b):
    """The second of three functions at the margin, with a docstring that is long enough."""
    return b

def three(c):
    """The third of three functions at the margin, with a docstring that is long enough."""
    return c
'''
INDENTED = '''def indented(self, first):
    """Says what an indented function does, in a line that is long enough."""'''


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    """``prompts.py`` and ``messages.py``."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("prompts", "messages")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tuple(map(importlib.import_module, names))  # type: ignore[misc]
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def files(scripts: tuple[ModuleType, ModuleType], tmp_path: Path) -> list[Path]:
    """Sources that stand for installed packages': two that are alike, and a broken one."""
    found = []
    for package in ("first", "second"):
        path = tmp_path / package / "module.py"
        path.parent.mkdir()
        path.write_text(MODULE.format(package * 80))
        found.append(path)
    broken = tmp_path / "first" / "broken.py"
    broken.write_text("def (:\n")
    for script in scripts:
        script.sources = lambda: iter([*found, broken])  # type: ignore[attr-defined]
    return found


def test_a_head_ends_with_its_docstring_at_the_left_margin(
    scripts: tuple[ModuleType, ModuleType],
) -> None:
    """Not one without a docstring, nor one that has nothing to be written after it."""
    text = MODULE.format("")
    found = list(scripts[0].heads(text, ast.parse(text)))
    assert INDENTED in found
    assert {re.match(r"def (\w+)", one).group(1) for one in found} == {  # type: ignore[union-attr]
        "indented",
        "one",
        "two",
        "three",
    }
    assert all(one.endswith('enough."""') for one in found)


def test_heads_are_distinct_and_at_most_three_of_a_file(
    scripts: tuple[ModuleType, ModuleType], files: list[Path]
) -> None:
    """The two files have the same functions; what is no Python of today is passed over."""
    found, read = scripts[0].code(prompts=100, files=10, seed=3)
    assert 3 <= len(found) == len(set(found)) <= 4
    assert read == sorted(files) or read == sorted(files, reverse=True)
    assert scripts[0].code(100, 10, 3) == (found, read)
    assert len(scripts[0].code(prompts=2, files=10, seed=3)[0]) == 2


def test_questions_are_asked_as_the_tasks_ask_them(
    scripts: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    rows = [
        {
            "question": f"How many is {n} and {n}?",
            "answer": f"It is <<{n}+{n}={2 * n}>>{2 * n}.\n#### {2 * n}",
        }
        for n in range(4)
    ]
    path = tmp_path / "gsm8k.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (shown,) = {
        one.prompt
        for one in Gsm8k(data=str(path), shots=1, shots_data=str(path), shot_seed=1).load()
        if one.prompt.endswith("Q: How many is 2 and 2?\nA:")
    }
    example = shown.partition("\n\n")[0]
    asked = list(scripts[0].questions(path, seed=1))
    assert len(asked) == 4 and asked[2].endswith("\n\nQ: How many is 2 and 2?\nA:")
    assert all(2 <= len(one.split("\n\n")) <= 4 for one in asked)
    assert example in {part for one in asked for part in one.split("\n\n")}
    assert "<<" not in "".join(asked)

    english = tmp_path / "mgsm_en.tsv"
    english.write_text("".join(f"{row['question']}\t1\n" for row in rows))
    task = Mgsm(data=str(tmp_path), languages=["en"])
    assert list(scripts[0].alone(path)) == [one.prompt for one in task.load()]


def test_messages_are_distinct_and_as_many_of_each_kind(
    scripts: tuple[ModuleType, ModuleType], files: list[Path]
) -> None:
    kinds = list(WORDS["requests"].values())
    found = scripts[1].messages(20 * len(kinds), seed=5)
    assert len(found) == len(set(found)) == 20 * len(kinds)
    assert not any(re.search(r"\{\w+\}", one) for one in found)
    assert found == scripts[1].messages(20 * len(kinds), seed=5)
    assert found != scripts[1].messages(20 * len(kinds), seed=6)
    for place, kind in enumerate(kinds):
        parts = [map(re.escape, re.split(r"\{\w+\}", request)) for request in kind]
        of_kind = re.compile("|".join(map("(.+)".join, parts)), re.DOTALL)
        own = found[place :: len(kinds)]
        assert len(own) == 20 and all(map(of_kind.fullmatch, own))
    assert any("read for facts: first" in one for one in found)


def test_every_request_can_be_put_together() -> None:
    """Each name in a request is that of subjects, of which there are as many as it asks for."""
    for request in (one for kind in WORDS["requests"].values() for one in kind):
        for name in re.findall(r"\{(\w+)\}", request):
            subject, place = re.fullmatch(r"([a-z]+)(\d?)", name).groups()  # type: ignore[union-attr]
            assert subject == "text" or len(set(WORDS["subjects"][subject])) >= int(place or 1)
