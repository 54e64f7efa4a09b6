"""From parts to scored parts, in this process or on a Ray cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.errors import WrongInput
from infra.predicting.format import BadValue, InputFormat, PartSizes
from infra.predicting.output_parts import OutputParts
from infra.serving.artifact import ServedModel
from infra.serving.model_schema import Field
from trainers.errors import CellError, InputError
from trainers.nearest import nearest

if TYPE_CHECKING:
    import pandas as pd

LABEL, PREDICTION = "label", "prediction"

Advanced = Callable[[int, int], None]


def check_columns(
    present: Sequence[str], fields: Sequence[Field], outputs: Sequence[str], where: str
) -> None:
    """Refuses an input before anything is computed.

    Args:
        present: the input's columns.
        fields: what the model takes.
        outputs: what it gives; none where it does not say.

    Raises:
        WrongInput: a column is missing, or predictions would take the name of one that is there.
    """
    missing = [field.name for field in fields if field.name not in present]
    if missing and len(fields) > 1:
        raise WrongInput(
            f"the input must have the model's columns {_join_names([field.name for field in fields])}",
            f"no {_join_names(missing)} in {where}, which has {_join_names(present) or 'no columns'}",
            _rename_advice(missing, [name for name in present if name not in {f.name for f in fields}]),
        )
    taken = [name for name in map(output_name, outputs) if name in present]
    if taken:
        found = f"{_join_names(taken)} in {where}"
        raise WrongInput("predictions need names of their own", found, "rename the input's column")


def _rename_advice(missing: Sequence[str], unread: Sequence[str]) -> str:
    """Of the input's columns that the model does not read, each for one that it misses."""
    left, renamed = list(unread), []
    for name in missing:
        found = nearest(name, left)
        if found is not None:
            left.remove(found)
            renamed.append(f"{found} to {name}")
    return f"rename {_join_names(renamed)}?" if renamed else ""


def match_single_field(present: Sequence[str], fields: Sequence[Field]) -> list[Field]:
    """The model's columns by the names that the input has: where either has one alone, it may have any."""
    if len(fields) == 1 and fields[0].name not in present:
        if len(present) == 1:
            return [Field(name=present[0], type=fields[0].type)]
        found = f"no {fields[0].name} among {_join_names(present)}" if present else "no columns at all"
        raise WrongInput(f"the input must have the model's column {fields[0].name}", found)
    return list(fields)


def output_name(name: str) -> str:
    """A prediction's column: a class is called a prediction too, as a number is."""
    return PREDICTION if name == LABEL else name


def score_part(
    kind: InputFormat, part: pa.Table, model: ServedModel, fields: Sequence[Field], first_row: int
) -> pd.DataFrame:
    """The predictions of a part's rows."""
    try:
        return model.predict(kind.frame(part, fields)).rename(columns=output_name)
    except BadValue as error:
        raise WrongInput(
            f"the column {error.column} must hold numbers",
            f"{ascii(error.value)[:60]} in row {first_row + error.row + 1} of {kind.path}",
            "what was done so far is kept; correct it, and begin anew with --overwrite",
        ) from None
    except CellError as error:
        place = f"row {first_row + error.row + 1} of {kind.path}"
        raise WrongInput(error.must, f"{error.value} in {place}", error.do) from error
    except InputError as error:
        last = first_row + len(part)
        rows = f"{f'row {last}' if len(part) == 1 else f'rows {first_row + 1} to {last}'} of {kind.path}"
        raise WrongInput(error.must, f"{error.found} in {rows}", error.do) from error


def score_here(
    kind: InputFormat,
    model: ServedModel,
    fields: Sequence[Field],
    parts: OutputParts,
    sizes: PartSizes,
    advanced: Advanced,
) -> int:
    """Scores what is not scored yet, part by part; how many rows there are in all.

    Args:
        advanced: told after each part: rows so far, and bytes of their columns.
    """
    done = parts.done_numbers()
    rows = size = 0
    for number, part in enumerate(kind.parts(sizes)):
        if number not in done:
            predictions = score_part(kind, part, model, fields, rows)
            _check_names(part, predictions)
            parts.commit_part(
                number,
                lambda path, part=part, found=predictions, first=number == 0: kind.write(  # type: ignore[misc]
                    part, found, path, first=first
                ),
            )
        rows += len(part)
        size += part.nbytes
        advanced(rows, size)
    if not rows:
        raise WrongInput("the input must have at least one row", f"none in {kind.path}")
    return rows


def count_unseen(
    kind: InputFormat, model: ServedModel, fields: Sequence[Field], sizes: PartSizes
) -> dict[str, int]:
    """Column → how many of the input's values training never saw; others are left out."""
    counts: Counter[str] = Counter()
    for part in kind.parts(sizes):
        found = model.count_unseen(kind.frame(part, fields))
        if not found:  # a model without categories: the rest need not be read again
            break
        counts.update(found)
    return dict(+counts)


def _check_names(part: pa.Table, predictions: pd.DataFrame) -> None:
    check_columns(part.column_names, [], [str(name) for name in predictions.columns], "the input")


def _join_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(map(str, names[:10])) + more
