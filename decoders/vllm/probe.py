"""What each step of a vLLM engine reads, drafts and takes, seen from within its worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import wraps
from typing import Any

from decoders.process.clock import clock

#: Where vLLM finds :class:`Probe`. By way of ``pearl_eval``, which sees to it that our packages are
#: found where a user's folder has the name of one.
PROBE = "pearl_eval.vllm.Probe"


@dataclass(slots=True)
class EngineStep:
    """One step of the engine, for the one request there is.

    ``read``: tokens of the text that the target's forward read. ``completes``: whether the text
    has been read to its end then, so that a token follows. ``judged``: drafted tokens among those
    read, ``None`` in place of one that is not known. ``drafts``: what was drafted after the step,
    to be judged in the next. Times are seconds on the clock that all processes share; they are
    ``None`` on a device that works on after it was asked to, as a GPU does. ``step_start`` and
    ``step_seconds`` are of all that the worker does in the step, drafting included.
    """

    read: int
    completes: bool
    judged: list[int | None]
    target_start: float | None = None
    target_seconds: float | None = None
    draft_start: float | None = None
    draft_seconds: float | None = None
    drafts: Any = None
    step_start: float | None = None
    step_seconds: float | None = None


class _Watch:
    """Notes the steps of a worker's model runner, whose methods it wraps."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._steps: list[EngineStep] = []
        self._timed = runner.device.type == "cpu"
        self._forward_start = 0.0
        #: Tokens of the prompt that are not read yet.
        self._left = 0
        self._wrap("execute_model", self._execute)
        self._wrap("_model_forward", self._forward)
        self._wrap("sample_tokens", self._sample)
        self._wrap("propose_draft_token_ids", self._propose)

    def take(self) -> list[tuple[Any, ...]]:
        """The steps since this was last asked, as plain values."""
        steps, self._steps = self._steps, []
        return [astuple(replace(one, drafts=_plain(one.drafts))) for one in steps]

    def take_log(self) -> list[dict[str, Any]]:
        """What the drafter itself has noted, if it does."""
        drafter: Any = getattr(self._runner, "drafter", None)
        log: list[dict[str, Any]] = drafter.take_log() if hasattr(drafter, "take_log") else []
        return log

    def _wrap(self, name: str, by: Callable[..., Any]) -> None:
        inner = getattr(self._runner, name, None)
        if inner is not None:
            setattr(self._runner, name, wraps(inner)(lambda *a, **k: by(inner, *a, **k)))

    def _execute(self, inner: Any, scheduled: Any, *rest: Any, **options: Any) -> Any:
        if not scheduled.total_num_scheduled_tokens:
            return inner(scheduled, *rest, **options)
        (request, read), *_ = scheduled.num_scheduled_tokens.items()
        judged = scheduled.scheduled_spec_decode_tokens.get(request, [])
        for new in scheduled.scheduled_new_reqs:
            self._left = len(new.prompt_token_ids or ()) - new.num_computed_tokens
        self._left -= read
        # An engine that schedules ahead knows how many drafts there are before it knows which.
        known = [None if token < 0 else token for token in judged]
        self._steps.append(EngineStep(read, self._left <= 0, known))
        start = clock()
        result = inner(scheduled, *rest, **options)
        if self._timed:
            one = self._steps[-1]
            one.step_start, one.target_start = start, self._forward_start
            end = clock()
            one.target_seconds = end - self._forward_start
            one.step_seconds = end - start
        return result

    def _sample(self, inner: Any, *args: Any, **options: Any) -> Any:
        """What follows the target's forward: tokens are chosen, and drafted."""
        result = inner(*args, **options)
        if self._timed and self._steps and (start := self._steps[-1].step_start) is not None:
            self._steps[-1].step_seconds = clock() - start
        return result

    def _forward(self, inner: Any, *args: Any, **options: Any) -> Any:
        self._forward_start = clock()
        return inner(*args, **options)

    def _propose(self, inner: Any, *args: Any, **options: Any) -> Any:
        start = clock()
        drafts = inner(*args, **options)
        if not self._steps:
            return drafts
        one = self._steps[-1]
        if self._timed:
            one.draft_start, one.draft_seconds = start, clock() - start
        # The engine may use its buffer again.
        one.drafts = drafts.clone() if hasattr(drafts, "clone") else drafts
        return drafts


class Probe:
    """Methods that vLLM adds to its worker (``worker_extension_cls``), called by name from us."""

    model_runner: Any

    def probe_begin(self) -> None:
        """Begin to note steps."""
        self.model_runner.probe = _Watch(self.model_runner)

    def probe_take(self) -> tuple[list[tuple[Any, ...]], list[dict[str, Any]]]:
        """The steps since this was last asked, and what the drafter noted of them."""
        watch = self.model_runner.probe
        return watch.take(), watch.take_log()

    def probe_pid(self) -> int:
        """The worker's process."""
        return os.getpid()


def _plain(drafts: Any) -> list[int] | None:
    """The tokens drafted for the one request there is."""
    if drafts is None:
        return None
    rows = drafts.tolist() if hasattr(drafts, "tolist") else list(drafts)
    return [int(token) for token in rows[0]] if rows else []
