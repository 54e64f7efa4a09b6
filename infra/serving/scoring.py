"""A model's answers to a batch of requests: one frame for all of them, and each its own part as JSON."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from infra.serving.artifact import ServedModel
from infra.serving.scoring_protocol import Columns
from trainers.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from trainers.types import Cell

log = logging.getLogger("velodrome.serving")

PIECE_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBatch:
    """Rows of several requests, by column.

    Attributes:
        columns: the rows of all requests, one after another.
        sizes: how many rows each request has.
        limit_s: how long anybody waits for the answers.
    """

    columns: Columns
    sizes: tuple[int, ...]
    limit_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """To one request.

    Attributes:
        content: a JSON list of records.
        reason: why its rows cannot be answered, where they cannot.
        defect: the model failed on the rows instead of refusing them.
    """

    content: bytes = b""
    reason: str | None = None
    defect: bool = False


def answer_batch(
    model: ServedModel, batch: RequestBatch, *, clock: Callable[[], float] = time.monotonic
) -> list[Answer]:
    """An answer to each request of the batch.

    Where rows cannot be read, the batch is halved until those are alone: others' requests never fail of them.
    Many rows are computed a piece at a time, and given up where nobody waits for them any longer.

    Raises:
        MemoryError: there is no room for a single request.
    """
    try:
        return _answer_until(model, batch, clock() + batch.limit_s, clock)
    except _NobodyWaits:
        return [Answer(reason="the time was over before these rows were computed")] * len(batch.sizes)


class _NobodyWaits(Exception):
    """The time of the last request is over."""


def _answer_until(
    model: ServedModel, batch: RequestBatch, deadline: float, clock: Callable[[], float]
) -> list[Answer]:
    try:
        answers = _predict_until(model, batch, deadline, clock)
        if len(answers) != sum(batch.sizes):
            raise ValueError(f"{len(answers)} answers for {sum(batch.sizes)} rows")
    except _NobodyWaits:
        raise
    except Exception as error:  # a model is other people's code, and rows are other people's input
        if len(batch.sizes) == 1:
            return [_failure_answer(error)]
        first, second = split_batch(batch)
        halves = (_answer_until(model, half, deadline, clock) for half in (first, second))
        return [answer for answers in halves for answer in answers]
    return _split_answers(_row_records(answers), batch.sizes)


def _predict_until(
    model: ServedModel, batch: RequestBatch, deadline: float, clock: Callable[[], float]
) -> pd.DataFrame:
    import pandas as pd

    frame = _batch_frame(batch.columns)
    if len(frame) <= PIECE_ROWS:
        return model.predict(frame)
    pieces = []
    for start in range(0, len(frame), PIECE_ROWS):
        if clock() > deadline:
            raise _NobodyWaits
        pieces.append(model.predict(frame.iloc[start : start + PIECE_ROWS].reset_index(drop=True)))
    return pd.concat(pieces, ignore_index=True)


def _failure_answer(error: Exception) -> Answer:
    if isinstance(error, InputError):
        return Answer(reason=str(error))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        raise MemoryError(str(error)) from error
    log.warning("a model failed on rows", exc_info=error)
    return Answer(reason=f"the model cannot answer these rows: {type(error).__name__}", defect=True)


def split_batch(batch: RequestBatch) -> tuple[RequestBatch, RequestBatch]:
    """The batch's first requests and its others, at least one each."""
    middle = len(batch.sizes) // 2
    rows = sum(batch.sizes[:middle])
    return (
        RequestBatch(columns={n: v[:rows] for n, v in batch.columns.items()}, sizes=batch.sizes[:middle]),
        RequestBatch(columns={n: v[rows:] for n, v in batch.columns.items()}, sizes=batch.sizes[middle:]),
    )


def join_requests(requests: Sequence[tuple[Columns, int]]) -> RequestBatch:
    """Several requests of the same columns as one batch."""
    columns: Columns = {name: [] for name in requests[0][0]}
    for given, _ in requests:
        for name, values in given.items():
            columns[name].extend(values)
    return RequestBatch(columns=columns, sizes=tuple(count for _, count in requests))


def _batch_frame(columns: Columns) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: _column_values(values) for name, values in columns.items()})


def _column_values(values: list[Cell]) -> npt.NDArray[np.float64] | pd.Series:
    """Numbers are no series: aligning ten of one row each costs more than a small model does."""
    import pandas as pd

    numeric = all(type(value) in (float, int) or value is None for value in values)
    if numeric and any(value is not None for value in values):
        return np.array(values, dtype=np.float64)
    return pd.Series(values, dtype=object)


def _row_records(answers: pd.DataFrame) -> list[dict[str, Cell]]:
    names = [str(name) for name in answers.columns]
    columns = [answers[name].tolist() for name in answers.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _split_answers(records: list[dict[str, Cell]], sizes: Sequence[int]) -> list[Answer]:
    parts, start = [], 0
    for size in sizes:
        parts.append(_json_answer(records[start : start + size]))
        start += size
    return parts


def _json_answer(records: list[dict[str, Cell]]) -> Answer:
    try:
        text = json.dumps(records, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        return Answer(reason="the model's answer to these rows is not a finite number", defect=True)
    return Answer(content=text.encode())
