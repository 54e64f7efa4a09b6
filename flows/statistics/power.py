"""How many examples a decision needs."""

from __future__ import annotations

import math

from flows.statistics.verdicts import CONFIDENCE

POWER = 0.8


def examples_needed(
    *,
    difference: float,
    discordance: float | None = None,
    deviation: float | None = None,
    margin: float = 0.0,
    power: float = POWER,
    confidence: float = CONFIDENCE,
) -> int | None:
    """How many paired examples a one-sided test needs to find a difference.

    By `discordance` for accuracies (Connor 1987, Biometrics 43, 207–211), by `deviation` for other scores
    (the normal approximation). None where the difference does not exceed the margin: no number is enough.

    Args:
        difference: the true difference of means that is to be found.
        discordance: share of examples that exactly one of the two answers rightly.
        deviation: standard deviation of the scores' differences.
        margin: what must be exceeded.
        power: the wanted chance of finding it.
        confidence: of the test.

    Raises:
        ValueError: neither or both of `discordance` and `deviation`.
    """
    from scipy import stats

    if (discordance is None) == (deviation is None):
        raise ValueError("examples_needed takes one of discordance and deviation")
    gain = difference - margin
    if gain <= 0:
        return None
    z_level, z_power = float(stats.norm.ppf(confidence)), float(stats.norm.ppf(power))
    if deviation is not None:
        spread = (z_level + z_power) * deviation
    else:
        discordance = max(discordance or 0.0, abs(difference))
        null = max(discordance - margin**2, 0.0)
        spread = z_level * math.sqrt(null) + z_power * math.sqrt(max(discordance - difference**2, 0.0))
    return max(1, math.ceil((spread / gain) ** 2 - 1e-9))
