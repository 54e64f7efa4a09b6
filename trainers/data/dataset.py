"""What a data source comes to once it is decoded: columns of rows, their split, and a fingerprint.

Shape legend: N rows, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from trainers.data.mixing import number_copies
from trainers.data.number_spellings import NumberSpelling
from trainers.types import Array, Cell, Json, State

Kind = Literal["table", "image", "audio", "text", "pairs", "questions", "corpus", "interactions", "none"]
Task = Literal[
    "classification",
    "regression",
    "language-model",
    "masked-words",
    "seq2seq",
    "question-answering",
    "reconstruction",
    "generation",
    "recommendation",
]
Part = Literal["train", "validation", "test"]
KeyedBy = Literal["inputs", "copies", "content"]
FileKind = Literal["image", "audio"]
ColumnKind = Literal["number", "category", "text", "image", "audio", "time"]

WITHOUT_TARGET: tuple[Task, ...] = (
    "language-model", "masked-words", "reconstruction", "generation", "recommendation",
)  # fmt: skip
"""Tasks that learn from the inputs alone: a named target plays no part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnReading:
    """How a column's cells are read, where they are not plainly what they are.

    Attributes:
        kind: that it was said, or found, to be.
        spelling: of its numbers.
        time_format: of its times, as `strptime` takes it.
    """

    kind: ColumnKind
    spelling: NumberSpelling | None = None
    time_format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column over all rows.

    `values` by kind: `number` float64 [N] with NaN where missing; `category` and `text` a sequence of N
    `str` or None where missing; `image` uint8 [N, H, W, C], memory-mapped, or, where sizes differ, a
    sequence of N paths or encoded bytes that `trainers.data.images.decode_images` reads at the size a family
    asks for; `audio` N paths or bytes that `trainers.data.audio.decode_clips` reads; `time` float64 [N],
    seconds since 1970 in UTC.
    """

    name: str
    kind: ColumnKind
    values: Array | Sequence[Cell]
    reading: ColumnReading | None = None


MISSING_GROUP = "(missing)"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupColumn:
    """A column that no model sees, and by whose values models are judged in groups.

    Attributes:
        names: of the groups; rows without a value are the last one, `(missing)`.
        codes: int64 [N], each row's place in `names`.
    """

    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A decoded source.

    Attributes:
        kind: the shape of a row: `table` (named columns), `image`, `audio`, `text` (one text a row), `pairs`
            (input and target texts), `questions` (a question, the context that it is about, and the answer as
            it stands there), `corpus` (one long text for language models), `interactions` (a user and an
            item), `none` (own code reads).
        task: inferred or given; `notes` says why.
        columns: features, in order, by name; never holds the target. For `image` one column `image`, for
            `audio` one column `audio`, for `text` and `corpus` one column `text`, for `pairs` one column
            `input`, for `questions` two columns `question` and `context`, for `interactions` `user` and
            `item`.
        target: labels as `category`, numbers as `number`, target texts as `text`; None where there is none.
        classes: sorted labels for classification, else empty. Class index i is `classes[i]`.
        splits: row indices of each part, int64, ascending, disjoint, covering all usable rows but those that
            `data.drop_rows` lists.
        row_hashes: uint64 [N], content hash of each row (features and target), independent of row order.
        input_hashes: uint64 [N], content hash of what a model sees of each row: the features alone.
        keyed_by: what a row's side is decided by: `inputs`; `copies`, where each copy of the same inputs has
            a side of its own; `content`, inputs and target, in sweeps that began before sides were by inputs.
        fingerprint: 32 hex digits over all rows and the columns' names.
        source: as written in the sweep file.
        notes: what was inferred and why, for people (`plan` prints them).
        prepare: the sweep file's `data.prepare`, checked.
        answer_starts: for `questions`, int64 [N]: the character of the context where the answer begins.
        groups: the sensitive columns, by name.
        together: uint64 [N], where sides were chosen by group, the hash of each row's: no model may be
            judged on rows whose group it was trained on. None elsewhere.
    """

    kind: Kind
    task: Task | None
    columns: Mapping[str, Column]
    target: Column | None
    classes: tuple[str, ...] = ()
    splits: Mapping[Part, npt.NDArray[np.int64]] = field(default_factory=dict)
    row_hashes: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    input_hashes: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    keyed_by: KeyedBy = "inputs"
    fingerprint: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    prepare: Mapping[str, Json] = field(default_factory=dict)
    answer_starts: npt.NDArray[np.int64] | None = None
    groups: Mapping[str, GroupColumn] = field(default_factory=dict)
    together: npt.NDArray[np.uint64] | None = None

    @property
    def rows(self) -> int:
        """N, over all parts."""
        return len(self.row_hashes)

    def row_keys(self, by: KeyedBy | None = None) -> npt.NDArray[np.uint64]:
        """What tells whether a row is one that a model was trained on, uint64 [N]; by default as its side was
        decided."""
        by = by or self.keyed_by
        if by == "content":
            return self.row_hashes
        return number_copies(self.input_hashes) if by == "copies" else self.input_hashes

    def labels(self) -> npt.NDArray[np.int64]:
        """Class index of each row, int64 [N]; -1 where the label is missing."""
        assert self.target is not None
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index.get(str(v), -1) for v in self.target.values], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedDataset:
    """A data set as one family trains on it: arrays of N rows, memory-mapped from a folder, and the state
    that was fitted on the training split alone.

    Attributes:
        arrays: name → array whose first dimension is N (all rows, in the data set's order). By convention
            `target` holds class indices (int64 [N]), numbers (float32 [N] or [N, K]) or token ids.
        state: JSON-able: vocabulary, scaling, classes, sizes; everything that `Family.build` and
            `Family.from_user` need. Kept in the model bundle.
        splits: as in `Dataset`.
    """

    arrays: Mapping[str, Array]
    state: State
    splits: Mapping[Part, npt.NDArray[np.int64]]
    fingerprint: str = ""
    folder: Path | None = None
