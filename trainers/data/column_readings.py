"""How each column's cells are read: as the sweep file says, or as nearly all of its values are spelt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from trainers.data.arrow_strings import is_strings, null_missing, plain_strings
from trainers.data.cell_values import EXACT, MISSING_NUMBERS, MISSING_WORDS
from trainers.data.column_kinds import kind_of
from trainers.data.column_oddities import count_namibia, describe_names, describe_oddities
from trainers.data.dataset import ColumnKind, ColumnReading
from trainers.data.number_spellings import (
    NumberMarks,
    NumberSpelling,
    find_spelling,
    is_limit,
    is_of_late,
    other_words,
)
from trainers.data.raw import RawColumn, RawDataset, RawFiles
from trainers.errors import InputError
from trainers.nearest import advice
from trainers.types import Json
from trainers.wording import count_of

NEARLY_ALL = 0.95  # of a column's values, to read it as numbers although a few are words
MANY_NUMBERS = 20  # fewer different ones beside words may be names of classes
FEW_WORDS = 3
SAMPLE = 1000
KEY = ("data", "columns", "types")
KINDS: tuple[ColumnKind, ...] = ("number", "category", "text", "time")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadColumns:
    """A source whose columns are read as they are meant.

    Attributes:
        kinds: of columns whose kind is not to be looked for.
        readings: of columns whose cells say in another way what they mean.
        of_late: columns that were read otherwise before `is_of_late` and `count_merged_numbers`.
        notes: for people.
    """

    raw: RawDataset
    kinds: Mapping[str, ColumnKind]
    readings: Mapping[str, ColumnReading]
    of_late: tuple[str, ...]
    notes: tuple[str, ...]


def read_columns(
    raw: RawDataset, types: Json, few_are_classes: Collection[str], aside: Collection[str | None]
) -> ReadColumns:
    """The columns as `data.columns.types` says, and numbers that are spelt in other ways as numbers.

    Args:
        few_are_classes: columns whose few numbers, in whatever spelling, may be names of classes.
        aside: columns that hold no numbers, whatever is in them.

    Raises:
        InputError: `types` names no column or no kind, or a column does not hold what it says.
    """
    reader = _ColumnReader(raw, _read_types(types, raw), few_are_classes)
    for name, column in raw.columns.items():
        if not isinstance(column, RawFiles) and name not in aside:
            reader.read(name, column)
    return reader.result()


class _ColumnReader:
    """Reads one column after another, and gathers what comes of it."""

    def __init__(
        self, raw: RawDataset, asked: Mapping[str, ColumnReading], few_are_classes: Collection[str]
    ) -> None:
        self._raw, self._asked, self._few_are_classes = raw, asked, few_are_classes
        self._columns: dict[str, RawColumn] = dict(raw.columns)
        self._kinds: dict[str, ColumnKind] = {name: one.kind for name, one in asked.items() if one.kind}
        self._readings: dict[str, ColumnReading] = {}
        self._notes: list[str] = describe_names(raw.columns)
        self._of_late: list[str] = []
        self._codes: set[str] = set()

    def read(self, name: str, column: pa.ChunkedArray) -> None:
        """As `types` says; where it says nothing, numbers in whatever spelling are numbers."""
        wanted = self._asked.get(name)
        self._notes += describe_oddities(name, column, self._raw.marks)
        if (wanted is None or wanted.kind == "category") and (count := count_namibia(column)):
            self._codes.add(name)
            self._of_late.append(name)
            what = "codes of countries or regions"
            self._notes.append(f"column {name!r} holds {what}: NA in {count_of(count, 'row')} is one")
        if wanted is None and name not in self._few_are_classes and (merged := count_merged_numbers(column)):
            self._kinds[name] = "category"
            self._of_late.append(name)
            self._notes.append(_describe_merged(name, *merged))
        elif wanted is not None and wanted.time_format:
            self._columns[name] = _parse_dates(name, column, wanted.time_format)
            self._readings[name] = wanted
        elif wanted is None or wanted.kind == "number":
            self._read_numbers(name, column, strict=wanted is not None)

    def _read_numbers(self, name: str, column: pa.ChunkedArray, *, strict: bool) -> None:
        texts = plain_strings(column) if pa.types.is_dictionary(column.type) else column
        if not is_strings(texts.type):
            return
        looked = kind_of(name, texts)
        found = _find_numbers(texts, looked, self._raw.marks, name in self._few_are_classes, strict)
        if found is None:
            self._kinds.setdefault(name, looked)
            return
        self._columns[name], spelling, said = found
        self._readings[name] = ColumnReading(kind="number", spelling=spelling)
        self._notes.append(_describe(name, spelling, *said))
        self._of_late += [name] if is_of_late(spelling, said[0]) else []

    def result(self) -> ReadColumns:
        """All of it."""
        return ReadColumns(
            raw=replace(self._raw, columns=self._columns, codes=frozenset(self._codes)), kinds=self._kinds,
            readings=self._readings, of_late=tuple(self._of_late), notes=tuple(self._notes),
        )  # fmt: skip


def _read_types(types: Json, raw: RawDataset) -> dict[str, ColumnReading]:
    if types is None:
        return {}
    if not isinstance(types, Mapping):
        raise InputError("columns.types must be a mapping of columns to kinds", repr(types), key=KEY)
    asked: dict[str, ColumnReading] = {}
    for name, said in types.items():
        if name not in raw.columns:
            do = advice(str(name), raw.columns)
            raise InputError("a column must be in the data", repr(name), do, key=(*KEY, str(name)))
        asked[name] = _read_type(said, (*KEY, name))
    return asked


def _read_type(said: Json, key: tuple[str, ...]) -> ColumnReading:
    kind, time_format = (said.get("type"), said.get("format")) if isinstance(said, Mapping) else (said, None)
    known = next((entry for entry in KINDS if entry == kind), None)
    if known is None:
        raise InputError(f"a column's type must be one of {', '.join(KINDS)}", repr(kind), key=key)
    if isinstance(said, Mapping) and (unknown := set(said) - {"type", "format"}):
        raise InputError("a column's type has type and format", ", ".join(sorted(unknown)), key=key)
    if time_format is not None and (known != "time" or not isinstance(time_format, str)):
        do = 'write for instance {type: time, format: "%d.%m.%Y"}'
        raise InputError("a format is for a time, as strptime takes it", repr(said), do, key=key)
    return ColumnReading(kind=known, time_format=time_format)


def _find_numbers(
    column: pa.ChunkedArray, looked: ColumnKind, said: NumberMarks, few_are_classes: bool, asked: bool
) -> tuple[pa.ChunkedArray, NumberSpelling, tuple[Mapping[str, int], int]] | None:
    """The column as numbers, how they were spelt, each value's rows and all rows; None where it stays as it
    is."""
    if looked in ("number", "time") and not said.are_said:
        return None
    if not asked and not _may_be_numbers(column, said):
        return None
    counts = _count_values(column)
    rows = sum(counts.values())
    spelling, read = find_spelling(counts, said)
    words = other_words(counts, spelling)
    different = len(counts) - len(words)
    if not asked:
        if not read or (spelling == NumberSpelling() and not words and looked == "number"):
            return None
        if read < NEARLY_ALL * rows or len(words) > FEW_WORDS:
            return None
        if (words or few_are_classes) and different <= MANY_NUMBERS:
            return None
    spelling = replace(spelling, words=tuple(words))
    return _normalize(column, spelling), spelling, (counts, rows)


def _may_be_numbers(column: pa.ChunkedArray, said: NumberMarks) -> bool:
    counts = _count_values(column.slice(0, SAMPLE))
    return bool(counts) and find_spelling(counts, said)[1] > sum(counts.values()) / 2


def _count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """Value → rows, without what is missing."""
    present = pc.drop_null(null_missing(column, pa.array(MISSING_NUMBERS)))
    counted = present.value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _normalize(column: pa.ChunkedArray, spelling: NumberSpelling) -> pa.ChunkedArray:
    codes = null_missing(column, pa.array(MISSING_NUMBERS)).combine_chunks().dictionary_encode()
    numbers = [spelling.normalize(text) for text in codes.dictionary.to_pylist()]
    read = pa.array([None if number is None else float(number) for number in numbers], pa.float64())
    return pa.chunked_array([read.take(codes.indices)])


def _describe(name: str, spelling: NumberSpelling, counts: Mapping[str, int], rows: int) -> str:
    said = spelling.describe()
    words = [f"{word!r} in {counts[word]:,}" for word in spelling.words[:FEW_WORDS]]
    more = f" and {len(spelling.words) - FEW_WORDS} other words" if len(spelling.words) > FEW_WORDS else ""
    missing = f", {', '.join(words)}{more} of {rows:,} rows read as missing" if words else ""
    otherwise = f"; columns.types: {{{name}: category}} keeps it as words"
    if any(map(is_limit, spelling.words)):
        otherwise += ", and a number in the place of each limit keeps what it says"
    return f"column {name!r} is read as numbers{f' ({said})' if said else ''}{missing}{otherwise}"


def count_merged_numbers(column: pa.ChunkedArray) -> tuple[int, int] | None:
    """How many different whole numbers beyond 2^53 there are, and as how many doubles, where these are fewer;
    None where every number stays itself. Nobody means such numbers as quantities: they are codes."""
    if pa.types.is_dictionary(column.type):
        column = plain_strings(column)
    if is_strings(column.type):
        if (pc.max(pc.binary_length(column)).as_py() or 0) < 16:
            return None
        column = column.filter(pc.match_substring_regex(column, r"^\s*-?[1-9][0-9]{15,}\s*$"))
    elif not (pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)) or not _has_large(column):
        return None
    values = pc.unique(column)
    whole = {int(value) for value in values.drop_null().to_pylist()}
    large = {value for value in whole if abs(value) >= EXACT}
    doubles = len({float(value) for value in large if abs(value) < 10**300})
    return (len(large), doubles) if doubles < len(large) else None


def _has_large(column: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.greater_equal(pc.abs(column.cast(pa.float64(), safe=False)), EXACT)).as_py())


def _describe_merged(name: str, different: int, doubles: int) -> str:
    return (
        f"column {name!r} has {different:,} different whole numbers beyond 2^53, which as numbers would be "
        f"{doubles:,}: it is read as a category; columns.types: {{{name}: number}} reads it as numbers"
    )


def _parse_dates(name: str, column: pa.ChunkedArray, time_format: str) -> pa.ChunkedArray:
    import pandas as pd

    values = null_missing(plain_strings(column), pa.array(MISSING_WORDS)).to_pylist()
    moments = pd.to_datetime(pd.Series(values, dtype=object), format=time_format, errors="coerce", utc=True)
    wrong = [row for row, at in enumerate(moments) if values[row] is not None and pd.isna(at)]
    if wrong:
        more = f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
        must = f"column {name!r} must hold times of the format {time_format!r}"
        raise InputError(must, f"{values[wrong[0]]!r} in row {wrong[0] + 1}{more}", key=(*KEY, name))
    return pa.chunked_array([pa.array(moments.dt.tz_convert(None).to_numpy("datetime64[us]"))])
