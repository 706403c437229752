"""The one clock of all timings."""

from __future__ import annotations

import time

#: Seconds on a monotonic clock that all processes of one machine share.
clock = time.perf_counter
