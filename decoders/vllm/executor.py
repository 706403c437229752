"""vLLM's executor of local workers, which leaves the core that it waits on to others."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from vllm.v1.executor.multiproc_executor import MultiprocExecutor

#: Seconds between two looks for an answer.
_PAUSE = 5e-5


class Executor(MultiprocExecutor):
    """Sleeps a little between two looks for its workers' answers, where vLLM's own only yields.

    vLLM's scheduler looks for them without a pause, for a second before it sleeps. On a CPU that
    takes a core, which the draft model could have.
    """

    def _init_executor(self) -> None:
        super()._init_executor()
        for queue in self.response_mqs:
            # Of another process of this machine; it has none of another machine's.
            if (condition := getattr(queue, "_spin_condition", None)) is not None:
                condition.wait = partial(_wait, condition, condition.wait)


def _wait(condition: Any, then: Any, timeout_ms: int | None = None) -> None:
    """Wait a little while answers come, and then as vLLM does."""
    if time.monotonic() <= condition.last_read + condition.busy_loop_s:
        time.sleep(_PAUSE)
    else:
        then(timeout_ms)
