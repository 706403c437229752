"""vLLM decoding its target model alone, and what every decoder inside vLLM shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from decoders.decoder import Decoder
from decoders.process.models import Models
from decoders.round import UNKNOWN
from decoders.sampling.sampler import Sampler, common_length
from decoders.sampling.temperature import check_library
from decoders.sequence import Sequence
from decoders.session import Session
from decoders.vllm import engine
from decoders.vllm.engine import Answer, Engine, on_any_core
from decoders.vllm.probe import EngineStep


@dataclass
class Vllm(Decoder):
    """vLLM decodes the target by itself, a forward for each token.

    Subclasses choose one of its ways to speculate, by their ``speculation``.

    Parameters
    ----------
    arguments
        Of vLLM's engine, by its own names: the settings of the group ``engine``.
    """

    uses_draft = False
    follows_rope_switch = False
    takes_several = True
    no_blocks = "takes its tokens from vLLM, which judges by a rule of its own"
    idea = "vLLM with the target model alone"

    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def engine(self) -> str:
        return "vLLM"

    @property
    def ranks(self) -> int:
        return int(self.arguments.get("tensor_parallel_size") or 1)

    @property
    def engine_gpus(self) -> int:
        return self.ranks * int(self.arguments.get("pipeline_parallel_size") or 1)

    def gpus(self, target: int, draft: int) -> tuple[int, int]:
        _, beside = super().gpus(target, draft)
        # A draft model in a process of its own is on one.
        return self.engine_gpus if target else 0, min(beside, 1)

    def reference(self) -> Decoder:
        return Vllm(self.arguments)

    @property
    def memory_share(self) -> float:
        return float(self.arguments.get("gpu_memory_utilization") or engine.MEMORY_SHARE)

    def check(self, sampler: Sampler) -> None:
        super().check(sampler)
        engine.check(self.arguments)
        check_library(sampler, self.engine)

    def check_here(self) -> None:
        engine.check_installed()

    def start(self, models: Models, sampler: Sampler) -> Session:
        return VllmSession(self, models, sampler)


class VllmSession(Session):
    """An engine that was started on the target of a run. The target of its judge is another."""

    decoder: Vllm

    def load(self, models: Models) -> None:
        target = self._held.enter_context(models.checkpoint("target"))
        dtype = str(models.target.model.dtype).removeprefix("torch.")
        arguments = self.decoder.arguments | dict(self.additional(models))
        cores = models.target_process.cores
        speculation = self.speculation(models, dtype)
        self.engine = self.hold(
            Engine(target, dtype, arguments, cores, speculation, self.visible(models))
        )

    def speculation(self, models: Models, dtype: str) -> Mapping[str, Any] | None:
        """vLLM's ``speculative_config``; ``None``: it decodes alone."""
        return None

    def visible(self, models: Models) -> list[str]:
        """GPUs that the engine's processes see, by their names here, those of the target first."""
        return list(models.engine)

    def additional(self, models: Models) -> Mapping[str, Any]:
        """Further arguments of the engine."""
        return {}

    def prepare(self, start: int, end: int) -> None:
        """The engine has made itself ready."""

    def peak_memory_bytes(self) -> int:
        return self.engine.peak_memory_bytes()

    def decode_at_once(
        self,
        prompts: Iterable[tuple[list[int], int]],
        max_new_tokens: int,
        stop_ids: Iterable[int],
        at_once: int,
    ) -> list[tuple[list[int], float]]:
        texts, stops = list(prompts), list(stop_ids)
        params = [
            self.engine.params(self.sampler, max_new_tokens, stops, seed) for _, seed in texts
        ]
        with on_any_core():
            made = self.engine.decode_at_once([ids for ids, _ in texts], params, at_once)
        # Nobody asks for what each step of these did.
        self.engine.explain(Answer(0.0))
        return made

    def generate(self, sequence: Sequence) -> None:
        params = self.engine.params(
            self.sampler, sequence.remaining, sequence.stop_ids, sequence.seed
        )
        with on_any_core():
            self._answer = self.engine.decode(sequence.tokens, params)

    def explain(self, sequence: Sequence) -> None:
        answer = self._answer
        self.engine.explain(answer)
        # What is read of a prompt before its last piece gives no token.
        steps = [one for one in answer.steps if one.completes]
        begin = answer.begun
        before: EngineStep | None = None
        for (end, tokens), step in zip(answer.arrivals, steps, strict=False):
            # An engine that schedules ahead is at the next step before it tells of the last one.
            one = sequence.open_round(min(begin, step.target_start or begin))
            one.mode = "verify" if step.judged else "decode"
            one.bytes_sent = UNKNOWN
            one.end = end
            one.target_tokens = step.read
            one.target_start = _known(step.target_start)
            one.target_seconds = _known(step.target_seconds)
            one.step_start = _known(step.step_start)
            one.step_seconds = _known(step.step_seconds)
            candidates = sequence.until_stop(self.note_drafts(sequence, before, step))
            accepted = common_length(candidates, tokens)
            judged = min(accepted + 1, len(candidates))
            sequence.note_judged(len(sequence), accepted, judged)
            sequence.append(tokens)
            self.after_step(sequence, tokens, accepted, judged)
            self.close_round(sequence)
            begin, before = end, step
        if steps:
            sequence.rounds[0].target_tokens += sum(
                one.read for one in answer.steps if not one.completes
            )

    def note_drafts(
        self, sequence: Sequence, before: EngineStep | None, step: EngineStep
    ) -> list[int]:
        """Record what was drafted since the step before; gives what was judged of it in this one.

        ``before`` is that step, ``None`` for the first.
        """
        drafts = (before.drafts if before else None) or []
        judged = [
            drafts[place] if token is None else token for place, token in enumerate(step.judged)
        ]
        # Near the end of a text the engine leaves out of what was drafted what has no room.
        drafted = judged + drafts[len(judged) :]
        known = len(sequence)
        sequence.note_drafted(drafted, range(known, known + len(drafted)))
        if before is not None and drafted and self.decoder.uses_draft:
            sequence.round.draft_start = _known(before.draft_start)
            sequence.round.draft_seconds = _known(before.draft_seconds)
            # It drafts where the target computes, which waits meanwhile.
            sequence.round.wait_start = sequence.round.draft_start
        return judged

    def after_step(self, sequence: Sequence, tokens: list[int], accepted: int, judged: int) -> None:
        """What else is to be recorded of a step, whose tokens are in the text by now."""


def _known(value: float | None) -> float:
    return UNKNOWN if value is None else value
