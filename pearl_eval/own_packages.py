"""The packages that come with this one, whatever else of their names is on Python's path."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

#: Names that a folder of a user's own may have as well, and then comes first on the path.
NAMES = ("decoders", "tasks", "analysis")
_ROOT = Path(__file__).resolve().parent.parent


class OwnPackages(MetaPathFinder):
    """Finds these packages beside this one."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(_ROOT)]) if name in NAMES else None


def insist() -> None:
    """Have them found here first. ImportError where others of their names are imported already."""
    for name in NAMES:
        module = sys.modules.get(name)
        place = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), "")
        if place and _ROOT not in Path(place).resolve().parents:
            raise ImportError(
                f"{place} is imported as {name}, which is a package of pearl_eval's: import"
                " pearl_eval before it, or give it another name"
            )
    if not any(isinstance(one, OwnPackages) for one in sys.meta_path):
        sys.meta_path.insert(0, OwnPackages())
