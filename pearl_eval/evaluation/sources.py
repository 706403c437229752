"""The sources that a run goes through, and a digest of what they do."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

#: Where the packages are.
ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("decoders", "tasks", "pearl_eval")
#: Started as programs, by their paths: whoever imports the package may run any of its files.
_PROGRAMS = "tasks.sandbox.inside"


def code_digest(
    modules: Iterable[str],
    others: Iterable[Path] = (),
    skip: Collection[str] = (),
    root: Path = ROOT,
) -> str:
    """A digest of what some modules do, and all that they import of our packages, late or not.

    It stays the same where comments, docstrings or the layout of code change.

    Parameters
    ----------
    modules
        The names of those to begin with.
    others
        Files to begin with that need not be of our packages.
    skip
        Packages that are passed over, with all that only they import.
    root
        The folder with our packages.
    """
    seen: set[str] = set()
    files = set(others)
    left = [*modules, *(name for path in files for name in _parsed(path)[1])]
    while left:
        name = left.pop()
        if name in seen or name.split(".")[0] not in _PACKAGES or _within(name, skip):
            continue
        seen.add(name)
        for path in _files(name, root):
            files.add(path)
            left += _parsed(path)[1]
        # What a package says itself runs before its modules do.
        left.append(name.rpartition(".")[0])
    digests = sorted(_parsed(path)[0] for path in files)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def _within(name: str, packages: Collection[str]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def _files(name: str, root: Path) -> Iterator[Path]:
    """The file of a module, if it is one and not a name in one."""
    path = root.joinpath(*name.split("."))
    if name == _PROGRAMS:
        yield from path.glob("*.py")
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            yield file


@functools.cache
def _parsed(path: Path) -> tuple[str, tuple[str, ...]]:
    """A digest of what a file says, and what it may import. It is read once in a process."""
    if path.suffix != ".py":  # a user's own, compiled
        return hashlib.sha256(path.read_bytes()).hexdigest(), ()
    tree = ast.parse(path.read_bytes())
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(names)


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is but a string: a docstring, of whatever."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
