"""Nothing outside a decoder's own file decides by its name: see docs/add-a-decoder.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "conf" / "decoder").glob("*.yaml"))
NAMES = {path.stem for path in CONFIGS}
#: What every other decoder is compared with.
REFERENCE = "decoders.autoregressive"
MODULES = {str(OmegaConf.load(path)["_target_"]).rpartition(".")[0] for path in CONFIGS}
MODULES -= {REFERENCE}


def named(source: str) -> Iterator[str]:
    """Modules of decoders that are imported anywhere, and names of decoders that are strings."""
    tree = ast.parse(source)
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from MODULES.intersection(one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            found = {node.module or "", *(f"{node.module}.{one.name}" for one in node.names)}
            yield from MODULES & found
        elif isinstance(node, ast.Constant) and id(node) not in documented:
            yield from NAMES & {str(node.value)}


@pytest.mark.parametrize("package", ["pearl_eval", "analysis", "tasks", "hydra_plugins"])
def test_no_file_names_or_imports_a_decoder(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        found = set(named(path.read_text()))
        assert not found, f"{path} decides by {', '.join(sorted(found))}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from decoders.pearl import Pearl", {"decoders.pearl"}),
        ("def f():\n    from decoders import pearl_shared", {"decoders.pearl_shared"}),
        ("import decoders.lookahead", {"decoders.lookahead"}),
        ("if decoder == 'pearl_async': pass", {"pearl_async"}),
        ("if decoder.startswith('pearl'): pass", {"pearl"}),
        ("from decoders.autoregressive import Autoregressive", set()),
        ("from decoders.process.drafter import Drafter", set()),
        ("'''speculative'''\ndef f():\n    'pearl'\n    return 'pearls'", set()),
    ],
)
def test_a_name_is_found(source: str, found: set[str]) -> None:
    assert set(named(source)) == found
