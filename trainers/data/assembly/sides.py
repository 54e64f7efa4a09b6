"""Which part each row of a source goes to, and what to say of the parts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trainers.data import hashing
from trainers.data.assembly.column_roles import ColumnRoles
from trainers.data.assembly.interactions import place_in_users
from trainers.data.column_kinds import convert_columns
from trainers.data.dataset import Column, Dataset, KeyedBy, Part
from trainers.data.mixing import Hashes
from trainers.data.raw import RawDataset, column_hashes
from trainers.data.split import PARTS, RowFacts, Rows, SplitRule, split_rows
from trainers.errors import InputError
from trainers.wording import count_of

REGULAR = 0.8  # of the intervals between times, from which on others are gaps


def choose_sides(
    raw: RawDataset, roles: ColumnRoles, rule: SplitRule, keys: npt.NDArray[np.uint64]
) -> tuple[dict[Part, Rows], tuple[str, ...]]:
    """The rows of each part, and notes."""
    facts = _row_facts(raw, roles, rule, keys)
    splits, notes = split_rows(rule, facts)
    assert raw.inputs is not None
    _check_parts(splits, raw.inputs, rule.by)
    if roles.time and facts.time is not None:
        notes = (*notes, *_note_times(roles.time, facts.time))
    return splits, notes


def _note_times(name: str, time: npt.NDArray[np.float64]) -> list[str]:
    """Times that several rows have, and gaps where the others come at one interval."""
    different = np.unique(time)
    notes = []
    if repeated := len(time) - len(different):
        have = count_of(repeated, "row has", "rows have")
        notes.append(f"{have} the {name} of another: no order is between them")
    steps = np.diff(different)
    usual = float(np.median(steps)) if len(steps) else 0.0
    regular, gaps = (steps == usual).mean() if len(steps) else 0.0, int((steps > usual).sum())
    if regular > REGULAR and gaps:
        notes.append(
            f"column {name!r} steps by {usual:,g}, with {gaps:,} gaps: a window of rows does not see them"
        )
    return notes


def leave_out_rows(dataset: Dataset, listed: Hashes, file: str) -> Dataset:
    """The data set without the listed rows in any part; all others stay where they are.

    They keep their places in the columns: what decides a row's side (its copies, its time) counts them still.

    Args:
        listed: hashes of rows with their targets.
        file: that lists them.

    Raises:
        InputError: none of them is there, or train or validation has no other row.
    """
    out = np.isin(dataset.row_hashes, listed)
    splits = {part: rows[~out[rows]] for part, rows in dataset.splits.items()}
    gone = {part: len(rows) - len(splits[part]) for part, rows in dataset.splits.items()}
    found = np.unique(dataset.row_hashes[out])
    if not len(found):
        do = "list rows as `velodrome inspect` does; a row whose label was corrected is another row"
        must = "data.drop_rows must list rows of the data"
        raise InputError(must, f"none of {len(listed):,} in {file}", do, key=("data", "drop_rows"))
    _check_parts(splits, dataset.input_hashes)
    counts = ", ".join(f"{count:,} of {part}" for part, count in gone.items() if count)
    notes = [f"drop_rows leaves out {count_of(sum(gone.values()), 'row')}: {counts}"]
    if len(found) < len(listed):
        notes.append(f"{len(listed) - len(found):,} of {len(listed):,} rows of {file} are not in the data")
    document = f"{dataset.fingerprint} without {found.tolist()}"
    return replace(
        dataset,
        splits=splits,
        notes=(*dataset.notes, *notes),
        fingerprint=hashlib.sha256(document.encode()).hexdigest()[:32],
    )


def hash_inputs(raw: RawDataset, roles: ColumnRoles) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Hashes of each row's features, and of its features and target, uint64 [N] each.

    A series that is learned from its own past alone has no features: its rows differ by their times.
    """
    parts = {name: column_hashes(raw.columns[column]) for name, column in roles.features.items()}
    seen = parts or ({"\0time": column_hashes(raw.columns[roles.time])} if roles.time else {})
    inputs = hashing.hash_rows(seen, raw.rows)
    if roles.target is None:
        return inputs, inputs
    parts["\0target"] = column_hashes(raw.columns[roles.target])
    return inputs, hashing.hash_rows(parts, raw.rows)


def hash_groups(
    raw: RawDataset, roles: ColumnRoles, keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64] | None:
    """The hash of each row's group, uint64 [N]; rows without one stand alone. None where none is named."""
    if not roles.group:
        return None
    found = column_hashes(raw.columns[roles.group])
    return np.where(found == hashing.MISSING, keys, found)


def _row_facts(
    raw: RawDataset, roles: ColumnRoles, rule: SplitRule, keys: npt.NDArray[np.uint64]
) -> RowFacts:
    group, time = hash_groups(raw, roles, keys), None
    if roles.time and rule.by == "time":
        time = np.asarray(
            convert_columns({roles.time: raw.columns[roles.time]}, {roles.time: "time"}, None)[
                roles.time
            ].values
        )
    elif raw.kind == "corpus" and rule.by == "time":  # a text is read from its beginning to its end
        time = np.arange(raw.rows, dtype=np.float64)
    place = None
    if rule.by == "user" and roles.kind == "interactions" and roles.time:
        place = place_in_users(raw, roles)
    return RowFacts(key=keys, group=group, time=time, place=place, part=raw.part)


def _check_parts(splits: Mapping[Part, Rows], inputs: npt.NDArray[np.uint64], by: str = "") -> None:
    different = len(np.unique(inputs))
    for part in PARTS[:2]:
        if not len(splits[part]):
            do = f"give {part} a larger share in data.split, another salt, or more rows"
            if different < len(inputs) / 2:
                do = "copies stay together; where rows repeat by nature write data.split: {by: row}"
            if by == "group":
                do = f"a group is never parted: give {part} a larger share, another salt, or more groups"
            found = f"none of {len(inputs):,} rows, {different:,} different"
            raise InputError(f"the {part} part must have rows", found, do, key=("data", "split"))


def note_few_different(
    splits: Mapping[Part, Rows], inputs: npt.NDArray[np.uint64], keyed_by: KeyedBy
) -> list[str]:
    """A note for each part whose rows are mostly copies of one another, as a model sees them."""
    if keyed_by == "copies":
        different = len(np.unique(inputs))
        said = f"{len(inputs):,} rows, {different:,} different as a model sees them"
        return [f"split by row: each copy has a side of its own ({said})"]
    counts = {part: (len(rows), len(np.unique(inputs[rows]))) for part, rows in splits.items() if len(rows)}
    return [
        f"{part}: {rows:,} rows, {different:,} different as a model sees them"
        for part, (rows, different) in counts.items()
        if different <= rows / 2
    ]


def note_thin_parts(splits: Mapping[Part, Rows], target: Column | None, classes: Sequence[str]) -> list[str]:
    """Notes about parts without rows and classes that a part never sees."""
    notes = [] if len(splits["test"]) else ["no rows in the test part: confirm and promote will refuse"]
    if target is None or not classes:
        return notes
    labels = target.values
    for part in PARTS:
        seen = Counter(labels[int(row)] for row in splits[part])
        absent = [label for label in classes if label not in seen]
        if absent and len(splits[part]):
            listed = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
            notes.append(f"{count_of(len(absent), 'class has', 'classes have')} no row in {part}: {listed}")
    return notes
