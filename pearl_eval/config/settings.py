"""The names of settings: that each is read by something, and what may have been meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pearl_eval.config.building import check_fields
from pearl_eval.errors import UserError

#: So many are named at most of those that may have been meant.
_MOST = 3


def check_settings(cfg: DictConfig) -> None:
    """Refuse a setting that nothing reads, which would be ignored.

    At the top that is any name that the schema does not have, unless another setting refers to it;
    in a part with a ``_target_``, any that the class does not have.
    """
    schema: Any = OmegaConf.get_type(cfg)
    if not is_dataclass(schema):
        return
    known = {"hydra", *(one.name for one in fields(schema))}
    text = OmegaConf.to_yaml(cfg)
    for name in map(str, cfg):
        if name not in known and not re.search(rf"\$\{{{re.escape(name)}\b", text):
            raise UserError(no_such_setting(name, cfg))
    for name in known - {"hydra"}:
        node = cfg._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and "_target_" in node:
            check_fields(name, node)


def no_such_setting(name: str, cfg: DictConfig) -> str:
    """What to say of a setting that there is not, with those that may have been meant."""
    content: Any = OmegaConf.to_container(cfg, resolve=False)
    # What was meant is not what was said.
    here = [one for one in _names(content) if one != name and not one.startswith(f"{name}.")]
    last = name.rpartition(".")[2]
    alike = [one for one in here if one.rpartition(".")[2] == last]
    alike = alike or [one for one in here if last in one.split(".")] or _close(last, here)
    if not alike:
        return f"there is no setting {name}: --cfg job shows all there are"
    return f"there is no setting {name}: did you mean {' or '.join(alike[:_MOST])}?"


def _close(last: str, here: list[str]) -> list[str]:
    """Names that end nearly alike."""
    ends = [one.rpartition(".")[2] for one in here]
    near = difflib.get_close_matches(last, dict.fromkeys(ends), n=_MOST, cutoff=0.7)
    return [one for end in near for one, own in zip(here, ends, strict=True) if own == end]


def _names(node: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The dotted names of the values in a configuration, without Hydra's own."""
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            if above or name != "hydra":
                yield from _names(value, f"{above}{name}.")
        elif name != "_target_":
            yield f"{above}{name}"
