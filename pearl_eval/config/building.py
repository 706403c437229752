"""The objects that a composed configuration describes."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

from hydra._internal.utils import _locate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from pearl_eval.config.schema import (
    Config,
    ReferenceConfig,
    RuntimeConfig,
    TrackingConfig,
    check_seed,
)
from pearl_eval.errors import UserError, reason

T = TypeVar("T")
#: The parts of a configuration that have no ``_target_``.
_SECTIONS = {"runtime": RuntimeConfig, "reference": ReferenceConfig, "tracking": TrackingConfig}


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as dictionaries, lists, texts and numbers, resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))


def typed(cfg: DictConfig) -> Config:
    """The configuration as objects; those with a ``_target_`` are left as nodes."""
    merged = OmegaConf.merge(OmegaConf.structured(Config), cfg)
    assert isinstance(merged, DictConfig)
    config = Config(**{f.name: merged[f.name] for f in fields(Config)})
    try:
        check_seed("seed", config.seed)
    except ValueError as error:
        raise UserError(str(error)) from error
    for name, schema in _SECTIONS.items():
        setattr(config, name, section(name, schema, merged[name]))
    return config


def section(name: str, schema: type[T], node: Any) -> T:
    """A part of a configuration as an object of its schema; :class:`UserError` if it can't be."""
    try:
        # Resolved first: what an interpolation gives is held to the schema, too.
        resolved = OmegaConf.to_container(node, resolve=True)
        return cast(T, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), resolved)))
    except OmegaConfBaseException as error:
        first = str(error).splitlines()[0]
        known = f" ({_known(schema)})" if isinstance(error, ConfigKeyError) else ""
        key = str(error.full_key).removeprefix(f"{name}.")
        raise UserError(f"{name}.{key}: {first}{known}") from error
    except ValueError as error:
        raise UserError(str(error)) from error


def build(group: str, node: DictConfig, base: type[T]) -> T:
    """Make the object that a config node describes.

    The dataclass named by ``_target_`` is the node's schema: an unknown field or a wrong type is
    refused, and its ``__post_init__`` has the last word.
    """
    settings = dict(node)
    cls = _dataclass_named(group, settings.pop("_target_", None), base)
    made = section(group, cls, DictConfig(settings, parent=node._get_parent()))
    assert isinstance(made, base)
    return made


def check_fields(group: str, node: DictConfig) -> None:
    """Refuse settings that the class named by ``_target_`` does not have.

    A class that can't be had is no matter here: :func:`build` says so.
    """
    try:
        cls: Any = _locate(node["_target_"])
        known = [one.name for one in fields(cls)]
    except (Exception, SystemExit):
        return
    for name in map(str, node):
        if name not in ("_target_", *known):
            raise UserError(f"{group}.{name}: Key '{name}' not in '{cls.__name__}' ({_known(cls)})")


def _known(cls: Any) -> str:
    return f"its fields: {', '.join(one.name for one in fields(cls)) or 'none'}"


def _dataclass_named(group: str, target: str | None, base: type) -> Any:
    if target is None:
        raise UserError(f"{group} has no _target_: name the class it is, as conf/{group}/*.yaml do")
    try:
        # Not by get_class, which says twice what is wrong, over several lines.
        cls: Any = _locate(target)
    except Exception as error:
        raise UserError(f"{group}._target_={target} can't be imported: {reason(error)}") from error
    if not (isinstance(cls, type) and is_dataclass(cls) and issubclass(cls, base)):
        raise UserError(
            f"{group}._target_={target} must name a dataclass derived from {base.__name__}, got"
            f" {cls!r:.60}"
        )
    return cls
