"""vLLM's executor of local workers, which leaves the cores that it waits on to others."""

from __future__ import annotations

from vllm.v1.executor.multiproc_executor import MultiprocExecutor


class Executor(MultiprocExecutor):
    """Sleeps while its workers compute, where vLLM's own spins.

    vLLM's scheduler waits for its workers' answers in a loop that yields and looks again, for a
    second before it sleeps. That takes a core, which on a CPU the draft model could have.
    """

    def _init_executor(self) -> None:
        super()._init_executor()
        for queue in self.response_mqs:
            condition = getattr(queue, "_spin_condition", None)
            if condition is not None:
                condition.busy_loop_s = 0
