"""GGUF files that come in installed Python packages, none of which is imported for them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from pearl_eval.errors import UserError


def packaged_file(package: str, name: str | None = None) -> Path:
    """The GGUF file in a package: the one of this name, or the only one.

    ``name`` is that of the file alone, or its path within the package.

    Raises
    ------
    UserError
        The package is not installed, has no such file, or several and no name was given.
    """
    found = _files(package, "*.gguf")
    if name is not None:
        wanted = {path for inside, path in found.items() if name in (inside, path.name)}
        if len(wanted) != 1:
            raise UserError(f"package {package} has {_listed(found)}, so not one file {name}")
        return wanted.pop()
    if len(found) > 1:
        raise UserError(f"package {package} has {_listed(found)}: choose one by gguf_file=NAME")
    if not found:
        raise UserError(
            f"package {package} has no *.gguf file; one whose parts are in several packages is"
            " named by the list of them, in order: package=[FIRST,SECOND]"
        )
    return next(iter(found.values()))


def packaged_parts(packages: Sequence[str]) -> tuple[Path, ...]:
    """The parts of a GGUF of which each package has one, in their order."""
    parts: list[Path] = []
    for package in packages:
        found = _files(package, "*.gguf*")
        if len(found) != 1:
            raise UserError(
                f"package {package}: expected one part of a GGUF there (*.gguf*), got"
                f" {_listed(found)}"
            )
        parts += found.values()
    return tuple(parts)


def _files(package: str, pattern: str) -> dict[str, Path]:
    """Files anywhere in an installed package, by their path within it."""
    module = package.replace("-", "_")
    # Of a name with a dot in it, the package before the dot would be imported.
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None:
        raise UserError(
            f"package {package} is not installed; to install it: pip install --no-deps"
            f" {module.replace('_', '-')}"
        )
    folders = sorted(Path(one) for one in spec.submodule_search_locations or ())
    return {
        path.relative_to(folder).as_posix(): path
        for folder in folders
        for path in sorted(folder.rglob(pattern))
        if path.is_file()
    }


def _listed(found: dict[str, Path]) -> str:
    return ", ".join(found) or "none"
