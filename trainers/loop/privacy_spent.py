"""What private training tells of one example at most: epsilon at a delta.

I. Mironov, K. Talwar, L. Zhang, "Rényi differential privacy of the sampled Gaussian mechanism",
arXiv:1908.10530, gives the bound of a step at an order α; steps add up; B. Balle et al., "Hypothesis
testing interpretations and Rényi differential privacy", AISTATS 2020, theorem 21, turns it into epsilon and
delta. The orders are those of opacus, and so are the numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64))
_TAILS, _POINTS = 12.0, 64  # deviations beyond the last mode, and points of the integral in each


def spent_epsilon(noise: float, share: float, steps: int, delta: float) -> float:
    """Epsilon after so many steps.

    Args:
        noise: its deviation, in units of the clipped norm.
        share: the chance with which a step draws an example.
        delta: above 0 and below 1.
    """
    if not steps:
        return 0.0
    found = [
        steps * _renyi_divergence(noise, share, order)
        - (math.log(delta) + math.log(order)) / (order - 1)
        + math.log1p(-1 / order)
        for order in ORDERS
    ]
    return max(0.0, float(min(found)))


@lru_cache(maxsize=4096)
def _renyi_divergence(noise: float, share: float, order: float) -> float:
    """Of a step with the example from one without: log E[(1 - q + q·e^((2z - 1) / 2σ²))^α] / (α - 1) over
    z ~ N(0, σ²), by the trapezoid rule, which for such integrands is right to rounding."""
    if share == 1.0:
        return order / (2 * noise**2)
    ends = _TAILS * noise
    z: npt.NDArray[np.float64] = np.arange(-ends, order + ends, noise / _POINTS)
    ratio = np.logaddexp(math.log1p(-share), math.log(share) + (2 * z - 1) / (2 * noise**2))
    logs = order * ratio - z**2 / (2 * noise**2)
    peak = float(logs.max())
    whole = float(np.exp(logs - peak).sum()) / (_POINTS * math.sqrt(2 * math.pi))
    return (peak + math.log(whole)) / (order - 1)
