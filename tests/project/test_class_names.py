"""One name, one class: whoever reads a name anywhere knows what it is."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    *("decoders", "tasks", "pearl_eval", "analysis", "hydra_plugins"),
    *("docs/tiny_pair", "docs/gpu_check"),
)


def test_no_public_class_name_is_used_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(path.relative_to(ROOT).as_posix())
    assert len(places) > 150  # all folders were there to be read
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
