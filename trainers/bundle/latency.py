"""How long one prediction takes, and how large a model is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from trainers.metric_names import SPENT

if TYPE_CHECKING:
    import pandas as pd

    from trainers.bundle.predictor import Predictor

Given = TypeVar("Given")

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
        `latency_ms` (median) and `latency_p99_ms`; `parameters`; `size_bytes`; `flops` where countable;
        what training took, where the bundle says it.
    """
    singles = [rows.iloc[i : i + 1] for i in range(len(rows))]
    median, p99 = percentiles_ms(predictor.predict, singles, budget_s=budget_s)
    return {"latency_ms": median, "latency_p99_ms": p99, **model_figures(predictor)}


def model_figures(predictor: Predictor) -> dict[str, float]:
    """How large a model is, how much it computes for one answer, and what its training took, as its bundle
    says (`trainers.metric_names.SPENT`)."""
    flops = predictor.flops
    facts = predictor.document.get("facts") or {}
    spent = {n: float(value) for n in SPENT if isinstance(value := facts.get(n), (int, float))}
    return {
        "parameters": float(predictor.parameters),
        "size_bytes": float(predictor.size_bytes),
        **({} if flops is None else {"flops": flops}),
        **spent,
    }


def percentiles_ms(
    predict: Callable[[Given], object], inputs: Sequence[Given], *, budget_s: float, most: int = MOST
) -> tuple[float, float]:
    """Median and 99th percentile of a call, in milliseconds, after a few to warm up.

    Args:
        inputs: taken in turn; at least one.
        budget_s: no call is begun after this long; at least one is timed.
        most: calls that are timed at most.
    """
    deadline = time.perf_counter() + budget_s
    seconds: list[float] = []
    for i in range(WARM_UP + most):
        started = time.perf_counter()
        if started > deadline and seconds:
            break
        predict(inputs[i % len(inputs)])
        seconds.append(time.perf_counter() - started)
    timed = seconds[WARM_UP:] or seconds[-1:]
    median, p99 = np.percentile(timed, [50, 99])
    return float(median) * 1e3, float(p99) * 1e3
