"""How fast a decoder is, from forward times and the acceptance rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from decoders.assisted import Assisted
from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.draft_length import AUTO
from decoders.draft_only import DraftOnly
from decoders.generate import Generate
from decoders.pearl import Pearl
from decoders.pearl_async import PearlAsync
from decoders.speculative import Speculative


@dataclass(frozen=True)
class Prediction:
    """Seconds a token; ``at_most`` where only an upper limit is known.

    ``uses_rate`` says whether the acceptance rate had a part in it.
    """

    seconds: float
    uses_rate: bool = False
    at_most: bool = False


def predict(
    decoder: Decoder, seconds: Mapping[str, float], rate: float, competing: bool = False
) -> Prediction:
    """The time a token takes in expectation.

    Every drafted token is accepted with chance α = ``rate``, whatever became of the others, and a
    forward takes as long however few tokens it reads. Of decoders that have no formula here, all
    that is known is that each target forward gives a token: they are at most as slow as
    autoregressive decoding.

    Parameters
    ----------
    decoder
        With its draft length.
    seconds
        Of one forward of each model it uses, by role.
    rate
        The acceptance rate.
    competing
        Whether the models share a device, and so take turns.
    """
    target, draft = seconds["target"], seconds.get("draft", 0.0)
    if type(decoder) in (Autoregressive, Generate):
        return Prediction(target)
    if isinstance(decoder, DraftOnly):
        return Prediction(draft)
    if isinstance(decoder, PearlAsync):
        # As PEARL with the draft length that balances it.
        return Prediction(_pearl(Pearl(), _balanced(seconds), target, draft, rate, competing), True)
    if isinstance(decoder, Pearl):
        gamma = _balanced(seconds) if decoder.gamma == AUTO else int(decoder.gamma)
        return Prediction(_pearl(decoder, gamma, target, draft, rate, competing), True)
    if isinstance(decoder, Speculative | Assisted):
        gamma = _balanced(seconds) if decoder.gamma == AUTO else int(decoder.gamma)
        # Leviathan et al., 2023, equation 1.
        return Prediction((gamma * draft + target) / _accepted_and_one(gamma, rate), True)
    return Prediction(target, at_most=True)


def _balanced(seconds: Mapping[str, float]) -> int:
    """The draft length at which drafting takes as long as verifying: the paper's Theorem 1."""
    return max(1, round(seconds["target"] / seconds["draft"]))


def _accepted_and_one(gamma: int, rate: float) -> float:
    """Expected tokens of a round that adds one of the target's own to those accepted of γ."""
    return sum(rate**place for place in range(gamma + 1))


def _pearl(
    decoder: Pearl, gamma: int, target: float, draft: float, rate: float, competing: bool
) -> float:
    """Seconds a token of PEARL: its modes are the states of a Markov chain.

    After a rejection comes a round of pre-verify, which judges one token; where all is accepted and
    more was drafted, one of post-verify, which judges γ. A round gives the accepted tokens, and one
    of the target's own if some token was rejected.
    """
    drafting = gamma * draft
    both = drafting + target if competing else max(drafting, target)
    judged = gamma if decoder.post_verify else gamma - 1
    # The chance that a round of either mode is followed by post-verify.
    first = (rate if gamma > 1 else 0.0) if decoder.pre_verify else 1.0
    again = rate**judged if decoder.post_verify else 0.0
    # One token whether it is accepted or replaced.
    first_tokens = 1.0 if decoder.pre_verify else 0.0
    block_tokens = sum(rate**place for place in range(judged))
    first_seconds = both if decoder.pre_verify else drafting
    block_seconds = both if decoder.post_verify else target
    # Rounds of post-verify for each of pre-verify, in the long run.
    blocks = first / (1.0 - again) if again < 1.0 else float("inf")
    if blocks == float("inf"):
        return block_seconds / block_tokens
    return (first_seconds + blocks * block_seconds) / (first_tokens + blocks * block_tokens)
