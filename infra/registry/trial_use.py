"""What a new interpreter runs: loads a model as anybody would, predicts, and says how long it took.

`python -m infra.registry.trial_use REQUEST.json ANSWER.json`. The request names the model's folder and the
rows; the answer holds predictions and measurements. Everything that is not plain JSON stays in this process.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from mlflow.models.utils import PyFuncOutput
    from mlflow.pyfunc import PyFuncModel

    from trainers.types import Document, JsonObject


Predict: TypeAlias = "Callable[[pd.DataFrame], PyFuncOutput]"


def main(request: Path, answer: Path) -> None:
    """Reads the request, does what it asks for, writes the answer aside and renames it."""
    found = answer_request(json.loads(request.read_text()))
    aside = answer.with_suffix(".part")
    aside.write_text(json.dumps(found))
    aside.rename(answer)


def answer_request(request: Document) -> JsonObject:
    """Predictions of every row, and what one of them takes."""
    from infra.tracking.mlflow_environment import set_defaults

    set_defaults()
    import mlflow.pyfunc

    from trainers.bundle.frames import frame_from_json, frame_to_json

    started = time.perf_counter()
    model = mlflow.pyfunc.load_model(request["model"])
    load_s = time.perf_counter() - started
    rows = frame_from_json(json.loads(Path(request["rows"]).read_text()))
    example = model.input_example
    if example is not None:
        model.predict(example)
    predict = _predict_function(model)
    return {
        "load_seconds": load_s,
        "predictions": frame_to_json(_prediction_frame(predict(rows))),
        **_measure_latency(predict, rows, request["latency_seconds"]),
        **_model_size(model),
    }


def _predict_function(model: PyFuncModel) -> Predict:
    """Our own models take whole rows, without MLflow's check of types: a missing number is no error there."""
    own = getattr(model._model_impl, "predictor", None)
    predict: Predict = model.predict if own is None else own.predict
    return predict


def _prediction_frame(predictions: PyFuncOutput) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    if isinstance(predictions, pd.DataFrame):
        return predictions
    values = np.asarray(predictions)
    if values.ndim > 1 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1:
        return pd.DataFrame({"prediction": values})
    return pd.DataFrame({f"prediction_{place}": values[:, place] for place in range(values.shape[1])})


def _measure_latency(predict: Predict, rows: pd.DataFrame, budget_s: float) -> dict[str, float]:
    from trainers.bundle.latency import MOST, percentiles_ms

    singles = [rows.iloc[place : place + 1] for place in range(min(len(rows), MOST))]
    median, p99 = percentiles_ms(predict, singles, budget_s=budget_s)
    return {"latency_ms": median, "latency_p99_ms": p99}


def _model_size(model: PyFuncModel) -> dict[str, float]:
    own = getattr(model._model_impl, "predictor", None)
    if own is None:
        return {}
    from trainers.bundle.latency import model_figures

    return model_figures(own)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
