"""From a source's raw columns to a data set: kinds, roles, task, usable rows, split, fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt

from trainers.data import hashing
from trainers.data.assembly.answer_places import places_digest
from trainers.data.assembly.classes import find_classes
from trainers.data.assembly.column_names import ColumnNames, find_answer_columns, fold_name
from trainers.data.assembly.column_roles import TARGETS, ColumnRoles, KindOf, decide_roles
from trainers.data.assembly.interactions import find_interactions, note_newcomers
from trainers.data.assembly.sensitive import check_judged_groups, describe_groups, digest_groups, read_groups
from trainers.data.assembly.sides import (
    choose_sides,
    hash_groups,
    hash_inputs,
    note_few_different,
    note_thin_parts,
)
from trainers.data.assembly.task_choice import decide_task, read_task
from trainers.data.assembly.usable_rows import select_usable
from trainers.data.audio import describe_clips
from trainers.data.column_kinds import convert_columns, kind_of
from trainers.data.column_readings import ReadColumns, read_columns
from trainers.data.dataset import Column, ColumnKind, ColumnReading, Dataset, Task
from trainers.data.prepare import read_prepare
from trainers.data.raw import RawDataset
from trainers.data.split import SplitRule
from trainers.errors import InputError
from trainers.types import Json

RULES = "sides by inputs, numbers by their spelling"  # part of the fingerprint: other rules, another split


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
    usable, starts, dropped = select_usable(usable, roles, task, kind, drop, by_time)
    columns, target = _convert_columns(usable, roles, task, kind, read.readings)
    classes, notes = find_classes(target, task, raw.notes)
    assert usable.inputs is not None
    assert usable.content is not None
    late = [name for name in read.of_late if name in (*roles.features, roles.target)]
    rules = [*([["read of late", *sorted(late)]] if late else []), *digest_groups(usable, named.sensitive)]
    dataset = Dataset(
        kind=roles.kind,
        task=task,
        columns=columns,
        target=target,
        classes=classes,
        row_hashes=usable.content,
        input_hashes=usable.inputs,
        keyed_by="copies" if rule.by == "row" else "content" if former else "inputs",
        fingerprint=_fingerprint(usable, roles, task, starts, rules if former else [*rules, RULES]),
        source=str(spec["source"]),
        prepare=prepare,
        answer_starts=starts,
        groups=read_groups(usable, named.sensitive, roles.target, task),
        notes=(*raw.notes, *read.notes, *roles.notes, *why, *dropped, *notes),
    )
    return _split(dataset, usable, roles, rule)


def _fingerprint(
    usable: RawDataset,
    roles: ColumnRoles,
    task: Task | None,
    starts: npt.NDArray[np.int64] | None,
    rules: Iterable[object],
) -> str:
    assert usable.content is not None
    places = places_digest(usable.content, starts)
    facts = (sorted(roles.features), roles.target, task, *places, *rules)
    return hashing.fingerprint(usable.content, usable.part, *facts)


def _split(dataset: Dataset, usable: RawDataset, roles: ColumnRoles, rule: SplitRule) -> Dataset:
    """The data set with its sides, and what there is to say of them behind what is said already."""
    splits, notes = choose_sides(usable, roles, rule, dataset.row_keys())
    together = hash_groups(usable, roles, dataset.row_keys()) if rule.by == "group" else None
    columns = dataset.columns
    if roles.kind == "interactions":
        notes += note_newcomers(columns, splits)
    check_judged_groups(dataset.groups, splits)
    thin = note_thin_parts(splits, dataset.target, dataset.classes)
    few = note_few_different(splits, dataset.input_hashes, dataset.keyed_by)
    clips = [describe_clips(column, splits["train"]) for column in columns.values() if column.kind == "audio"]
    said = (*dataset.notes, *describe_groups(dataset.groups), *notes, *few, *thin, *clips)
    return replace(dataset, splits=splits, together=together, notes=said)


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
