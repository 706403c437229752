"""PEARL inside vLLM: the draft model, in a process of its own, drafts on while vLLM verifies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from decoders.overlap import Overlap
from decoders.process.models import CPU, Models
from decoders.round import Round
from decoders.sampling.sampler import Sampler
from decoders.sequence import Sequence
from decoders.session import Session
from decoders.vllm.probe import EngineStep
from decoders.vllm.settings import KEY
from decoders.vllm.texts import ServedText
from decoders.vllm_alone import Vllm, VllmSession

#: vLLM's name for what runs its workers.
_EXECUTOR = "distributed_executor_backend"


@dataclass
class VllmPearl(Vllm):
    """vLLM's target verifies while the draft model drafts on: see :mod:`decoders.vllm.proposer`.

    Parameters
    ----------
    most
        Drafted tokens that a step verifies at most, vLLM's ``num_speculative_tokens``.
    ahead
        By how many tokens the draft model runs ahead of the text at most.
    wait
        Where fewer drafted tokens are at hand, a step waits for so many; ``auto``: it waits for
        those, and judges those, that pay, as ``pearl_adaptive`` does
        (:mod:`decoders.vllm.patience`).
    gamma
        ``None``: neither model waits for the other, but as ``wait`` says. A number is the paper's
        form: each step drafts so many tokens, and waits for them.
    """

    uses_draft = True
    overlap = Overlap.across_rounds
    idea = "PEARL inside vLLM: the draft model runs on while vLLM verifies"

    most: int = 12
    ahead: int = 32
    wait: Any = "auto"
    gamma: int | None = None

    def __post_init__(self) -> None:
        for name in ("most", "ahead"):
            if getattr(self, name) < 1:
                raise ValueError(f"decoder.{name} must be at least 1, got {getattr(self, name)}")
        if self.wait != "auto" and (not isinstance(self.wait, int) or self.wait < 0):
            raise ValueError(
                f"decoder.wait must be auto or a number of tokens of at least 0, got {self.wait}"
            )
        if self.gamma is not None and self.gamma < 1:
            raise ValueError(f"decoder.gamma must be null or at least 1, got {self.gamma}")

    def start(self, models: Models, sampler: Sampler) -> Session:
        return VllmPearlSession(self, models, sampler)


class VllmPearlSession(VllmSession):
    """An engine with the target, whose proposer has the draft model in a process beside."""

    decoder: VllmPearl

    def additional(self, models: Models) -> Mapping[str, Any]:
        draft, process = self._held.enter_context(models.checkpoint("draft")), models.draft_process
        own = self.decoder
        told: dict[str, Any] = {
            "draft_model": draft.location,
            "revision": draft.revision,
            "device": self._device(models),
            "cores": list(process.placement.cores) or None,
            "threads": process.placement.threads,
            "ahead": own.ahead,
            "wait": own.wait,
            "gamma": own.gamma,
            "start_timeout": process.start_timeout,
        }
        given = own.arguments.get("additional_config") or {}
        more: dict[str, Any] = {
            "additional_config": {**given, KEY: told | dict(given.get(KEY, {}))}
        }
        if not models.engine and own.arguments.get(_EXECUTOR) is None:
            # On a CPU vLLM's own takes a core while it waits.
            more[_EXECUTOR] = "pearl_eval.vllm.Executor"
        return more

    def visible(self, models: Models) -> list[str]:
        beside = models.draft_device
        return [*models.engine, *([] if beside in (CPU, *models.engine) else [beside])]

    def _device(self, models: Models) -> str:
        """The draft model's, by its name in the engine's processes."""
        if not models.engine or models.draft_device == CPU:
            return CPU
        return f"cuda:{self.visible(models).index(models.draft_device)}"

    def speculation(self, models: Models, dtype: str) -> Mapping[str, Any]:
        return {
            "method": "custom_class",
            "model": "pearl_eval.vllm.Pearl",
            "num_speculative_tokens": self.decoder.most,
        }

    def ends_run(self, one: Round) -> bool:
        # The draft model drafts for the target's own token as well, and the two are compared.
        return False

    def explain(self, sequence: Sequence) -> None:
        self._text: ServedText | None = None
        self._drafted_until: float | None = None
        super().explain(sequence)
        failed = (one["failed"] for one in self._answer.log if one["failed"])
        self.lost = next(failed, self.lost)

    def note_drafts(
        self, sequence: Sequence, before: EngineStep | None, step: EngineStep
    ) -> list[int]:
        one, judged = sequence.round, [token for token in step.judged if token is not None]
        if before is None:
            return judged
        call = self._call_of(before)
        row = call["rows"][0] if call["rows"] else {"drafted": []}
        drafted = row["drafted"]
        sequence.note_drafted([d[2] for d in drafted], [d[1] for d in drafted])
        one.wait_target_seconds, one.wait_start = call["waited"], call["wait_start"]
        if "at_hand" in row:
            one.at_hand, one.awaited, one.chances = row["at_hand"], row["awaited"], row["chances"]
            one.confidences = [confidence for *_, confidence, _, _ in drafted]
        one.drafted_from = [start for *_, start in drafted]
        one.drafted_until = [start + seconds for *_, seconds, start in drafted]
        if drafted:
            *_, one.draft_start = drafted[0]
            for *_, seconds, start in drafted:
                one.draft_seconds += seconds
                if self._drafted_until is not None:
                    one.wait_draft_seconds += max(0.0, start - self._drafted_until)
                self._drafted_until = start + seconds
        if self._text is not None:
            for lineage, position, token, *_ in drafted:
                self._text.publish(lineage, position, token)
            # What the target chose itself meanwhile says as much of what was drafted for it.
            start = self._text.compared
            agreed, parted = self._text.settle()
            sequence.note_judged(start, agreed, agreed + parted)
        return judged

    def after_step(self, sequence: Sequence, tokens: list[int], accepted: int, judged: int) -> None:
        if self._text is None:
            room = sequence.prompt_length + sequence.max_new_tokens
            self._text = ServedText(0, np.array(sequence.tokens), room)
            return
        start = self._text.compared
        self._text.add(tokens)
        agreed, parted = self._text.settle()
        # Those that were handed over are recorded; what was drafted beyond them may have met the
        # target's own token.
        beyond = agreed + parted - judged
        if beyond > 0:
            sequence.note_judged(start + judged, agreed - accepted, beyond)

    def _call_of(self, step: EngineStep) -> Mapping[str, Any]:
        """What the proposer noted of its call after a step."""
        begin = step.draft_start or 0.0
        end = begin + (step.draft_seconds or 0.0)
        calls = (one for one in self._answer.log if begin <= one["start"] <= end)
        return next(calls, {"rows": [], "waited": 0.0, "wait_start": 0.0})
