"""The sweep file's key `data` as people write it: a source, its columns, how it is prepared and split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flows.config.samplers import Strict
from flows.config.types import Source
from trainers.data.dataset import Task

Share = Annotated[float, Field(ge=0, le=1)]


class Columns(Strict):
    """Which column is what."""

    target: str | None = None
    """What is to be predicted."""
    text: str | None = None
    """The text that is read."""
    image: str | None = None
    """The column of pictures, or of their paths."""
    input: str | None = None
    """The input text of pairs."""
    reference: str | None = None
    """The target text of pairs."""
    question: str | None = None
    """The question that is to be answered."""
    context: str | None = None
    """The text that holds the answer."""
    answer: str | None = None
    """The answer, as it stands in the context."""
    answer_start: str | None = None
    """The character of the context where the answer begins; its first occurrence where left out."""
    features: str | list[str] | None = None
    """What is learned from; all but the rest where left out."""
    drop: str | list[str] | None = None
    """What is not read."""
    id: str | list[str] | None = None
    """What names a row and is not learned from."""
    group: str | None = None
    """Rows of one group stay on one side of the split."""
    time: str | None = None
    """When a row happened, for a split by time."""


class Prepare(Strict):
    """What is fitted on the training split alone and kept in the model."""

    missing: str | float | None = None
    """What stands for a missing value: median, mean, drop, …"""
    scale: str | None = None
    """How numbers are scaled: standard, …"""
    categories: str | None = None
    """How categories are read: embed, …"""
    rare_below: int | None = Field(default=None, ge=0)
    """Categories with fewer rows are taken together."""


class Split(Strict):
    """Which share of the rows is for what, by a hash of what."""

    train: Share | None = None
    """Share of rows that are learned from."""
    validation: Share | None = None
    """Share of rows that the search judges by."""
    test: Share | None = None
    """Share of rows that only confirm, report and promote read."""
    by: Literal["content", "group", "time", "files"] | None = None
    """What decides where a row goes."""
    salt: int | str | None = None
    """Another salt, another split."""


class Data(Strict):
    """The data set."""

    source: Source
    """What is read: builtin:digits, csv:PATH, images:DIR, …"""
    task: Task | None = None
    """What is learned; inferred where left out."""
    columns: Columns | None = None
    """Which column is what."""
    prepare: Prepare | None = None
    """How tables are prepared."""
    split: Split | None = None
    """Parts for training, validation and test."""
