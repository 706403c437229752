"""How many tokens to draft in a round: given, or chosen from measured forward times."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from decoders.model.cached_model import CachedModel
from decoders.process.clock import clock
from decoders.process.drafter import OnRequest
from decoders.process.timed_drafter import TimedDrafter

#: The draft length that is to be chosen by measurement.
AUTO = "auto"
#: Longest draft that ``auto`` considers.
LONGEST = 16
#: Text length at which ``auto`` measures, in tokens.
_CONTEXT = 256
_REPEATS = 9
#: A model's first forwards of a kind are slower than those that follow (caches, clocks, branches),
#: so some are not timed: until they have taken so many seconds, or are so many.
_WARM_UP_SECONDS = 0.02
_WARM_UPS = 12
#: What timed texts consist of; how long a forward takes does not depend on it.
_FILLER = 1


def check_gamma(gamma: int | str) -> None:
    """Refuse a draft length that is neither a whole number of at least one nor ``auto``."""
    if isinstance(gamma, str) and gamma != AUTO:
        raise ValueError(
            f"decoder.gamma is the draft length, a whole number or {AUTO}, got {gamma!r}"
        )
    if isinstance(gamma, int) and gamma < 1:
        raise ValueError(f"decoder.gamma is the draft length and must be at least 1, got {gamma}")


def balanced(draft_seconds: float, target_seconds: Mapping[int, float]) -> int:
    """The draft length at which drafting takes as long as verifying.

    PEARL's rounds last max(γ · t_draft, t_target(γ)); its Theorem 1 gives γ = c, the speed ratio.
    Here t_target depends on the window, so this is the γ where the two are closest.

    Parameters
    ----------
    draft_seconds
        Time of one draft forward.
    target_seconds
        Time of one target forward by the number of tokens it reads.
    """
    return min(target_seconds, key=lambda gamma: abs(gamma * draft_seconds - target_seconds[gamma]))


def expected_best(
    draft_seconds: float, target_seconds: Mapping[int, float], acceptance_rate: float
) -> int:
    """The draft length of vanilla speculative decoding with the most expected tokens per second.

    A round gives (1 − α^(γ+1)) / (1 − α) tokens in expectation (Leviathan et al., 2023, equation 1)
    and takes γ · t_draft + t_target(γ + 1).

    Parameters
    ----------
    draft_seconds, target_seconds
        As for ``balanced``.
    acceptance_rate
        The chance α that a drafted token is accepted, taken as the same at every position.
    """

    def rate(gamma: int) -> float:
        tokens = sum(acceptance_rate**i for i in range(gamma + 1))
        return tokens / (gamma * draft_seconds + target_seconds[gamma + 1])

    return max((window - 1 for window in target_seconds if window > 1), key=rate)


def time_forwards(
    model: CachedModel, window: int, context: int, repeats: int, warm: bool = True
) -> list[float]:
    """Seconds of forwards that read ``window`` tokens after ``context`` tokens of text.

    ``warm``: as they are among others of their kind. Else from the first on.
    """
    text = [_FILLER] * (context + window)
    model.rollback(0)
    if context:
        model.extend(text[:context], rows=1)

    def forward() -> float:
        model.rollback(context)
        model.synchronize()
        start = clock()
        # The argmax waits for the device and is what a decoder does next.
        model.extend(text, rows=window).argmax(dim=-1).tolist()
        return clock() - start

    if warm:
        _warm_up(forward)
    seconds = [forward() for _ in range(repeats)]
    model.rollback(0)
    return seconds


def time_drafts(
    drafter: OnRequest,
    context: int,
    repeats: int,
    count: int = 1,
    window: int = 1,
    warm: bool = True,
) -> list[float]:
    """Seconds of draft forwards after ``context`` tokens, where the draft model runs.

    They run ``count`` in a row, of which the first reads ``window`` tokens and the others one; each
    figure is the mean of one such row. The target is idle meanwhile. ``warm``: see
    :func:`time_forwards`.
    """
    text = [_FILLER] * (context + window)
    drafter.request(0, text[: max(context, 1)], 1)
    drafter.collect()

    def row() -> float:
        drafter.request(context, text[context:], count)
        return drafter.collect().seconds

    if warm:
        _warm_up(row)
    return [row() / count for _ in range(repeats)]


def time_wide(
    drafter: TimedDrafter, width: int, context: int, repeats: int, count: int = 1
) -> list[float]:
    """Seconds of draft forwards over a token of each of ``width`` continuations of ``context``
    tokens, where the draft model runs.

    As a draft process makes them that prepares for several outcomes, the choice of tokens included:
    ``count`` in a row, of which each figure is the mean. The target is idle meanwhile.
    """
    drafter.request(0, [_FILLER] * context, 1)
    drafter.collect()

    def forward() -> float:
        drafter.widen(context, width, count)
        return drafter.collect().seconds

    _warm_up(forward)
    return [forward() / count for _ in range(repeats)]


def time_read(
    drafter: TimedDrafter, window: int, context: int, repeats: int, count: int = 1
) -> tuple[list[float], list[float]]:
    """Seconds of draft forwards over ``window`` tokens after ``context``, where the draft model
    runs: with the choice of one token, and with that of the token after each.

    As a draft process makes them that reads what was looked up, where nothing of that is right, and
    where all is: ``count`` in a row, of which each figure is the mean. The target is idle then.
    """
    drafter.request(0, [_FILLER] * context, 1)
    drafter.collect()

    def forwards(given: int) -> float:
        drafter.read(context, [_FILLER] * window, given, count)
        return drafter.collect().seconds / count

    _warm_up(lambda: count * forwards(window))
    both = [(forwards(1), forwards(window)) for _ in range(repeats)]
    return [one for one, _ in both], [one for _, one in both]


def time_together(
    target: CachedModel, drafter: OnRequest, window: int, context: int, repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of target forwards and, at the same time, of draft forwards (each one token)."""
    text = [_FILLER] * (context + window)
    drafter.request(0, text[:context], 1)
    drafter.collect()
    target.rollback(0)
    target.extend(text[:context], rows=1)

    def both() -> tuple[float, float]:
        target.rollback(context)
        drafter.request(context, text[context : context + 1], window)
        start = clock()
        target.extend(text, rows=window).argmax(dim=-1).tolist()
        seconds = clock() - start
        return seconds, drafter.collect().seconds / window

    _warm_up(lambda: both()[0])
    seconds = [both() for _ in range(repeats)]
    target.rollback(0)
    return [one for one, _ in seconds], [one for _, one in seconds]


