"""From a source's raw columns to a data set: kinds, roles, task, usable rows, split, fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainers.data import hashing
from trainers.data.assembly.answer_places import find_answers, places_digest
from trainers.data.assembly.column_names import ColumnNames, find_answer_columns, fold_name, label_order
from trainers.data.assembly.column_roles import TARGETS, ColumnRoles, KindOf, decide_roles
from trainers.data.assembly.interactions import find_interactions, keep_liked, note_newcomers
from trainers.data.assembly.label_notes import note_alike_labels
from trainers.data.assembly.sensitive import check_judged_groups, describe_groups, digest_groups, read_groups
from trainers.data.assembly.sides import (
    choose_sides,
    hash_groups,
    hash_inputs,
    note_few_different,
    note_thin_parts,
)
from trainers.data.audio import describe_clips
from trainers.data.column_kinds import convert_columns, kind_of, missing_mask
from trainers.data.column_readings import ReadColumns, read_columns
from trainers.data.dataset import WITHOUT_TARGET, Column, ColumnKind, ColumnReading, Dataset, Task
from trainers.data.number_spellings import find_spelling
from trainers.data.prepare import read_prepare
from trainers.data.raw import RawColumn, RawDataset, RawFiles
from trainers.data.split import SplitRule
from trainers.errors import InputError
from trainers.nearest import advice
from trainers.storage.shared_folders import shared_folder
from trainers.types import Json
from trainers.wording import count_of

TASKS: tuple[Task, ...] = get_args(Task)
FEW_CLASSES = 20
FEWEST_WORDS_OF_TEXT = 3  # on average
RULES = "sides by inputs, numbers by their spelling"  # part of the fingerprint: other rules, another split
MOST_LOOKED_AT, MOST_NAMED = 200, 4


def assemble_dataset(raw: RawDataset, spec: Mapping[str, Json], *, recorded: str | None = None) -> Dataset:
    """The data set that a sweep file's `data` makes of a source's rows.

    Args:
        recorded: the fingerprint that the data had when it was first used. Where the rules of before gave it
            (sides by inputs and target, numbers in other spellings as words), they are followed again.

    Raises:
        InputError: the file asks for what cannot be made of them; says which key is to blame.
    """
    if not raw.rows:
        do = "name a source that has some below its columns' names"
        raise InputError("data must have rows", f"none in {spec['source']}", do, key=("data", "source"))
    if recorded is None:
        return _assemble(raw, spec, former=False)
    try:
        now = _assemble(raw, spec, former=False)
    except InputError:
        return _assemble(raw, spec, former=True)
    if now.fingerprint == recorded:
        return now
    try:
        then = _assemble(raw, spec, former=True)
    except InputError:
        return now
    return then if then.fingerprint == recorded else now


def _assemble(raw: RawDataset, spec: Mapping[str, Json], *, former: bool) -> Dataset:
    task = read_task(spec.get("task"))
    prepare = read_prepare(spec.get("prepare") or {})
    rule = SplitRule.read(_read_mapping(spec, "split"))
    written = _read_mapping(spec, "columns")
    named = ColumnNames.read(written, raw)
    read = _read_columns(raw, written, named, task, former)
    kind = cache(lambda name: read.kinds.get(name) or kind_of(name, read.raw.columns[name]))
    roles = find_interactions(read.raw, named, task or raw.task)
    roles = roles or decide_roles(read.raw, named, task or raw.task, kind)
    rule = _rule_of_interactions(rule, roles, spec)
    task, why = decide_task(read.raw, roles, task, kind)
    inputs, content = hash_inputs(raw, roles)  # as they are written, however they are read
    usable = replace(read.raw, inputs=inputs, content=content)
    drop, by_time = prepare["missing"] == "drop", rule.by == "time"
    usable, starts, dropped = _select_usable(usable, roles, task, kind, drop, by_time)
    columns, target = _convert_columns(usable, roles, task, kind, read.readings)
    classes, notes = _find_classes(target, task, raw.notes)
    assert usable.inputs is not None
    assert usable.content is not None
    of_late = [name for name in read.of_late if name in (*roles.features, roles.target)]
    facts = (
        sorted(roles.features), roles.target, task, *places_digest(usable.content, starts),
        *([["read of late", *sorted(of_late)]] if of_late else []),
        *digest_groups(usable, named.sensitive),
    )  # fmt: skip
    dataset = Dataset(
        kind=roles.kind,
        task=task,
        columns=columns,
        target=target,
        classes=classes,
        row_hashes=usable.content,
        input_hashes=usable.inputs,
        keyed_by="copies" if rule.by == "row" else "content" if former else "inputs",
        fingerprint=hashing.fingerprint(usable.content, usable.part, *facts, *(() if former else (RULES,))),
        source=str(spec["source"]),
        prepare=prepare,
        answer_starts=starts,
        groups=read_groups(usable, named.sensitive, roles.target, task),
    )
    splits, split_notes = choose_sides(usable, roles, rule, dataset.row_keys())
    together = hash_groups(usable, roles, dataset.row_keys()) if rule.by == "group" else None
    if roles.kind == "interactions":
        split_notes += note_newcomers(columns, splits)
    check_judged_groups(dataset.groups, splits)
    said = (
        *raw.notes,
        *read.notes,
        *roles.notes,
        *why,
        *dropped,
        *notes,
        *describe_groups(dataset.groups),
        *split_notes,
    )
    thin = note_thin_parts(splits, target, classes)
    few = note_few_different(splits, usable.inputs, dataset.keyed_by)
    clips = [describe_clips(column, splits["train"]) for column in columns.values() if column.kind == "audio"]
    return replace(dataset, splits=splits, together=together, notes=(*said, *few, *thin, *clips))


def _rule_of_interactions(rule: SplitRule, roles: ColumnRoles, spec: Mapping[str, Json]) -> SplitRule:
    """By time where there is one and nothing else is written: what comes next is what is to be told."""
    if roles.kind == "interactions" and roles.time and "by" not in _read_mapping(spec, "split"):
        return replace(rule, by="time")
    return rule


def _read_columns(
    raw: RawDataset, written: Mapping[str, Json], named: ColumnNames, task: Task | None, former: bool
) -> ReadColumns:
    if former or raw.kind == "corpus":
        return ReadColumns(raw=raw, kinds={}, readings={}, of_late=(), notes=())
    targets = {named.target, raw.target, *(name for name in raw.columns if fold_name(name) in TARGETS)}
    few_are_classes = frozenset() if task == "regression" else frozenset(filter(None, targets))
    aside = {
        *named.drop,
        *named.id,
        *named.sensitive,
        named.text,
        named.input,
        named.reference,
        *find_answer_columns(named, raw),
    }
    return read_columns(raw, written.get("types"), few_are_classes, aside)


def _read_mapping(spec: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    value = spec.get(key) or {}
    if not isinstance(value, Mapping):
        raise InputError(f"data.{key} must be a mapping", repr(value), key=("data", key))
    return value


def read_task(task: Json) -> Task | None:
    """The task as written, checked.

    Raises:
        InputError: it is not one that there is.
    """
    found = next((known for known in TASKS if known == task), None)
    if found is None and task is not None:
        do = advice(str(task), TASKS)
        raise InputError("task must be one that there is", repr(task), do, key=("data", "task"))
    return found


def decide_task(
    raw: RawDataset, roles: ColumnRoles, given: Task | None, kind: KindOf
) -> tuple[Task | None, tuple[str, ...]]:
    """The task and, where it was inferred, why."""
    if given is not None:
        _check_task(given, roles, kind)
        return given, ()
    if raw.task is not None and (raw.target == roles.target or roles.kind in ("corpus", "pairs")):
        return raw.task, ()
    if roles.kind == "corpus":
        return "language-model", ("task language-model: texts without a target",)
    if roles.kind == "pairs":
        return "seq2seq", ("task seq2seq: an input and a target text",)
    if roles.kind == "interactions":
        return "recommendation", ("task recommendation: users and items, and no target",)
    if roles.kind == "questions":
        return "question-answering", ("task question-answering: answers are to be found in a context",)
    if roles.target is None:
        why = "task reconstruction: there is no target; name one under data.columns.target"
        return "reconstruction", (f"{why}{_likely(raw, kind)}",)
    return _task_of_target(raw.columns[roles.target], roles.target, kind)


def _likely(raw: RawDataset, kind: KindOf) -> str:
    """The columns that somebody may want to foretell: of few words, and the last."""
    columns = [name for name, column in raw.columns.items() if not isinstance(column, RawFiles)]
    words = [name for name in columns[:MOST_LOOKED_AT] if kind(name) == "category"]
    named = [*dict.fromkeys([*words[:MOST_NAMED], *columns[-1:]])]
    return f": {', '.join(named)}, …?" if len(columns) > 1 else ""


def _check_task(task: Task, roles: ColumnRoles, kind: KindOf) -> None:
    if task in ("classification", "regression") and roles.target is None:
        do = "name one under data.columns.target"
        raise InputError(f"{task} needs a target", "none", do, key=("data", "columns", "target"))
    if task == "regression" and roles.target and kind(roles.target) != "number":
        found = f"{kind(roles.target)} in column {roles.target!r}"
        do = f"columns.types: {{{roles.target}: number}} leaves out the rows in which it is none"
        if kind(roles.target) == "time":
            do = "write it as a number of days or of seconds"
        must = "a regression's target must hold numbers"
        raise InputError(must, found, do, key=("data", "columns", "target"))


def _task_of_target(column: RawColumn, name: str, kind: KindOf) -> tuple[Task, tuple[str, ...]]:
    found: ColumnKind = kind(name)
    if found != "number":
        return "classification", (f"task classification: target {name!r} holds words",)
    assert not isinstance(column, RawFiles)
    values = convert_columns({name: column}, {name: "number"}, None)[name].values
    numbers = np.asarray(values)[~np.isnan(values)]
    distinct = np.unique(numbers)
    whole = bool((distinct == np.round(distinct)).all())
    if whole and len(distinct) <= FEW_CLASSES and len(distinct) * 3 <= max(len(numbers), 6):
        why = f"task classification: target {name!r} has {len(distinct)} whole numbers"
        otherwise = "; where their size counts write task: regression" if len(distinct) > 2 else ""
        return "classification", (why + otherwise,)
    return "regression", (f"task regression: target {name!r} has {len(distinct):,} different numbers",)


def _select_usable(
    raw: RawDataset, roles: ColumnRoles, task: Task | None, kind: KindOf, drop_missing: bool, by_time: bool
) -> tuple[RawDataset, npt.NDArray[np.int64] | None, list[str]]:
    """The rows that can be learned from, of questions where their answers begin, and what was left out."""
    needed = {roles.target: "the target"} if roles.target and task not in WITHOUT_TARGET else {}
    if roles.kind in ("text", "pairs", "questions", "corpus", "image", "audio", "interactions"):
        needed |= dict.fromkeys(roles.features.values(), "what is learned from")
    elif drop_missing:
        needed |= dict.fromkeys(roles.features.values(), "a feature (prepare.missing: drop)")
    if roles.time and (by_time or roles.kind == "interactions"):
        needed[roles.time] = "the time"
    keep = np.ones(raw.rows, np.bool_)
    notes = []
    for name, what in needed.items():
        asked = roles.kind == "questions" and name in (roles.target, *roles.features.values())
        written = asked or (name == roles.target and roles.kind == "pairs")
        column_kind: ColumnKind = "text" if written else kind(name)
        missing = missing_mask(raw.columns[name], column_kind, is_code=name in raw.codes) & keep
        if missing.any():
            notes.append(f"{count_of(int(missing.sum()), 'row')} without {what} ({name}) left out")
        keep &= ~missing
    raw, starts = keep_rows(raw, keep), None
    if roles.kind == "questions" and raw.rows:
        found = find_answers(raw, roles)
        raw, starts = keep_rows(raw, found.keep), found.starts
        notes += found.notes
    if roles.kind == "interactions" and raw.rows:
        liked, said = keep_liked(raw, roles)
        raw = keep_rows(raw, liked)
        notes += said
    if not raw.rows:
        do = "fill them in, or name other columns under data.columns"
        raise InputError("data must have usable rows", "; ".join(notes), do, key=("data", "source"))
    return raw, starts, notes


def keep_rows(raw: RawDataset, keep: npt.NDArray[np.bool_]) -> RawDataset:
    """Only the rows that the mask names; on disk where the source is."""
    if keep.all():
        return raw
    raw = replace(
        raw,
        part=None if raw.part is None else raw.part[keep],
        inputs=None if raw.inputs is None else raw.inputs[keep],
        content=None if raw.content is None else raw.content[keep],
    )
    if raw.folder is None:
        return replace(raw, columns={name: _filter_column(c, keep) for name, c in raw.columns.items()})
    table = pa.table(dict(raw.columns))

    def build(aside: Path) -> None:
        """Writes the rows that stay, a piece at a time."""
        at = 0
        with (
            pa.OSFile(str(aside / "table.arrow"), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            for batch in table.to_batches(max_chunksize=hashing.CHUNK_ROWS):
                writer.write_batch(batch.filter(pa.array(keep[at : at + len(batch)])))
                at += len(batch)

    digest = hashlib.sha256(np.packbits(keep).tobytes()).hexdigest()[:16]
    folder = shared_folder(raw.folder.with_name(f"{raw.folder.name}-{digest}"), build)
    kept = pa.ipc.open_file(pa.memory_map(str(folder / "table.arrow"))).read_all()
    return replace(raw, columns={name: kept[name] for name in kept.column_names}, folder=folder)


def _filter_column(column: RawColumn, keep: npt.NDArray[np.bool_]) -> RawColumn:
    return column.keep(keep) if isinstance(column, RawFiles) else column.filter(pa.array(keep))


def _convert_columns(
    raw: RawDataset,
    roles: ColumnRoles,
    task: Task | None,
    kind: KindOf,
    readings: Mapping[str, ColumnReading],
) -> tuple[dict[str, Column], Column | None]:
    kinds: dict[str, ColumnKind] = {name: kind(name) for name in roles.features.values()}
    if roles.kind in ("text", "pairs", "questions", "corpus"):
        kinds = dict.fromkeys(kinds, "text")
    elif roles.kind == "interactions":
        kinds = dict.fromkeys(kinds, "category")
    digest = hashlib.sha256(repr(sorted(readings.items())).encode()).hexdigest()[:8]
    folder = raw.folder.with_name(f"{raw.folder.name}-derived-{digest}") if raw.folder else None
    values = convert_columns({name: raw.columns[name] for name in kinds}, kinds, folder, raw.codes)
    columns = {
        name: replace(values[column], name=name, reading=readings.get(column))
        for name, column in roles.features.items()
    }
    if roles.target is None:
        return columns, None
    target_kind = _target_kind(roles, task, kind(roles.target))
    learned = {roles.target: raw.columns[roles.target]}
    target = convert_columns(learned, {roles.target: target_kind}, folder, raw.codes)
    return columns, target[roles.target]


def _target_kind(roles: ColumnRoles, task: Task | None, found: ColumnKind) -> ColumnKind:
    if roles.kind in ("pairs", "questions"):
        return "text"
    if task == "regression":
        return "number"
    return "category" if task == "classification" or found != "number" else found


def _find_classes(
    target: Column | None, task: Task | None, read: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sorted labels (numbers by their size), and notes.

    Args:
        read: what reading said, which may be why a class is not there.

    Raises:
        InputError: fewer than two classes, or no two rows of the same one.
    """
    if target is None or target.kind != "category":
        return (), _note_constant(target)
    labels = sorted({str(label) for label in target.values if label is not None}, key=label_order)
    key = ("data", "columns", "target")
    if task == "classification" and len(labels) < 2:
        found = f"{len(labels)} in column {target.name!r}: {', '.join(labels)}"
        why = f"; {'; '.join(read)}" if read else ""
        do = f"name another data.columns.target, or add rows of another class{why}"
        raise InputError("classification needs two classes at least", found, do, key=key)
    rows = sum(label is not None for label in target.values)
    if task == "classification" and len(labels) > 2 and len(labels) > rows / 2:
        shown = ", ".join(map(repr, labels[:3]))
        found = f"{len(labels):,} classes in {rows:,} rows of column {target.name!r}: {shown}, …"
        raise InputError(
            "classification needs classes of several rows", found, _likely_reason(labels), key=key
        )
    return tuple(labels), note_alike_labels(labels)


def _likely_reason(labels: Sequence[str]) -> str:
    """What a column of nearly as many words as rows may be."""
    spelling, read = find_spelling(dict.fromkeys(labels, 1))
    if read > len(labels) / 2:
        said = f" ({spelling.describe()})" if spelling.describe() else ""
        return f"most are numbers{said}: write task: regression, or data.read: {{decimal: …}}"
    if fmean(len(label.split()) for label in labels) >= FEWEST_WORDS_OF_TEXT:
        return "is it a text to be written from another? task: seq2seq with columns: {input: …, target: …}"
    return "is it an identifier, a date or a text? name another data.columns.target"


def _note_constant(target: Column | None) -> tuple[str, ...]:
    if target is None or target.kind != "number":
        return ()
    values = np.asarray(target.values)
    return ("every row has the same target",) if len(values) and np.ptp(values) == 0 else ()
