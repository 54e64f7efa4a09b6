"""A home that was moved, copied or restored: MLflow's file names its artifacts by absolute paths."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlparse

_log = logging.getLogger(__name__)
_PLACES = {
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def follow_artifacts(store: sqlite3.Connection, artifacts: Path) -> int:
    """Has MLflow's file name the artifacts that lie beside it, where it names those of a former home: they
    would not be found, or new ones would be written there.

    A folder elsewhere is a former home's where a folder of the same name lies in `artifacts`. What other
    folders hold, and what can be reached by another path, stays as it is.

    Args:
        artifacts: the home's own folder of artifacts.

    Returns:
        How many experiments have another address now.
    """
    known = [str(place) for (place,) in store.execute("SELECT artifact_location FROM experiments") if place]
    moves = plan_moves(known, artifacts)
    if not moves:
        return 0
    store.execute("BEGIN IMMEDIATE")
    for before, after in moves.items():
        store.execute(
            "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (after, before)
        )
        for table, columns in _PLACES.items():
            there = {name for _, name, *_ in store.execute(f"PRAGMA table_info({table})")}
            for column in there.intersection(columns):
                change = f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                length = len(before) + 1
                store.execute(
                    f"{change} WHERE substr({column}, 1, ?) = ?", (after, length, length, f"{before}/")
                )
    store.execute("COMMIT")
    _log.warning("%d experiment(s) keep their artifacts in %s now", len(moves), artifacts)
    return len(moves)


def plan_moves(locations: list[str], artifacts: Path) -> Mapping[str, str]:
    """The addresses to replace, each with the one in `artifacts`."""
    inside = {location: split for location in locations if (split := _split(location, artifacts))}
    former = {
        root
        for root, tail in inside.values()
        if (artifacts / tail).is_dir() and not _is_same(root / tail, artifacts / tail)
    }
    return {
        location: (artifacts / tail).as_uri() if location.startswith("file:") else str(artifacts / tail)
        for location, (root, tail) in inside.items()
        if root in former
    }


def _split(location: str, artifacts: Path) -> tuple[Path, Path] | None:
    """A former home's folder of artifacts and the path in it; None for what is none, or is here already."""
    parts = urlparse(location)
    path = Path(unquote(parts.path))
    plain = parts.scheme in ("", "file") and path.is_absolute() and ".." not in path.parts
    if not plain or path.is_relative_to(artifacts):
        return None
    above = [folder for folder in path.parents if folder.name == artifacts.name]
    return (above[0], path.relative_to(above[0])) if above else None


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)
