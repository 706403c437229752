"""Planting a bug in the real code: one place of its source is changed."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import FunctionType, ModuleType

import pytest


@dataclass(frozen=True)
class Bug:
    """``right`` occurs once in ``module``; ``wrong`` takes its place.

    ``case`` names what the checks look at, ``seen_by`` the checks that fail. ``besides`` is a
    second change that goes with it, likewise.
    """

    name: str
    case: str
    seen_by: str
    module: str
    right: str
    wrong: str
    besides: tuple[str, str, str] | None = None

    def alone(self) -> tuple[Bug, ...]:
        """Its changes, each by itself."""
        if self.besides is None:
            return (self,)
        module, right, wrong = self.besides
        second = replace(self, module=module, right=right, wrong=wrong, besides=None)
        return replace(self, besides=None), second


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The bug is in the code that runs, whoever has imported it already."""
    with contextlib.ExitStack() as changes:
        for one in bug.alone():
            changes.enter_context(_changed(one))
        yield


@contextlib.contextmanager
def _changed(bug: Bug) -> Iterator[None]:
    module = importlib.import_module(bug.module)
    source = inspect.getsource(module)
    assert source.count(bug.right) == 1, f"not once in {bug.module}: {bug.right}"
    changed = ModuleType(module.__name__)
    code = compile(
        source.replace(bug.right, bug.wrong), str(module.__file__), "exec", dont_inherit=True
    )
    exec(code, vars(changed))
    others = _functions(changed)
    pairs = [(one, others[name]) for name, one in _functions(module).items()]
    ((function, other),) = [pair for pair in pairs if pair[0].__code__ != pair[1].__code__]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(function, "__code__", other.__code__)
        yield


def _functions(module: ModuleType) -> dict[str, FunctionType]:
    """A module's own functions and methods, by their qualified names."""
    own = [one for one in vars(module).values() if inspect.isclass(one)]
    holders = [module, *(one for one in own if one.__module__ == module.__name__)]
    members = [inspect.unwrap(one) for holder in holders for one in vars(holder).values()
               if callable(one)]  # fmt: skip
    return {
        one.__qualname__: one
        for one in members
        if isinstance(one, FunctionType) and one.__module__ == module.__name__
    }
