"""`python -m flows.comparison.latency_probe`: loads models as a user would and times them.

JSON on stdin and stdout.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 64
MOST_SINGLES = 1_000
MOST_BATCHES = 200


class LatencyAnswer(TypedDict, total=False):
    """One line of the answers: the figures of a model, or the `error` that kept it from having any."""

    manifest: str
    latency_ms: float
    latency_p99_ms: float
    latency_batch_ms: float
    latency_batch_p99_ms: float
    batch_rows: int
    threads: int
    loaded_from: str
    error: str


class RowsModel(Protocol):
    """What MLflow or a bundle's loader gives."""

    def predict(self, rows: pd.DataFrame, /) -> object:
        """Predictions of N raw rows."""


def main() -> None:
    """Answers with one line a model."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print: only answers may stand on stdout
    asked = json.load(sys.stdin)
    for wanted in asked["wanted"]:
        answer = {"manifest": wanted["manifest"], **_measure_model(wanted, asked["budget_s"])}
        answers.write(json.dumps(answer) + "\n")


def _measure_model(wanted: dict[str, str], budget_s: float) -> LatencyAnswer:
    try:
        model, loaded_from = _load_model(wanted)
        return {**measure_latency(model, _example_rows(wanted), budget_s), "loaded_from": loaded_from}
    except Exception as error:  # people's own code and models may raise anything: told, and the next is tried
        return {"error": f"{wanted['folder']}: {type(error).__name__}: {str(error).partition(chr(10))[0]}"}


def measure_latency(model: RowsModel, example: pd.DataFrame, budget_s: float) -> LatencyAnswer:
    """Median and 99th percentile in milliseconds, of one row and of a batch of `BATCH_ROWS`."""
    import pandas as pd
    import torch

    from trainers.bundle.latency import percentiles_ms

    if example.empty:
        raise ValueError("its bundle has no example rows")
    copies = -(-BATCH_ROWS // len(example))
    batch = pd.concat([example] * copies, ignore_index=True).iloc[:BATCH_ROWS]
    singles = [example.iloc[i : i + 1] for i in range(len(example))]
    one = percentiles_ms(model.predict, singles, budget_s=budget_s, most=MOST_SINGLES)
    many = percentiles_ms(model.predict, [batch], budget_s=budget_s, most=MOST_BATCHES)
    return {
        "latency_ms": one[0], "latency_p99_ms": one[1],
        "latency_batch_ms": many[0], "latency_batch_p99_ms": many[1],
        "batch_rows": BATCH_ROWS, "threads": torch.get_num_threads(),
    }  # fmt: skip


def _example_rows(wanted: dict[str, str]) -> pd.DataFrame:
    from trainers.bundle.bundle import read_description

    return read_description(Path(wanted["folder"])).example


def _load_model(wanted: dict[str, str]) -> tuple[RowsModel, str]:
    """The model as MLflow loads it; where it is not logged or tracking is away, the kept bundle as that
    loader reads it. Either way nothing but the manifest that was asked for."""
    if wanted["experiment"] and (model := _load_logged(wanted)) is not None:
        return model, "mlflow"
    from trainers.bundle.bundle import load_bundle

    return load_bundle(Path(wanted["folder"]), manifest_sha256=wanted["manifest"]), "bundle"


def _load_logged(wanted: dict[str, str]) -> RowsModel | None:
    from infra.tracking.client import TrackingError, connect

    try:
        found = connect(wanted["uri"]).call(
            "search_logged_models", [wanted["experiment"]],
            filter_string=f"tags.`velodrome.key` = '{wanted['key']}'", max_results=1,
        )  # fmt: skip
    except TrackingError:
        return None
    if not found or str(found[0].status) != "READY":
        return None
    import mlflow

    mlflow.set_tracking_uri(wanted["uri"])
    mlflow.set_registry_uri(wanted["uri"])
    config = {"manifest_sha256": wanted["manifest"]}
    try:
        model: RowsModel = mlflow.pyfunc.load_model(f"models:/{found[0].model_id}", model_config=config)
        return model
    except (mlflow.exceptions.MlflowException, OSError):  # its artifacts cannot be had from here
        return None


if __name__ == "__main__":
    main()
