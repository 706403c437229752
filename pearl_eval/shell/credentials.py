"""Credentials in a configuration: refused, since a run records all of it, and W&B is sent it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pearl_eval.errors import UserError

_NAME = r"(?:token|secret|passw(?:or)?d|(?:api|access|private)_?key|credentials?|signature)"
_SECRET_NAME = re.compile(f"(?i){_NAME}$")
#: A user, or a token in a user's place, before the host; what is named so within a URL or a line of
#: a shell, unless that only refers to a variable.
_PATTERNS = {
    "a URL with credentials": re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^/\s@]+@"),
    "a secret": re.compile(rf"(?i){_NAME}=(?![$'\"{{]*\$)['\"]?[^\s&'\"]{{8,}}"),
}
#: Shorter values are words that occur by chance.
_SHORTEST = 8


def refuse_credentials(*configs: DictConfig) -> None:
    """Raise :class:`UserError` for a setting that has a credential; its value is not told."""
    ours = {
        name: value.strip()
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and len(value.strip()) >= _SHORTEST
    }
    for config in configs:
        for name, value in _texts(_plain(config), ""):
            found = _credential(name, value, ours)
            if found:
                if ".overrides." in name:
                    name = value.partition("=")[0].lstrip("+")
                raise UserError(
                    f"{name} has {found}, which would be recorded with the run: leave it out, and"
                    " give it by the environment or a file of the library that needs it"
                )


def _credential(name: str, value: str, ours: dict[str, str]) -> str | None:
    if value and not value.startswith("${") and _SECRET_NAME.search(name):
        return "a secret"
    for what, pattern in _PATTERNS.items():
        if pattern.search(value):
            return what
    return next((f"the value of {of}" for of, secret in ours.items() if secret in value), None)


def _plain(config: DictConfig) -> Any:
    try:
        return OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException:  # said where the value is needed
        return OmegaConf.to_container(config, resolve=False)


def _texts(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """The texts in a configuration, by their dotted names."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _texts(one, f"{name}[{index}]")
    elif isinstance(value, str):
        yield name, value