def time_sequential(
    target: CachedModel, draft: CachedModel, count: int, context: int, repeats: int
) -> list[float]:
    """Seconds of ``count`` draft forwards and the target's forward over what they drafted, in turn.

    As in rounds of vanilla speculative decoding: both models in one place, where each finds the
    caches full of the other's weights. The target reads the token before the drafted ones, too.
    """
    text = [_FILLER] * (context + 1 + count)
    for model in (target, draft):
        model.rollback(0)
        model.extend(text[:context], rows=1)

    def turn() -> float:
        for model in (target, draft):
            model.rollback(context)
            model.synchronize()
        start = clock()
        for drafted in range(count):
            draft.extend(text[: context + 1 + drafted], rows=1).argmax(dim=-1).tolist()
        target.extend(text, rows=count + 1).argmax(dim=-1).tolist()
        return clock() - start

    _warm_up(turn)
    seconds = [turn() for _ in range(repeats)]
    for model in (target, draft):
        model.rollback(0)
    return seconds


def _warm_up(forward: Callable[[], float]) -> None:
    spent = 0.0
    for _ in range(_WARM_UPS):
        spent += forward()
        if spent >= _WARM_UP_SECONDS:
            break


def choose_balanced(target: CachedModel, drafter: OnRequest) -> int:
    """``balanced`` for these models, measured while both run."""
    target_seconds, draft_seconds = {}, []
    for window in _windows():
        targets, drafts = time_together(target, drafter, window, _CONTEXT, _REPEATS)
        target_seconds[window] = statistics.median(targets)
        draft_seconds += drafts
    return balanced(statistics.median(draft_seconds), target_seconds)


def choose_expected_best(target: CachedModel, draft: CachedModel, acceptance_rate: float) -> int:
    """``expected_best`` for these models, measured one at a time, and a measured α."""
    target_seconds = {
        window: statistics.median(time_forwards(target, window, _CONTEXT, _REPEATS))
        for window in _windows()
    }
    draft_seconds = statistics.median(time_forwards(draft, 1, _CONTEXT, _REPEATS))
    return expected_best(draft_seconds, target_seconds, acceptance_rate)


def _windows() -> Sequence[int]:
    return range(1, LONGEST + 1)
