"""Programs in generated text, and the packages that programs need."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from tasks.scoring.answers import said

_BLOCK = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_PROGRAM_START = re.compile(r"^(?:(?:import|from|def|class|async def) |@)", re.MULTILINE)
#: What looks like an import, also in a docstring; reading a whole file of tests takes far longer.
_IMPORT = re.compile(r"^[ \t]*(?:import|from)[ \t]+([^\W\d]\w*)", re.MULTILINE)
#: Lines after a program that are tried to be left out.
_MOST_PROSE = 100


def chat_message(prompt: str) -> str:
    """What a user asks a model that is to complete a function."""
    return (
        "Complete this Python function. Answer with the whole function in one code block.\n\n"
        f"```python\n{prompt}\n```"
    )


def completion_in(answer: str, prompt: str, entry_point: str) -> str:
    """What continues ``prompt`` to the program that an answer in a chat has.

    That is in its first code block that defines the function, else in its first one, else in all of
    it. A whole function follows the one that the prompt begins, and takes its place.
    """
    answer = said(answer)
    blocks = [textwrap.dedent(block) for block in _BLOCK.findall(answer)]
    defines = re.compile(rf"^(?:async )?def {re.escape(entry_point)}\b", re.MULTILINE)
    code = next((block for block in blocks if defines.search(block)), None)
    if not blocks and defines.search(answer):
        start = _PROGRAM_START.search(answer)
        code = _without_prose(answer[start.start() if start else 0 :])
    if code is not None:
        return ("" if _parses(prompt) else "\n    pass") + f"\n\n{code}"
    body = blocks[0] if blocks else answer
    first, *others = body.strip().split("\n")
    if all(line.startswith("    ") for line in others if line.strip()) and not blocks:
        # The indentation of an answer's first line is lost with the space around it.
        return "\n" + "\n".join([f"    {first}", *others])
    return "\n" + textwrap.indent(body, "    ")


def _without_prose(text: str) -> str:
    """As many lines of a text, from its first on, as are a program."""
    lines = text.split("\n")
    for count in range(len(lines), max(0, len(lines) - _MOST_PROSE), -1):
        program = "\n".join(lines[:count])
        if _parses(program):
            return program
    return text


def _parses(program: str) -> bool:
    try:
        ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


@functools.lru_cache(maxsize=1024)
def packages_in(program: str) -> frozenset[str]:
    """Packages outside the standard library that a program imports."""
    if set(_IMPORT.findall(program)) <= sys.stdlib_module_names:
        return frozenset()
    for source in (program, f"{program}\n    pass\n"):
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        names = [
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        ]
        names += [
            node.module
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module and not node.level
        ]
        return frozenset({name.partition(".")[0] for name in names} - sys.stdlib_module_names)
    return frozenset()


def package_folders(packages: Iterable[str]) -> dict[str, list[str]]:
    """What there is of installed packages: files and folders, by the folder they are found in."""
    found: dict[str, list[str]] = {}
    for package in sorted(packages):
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            continue
        if spec is None:
            continue
        places = list(spec.submodule_search_locations or [spec.origin or ""])
        for place in filter(os.path.exists, places):
            folder = os.path.realpath(os.path.dirname(place))
            # Libraries that come with a wheel lie beside its package.
            parts = [Path(folder, Path(place).name), Path(folder, f"{package}.libs")]
            found.setdefault(folder, []).extend(str(part) for part in parts if part.exists())
    return found
