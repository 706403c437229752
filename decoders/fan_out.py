"""For how many of the tokens that may follow an accepted length continuations are prepared."""

from __future__ import annotations

#: The same number for each accepted length, or more for those that are likelier.
FLAT, GEOMETRIC = "flat", "geometric"
SHAPES = (FLAT, GEOMETRIC)


def fan_outs(
    gamma: int, fan_out: int, shape: str, acceptance: float, exponent: float
) -> tuple[int, ...]:
    """Numbers of tokens for accepted lengths 0 … ``gamma``: ``fan_out`` on average, at least one.

    The geometric ones are the whole numbers that make it likeliest that the target's next token is
    prepared for, where a drafted token is accepted with the chance ``acceptance`` and the token
    after an accepted length is missed with the chance F^-``exponent`` by F prepared ones. Without
    rounding that is Saguaro's capped geometric series (Kumar, Dao & May, 2026, theorem 12).
    """
    numbers = [1] * (gamma + 1) if shape == GEOMETRIC else [fan_out] * (gamma + 1)
    reached = [acceptance**length * (1 - acceptance) for length in range(gamma)]
    reached.append(acceptance**gamma)

    def gain(length: int) -> float:
        """By how much one token more makes a hit likelier; the less, the more there are."""
        number = numbers[length]
        return reached[length] * (number**-exponent - (number + 1) ** -exponent)

    # What is gained by each further token falls, so that taking the best one each time is optimal.
    for _ in range(fan_out * len(numbers) - sum(numbers)):
        numbers[max(range(len(numbers)), key=gain)] += 1
    return tuple(numbers)
