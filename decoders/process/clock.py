"""The clock of all timings, and a pause of garbage collection while something is timed."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator

#: Seconds on a monotonic clock that all processes of one machine share.
clock = time.perf_counter


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector from running inside what is being timed; it does so after that."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
