"""The process that draft processes are forked from, which has imported the libraries once."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Sequence
from multiprocessing import forkserver


def _nothing() -> None:
    pass


def wait_ready(timeout: float) -> None:
    """Wait until it has imported what it was told to, for at most so many seconds."""
    process = multiprocessing.get_context("forkserver").Process(target=_nothing)
    # In a thread: a server that is stuck would never answer.
    thread = threading.Thread(target=process.start, daemon=True)
    end = time.monotonic() + timeout
    thread.start()
    thread.join(timeout)
    if not thread.is_alive():
        process.join(max(0.0, end - time.monotonic()))


def prepare(modules: Sequence[str]) -> None:
    """Start it now, and let it import ``modules`` while this process goes on.

    Else it starts with the first draft process. It ends with this process.
    """
    if multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():
        # A worker of joblib's tells the processes it starts of a method that only workers know.
        multiprocessing.set_start_method(None, force=True)
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))
    forkserver.ensure_running()
