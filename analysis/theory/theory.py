"""Closed forms of how fast decoders are, as functions of c, α and γ, with their derivations.

The model is that of the papers: a draft forward takes one unit of time, a target forward c units
however many tokens it reads, nothing else takes any, and each drafted token is accepted with the
same chance α, whatever became of the others. ``pearl_eval.simulation`` drops these assumptions, and
holds what is derived here against its own rounds (``tests/analysis/test_theory.py``). An α, c or γ
that can't be is a ValueError.

``decoders/draft_length.py`` chooses ``gamma=auto`` for a real pair by the same reasoning, from
measured target times that grow with the window: its ``expected_best`` is ``speculative_speedup``
maximized, its ``balanced`` is ``pearl_gamma``.
"""

from __future__ import annotations

import math

#: Longest draft that is looked at for the best one.
LONGEST = 10_000


def speculative_tokens(rate: float, gamma: int) -> float:
    """Expected tokens of a round of vanilla speculative decoding.

    The k-th drafted token is accepted iff it and all before it agree: α^k. The target adds one
    token itself, whatever happens. So Σ_{k=0..γ} α^k = (1 − α^(γ+1)) / (1 − α)
    (Leviathan et al., 2023, equation 1).
    """
    _check(rate, gamma=gamma)
    return float(gamma + 1) if rate == 1 else (1 - rate ** (gamma + 1)) / (1 - rate)


def speculative_speedup(speed_ratio: float, rate: float, gamma: int) -> float:
    """How many times as fast as autoregressive decoding (Leviathan et al., 2023, theorem 3.8).

    A round takes γ + c for its expected tokens, for which the target alone takes c each.
    """
    _check(rate, speed_ratio, gamma)
    return speculative_tokens(rate, gamma) * speed_ratio / (gamma + speed_ratio)


def speculative_gamma(speed_ratio: float, rate: float) -> int:
    """The draft length with the highest ``speculative_speedup``; 0 where drafting does not pay.

    One more token pays iff it lifts the expected tokens by a larger share than the time, that is
    iff α^(γ+1) · (γ + c) > expected tokens. The left side over the right one falls with γ wherever
    it is near 1, so the first γ that does not pay one more is the best.
    """
    _check(rate, speed_ratio)
    gamma = 0
    while gamma < LONGEST:
        pays = rate ** (gamma + 1) * (gamma + speed_ratio) > speculative_tokens(rate, gamma)
        if not pays:
            break
        gamma += 1
    return gamma


def pearl_tokens(rate: float, gamma: float) -> float:
    """Expected tokens of a round of PEARL, in the long run. Derived here.

    Rounds are a chain of two states. A *pre-verify* round gives one token for certain: the first
    drafted one with chance α, after which a block is pending (post-verify), else the target's own.
    A *post-verify* round gives γ tokens and stays with chance α^γ, else the accepted ones and the
    target's own, and is followed by pre-verify: (1 − α^γ) / (1 − α) tokens in expectation.

    In the long run as many rounds enter post-verify as leave it: π_pre · α = π_post · (1 − α^γ). So
    π_pre = (1 − α^γ) / (1 − α^γ + α), and the tokens of a round are

        π_pre · 1 + π_post · (1 − α^γ)/(1 − α) = π_pre · (1 + α/(1 − α)) = π_pre / (1 − α).
    """
    _check(rate, gamma=gamma)
    if rate == 1:
        return float(gamma)
    whole = 1 - rate**gamma
    return whole / ((1 - rate) * (whole + rate))


def pearl_speedup(speed_ratio: float, rate: float, gamma: float) -> float:
    """How many times as fast as autoregressive decoding: a round takes max(γ, c)."""
    _check(rate, speed_ratio, gamma)
    return pearl_tokens(rate, gamma) * speed_ratio / max(gamma, speed_ratio)


def pearl_gamma(speed_ratio: float, rate: float) -> int:
    """PEARL's best draft length: c, or a whole number beside it (paper, Theorem 1).

    For any α: with y = 1 − α^γ the tokens of a round are proportional to y/(y + α), which rises in
    y, and so in γ. Up to γ = c a round takes c regardless, so longer is better. Both steps are
    concave and 0 at γ = 0, so tokens over γ falls: from γ = c on, where a round takes γ, shorter is
    better.
    """
    _check(rate, speed_ratio)
    beside = {max(1, math.floor(speed_ratio)), max(1, math.ceil(speed_ratio))}
    return max(sorted(beside), key=lambda gamma: pearl_speedup(speed_ratio, rate, gamma))


