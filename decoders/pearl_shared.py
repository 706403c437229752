"""PEARL where draft and target share what they compute on: the paper's resource competition."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from decoders.pearl import Pearl, PearlSession
from decoders.process.drafter import OnRequest
from decoders.process.ends import TargetThread, watched
from decoders.process.models import End, Models
from decoders.process.relay import RelayDrafter
from decoders.sampling.sampler import Sampler
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class PearlShared(Pearl):
    """PEARL's rounds with no device or core of its own for the draft model.

    A target spread over several devices by layers leaves the first idle while it computes on the
    last, and the other way round. So with ``both_ends`` a copy of the draft model is at each of
    these two, and the one at the idle end drafts (paper, the appendix on resource competition).
    Without it, and where the target has one end only, a single copy competes with the target.

    On CPUs the two ends are the cores of the target and the cores that the draft process of PEARL
    would have; the target's thread goes from one to the other in the middle of its layers.
    """

    idea = "both models work at the same time, on the same devices"

    both_ends: bool = True

    @property
    def draft_ends(self) -> int:
        return 2 if self.both_ends else 1

    def start(self, models: Models, sampler: Sampler) -> Session:
        return PearlSharedSession(self, models, sampler)


class PearlSharedSession(PearlSession):
    """Holds a copy of the draft model at each end that is used, and the target's thread."""

    decoder: PearlShared

    def load(self, models: Models) -> None:
        ends = models.ends or (End(models.load_draft, models.draft_process),)
        self._ends = ends[: 2 if self.decoder.both_ends else 1]
        self._thread = TargetThread([end.draft_process.placement.cores for end in self._ends])
        # Draft lengths chosen by measurement are measured here.
        with self._relaying():
            super().load(models)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"both_ends": len(self._ends) > 1}

    def draft_windows(self) -> Iterable[int]:
        # A copy also reads what the other has drafted.
        return range(1, self.gamma + 3)

    def make_drafter(self, models: Models) -> OnRequest:
        if len(self._ends) > 1:
            return RelayDrafter(self._ends, self.sampler, self._thread.move)
        (end,) = self._ends
        there = replace(models, load_draft=end.load_draft, draft_process=end.draft_process)
        return super().make_drafter(there)

    def generate(self, sequence: Sequence) -> None:
        with self._relaying():
            super().generate(sequence)

    @contextlib.contextmanager
    def _relaying(self) -> Iterator[None]:
        """Hand over from copy to copy in the target's forwards, for now."""
        if len(self._ends) == 1:
            yield
            return

        def cross() -> None:
            assert isinstance(self.drafter, RelayDrafter)
            self.drafter.handover()

        with self._thread.away(), watched(self.target, lambda: self._thread.move(0), cross):
            yield
