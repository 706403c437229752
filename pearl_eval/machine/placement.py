"""Where the processes run: their CPU cores, threads and time limits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from decoders.process.placement import Placement, available_cores
from decoders.process.worker import WorkerOptions
from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.errors import UserError
from pearl_eval.machine.numa import CoreDealer, numa_nodes


@dataclass(frozen=True)
class Processes:
    """Placement of the main process, which runs the target, and of the draft process."""

    target: Placement
    draft: WorkerOptions

    @classmethod
    def choose(cls, runtime: RuntimeConfig, all_cpu: bool) -> Processes:
        """Place all processes as configured; by default on cores of their own.

        Each process has its cores on one NUMA node, and as few processes as may be share a node:
        see :class:`pearl_eval.machine.numa.CoreDealer`. Cores are left to the system where a model
        is on a GPU, and shared where there are not enough of them. Processes that share a core
        never spin while they wait.
        """
        available = available_cores()
        target, draft = runtime.target_cores, runtime.draft_cores
        named = {"target_cores": target, "draft_cores": draft, "cores": runtime.cores}
        for name, cores in named.items():
            if cores is not None and not set(cores) <= set(available):
                raise UserError(
                    f"runtime.{name}={cores}: this process may use the cores {available}"
                )
        available = available if runtime.cores is None else runtime.cores
        if all_cpu and not available:
            raise UserError("runtime.cores lists no core: name some, or null for all")
        if all_cpu:
            dealer = CoreDealer(available, numa_nodes(available))
            dealer.take(draft or ())
            dealer.take(target or ())
            if target is None:
                target = [*dealer.deal(runtime.target_threads)] or available
            if draft is None:
                draft = [*dealer.deal(runtime.draft_threads)] or available[-runtime.draft_threads :]
        overlap = set(target or available) & set(draft or available)
        left_to_system = not target and not draft and len(available) > 1
        may_spin = left_to_system or not overlap
        process = WorkerOptions(
            start_method="forkserver" if all_cpu else "spawn",
            placement=Placement(tuple(draft or ()), runtime.draft_threads),
            start_timeout=runtime.start_timeout,
            answer_timeout=runtime.answer_timeout,
            idle_timeout=runtime.idle_timeout,
            spin_seconds=runtime.spin_seconds if may_spin else 0.0,
        )
        return cls(Placement(tuple(target or ()), runtime.target_threads), process)

    def at_ends(self) -> tuple[WorkerOptions, ...]:
        """Draft processes on the cores that the target computes on, where all is on the CPU.

        The cores of both processes are then the target's two ends, on either of which it computes
        half of its layers. There is one end where they are not apart, and where the target has
        several threads, which can't be moved together. No process spins while it waits.
        """
        ends = [self.target.cores]
        draft = self.draft.placement
        if self.target.threads == 1 and not set(draft.cores) & set(self.target.cores):
            ends.append(draft.cores)
        return tuple(
            replace(self.draft, placement=replace(draft, cores=cores), spin_seconds=0.0)
            for cores in ends
        )


@contextlib.contextmanager
def placed(placement: Placement) -> Iterator[None]:
    """Run the body of a ``with`` where ``placement`` says, and undo it after."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    placement.apply()
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