def no_pre_verify_speedup(speed_ratio: float, rate: float, gamma: int) -> float:
    """The same of PEARL without pre-verify (``pearl_no_pre_verify``). Derived here.

    Count from a rejection to the next: 1/(1 − α) tokens, of either decoder, since the last is the
    target's own. Here they take a round that drafts alone, γ; one that verifies that block and the
    first token of the next, T = max(γ, c); and if all γ + 1 were right, as many rounds of T as
    PEARL has of post-verify, 1/(1 − α^γ): together γ + T · (1 + α^(γ+1)/(1 − α^γ)). With γ = 1
    nothing is pending after the second, so each two rounds are by themselves: 1 + α tokens in
    γ + T.

    PEARL takes T · (1 + α/(1 − α^γ)). That is less iff γ > α · T, with γ = 1, too: with γ = c
    pre-verify pays for any α < 1, and from γ = α · c down it costs more than it saves, since
    waiting for the target's word on one token takes longer than drafting so short a block.
    """
    _check(rate, speed_ratio, gamma, least=1)
    both = max(gamma, speed_ratio)
    if gamma == 1:
        return (1 + rate) * speed_ratio / (1 + both)
    if rate == 1:
        return gamma * speed_ratio / both
    rounds = 1 + rate ** (gamma + 1) / (1 - rate**gamma)
    return speed_ratio / ((1 - rate) * (gamma + both * rounds))


def no_post_verify_speedup(speed_ratio: float, rate: float, gamma: int) -> float:
    """The same of PEARL without post-verify (``pearl_no_post_verify``). Derived here.

    A block takes T = max(γ, c) to draft while its first token is judged, and c more with chance α,
    in which the target judges the rest and the draft model waits. It gives its first token or the
    target's own, then the accepted ones and the target's own, which also follows a block that is
    accepted as a whole: with γ > 1 that is 1 + α · Σ_{k=0..γ−1} α^k = Σ_{k=0..γ} α^k, as many as a
    round of vanilla speculative decoding gives. With γ = 1 nothing is left to judge: one token.

    With γ > 1, PEARL is faster iff (1 − α^γ) · (T − c) < α^γ · (α − α^γ) · T: always where γ ≤ c,
    but not for blocks far longer than c, of which it drafts one while it verifies another that is
    hardly ever right.
    """
    _check(rate, speed_ratio, gamma, least=1)
    both = max(gamma, speed_ratio)
    if gamma == 1:
        return speed_ratio / both
    return speculative_tokens(rate, gamma) * speed_ratio / (both + rate * speed_ratio)


def accepted_run(rate: float) -> float:
    """Expected length of a run of accepted tokens up to a rejection: PEARL's mean accepted tokens.

    A run goes on with chance α at each token, over as many rounds as it lasts: Σ_{k≥1} α^k =
    α / (1 − α). That of vanilla speculative decoding ends with its block: ``accepted_in_block``.
    """
    _check(rate)
    return math.inf if rate == 1 else rate / (1 - rate)


def accepted_in_block(rate: float, gamma: int) -> float:
    """Expected accepted tokens of a block of γ: Σ_{k=1..γ} α^k."""
    return speculative_tokens(rate, gamma) - 1


def async_speedup(speed_ratio: float, rate: float) -> float:
    """How many times as fast PEARL without a barrier is, for c of at least 2. Derived here.

    Count from a restart of the draft model: the target decodes one token itself (round 0), judges
    what there is (rounds 1, 2, …), and adds one token each time. When round j begins, j · c has
    passed. Let n_j be the tokens drafted by then. After round j, n_j + 1 tokens are verified if the
    first n_j were right, and the draft model goes on iff the one after these is right, too. So if M
    is the first that is wrong, all rounds up to the restart give M tokens, and there is a round
    j + 1 iff M > n_j + 1. M is geometric: 1/(1 − α) tokens, in 1 + Σ_{j≥0} α^(n_j + 1) rounds of c.

    The draft model restarts when it has finished the token it is at, δ later than the target, so
    n_j = ⌊j·c − δ⌋ (n_0 = 0). δ is taken as uniform on [0, 1), as it is in the long run unless c is
    a ratio of small whole numbers: then n_j is ⌊j·c⌋ with the chance of j·c's fractional part, and
    one less otherwise.
    """
    _check(rate, speed_ratio)
    if speed_ratio < 2:
        raise ValueError(f"async_speedup holds for c of at least 2, got {speed_ratio}")
    if rate == 1:
        return speed_ratio
    rounds = 1 + rate
    reached = 1
    while (term := rate ** (math.floor(reached * speed_ratio))) > 1e-12:
        share = reached * speed_ratio % 1
        rounds += term * (share * rate + (1 - share))
        reached += 1
    return 1 / ((1 - rate) * rounds)


def _check(rate: float, speed_ratio: float = 1.0, gamma: float = 1, least: float = 0) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"an acceptance rate is between 0 and 1, got {rate}")
    if speed_ratio <= 0 or gamma < least:
        raise ValueError(
            f"c must be more than 0 and γ at least {least}, got c={speed_ratio} γ={gamma}"
        )
