"""What challenger and champion are judged on: rows that neither of them was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flows.config.policy import Policy
from flows.promotion.gates.predictions import Rows, Truth
from flows.promotion.gates.scoring import known_metrics
from flows.promotion.judging.users import choose_users
from infra.errors import WrongInput
from trainers.bundle.contents import SeenRows
from trainers.data.dataset import MISSING_GROUP

if TYPE_CHECKING:
    import pandas as pd

    from trainers.data.dataset import Dataset, KeyedBy, Part
    from trainers.types import Json

SAME_DATA = 0.5  # of the champion's training rows: fewer, and the data is another
MOST_VALUES = 50  # of a column that makes slices


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRows:
    """What a model was trained on.

    Attributes:
        whose: `challenger` or `champion`.
        rows: hashes, ascending; None where nobody knows.
        by: what those hashes are of: the inputs, or, in bundles of before, inputs and target.
        columns: what those hashes are over; None where nobody knows.
        seen: of the other rows that it has seen; None where nobody knows.
        fingerprint: of the data that it was trained on; empty where nobody knows.
    """

    whose: str
    rows: npt.NDArray[np.uint64] | None = None
    by: KeyedBy = "content"
    columns: frozenset[str] | None = None
    seen: SeenRows | None = None
    fingerprint: str = ""

    @property
    def known_rows(self) -> npt.NDArray[np.uint64]:
        """Hashes of the rows that it was trained or selected on, as far as they are known."""
        rows = np.zeros(0, np.uint64) if self.rows is None else self.rows
        return rows if self.seen is None else np.concatenate([rows, self.seen.validation])


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Rows to judge on.

    Attributes:
        frame: as models take them, N rows.
        hashes: uint64 [N], of their content.
        left_out: rows that one of the models was trained on.
        copies: rows that repeat another one, judged on once; those of data split `by: row` are rows like
            others.
        problems: why it is not known for a model which rows those are.
        unselected: models of which it is not known which rows they were selected by.
        slices: the examples of each slice.
        groups: the examples of each group, by column and value: of the policy's columns, and of the data's
            sensitive ones, whose names are `sensitive`.
    """

    frame: pd.DataFrame
    truth: Truth
    hashes: npt.NDArray[np.uint64]
    left_out: int
    copies: int
    fingerprint: str
    source: str
    part: str
    problems: tuple[str, ...] = ()
    unselected: tuple[str, ...] = ()
    slices: Mapping[str, Rows] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Rows]] = field(default_factory=dict)
    sensitive: tuple[str, ...] = ()


def open_evaluation_data(
    spec: Mapping[str, Json], base: Path, cache: Path, recorded: str | None = None
) -> Dataset:
    """The evaluation data; `recorded` is the fingerprint that it had before, where that is known.

    Raises:
        WrongInput: own code reads it, or its task is none that predictions can be judged in.
    """
    from trainers.data.sources.opening import open_dataset

    if spec.get("source", "none") == "none":
        raise WrongInput(
            "a promotion needs data to judge on",
            "own code reads its own",
            "name it in the policy: evaluation: {data: {source: csv:…}}",
        )
    dataset = open_dataset(spec, base=base, cache=cache, recorded=recorded)
    if not known_metrics(str(dataset.task)):
        raise WrongInput(
            "a promotion judges by predictions",
            f"task {dataset.task}",
            "it knows classification, regression, seq2seq, question-answering and recommendation",
        )
    return dataset


def gather_examples(dataset: Dataset, part: str, trained: Sequence[TrainingRows], policy: Policy) -> Examples:
    """The rows of a part that no model was trained or selected on.

    Args:
        part: `test`, or `all` for every row of the data.
        trained: what is known of each model.
    """
    rows = dataset.splits["test"] if part == "test" else np.sort(np.concatenate([*dataset.splits.values()]))
    rows = rows[_target_mask(dataset)[rows]]
    seen = np.zeros(len(rows), np.bool_)
    problems: list[str] = []
    for model in trained:
        if (problem := _unknown_rows_reason(model, dataset)) is not None:
            problems.append(problem)
        else:
            seen |= np.isin(dataset.row_keys(model.by)[rows], model.known_rows)
    known = rows[~seen]
    kept, truth, copies = _choose_examples(dataset, known, part)
    from trainers.data.examples import raw_rows

    frame = raw_rows(dataset, kept)
    return Examples(
        frame=frame,
        truth=truth,
        hashes=dataset.row_hashes[kept],
        left_out=int(seen.sum()),
        copies=copies,
        fingerprint=dataset.fingerprint,
        source=dataset.source,
        part=part,
        problems=tuple(problems),
        unselected=tuple(model.whose for model in trained if model.rows is not None and model.seen is None),
        slices=_slice_rows(dataset, kept, frame, policy),
        groups=_group_rows(dataset, kept, frame, policy),
        sensitive=tuple(dataset.groups),
    )


def _choose_examples(
    dataset: Dataset, known: npt.NDArray[np.int64], part: str
) -> tuple[npt.NDArray[np.int64], Truth, int]:
    """Which of the rows are judged on, what is to be answered, and how many are copies of others."""
    if dataset.task == "recommendation":
        return *choose_users(dataset, known, only_known=part == "test"), 0
    kept = known if dataset.keyed_by == "copies" else _first_copies(dataset, known)
    return kept, _read_truth(dataset, kept), len(known) - len(kept)


