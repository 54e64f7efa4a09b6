"""Raw rows as people give them: as a frame with the columns that a model knows, and as JSON.

Shape legend: N rows, H height, W width, C channels.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from trainers.data.cell_values import BASE64
from trainers.errors import InputError
from trainers.kept.hugging_face import COLUMN

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import Array, Cell, Document, Json, JsonObject

Rows: TypeAlias = "pd.DataFrame | pd.Series | Mapping[str, Cell] | Sequence[Cell] | Array | str | bytes"


def as_frame(given: Rows, columns: Sequence[str], image_shape: Sequence[int] | None = None) -> pd.DataFrame:
    """The rows as a frame that has the model's columns.

    Args:
        given: a frame; a mapping of columns or of one row's values; a list of such rows; for a model of one
            column also a single value, a list or an array of values (texts, images [N, H, W] or
            [N, H, W, C], paths); for a table of numbers an array [N, columns] or one row of it. A column may
            be named in other letters' case, and a model's only column anyhow.
        columns: the model's columns, in order; none where nobody knows: texts are `text` then, and numbers
            `x0`, `x1`, and so on.
        image_shape: height, width and channels where the model reads images.
    """
    try:
        return _make_frame(given, columns, image_shape)
    except UnicodeEncodeError as error:  # of pandas, whose strings are Arrow's
        found = f"half a surrogate pair in {ascii(error.object)[:60]}"
        do = "leave it out: text.encode(errors='ignore').decode()"
        raise InputError("texts must hold whole characters", found, do) from error


def _make_frame(given: Rows, columns: Sequence[str], image_shape: Sequence[int] | None) -> pd.DataFrame:
    import pandas as pd

    if isinstance(given, pd.Series):
        given = given.to_frame()
    if isinstance(given, pd.DataFrame):
        return _match_columns(given, columns)
    if isinstance(given, Mapping):
        return _match_columns(pd.DataFrame(_column_lists(given)), columns)
    if isinstance(given, (str, bytes)):
        given = [given]
    if isinstance(given, list) and given and all(isinstance(row, Mapping) for row in given):
        return _match_columns(pd.DataFrame(given), columns)
    columns = columns or _unnamed_columns(given)
    if len(columns) == 1:
        return pd.DataFrame({columns[0]: pd.Series(_list_values(given, image_shape), dtype=object)})
    return _table_frame(given, columns)


def _unnamed_columns(given: Array | Sequence[Cell]) -> list[str]:
    if len(given) and isinstance(given[0], str):
        return [COLUMN]
    rows = np.asarray(given, dtype=object)
    return [f"x{place}" for place in range(rows.shape[-1])] if rows.ndim else []


def _column_lists(given: Mapping[str, Cell]) -> dict[str, list[Cell]]:
    listed = all(_is_listed(value) for value in given.values())  # else one row, whose values may be lists
    return {name: list(value) if listed else [value] for name, value in given.items()}


def _is_listed(value: Cell) -> bool:
    """Whether it is a column's values: a list, an array, a frame's column."""
    return isinstance(value, (list, tuple)) or (hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0)


def _match_columns(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    if twice := [name for name in columns if list(rows.columns).count(name) > 1]:
        must = "rows must name each column that the model takes once"
        raise InputError(
            must, f"{', '.join(twice)} twice", "drop one of them: rows.loc[:, ~rows.columns.duplicated()]"
        )
    missing = [name for name in columns if name not in rows.columns]
    if not missing:
        return rows
    folded = {str(name).strip().casefold(): name for name in rows.columns}
    asked = {name: name.strip().casefold() for name in missing}
    renamed = {folded[key]: name for name, key in asked.items() if key in folded}
    if len(columns) == 1 and len(rows.columns) == 1:
        renamed = {rows.columns[0]: columns[0]}
    left = [name for name in missing if name not in renamed.values()]
    if left:
        raise InputError(
            f"rows must have the columns {', '.join(columns)}",
            f"no {', '.join(left)} among {', '.join(map(str, rows.columns))}",
        )
    return rows.rename(columns=renamed)


def _list_values(given: Array | Sequence[Cell], image_shape: Sequence[int] | None) -> list[Cell]:
    if image_shape is None:
        return (
            list(np.asarray(given, dtype=object).reshape(-1))
            if isinstance(given, np.ndarray)
            else list(given)
        )
    array = given if isinstance(given, np.ndarray) else None
    if array is None and isinstance(given, (list, tuple)) and _nesting_depth(given) >= 2:
        try:
            array = np.asarray(given)
        except ValueError:
            return list(given)  # of differing lengths: whoever reads the image says so
    if array is None or array.dtype == object or array.dtype.kind in "US":
        return list(given)
    height, width, channels = image_shape
    _refuse_flat_images(array, height, width, channels)
    single = array.ndim == 2 or tuple(array.shape) in ((height, width, channels), (height, width))
    if array is not given:  # lists stay lists: their numbers have no type
        return [given] if single else list(given)
    return [array] if single else list(array)


def _refuse_flat_images(array: Array, height: int, width: int, channels: int) -> None:
    """Refuses images that are a row of numbers each: together they look like one image, of one answer."""
    if array.ndim != 2 or array.shape[1] != height * width * channels or min(height, width) == 1:
        return
    shape = f"({height}, {width})" if channels == 1 else f"({height}, {width}, {channels})"
    found = f"{len(array):,} rows of {array.shape[1]:,} numbers"
    do = f"rows.reshape(-1, *{shape}) makes images of them; one image of that width stands in a list: [image]"
    raise InputError("images must be H x W, H x W x C or C x H x W", found, do)


def _nesting_depth(value: Cell) -> int:
    depth = 0
    while isinstance(value, (list, tuple)) and value:
        value, depth = value[0], depth + 1
    return depth if not isinstance(value, (str, bytes, np.ndarray)) and not hasattr(value, "size") else 0


def _table_frame(given: Array | Sequence[Cell], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    try:
        array = np.asarray(given)
    except ValueError as error:
        raise InputError("rows must be a frame, or all of one length", str(error))
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != len(columns):
        raise InputError(
            f"rows without names must have {len(columns)} columns ({', '.join(columns[:5])}…)",
            f"shape {array.shape}",
        )
    return pd.DataFrame(array, columns=list(columns))


def frame_to_json(rows: pd.DataFrame) -> JsonObject:
    """Column names and rows as plain JSON values; arrays as nested lists, bytes in base64."""
    data = [[_encode_value(value) for value in row] for row in rows.itertuples(index=False, name=None)]
    return {"columns": [str(name) for name in rows.columns], "data": data}


def frame_from_json(document: Document) -> pd.DataFrame:
    """What `frame_to_json` wrote; nested lists stay lists."""
    import pandas as pd

    data = [[_decode_value(value) for value in row] for row in document["data"]]
    return pd.DataFrame(
        {name: _json_series([row[i] for row in data]) for i, name in enumerate(document["columns"])}
    )


def _json_series(values: list[Cell]) -> pd.Series:
    import pandas as pd

    if all(
        value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values
    ):
        whole = all(isinstance(value, int) for value in values)
        return pd.Series(values, dtype="int64" if whole else "float64")
    return pd.Series(values, dtype=object)


def _encode_value(value: Cell) -> Json:
    if isinstance(value, np.ndarray):
        nested: list[Json] = value.tolist()
        return nested
    if isinstance(value, bytes):
        return BASE64 + base64.b64encode(value).decode()
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int, list)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return None if value != value else str(value)


def _decode_value(value: Json) -> Json | bytes:
    if isinstance(value, str) and value.startswith(BASE64):
        return base64.b64decode(value.removeprefix(BASE64))
    return value
