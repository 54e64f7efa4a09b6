"""A data set from the `data` mapping of a sweep file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from trainers.data.dataset import Dataset, Task
from trainers.data.disk.paths import locate_source
from trainers.data.raw import RawDataset, check_names
from trainers.data.sources.schemes import SCHEMES
from trainers.errors import InputError
from trainers.nearest import advice
from trainers.types import Json

KEYS = ("source", "task", "columns", "prepare", "read", "split", "drop_rows")
BUILTIN = ("digits", "diabetes", "cancer", "docstrings", "photos")


def open_dataset(
    spec: Mapping[str, Json], *, base: Path, cache: Path, recorded: str | None = None
) -> Dataset:
    """Reads a source and decides what its columns are, what is learned, and which row is in which part.

    Nothing is unpickled, whatever the source holds. What is too large for memory is copied once into
    `cache` as memory-mapped files, under a lock, so that several processes may ask at once.

    Args:
        spec: the sweep file's `data`: source, task, columns, prepare, split, drop_rows.
        base: the folder that relative paths start from.
        cache: a folder for what is worth keeping between calls; safe to delete at any time.
        recorded: the fingerprint that it had when it was first used, where that is known; see
            `assemble_dataset`.
    """
    check_names(spec, KEYS, "data")
    scheme, _, rest = read_source(spec.get("source")).partition(":")
    if scheme == "none":
        if spec.get("drop_rows") is not None:
            do = "leave them out in your own code"
            raise InputError(
                "data.drop_rows needs data that Velodrome reads", "source none", do, key=("data", "drop_rows")
            )
        return _empty_dataset(spec)
    from trainers.data.assembly.assemble import assemble_dataset

    listed = spec.get("drop_rows")
    if listed is None:
        return assemble_dataset(_read_rows(scheme, rest, spec, base, cache), spec, recorded=recorded)
    from trainers.data.assembly.sides import leave_out_rows
    from trainers.data.sources.listed_rows import read_listed_rows

    if not isinstance(listed, str) or not listed:
        raise InputError("data.drop_rows must name a CSV file", repr(listed), key=("data", "drop_rows"))
    hashes = read_listed_rows(locate_source(base, listed))  # wrong, it is told before all is read
    whole = assemble_dataset(_read_rows(scheme, rest, spec, base, cache), spec)
    return leave_out_rows(whole, hashes, listed)


def _read_rows(scheme: str, rest: str, spec: Mapping[str, Json], base: Path, cache: Path) -> RawDataset:
    read = spec.get("read") or {}
    if not isinstance(read, Mapping):
        raise InputError("data.read must be a mapping", repr(read), key=("data", "read"))
    if read and scheme != "csv":
        do = "leave it out: other files say themselves how they are read"
        raise InputError("data.read is for csv:", f"source {scheme}:{rest}", do, key=("data", "read"))
    if scheme == "builtin":
        from trainers.data.assembly.task_choice import read_task
        from trainers.data.sources.builtin import read_builtin

        return read_builtin(rest, read_task(spec.get("task")), cache)
    if scheme == "hf":
        from trainers.data.sources.hub import read_hub

        return read_hub(rest, base)
    path = locate_source(base, rest)
    if scheme == "npz":
        from trainers.data.sources.arrays import read_npz

        return read_npz(path, cache)
    if scheme in ("images", "audio"):
        from trainers.data.sources.class_folders import read_class_folders

        return read_class_folders(path, cache, "audio" if scheme == "audio" else "image")
    from trainers.data.sources.files import read_files

    return read_files(scheme, path, cache, read)


def read_source(source: Json) -> str:
    """The source as written, checked as far as its text goes.

    Raises:
        InputError: no source, or one of an unknown kind.
    """
    key = ("data", "source")
    if not isinstance(source, str) or not source:
        do = "write for instance source: csv:churn.csv"
        raise InputError("data needs a source", repr(source), do, key=key)
    scheme, colon, rest = source.partition(":")
    if scheme not in SCHEMES:
        do = (None if colon else _suggest_scheme(source)) or advice(scheme, SCHEMES)
        raise InputError("a source must be of a known kind", repr(source), do, key=key)
    if scheme == "none":
        if colon:
            raise InputError("the source none takes nothing", repr(source), key=key)
        return source
    if not rest.strip() or "\0" in rest:
        raise InputError(f"{scheme}: must name what to read", repr(source), f"write {scheme}:NAME", key=key)
    if scheme == "builtin" and rest not in BUILTIN:
        raise InputError(
            "a built-in source must be one that there is", repr(rest), advice(rest, BUILTIN), key=key
        )
    return source


def _empty_dataset(spec: Mapping[str, Json]) -> Dataset:
    document = json.dumps(spec, sort_keys=True, default=str)
    fingerprint = hashlib.sha256(document.encode()).hexdigest()[:32]
    return Dataset(
        kind="none",
        task=cast("Task | None", spec.get("task")),
        columns={},
        target=None,
        source="none",
        fingerprint=fingerprint,
        notes=("own code reads its own data: nothing is known of it here",),
    )


def _suggest_scheme(source: str) -> str | None:
    """What to write for a path whose kind its ending tells."""
    from trainers.data.disk.unpacking import bare_name
    from trainers.data.sources.files import ENDINGS

    endings = {**ENDINGS, "npz": (".npz", ".npy")}
    found = next((kind for kind, ends in endings.items() if bare_name(source).endswith(ends)), None)
    return f"write {found}:{source}" if found else None
