"""The jobs of a command line: what Hydra would run, composed as it composes them, and not run."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from pearl_eval.config.groups import group_names, meant
from pearl_eval.config.paths import config_dir
from pearl_eval.config.registry import SWEEPER
from pearl_eval.config.schema import Names
from pearl_eval.config.settings import check_settings
from pearl_eval.errors import UserError


@dataclass(frozen=True)
class Job:
    """One job: its overrides, what its parts are called, and its configuration."""

    overrides: tuple[str, ...]
    names: Names
    cfg: DictConfig


def compose_jobs(config_name: str, arguments: Sequence[str]) -> list[Job]:
    """The jobs of a run or a sweep, in the order they would be launched.

    Nothing is written. Raises Hydra's errors, and :class:`UserError` where another sweeper than
    Hydra's own decides on jobs as they are run.

    Parameters
    ----------
    config_name
        The primary configuration.
    arguments
        Hydra's flags and overrides, as on a command line.
    """
    with _composed(config_name, arguments) as (loader, master, jobs):
        return [_job(loader, master, overrides) for overrides in jobs]


def whole_configuration(config_name: str, arguments: Sequence[str]) -> DictConfig:
    """The configuration that a command line's jobs start from."""
    with _composed(config_name, arguments) as (_, master, _):
        return master


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Hydra's flags and the ``overrides`` of a command line; each must have the form of one."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args = get_args_parser().parse_args(list(arguments))
    except SystemExit as end:
        if not end.code:
            raise
        reason = said.getvalue().strip().rpartition("error: ")[2]
        raise UserError(f"{reason}; --help and --hydra-help show the flags there are") from None
    for word in args.overrides:
        if "=" not in word and not word.startswith("~"):
            raise UserError(
                f"{word} is no setting{meant(word)}: expected NAME=VALUE, or GROUP=OPTION of one of"
                f" the groups {', '.join(group_names())}"
            )
    return args


@contextlib.contextmanager
def _composed(
    config_name: str, arguments: Sequence[str]
) -> Iterator[tuple[ConfigLoader, DictConfig, list[list[str]]]]:
    """Hydra's loader, the configuration that jobs start from, and the overrides of each."""
    args = parsed(arguments)
    if args.cfg or args.info or args.hydra_help:
        raise UserError("an estimate lists jobs; leave out the flag that shows something else")
    search_path = create_automatic_config_search_path(None, None, str(config_dir()))
    if args.config_dir is not None:
        folder = Path(args.config_dir).absolute()
        if not folder.is_dir():
            raise UserError(f"--config-dir={args.config_dir}: there is no such folder")
        search_path.prepend("command-line", f"file://{folder}", SearchPathQuery("schema"))
    loader = Hydra.create_main_hydra2("pearl-eval", search_path).config_loader
    try:
        master = loader.load_configuration(
            config_name, args.overrides, RunMode.MULTIRUN, validate_sweep_overrides=False
        )
        if args.multirun or master.hydra.mode is RunMode.MULTIRUN:
            yield loader, master, _expanded(loader, master)
        else:
            master = loader.load_configuration(config_name, args.overrides, RunMode.RUN)
            yield loader, master, [list(master.hydra.overrides.task)]
    finally:
        GlobalHydra.instance().clear()


def _expanded(loader: ConfigLoader, master: DictConfig) -> list[list[str]]:
    """The overrides of each job of a sweep."""
    sweeper = master.hydra.sweeper
    if sweeper._target_ != SWEEPER:
        raise UserError(
            f"hydra/sweeper={master.hydra.runtime.choices['hydra/sweeper']} decides on its jobs as"
            " it goes, so they can't be listed; take hydra/sweeper=basic"
        )
    # As BasicSweeper.sweep does, which would also write and launch.
    swept = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    parser = OverridesParser.create(loader)
    overrides = parser.parse_overrides([*swept, *master.hydra.overrides.task])
    (batch,) = BasicSweeper.split_arguments(overrides, None)
    return batch


def _job(loader: ConfigLoader, master: DictConfig, overrides: list[str]) -> Job:
    cfg = loader.load_sweep_config(master, overrides)
    check_settings(cfg)
    choices = cfg.hydra.runtime.choices
    names = Names(choices["decoder"], choices["pair"], choices["task"])
    with open_dict(cfg):
        del cfg["hydra"]
    return Job(tuple(overrides), names, cfg)
