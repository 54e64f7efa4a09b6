"""What estimators and boosters answer, in a person's terms: labels with their probabilities, or numbers.

Shape legend: N rows, F columns, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.data.cell_values import spell_value
from trainers.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import Array, Cell

NAMES = "feature_names_in_"


def ask_estimator(estimator: Any, rows: pd.DataFrame) -> pd.DataFrame | Array:
    """A classifier's `label`, and `p_<class>` where it knows them; else what it predicts."""
    from sklearn.base import is_classifier

    inputs = rows if _reads_frames(estimator) else take_inputs(rows, getattr(estimator, NAMES, None))
    predicted = np.asarray(estimator.predict(inputs))
    if not is_classifier(estimator) or predicted.ndim > 1:
        return predicted
    if not hasattr(estimator, "predict_proba"):
        return _label_frame(predicted, (), np.zeros((len(predicted), 0)))
    return _label_frame(predicted, list(estimator.classes_), np.asarray(estimator.predict_proba(inputs)))


def _reads_frames(estimator: Any) -> bool:
    """Whether a pipeline was fitted with a frame, though its first step has not kept the names."""
    steps = [step for _, step in getattr(estimator, "steps", ())]
    return not hasattr(estimator, NAMES) and any(hasattr(step, NAMES) for step in steps)


def load_lightgbm(text: str) -> tuple[Any, Callable[[pd.DataFrame], pd.DataFrame | Array]]:
    """The booster of that text, and what asks it."""
    import lightgbm

    booster = lightgbm.Booster(model_str=text)
    names, objective = booster.feature_name(), str(booster.dump_model()["objective"])

    def ask(rows: pd.DataFrame) -> pd.DataFrame | Array:
        given = names if set(names) <= set(rows.columns) else None
        found = np.asarray(booster.predict(take_inputs(rows, given)))
        return _by_objective(found, objective)

    return booster, ask


def load_xgboost(data: bytes) -> tuple[Any, Callable[[pd.DataFrame], pd.DataFrame | Array]]:
    """The booster of those bytes, and what asks it."""
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(data))
    objective = str(json.loads(booster.save_config())["learner"]["objective"]["name"])

    def ask(rows: pd.DataFrame) -> pd.DataFrame | Array:
        inputs = take_inputs(rows, booster.feature_names)
        return _by_objective(np.asarray(booster.predict(xgboost.DMatrix(inputs))), objective)

    return booster, ask


def take_inputs(rows: pd.DataFrame, names: Iterable[str] | None) -> Any:
    """The rows as a model reads them: a frame of its own columns, a list of texts, or numbers [N, F]."""
    if names is not None:
        wanted = list(names)
        if missing := [name for name in wanted if name not in rows.columns]:
            raise InputError("rows must have the columns that the model was fitted with", f"no {missing[0]}")
        return rows[wanted].infer_objects()
    if len(rows.columns) == 1 and isinstance(rows.iat[0, 0], str):
        return list(rows.iloc[:, 0])
    try:
        if len(rows.columns) == 1 and isinstance(rows.iat[0, 0], (list, np.ndarray)):
            return np.asarray([np.asarray(cell, dtype=np.float64) for cell in rows.iloc[:, 0]])
        return rows.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        do = "fit it with a frame, so that it knows its columns, or name predict="
        raise InputError(
            "rows must be numbers for a model without names of columns", str(error)[:200], do
        ) from error


def _by_objective(found: Array, objective: str) -> pd.DataFrame | Array:
    """A booster's numbers: classes count from 0."""
    kind = objective.split()[0]
    if kind in ("binary", "binary:logistic"):
        found = np.stack([1 - found, found], axis=1)
    elif kind == "multi:softmax":
        return _label_frame(found.astype(int), (), np.zeros((len(found), 0)))
    elif kind not in ("multiclass", "multiclassova", "multi:softprob"):
        return found
    return _label_frame(found.argmax(axis=1), range(found.shape[1]), found)


def _label_frame(labels: Array, classes: Sequence[Cell], chances: Array) -> pd.DataFrame:
    import pandas as pd

    named = {f"p_{spell_value(name)}": chances[:, place] for place, name in enumerate(classes)}
    return pd.DataFrame({"label": [spell_value(label) for label in labels], **named})
