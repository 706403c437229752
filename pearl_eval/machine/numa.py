"""Cores by NUMA node: each node has memory of its own, and a bandwidth of its own to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

_NODES = Path("/sys/devices/system/node")


def numa_nodes(available: Sequence[int], folder: Path = _NODES) -> list[list[int]]:
    """The cores of each node, of those that are available; one node where the system tells none."""
    nodes = []
    for file in sorted(folder.glob("node[0-9]*/cpulist"), key=lambda f: int(f.parent.name[4:])):
        cores = set(_cores(file.read_text()))
        nodes.append([core for core in available if core in cores])
    found = [node for node in nodes if node]
    return found if {*available} == {core for node in found for core in node} else [[*available]]


def _cores(text: str) -> Iterable[int]:
    """Numbers as the system lists them: ``0-3,8,10-11``."""
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            yield from range(int(first), int(last or first) + 1)


class CoreDealer:
    """Deals cores out to processes, each its own, all of one process on one node if possible.

    Reading weights is what small forwards spend their time on. So a process gets the node that has
    the fewest processes yet: as few as may be share a node's bandwidth.

    Parameters
    ----------
    available
        The cores there are.
    nodes
        The same by node.
    """

    def __init__(self, available: Sequence[int], nodes: Sequence[Sequence[int]]) -> None:
        self._free = list(available)
        self._nodes = [set(node) for node in nodes]
        self._processes = [0] * len(nodes)

    def take(self, cores: Iterable[int]) -> tuple[int, ...]:
        """Give a process these cores."""
        taken = tuple(cores)
        self._free = [core for core in self._free if core not in taken]
        for index, node in enumerate(self._nodes):
            self._processes[index] += bool(node & set(taken))
        return taken

    def deal(self, count: int) -> tuple[int, ...]:
        """Give a process so many cores; fewer, or none, where there are no more."""
        free = [[core for core in self._free if core in node] for node in self._nodes]
        enough = [index for index, cores in enumerate(free) if len(cores) >= count]
        if not enough:
            return self.take(self._free[:count])
        return self.take(free[min(enough, key=lambda index: self._processes[index])][:count])
