"""Learning-rate schedules: pure functions from a step to the factor of the learning rate.

With T steps in all, a rise over W = ⌈`warmup`·T⌉ of them, and t the step from 0:

- rise, t < W: (t + 1) / W, before every schedule;
- `constant`: 1;
- `step`: 1, then 0.1 from T/2, then 0.01 from 3T/4 (He et al. 2016, section 4.2);
- `cosine`, `warmup-cosine`: ½ (1 + cos(π (t − W) / (T − W))) (Loshchilov and Hutter 2017, without restarts).

`warmup-cosine` with `warmup` 0 rises over the first tenth: by its name it has a warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def make_schedule(name: str, steps: int, warmup: float = 0.0) -> Schedule:
    """The factor as a function of the step, from 0 to `steps` - 1.

    Args:
        name: `constant`, `step`, `cosine` or `warmup-cosine`.
        steps: T, of the whole trial, whether or not it is stopped earlier.
        warmup: share of the steps in which the rate rises, 0 to 1.
    """
    if name == "warmup-cosine" and warmup == 0.0:
        warmup = 0.1
    rise = min(math.ceil(warmup * steps), steps)
    after = _AFTER[name]

    def factor(step: int) -> float:
        return (step + 1) / rise if step < rise else after(step, rise, steps)

    return factor


def _constant(step: int, rise: int, steps: int) -> float:
    return 1.0


def _step(step: int, rise: int, steps: int) -> float:
    return 1.0 if 2 * step < steps else 0.1 if 4 * step < 3 * steps else 0.01


def _cosine(step: int, rise: int, steps: int) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / (steps - rise)))


_AFTER: dict[str, Callable[[int, int, int], float]] = {
    "constant": _constant,
    "step": _step,
    "cosine": _cosine,
    "warmup-cosine": _cosine,
}
