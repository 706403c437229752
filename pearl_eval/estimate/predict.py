"""How fast a decoder is, by simulation: from forward times and the acceptance rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from decoders.assisted import Assisted
from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.draft_length import AUTO
from decoders.draft_only import DraftOnly
from decoders.generate import Generate
from decoders.pearl import Pearl
from decoders.pearl_async import PearlAsync
from decoders.pearl_shared import PearlShared
from decoders.speculative import Speculative
from pearl_eval.simulation import ForwardTimes, Rate, Simulation

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
    decoder: Decoder, forwards: ForwardTimes, rate: float, limit: int, competing: bool = False
) -> Prediction:
    """The time a token takes.

    Of decoders that are not simulated all that is known is that each target forward gives a token:
    they are taken to be at most as slow as autoregressive decoding.

    Parameters
    ----------
    decoder
        With its draft length.
    forwards
        How long forwards of the pair take.
    rate
        The acceptance rate.
    limit
        Tokens of a text.
    competing
        Whether the models share a device, and so take turns.
    """
    name = simulated_as(decoder, competing)
    if name is None:
        return Prediction(_seconds("autoregressive", None, forwards, 0.0, limit), at_most=True)
    gamma = getattr(decoder, "gamma", None)
    if gamma == AUTO:
        # The draft length at which drafting takes as long as verifying: the paper's Theorem 1.
        gamma = max(1, round(forwards.speed_ratio))
    uses_rate = name not in ("autoregressive", "generate", "draft_only")
    return Prediction(_seconds(name, gamma, forwards, rate, limit), uses_rate)


def simulated_as(decoder: Decoder, competing: bool) -> str | None:
    """The simulation's name for what a decoder does; ``None`` where it has none."""
    if isinstance(decoder, Pearl):
        if not decoder.pre_verify or not decoder.post_verify:
            name = "pearl_no_pre_verify" if decoder.post_verify else "pearl_no_post_verify"
            both_off = not decoder.pre_verify and not decoder.post_verify
            return None if both_off or competing else name
        if competing:
            return "pearl_shared_one_end"
        return "pearl_shared" if isinstance(decoder, PearlShared) else "pearl"
    if isinstance(decoder, Assisted):
        known = ("constant", "heuristic")
        return f"assisted_{decoder.schedule}" if decoder.schedule in known else None
    names: dict[type[Decoder], str] = {
        Autoregressive: "autoregressive",
        DraftOnly: "draft_only",
        Generate: "generate",
        PearlAsync: "pearl_async",
        Speculative: "speculative",
    }
    return names.get(type(decoder))


@cache
def _seconds(
    name: str, gamma: int | None, forwards: ForwardTimes, rate: float, limit: int
) -> float:
    simulation = Simulation(name, forwards, Rate(rate), gamma, limit=limit)
    return 1 / simulation.run(_TOKENS).tokens_per_second
