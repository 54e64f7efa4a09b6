"""The one loader that registered models name (`loader_module: velodrome.model`).

MLflow calls `_load_pyfunc`; everything else is in the bundle: safetensors and JSON, no code and no pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from trainers.bundle.predictor import Predictor

_TAKEN = ("device", "manifest_sha256", "accept_code_change")


class Model:
    """What `mlflow.pyfunc.load_model` wraps: raw rows in, predictions out."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: Mapping[str, int] | None = None) -> pd.DataFrame:
        """Predictions of a frame, an array or a list of raw rows (texts, images, rows of a table).

        Args:
            params: `batch_size`, rows computed at once.
        """
        return self.predictor.predict(model_input, **(params or {}))


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> Model:
    """The model of a bundle's folder.

    Args:
        path: where MLflow has put the bundle.
        model_config: `device`, `manifest_sha256`, `accept_code_change`, as
            `trainers.bundle.bundle.load_bundle` takes them; other keys are MLflow's own affair.
    """
    from trainers.bundle.bundle import load_bundle

    given = {name: value for name, value in (model_config or {}).items() if name in _TAKEN}
    return Model(load_bundle(Path(path), **given))
