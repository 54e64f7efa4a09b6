"""What is kept as a trial's model where that is no module of torch: its files, and who asks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

Kind = Literal["sklearn", "lightgbm", "xgboost", "transformers", "own"]


class KeptDocument(TypedDict):
    """`kept` in a bundle's `model.json`: stored name → path below the model's own, and as `KeptModel`."""

    kind: Kind
    path: str
    files: dict[str, str]
    trusted: list[str]
    predict: str | None
    load: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptModel:
    """A model of files.

    Attributes:
        kind: the library that reads them; `own`: people's own functions.
        path: the file or folder, below the trial's directory.
        predict: `package.module:name` of a function of what was loaded and rows; None: the library's own
            answers.
        load: the same of a function that makes something of the path; None: `predict` of an `own` model gets
            the path itself.
        trusted: classes in a skops file that skops does not know by itself.
    """

    kind: Kind
    path: str
    predict: str | None = None
    load: str | None = None
    trusted: tuple[str, ...] = ()
