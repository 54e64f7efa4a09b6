"""The sweep file's key `data` as people write it: a source, its columns, how it is prepared and split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flows.config.types import Source
from infra.strict_model import Strict
from trainers.data.dataset import Task

Share = Annotated[float, Field(ge=0, le=1)]


ColumnType = Literal["number", "category", "text", "time"]


class TimeType(Strict):
    """A column of times in a format of its own."""

    type: Literal["time"]
    """time"""
    format: str
    """As `strptime` takes it: `%d.%m.%Y`."""


class Columns(Strict):
    """Which column is what."""

    target: str | None = None
    """The column that is predicted (found by its name)."""
    text: str | None = None
    """The column of texts."""
    image: str | None = None
    """The column of pictures, or of their paths."""
    input: str | None = None
    """The column of input texts, for pairs."""
    reference: str | None = None
    """The column of target texts, for pairs."""
    question: str | None = None
    """The column of questions."""
    context: str | None = None
    """The column of texts that hold the answers."""
    answer: str | None = None
    """The column of answers, each word for word as in its context."""
    answer_start: str | None = None
    """The column with the character of the context where the answer begins (its first occurrence)."""
    user: str | None = None
    """The column of users, for recommendation."""
    item: str | None = None
    """The column of items, for recommendation."""
    rating: str | None = None
    """The column of ratings: those below the middle are no liking."""
    features: str | list[str] | None = None
    """The columns that are learned from (all that have no other role)."""
    drop: str | list[str] | None = None
    """Columns that are not read."""
    id: str | list[str] | None = None
    """Columns that name a row and are not learned from."""
    sensitive: str | list[str] | None = None
    """Columns that no model sees and by whose values metrics come in groups: sex, region."""
    group: str | None = None
    """The column for a split by group: rows of one group stay in one part."""
    time: str | None = None
    """The column for a split by time: when a row happened."""
    types: dict[str, ColumnType | TimeType] | None = None
    """Column → number, category, text or time, where looking is wrong; a time may have a format."""


class Prepare(Strict):
    """What is fitted on the training split alone and kept in the model."""

    missing: str | float | None = None
    """What replaces a missing number: median, mean, most_frequent, a number, drop or none (median)."""
    scale: str | None = None
    """How numbers are scaled: standard, minmax or none (standard)."""
    categories: str | None = None
    """How categories are read: embed or onehot (embed)."""
    rare_below: int | None = Field(default=None, ge=0)
    """Categories with fewer training rows become one (1)."""


class Read(Strict):
    """How a file of separated fields is read, where looking is wrong."""

    delimiter: str | None = None
    """The character between fields (the one that parts the first lines alike)."""
    encoding: str | None = None
    """What the text is in: utf-8, cp1252, latin-1, utf-16 (by its bytes)."""
    decimal: str | None = None
    """The decimal mark of numbers (by the numbers)."""
    thousands: str | None = None
    """The mark between groups of digits (by the numbers)."""
    header: bool | None = None
    """Whether the first line names the columns (unless it looks like a row)."""
    names: list[str] | None = None
    """The names of all columns, in order."""
    comment: str | None = None
    """Lines that begin with it are passed over."""
    quote: bool | str | None = None
    """Whether a field in quotes may hold delimiters and line ends (true); false: quotes are letters; a text
    is the mark itself, as `"'"`."""


class Split(Strict):
    """Which share of the rows is for what, by a hash of what."""

    train: Share | None = None
    """Share of rows that training learns from (0.8)."""
    validation: Share | None = None
    """Share of rows that the search judges by (0.1)."""
    test: Share | None = None
    """Share of rows that only `confirm`, `report` and `promote` read (0.1)."""
    by: Literal["content", "row", "group", "time", "user", "files"] | None = None
    """What decides a row's part: what a model sees of it (content), which copy of that it is too (row), its
    group, its time, its place among its user's interactions, or the source's own files (content)."""
    salt: int | str | None = None
    """Part of the hash: another salt, another split (0)."""


class Data(Strict):
    """The data set."""

    source: Source
    """Where the data is: builtin:digits, csv:PATH, images:DIR, …"""
    task: Task | None = None
    """What is learned (inferred from the target)."""
    columns: Columns | None = None
    """Which column is what."""
    read: Read | None = None
    """How a csv file is read."""
    prepare: Prepare | None = None
    """How tables are prepared."""
    drop_rows: str | None = Field(default=None, min_length=1)
    """A CSV file whose column `row` lists rows to leave out, as `velodrome inspect` writes it."""
    split: Split | None = None
    """Parts for training, validation and test."""
