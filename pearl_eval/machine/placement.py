"""Where the processes run: their CPU cores, threads and time limits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from decoders.process.placement import Placement, available_cores
from decoders.process.worker import WorkerOptions
from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.errors import UserError
from pearl_eval.machine.numa import CoreDealer, numa_nodes


@dataclass(frozen=True)
class Processes:
    """Placement of the main process, which runs the target, and of the others.

    ``ranks`` are those of the target's ranks from 1 on, where it has several: see
    :mod:`decoders.process.tensor_parallel`.
    """

    target: Placement
    draft: WorkerOptions
    ranks: tuple[WorkerOptions, ...] = ()

    @classmethod
    def choose(cls, runtime: RuntimeConfig, all_cpu: bool) -> Processes:
        """Place all processes as configured; by default on cores of their own.

        Each process has its cores on one NUMA node, and as few processes as may be share a node:
        see :class:`pearl_eval.machine.numa.CoreDealer`. Cores are left to the system where a model
        is on a GPU, and shared where there are not enough of them, but not between ranks.
        Processes that share a core never spin while they wait.
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
        ranks = _shares(target, runtime.tensor_parallel)
        if all_cpu:
            dealer = CoreDealer(available, numa_nodes(available))
            dealer.take(draft or ())
            for share in ranks:
                dealer.take(share)
            if target is None:
                ranks = _dealt(dealer, runtime, available)
            if draft is None:
                draft = [*dealer.deal(runtime.draft_threads)] or available[-runtime.draft_threads :]
        taken = [core for cores in ranks for core in cores]
        overlap = set(taken or available) & set(draft or available)
        left_to_system = not taken and not draft and len(available) > runtime.tensor_parallel
        may_spin = left_to_system or not overlap
        first, *others = (Placement(cores, runtime.target_threads) for cores in ranks)
        process = WorkerOptions(
            start_method="forkserver" if all_cpu else "spawn",
            placement=Placement(tuple(draft or ()), runtime.draft_threads),
            start_timeout=runtime.start_timeout,
            answer_timeout=runtime.answer_timeout,
            idle_timeout=runtime.idle_timeout,
            spin_seconds=runtime.spin_seconds if may_spin else 0.0,
        )
        return cls(first, process, tuple(replace(process, placement=one) for one in others))

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


def _shares(cores: Sequence[int] | None, ranks: int) -> list[tuple[int, ...]]:
    """The configured cores of the target by rank, in equal shares; none where there are none."""
    if not cores:
        return [()] * ranks
    if len(cores) % ranks:
        raise UserError(
            f"runtime.target_cores={list(cores)}: {len(cores)} cores can't be shared out among"
            f" runtime.tensor_parallel={ranks} ranks; name a multiple of {ranks}"
        )
    each = len(cores) // ranks
    return [tuple(cores[start : start + each]) for start in range(0, len(cores), each)]


def _dealt(
    dealer: CoreDealer, runtime: RuntimeConfig, available: list[int]
) -> list[tuple[int, ...]]:
    """Free cores for each rank; a target in one process makes do with fewer than its threads."""
    count = runtime.tensor_parallel
    dealt = [dealer.deal(runtime.target_threads) for _ in range(count)]
    if count == 1:
        return [dealt[0] or tuple(available)]
    if any(len(cores) < runtime.target_threads for cores in dealt):
        raise UserError(
            f"runtime.tensor_parallel={count}: each rank needs runtime.target_threads="
            f"{runtime.target_threads} cores of its own, but this process may use the cores"
            f" {available}; take fewer ranks or threads"
        )
    return dealt


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
