"""The sweep file's `data.columns`, checked against the columns that there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainers.data.raw import RawDataset, check_names
from trainers.errors import InputError
from trainers.nearest import advice
from trainers.types import Json

QUESTIONS = ("question", "query")
CONTEXTS = ("context", "passage", "paragraph")
ANSWERS = ("answer", "answer_text")
ASKING = ("question", "context", "answer", "answer_start")
SINGLE = (
    "target", "text", "input", "reference", *ASKING, "group", "time", "image", "user", "item", "rating",
)  # fmt: skip
LISTS = ("features", "drop", "id", "sensitive")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNames:
    """The sweep file's `data.columns`, checked against the columns that there are."""

    target: str | None = None
    text: str | None = None
    input: str | None = None
    reference: str | None = None
    group: str | None = None
    time: str | None = None
    image: str | None = None
    question: str | None = None
    context: str | None = None
    answer: str | None = None
    answer_start: str | None = None
    user: str | None = None
    item: str | None = None
    rating: str | None = None
    features: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()

    @property
    def asking(self) -> tuple[str | None, ...]:
        """The columns of questions, contexts and answers."""
        return (self.question, self.context, self.answer, self.answer_start)

    @classmethod
    def read(cls, given: Mapping[str, Json], raw: RawDataset) -> ColumnNames:
        """The checked names.

        Raises:
            InputError: an unknown key, a value that names no column, or one column named twice.
        """
        check_names(given, (*SINGLE, *LISTS, "types"), "data", "columns")
        single = {key: _check_column(given[key], raw, key) for key in SINGLE if given.get(key) is not None}
        lists = {key: _check_columns(given[key], raw, key) for key in LISTS if given.get(key) is not None}
        named = cls(**single, **lists)  # type: ignore[arg-type]
        for key in ("text", "input", "image"):
            if named.target is not None and getattr(named, key) == named.target:
                found = f"{named.target!r} as both"
                raise InputError(f"target and {key} must differ", found, key=("data", "columns", key))
        if named.target in named.features:
            key_path = ("data", "columns", "features")
            raise InputError("features must not hold the target", repr(named.target), key=key_path)
        named._check_sensitive()
        return named

    def _check_sensitive(self) -> None:
        """A sensitive column is read to judge by and never learned from: two other roles contradict that."""
        roles = {key: {getattr(self, key)} for key in SINGLE if key not in ("group", "time")}
        roles |= {"features": {*self.features}, "drop": {*self.drop}}
        for name in self.sensitive:
            for role in (role for role, columns in roles.items() if name in columns):
                raise InputError(
                    "a sensitive column must have no other role than group, time or id",
                    f"{name!r} as {role} too", f"leave it out of {role}, or out of sensitive",
                    key=("data", "columns", "sensitive"),
                )  # fmt: skip


def fold_name(name: str) -> str:
    """What names that are told by their words have in common: all but case and the blanks around them."""
    return name.strip().lower()


def find_answer_columns(named: ColumnNames, raw: RawDataset) -> set[str | None]:
    """The columns of questions, contexts and answers, as named or by obvious names: `3 nuts` is an answer
    there, and no number."""
    asked = any(fold_name(name) in QUESTIONS for name in raw.columns) and any(
        fold_name(name) in CONTEXTS for name in raw.columns
    )
    if not asked:
        return set(named.asking)
    return {*named.asking, named.target, *(name for name in raw.columns if fold_name(name) in ANSWERS)}


def _check_column(name: Json, raw: RawDataset, *key: str) -> str:
    path = ("data", "columns", *key)
    if not isinstance(name, str):
        raise InputError("a column's name must be text", repr(name), key=path)
    if name not in raw.columns:  # blanks around a header's names, as Adult has them
        same = [known for known in raw.columns if known.strip() == name.strip()]
        if len(same) == 1:
            return same[0]
        raise InputError("a column must be in the data", repr(name), advice(name, raw.columns), key=path)
    return name


def _check_columns(names: Json, raw: RawDataset, key: str) -> tuple[str, ...]:
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, (list, tuple)):
        raise InputError(f"{key} must be a list of columns", repr(names), key=("data", "columns", key))
    return tuple(_check_column(name, raw, key) for name in listed)


def label_order(label: str) -> tuple[int, float, str]:
    """What labels are sorted by: numbers by their size, before words."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)
