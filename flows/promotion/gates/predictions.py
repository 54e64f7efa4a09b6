"""What the evaluation data says, and what a model says of the same examples.

Shape legend: N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.bool_]
Chosen = Rows | npt.NDArray[np.int64]


class UnreadablePredictions(ValueError):
    """Predictions that are none of the task's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the evaluation data says of N examples.

    Attributes:
        task: classification, regression, seq2seq, question-answering or recommendation.
        values: class indices, int64 [N]; numbers, float64 [N]; texts, N of them; or the items that each of N
            users is to be given.
        classes: the names of the class indices; empty for other tasks.
    """

    task: str
    values: Any
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPredictions:
    """What a model says of the same examples.

    Attributes:
        values: as `Truth.values`; a label that is no class of the data is -1.
        chances: float64 [N, C] in the order of the data's classes; None where the model gives none.
    """

    values: Any
    chances: Floats | None = None


def parse_predictions(predictions: pd.DataFrame, truth: Truth) -> TaskPredictions:
    """A model's predictions as answers to the task.

    Args:
        predictions: N rows with `label` and `p_<class>`, `prediction`, `output`, `answer` or `items`, as
            models give them.

    Raises:
        Unreadable: there is no such column, another number of rows, or numbers that are not finite.
    """
    if len(predictions) != len(truth):
        raise UnreadablePredictions(f"{len(predictions)} predictions for {len(truth)} examples")
    if truth.task == "classification":
        return _parse_classes(predictions, truth)
    if truth.task == "recommendation":
        return TaskPredictions(values=_parse_items(predictions))
    column = _find_column(predictions, ("prediction", "text", "output", "answer"))
    if truth.task == "regression":
        try:
            numbers = np.asarray(column, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UnreadablePredictions("predictions that are no numbers") from error
        if not np.isfinite(numbers).all():
            raise UnreadablePredictions(
                f"{int((~np.isfinite(numbers)).sum())} predictions that are not finite"
            )
        return TaskPredictions(values=numbers)
    return TaskPredictions(values=[str(text) for text in column])


def _parse_items(predictions: pd.DataFrame) -> list[list[str]]:
    rows = _find_column(predictions, ("items",)).tolist()
    if not all(isinstance(items, (list, tuple, np.ndarray)) for items in rows):
        raise UnreadablePredictions("items that are no lists")
    return [[str(item) for item in items] for items in rows]


def _find_column(predictions: pd.DataFrame, names: Sequence[str]) -> Any:
    for name in names:
        if name in predictions.columns:
            return predictions[name].to_numpy()
    if len(predictions.columns) == 1:
        return predictions.iloc[:, 0].to_numpy()
    raise UnreadablePredictions(
        f"columns {', '.join(map(str, predictions.columns[:5]))}, and none of {', '.join(names)}"
    )


def _parse_classes(predictions: pd.DataFrame, truth: Truth) -> TaskPredictions:
    place = {name: index for index, name in enumerate(truth.classes)}
    labels = np.array(
        [place.get(_class_name(label), -1) for label in _find_column(predictions, ("label", "prediction"))],
        np.int64,
    )
    if not (labels >= 0).any():
        raise UnreadablePredictions("labels of which none is a class of the data")
    given = [name for name in truth.classes if f"p_{name}" in predictions.columns]
    if not given:
        return TaskPredictions(values=labels)
    chances = np.zeros((len(truth), len(truth.classes)))
    for name in given:
        chances[:, place[name]] = np.asarray(predictions[f"p_{name}"], dtype=np.float64)
    if not np.isfinite(chances).all():
        raise UnreadablePredictions("probabilities that are not finite")
    return TaskPredictions(values=labels, chances=chances)


def _class_name(label: Any) -> str:
    """A class as the data set writes it: 3 and 3.0 are the class `3`."""
    if isinstance(label, (float, np.floating)) and float(label).is_integer():
        return str(int(label))
    return str(label)


def select_truth(truth: Truth, rows: Chosen) -> Truth:
    """Only some of the examples: those marked, or those of these numbers, as often as each is named."""
    return Truth(task=truth.task, classes=truth.classes, values=_select_values(truth.values, rows))


def select_predictions(answers: TaskPredictions, rows: Chosen) -> TaskPredictions:
    """The answers to those."""
    chances = None if answers.chances is None else answers.chances[rows]
    return TaskPredictions(values=_select_values(answers.values, rows), chances=chances)


def _select_values(values: Any, rows: Chosen) -> Any:
    if isinstance(values, np.ndarray):
        return values[rows]
    return [values[row] for row in np.arange(len(values))[rows]]
