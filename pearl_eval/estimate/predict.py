"""How fast a decoder is, by simulation: from forward times and the acceptance rate."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from decoders.schedule import drafted_alone, drafts_by
from pearl_eval.simulation import Alone, ForwardTimes, Parallel, Rate, Schedule, Simulation

#: Tokens that are simulated.
_TOKENS = 10_000


@dataclass(frozen=True)
class Prediction:
    """Seconds a token; ``at_most`` where only an upper limit is known.

    ``uses_rate`` says whether the acceptance rate had a part in it.
    """

    seconds: float
    uses_rate: bool = False
    at_most: bool = False


def predict(
    schedule: Schedule | None,
    forwards: ForwardTimes,
    rate: float,
    max_new_tokens: int,
    competing: bool = False,
) -> Prediction:
    """The time a token takes.

    Of decoders that are not simulated all that is known is that each target forward gives a token:
    they are taken to be at most as slow as autoregressive decoding.

    Parameters
    ----------
    schedule
        Which of the decoder's models runs when; ``None`` where it is not simulated.
    forwards
        How long forwards of the pair take.
    rate
        The acceptance rate.
    max_new_tokens
        Tokens of a text.
    competing
        Whether the models share a device, and so take turns.
    """
    if schedule is None or not drafted_alone(schedule):
        # Of drafts that another has a part in no rate says enough.
        return Prediction(_seconds(Alone(), forwards, 0.0, max_new_tokens), at_most=True)
    if competing and isinstance(schedule, Parallel):
        schedule = replace(schedule, ends=1)
    # A schedule of the user's own may be one that can't be remembered.
    seconds: Any = _seconds if isinstance(schedule, Hashable) else _seconds.__wrapped__
    uses_rate = drafts_by(schedule) is not None
    return Prediction(seconds(schedule, forwards, rate, max_new_tokens), uses_rate)


@cache
def _seconds(schedule: Schedule, forwards: ForwardTimes, rate: float, max_new_tokens: int) -> float:
    simulation = Simulation(schedule, forwards, Rate(rate), max_new_tokens=max_new_tokens)
    return 1 / simulation.run(_TOKENS).tokens_per_second
