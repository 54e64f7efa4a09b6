"""How long one prediction takes, and how large a model is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from trainers.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd

BUDGET_S = 0.25
WARM_UP = 3
MOST = 200


def measure_latency(
    predictor: Predictor, rows: pd.DataFrame, *, budget_s: float = BUDGET_S
) -> dict[str, float]:
    """Times predictions of one raw example each, everything from text or image to label counted.

    Args:
        rows: examples, taken in turn; at least one.
        budget_s: no prediction is begun after this long; at least one is timed.

    Returns:
        `latency_ms` (median) and `latency_p99_ms`; `parameters`; `size_bytes`.
    """
    deadline = time.perf_counter() + budget_s
    singles = [rows.iloc[i : i + 1] for i in range(len(rows))]
    seconds: list[float] = []
    for i in range(WARM_UP + MOST):
        started = time.perf_counter()
        if started > deadline and seconds:
            break
        predictor.predict(singles[i % len(singles)])
        seconds.append(time.perf_counter() - started)
    timed = seconds[WARM_UP:] or seconds[-1:]
    median, p99 = np.percentile(timed, [50, 99])
    return {
        "latency_ms": float(median) * 1e3,
        "latency_p99_ms": float(p99) * 1e3,
        "parameters": float(predictor.parameters),
        "size_bytes": float(predictor.size_bytes),
    }