def _first_copies(dataset: Dataset, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The first of the rows that are alike, target, groups and all, in their order: a copy is no further
    evidence."""
    codes = [column.codes[rows].astype(np.uint64) for column in dataset.groups.values()]
    whole = np.stack([dataset.row_hashes[rows], *codes], axis=1)
    _, first = np.unique(whole, axis=0, return_index=True)
    return rows[np.sort(first)]


def describe_changes(dataset: Dataset, challenger: TrainingRows, recorded: str) -> str:
    """How the data differs from what the challenger's sweep recorded, in numbers; empty where it does not."""
    if not recorded or recorded == dataset.fingerprint:
        return ""
    prints = f"fingerprint {recorded[:12]} → {dataset.fingerprint[:12]}"
    if _unknown_rows_reason(challenger, dataset) is not None:
        return f"{prints}; the rows that it was trained on cannot be compared"
    keys, known, contents = dataset.row_keys(challenger.by), challenger.known_rows, challenger.seen
    parts: list[Part] = ["train"] if contents is None else ["train", "validation"]
    now = np.concatenate([dataset.splits[part] for part in parts])
    gone, new = int((~np.isin(known, keys)).sum()), int((~np.isin(keys[now], known)).sum())
    words = "trained on" if contents is None else "trained and selected on"
    relabelled, other = "", 0
    if contents is not None:
        other = int((np.isin(keys, known) & ~np.isin(dataset.row_hashes, contents.contents)).sum())
        relabelled = f"{other:,} have another target, "
    found = f"{relabelled}{gone:,} are gone, {new:,} are new"
    if not (gone or new or other):
        found += ": what differs is how often rows stand there, test rows, or a sensitive column"
    return f"{prints}; of {len(known):,} rows that it was {words} {found}"


def describe_foreign_data(dataset: Dataset, champion: TrainingRows) -> str | None:
    """How few of the champion's rows are in the data; empty where it is the champion's data or has grown from
    it, None where that is not known."""
    if champion.fingerprint == dataset.fingerprint:
        return ""
    if _unknown_rows_reason(champion, dataset) is not None:
        return None
    assert champion.rows is not None
    rows, here = champion.rows, dataset.row_keys(champion.by)
    if champion.seen is not None:  # with their targets
        rows, here = champion.seen.contents, dataset.row_hashes
    there = int(np.isin(rows, here).sum())
    if there >= SAME_DATA * len(rows):
        return ""
    found = f"{there:,} of {len(rows):,} rows that the champion was trained on are in {dataset.source}"
    prints = f"fingerprint {dataset.fingerprint[:12]}, the champion's {champion.fingerprint[:12] or '?'}"
    return f"{found} ({prints})"


def _target_mask(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Rows whose target is known."""
    if dataset.task == "classification":
        return np.asarray(dataset.labels() >= 0)
    if dataset.task == "recommendation":
        return np.ones(dataset.rows, np.bool_)
    assert dataset.target is not None
    if dataset.task == "regression":
        return np.isfinite(np.asarray(dataset.target.values, dtype=np.float64))
    return np.array([value is not None for value in dataset.target.values], np.bool_)


def _unknown_rows_reason(model: TrainingRows, dataset: Dataset) -> str | None:
    if model.rows is None or model.columns is None:
        return f"not those of the {model.whose}"
    here = frozenset(["user"] if dataset.kind == "interactions" else dataset.columns)
    if model.columns != here:
        differing = sorted(model.columns ^ here)
        listed = ", ".join(differing[:3]) + (", …" if len(differing) > 3 else "")
        return f"those of the {model.whose} are known by other columns ({listed})"
    return None


def _read_truth(dataset: Dataset, rows: npt.NDArray[np.int64]) -> Truth:
    assert dataset.target is not None
    if dataset.task == "classification":
        return Truth(task="classification", values=dataset.labels()[rows], classes=dataset.classes)
    if dataset.task == "regression":
        return Truth(task="regression", values=np.asarray(dataset.target.values, np.float64)[rows])
    return Truth(task=str(dataset.task), values=[str(dataset.target.values[int(row)]) for row in rows])


def _slice_rows(
    dataset: Dataset, rows: npt.NDArray[np.int64], frame: pd.DataFrame, policy: Policy
) -> dict[str, Rows]:
    columns = () if policy.slices is None else policy.slices.columns
    aside = _sensitive_rows(dataset, rows)
    parts = {column: aside.get(column) or _value_rows(frame, column, "slice") for column in columns}
    return {f"{column}={value}": rows for column, values in parts.items() for value, rows in values.items()}


def _group_rows(
    dataset: Dataset, rows: npt.NDArray[np.int64], frame: pd.DataFrame, policy: Policy
) -> dict[str, dict[str, Rows]]:
    found = _sensitive_rows(dataset, rows)
    asked = () if policy.groups is None else policy.groups.columns
    others = {column: _value_rows(frame, column, "group") for column in asked if column not in found}
    return {**found, **others}


def _sensitive_rows(dataset: Dataset, rows: npt.NDArray[np.int64]) -> dict[str, dict[str, Rows]]:
    """The examples of each group of the data's sensitive columns."""
    return {
        column: {name: groups.codes[rows] == place for place, name in enumerate(groups.names)}
        for column, groups in dataset.groups.items()
    }


def _value_rows(frame: pd.DataFrame, column: str, what: str) -> dict[str, Rows]:
    """The examples of each value of a column."""
    if column not in frame.columns:
        known = ", ".join(map(str, frame.columns[:8]))
        do = f"known are {known}; one that no model reads: data: {{columns: {{sensitive: [{column}]}}}}"
        raise WrongInput(f"a {what}'s column must be one that models read", column, do)
    cells = frame[column]
    values = cells.map(str).where(cells.notna(), MISSING_GROUP).to_numpy()
    distinct = sorted(set(values))
    if len(distinct) > MOST_VALUES:
        do = "name a column of categories"
        raise WrongInput(
            f"a {what}'s column must have at most {MOST_VALUES} values", f"{len(distinct)} in {column}", do
        )
    return {value: values == value for value in distinct}
