"""What one job would need and take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from pearl_eval.config.building import build, plain
from pearl_eval.config.schema import Protocol, ReferenceHardware, ReferenceMode
from pearl_eval.errors import UserError
from pearl_eval.estimate.config import EstimateConfig
from pearl_eval.estimate.devices import DevicesNeeded
from pearl_eval.estimate.known import MEASURED, Knowledge, Known, KnownForward
from pearl_eval.estimate.predict import predict
from pearl_eval.evaluation.identity import reference_key
from pearl_eval.evaluation.plan import Parts
from pearl_eval.pairs.pair import PairSource
from pearl_eval.shell.jobs import Job
from pearl_eval.simulation import Alone, ForwardTimes

_HOUR = 3600


@dataclass(frozen=True)
class JobEstimate:
    """What a job would need and take; what can't be told is ``None``.

    ``texts`` counts generations (of a dialogue each turn), of up to ``max_new_tokens`` tokens.
    ``decoding_seconds`` are those of its own texts, ``reference_seconds`` of the reference's,
    ``loading_seconds`` of its weights. ``basis`` says where they are from, ``at_most`` that they
    are an upper limit. ``reference`` is the same for jobs that share a reference, and ``None`` for
    one that decodes its own. ``equal_hardware_seconds`` are of the reference on all that the
    decoder computes on, where that is asked for: as many as on the target's own devices.
    """

    overrides: tuple[str, ...]
    decoder: str
    pair: str
    task: str
    gamma: int | str | None
    prompts: int | None
    texts: int | None
    max_new_tokens: int
    places: DevicesNeeded
    decoding_seconds: float | None
    reference_seconds: float | None
    loading_seconds: float | None
    at_most: bool
    basis: str
    forwards: dict[str, KnownForward]
    acceptance_rate: Known | None
    reference: str | None = None
    equal_hardware_seconds: float | None = 0.0

    @property
    def hours(self) -> float | None:
        """All of the job's; without the reference where it is shared."""
        own = (self.decoding_seconds, self.loading_seconds, self.equal_hardware_seconds)
        parts = own if self.reference else (*own, self.reference_seconds)
        return None if None in parts else sum(part for part in parts if part) / _HOUR

    @property
    def reference_hours(self) -> float | None:
        """Of the reference by itself, with loading."""
        parts = (self.reference_seconds, self.loading_seconds)
        return None if None in parts else sum(part for part in parts if part) / _HOUR

    def describe(self) -> dict[str, Any]:
        """The estimate as plain data."""
        forwards = {
            role: {"seconds": forward.seconds, "source": forward.source}
            for role, forward in self.forwards.items()
        }
        return asdict(self) | {"forwards": forwards, "hours": self.hours}


def estimate_job(job: Job, config: EstimateConfig, knowledge: Knowledge) -> JobEstimate:
    """Raises :class:`UserError` for a job that can't be run, naming it."""
    try:
        return _estimate(job, config, knowledge)
    except UserError as error:
        raise UserError(f"{' '.join(job.overrides)}: {error}") from error


def _estimate(job: Job, config: EstimateConfig, knowledge: Knowledge) -> JobEstimate:
    parts = Parts.make(job.cfg, here=False)
    decoder, task, run = parts.decoder, parts.task, parts.config
    source = build("pair", run.pair, PairSource)
    sizes = source.sizes()
    itemsize = getattr(torch, source.dtype.value).itemsize
    names = job.names
    places = DevicesNeeded.of(source, sizes, decoder, run.runtime)

    roles = ["target", *["draft"] * decoder.uses_draft]
    found = {
        role: knowledge.forward(
            role, names.pair, decoder, sizes.get(role), itemsize, places.gpus > 0
        )
        for role in roles
    }
    forwards = {role: known for role, known in found.items() if known}
    rate = knowledge.acceptance_rate(names) if decoder.uses_draft else None
    loaded = [sizes[role].weights * itemsize for role in roles if role in sizes]

    seconds = reference_seconds = None
    at_most = run.protocol is not Protocol.paper
    basis = ""
    measured = knowledge.speeds(names, decoder)
    if measured:
        seconds, reference_seconds, basis = measured.seconds, measured.reference_seconds, MEASURED
    elif len(forwards) == len(roles):
        times = ForwardTimes(
            forwards["target"].surface,
            forwards[roles[-1]].surface,
            knowledge.slowdown(names.pair, decoder),
        )
        value, max_new_tokens = rate.value if rate else 0.0, task.max_new_tokens
        prediction = predict(decoder.simulated_as(), times, value, max_new_tokens, places.competing)
        seconds = prediction.seconds
        reference_seconds = predict(Alone(), times, 0.0, max_new_tokens).seconds
        at_most = at_most or prediction.at_most
        sources = [forward.source for forward in forwards.values()]
        if rate and prediction.uses_rate:
            sources.append(rate.source)
        basis = " + ".join(dict.fromkeys(sources))

    try:
        prompts, texts = task.size(), task.texts()
    except (OSError, ValueError) as error:
        raise UserError(f"the task's problems can't be loaded: {error}") from error

    def whole(per_token: float | None) -> float | None:
        if texts is None or per_token is None:
            return None
        return texts * task.max_new_tokens * per_token

    return JobEstimate(
        overrides=job.overrides,
        decoder=names.decoder,
        pair=names.pair,
        task=names.task,
        gamma=getattr(decoder, "gamma", None),
        prompts=prompts,
        texts=texts,
        max_new_tokens=task.max_new_tokens,
        places=places,
        decoding_seconds=whole(seconds),
        reference_seconds=whole(reference_seconds),
        loading_seconds=sum(loaded) / config.load_bandwidth if loaded else None,
        at_most=at_most,
        basis=basis,
        forwards=forwards,
        acceptance_rate=rate,
        reference=reference_key(plain(job.cfg), source, decoder)
        if run.reference.mode is ReferenceMode.cached
        else None,
        equal_hardware_seconds=whole(reference_seconds)
        if run.reference.hardware is ReferenceHardware.all and decoder.uses_draft
        else 0.0,
    )
