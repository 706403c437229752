"""Where draft processes are forked from: a process that has imported the libraries, once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing import forkserver


def _nothing() -> None:
    pass


def wait_ready() -> None:
    """Wait until it has imported what it was told to."""
    process = multiprocessing.get_context("forkserver").Process(target=_nothing)
    process.start()
    process.join()


def prepare(modules: Sequence[str]) -> None:
    """Start it now, and let it import ``modules`` while this process goes on.

    Else it starts with the first draft process. It ends with this process.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))
    forkserver.ensure_running()
