"""The runs of many trials in one transaction of MLflow's own SQLite file, where that is the tracking store.

MLflow's client takes four calls a trial, and some forty statements through an object mapper for each: a sweep
of short trials ends minutes before they are through. A page of trials is a few `executemany` here. What is
written is what the client writes, row by row (tested against it); a file with other tables than those that
are known, or with anything unusual about the experiment or a run, is left to the client.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from infra.tracking.client import TrackingUnavailable
from infra.tracking.mapping import ENDED, Point, to_milliseconds
from infra.tracking.outbox import SentState
from infra.tracking.run_index import RunIndex
from infra.tracking.run_writer import TrialWrite

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

_COLUMNS = {
    "experiments": "experiment_id name artifact_location lifecycle_stage creation_time last_update_time"
    " workspace",
    "runs": "run_uuid name source_type source_name entry_point_name user_id status start_time end_time"
    " source_version lifecycle_stage artifact_uri experiment_id deleted_time",
    "tags": "key value run_uuid",
    "params": "key value run_uuid",
    "metrics": "key value timestamp run_uuid step is_nan",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
    "datasets": "dataset_uuid experiment_id name digest dataset_source_type dataset_source dataset_schema"
    " dataset_profile",
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
}
_NEWER = "(excluded.step, excluded.timestamp, excluded.value) > (step, timestamp, value)"
_LOCK_S = 20.0  # as long as MLflow itself waits for another process that writes
_CHUNK = 500  # of ids in one statement


def send_embedded(runs: RunIndex, writes: Sequence[TrialWrite]) -> list[TrialWrite]:
    """Sends what can be sent so; what is left is for MLflow's client.

    A run that may be there already, from a process that died, is looked for by the client first.
    """
    if runs.tracking.file is None:
        return list(writes)
    mine = {
        uuid.uuid4().hex if write.begins else str(write.after.run_id): write
        for write in writes
        if write.begins is None or not runs.knows(write.key)
    }
    if not mine:
        return list(writes)
    runs.put_all({write.key: SentState() for write in mine.values() if write.begins is not None})
    taken = EmbeddedStore(runs.tracking.file).write_runs(runs.experiment_id, mine)
    runs.put_all({mine[run_id].key: replace(mine[run_id].after, run_id=run_id) for run_id in taken})
    done = {mine[run_id].key for run_id in taken}
    return [write for write in writes if write.key not in done]


class EmbeddedStore:
    """One file."""

    def __init__(self, path: Path) -> None:
        """Opens nothing yet.

        Args:
            path: the file, with MLflow's tables in it.
        """
        self._path = path

    def write_runs(self, experiment_id: str, writes: Mapping[str, TrialWrite]) -> set[str]:
        """Writes all of it or nothing.

        Args:
            experiment_id: the experiment in which runs begin.
            writes: by the run's id; one that begins gets the id that is given here.

        Returns:
            The ids that were written. What is missing is for MLflow's client, which says what is wrong.
        """
        try:
            with closing(sqlite3.connect(self._path, timeout=_LOCK_S, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                taken = _write(connection, experiment_id, writes)
                connection.execute("COMMIT")
        except sqlite3.Error as error:  # closing the connection takes back what it began
            raise TrackingUnavailable(f"{self._path.name}: {type(error).__name__}: {error}") from None
        return taken


def _write(to: sqlite3.Connection, experiment_id: str, writes: Mapping[str, TrialWrite]) -> set[str]:
    location = _find_artifacts(to, experiment_id) if _has_known_tables(to) else None
    if location is None:
        return set()
    begun = {run_id for run_id, write in writes.items() if write.begins is not None}
    taken = begun | _select_active(to, experiment_id, [run_id for run_id in writes if run_id not in begun])
    chosen = {run_id: write for run_id, write in writes.items() if run_id in taken}
    _write_states(to, experiment_id, location, chosen)
    _write_contents(to, chosen)
    _write_inputs(to, experiment_id, chosen)
    return taken


def _has_known_tables(to: sqlite3.Connection) -> bool:
    return all(
        {name for _, name, *_ in to.execute(f"PRAGMA table_info({table})")} == set(columns.split())
        for table, columns in _COLUMNS.items()
    )


def _find_artifacts(to: sqlite3.Connection, experiment_id: str) -> str | None:
    """The folder of an active experiment's artifacts, where it is one of this machine's."""
    query = "SELECT artifact_location FROM experiments WHERE experiment_id = ? AND lifecycle_stage = 'active'"
    found = to.execute(query, (int(experiment_id),)).fetchone()
    plain = found is not None and str(found[0]).startswith("file:///") and not set("?#") & set(found[0])
    return str(found[0]).rstrip("/") if plain else None


def _select_active(to: sqlite3.Connection, experiment_id: str, run_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for at in range(0, len(run_ids), _CHUNK):
        some = run_ids[at : at + _CHUNK]
        marks = ", ".join("?" * len(some))
        query = f"SELECT run_uuid FROM runs WHERE run_uuid IN ({marks}) AND lifecycle_stage = 'active'"
        found |= {
            run_id for (run_id,) in to.execute(f"{query} AND experiment_id = ?", (*some, experiment_id))
        }
    return found


def _write_states(
    to: sqlite3.Connection, experiment_id: str, location: str, writes: Mapping[str, TrialWrite]
) -> None:
    begun = [
        (
            run_id, begins.name, "UNKNOWN", "", "", begins.tags.get("mlflow.user", "unknown"), write.status,
            begins.start, _ended_at(write), "", "active", f"{location}/{run_id}/artifacts",
            int(experiment_id), None,
        )
        for run_id, write in writes.items()
        if (begins := write.begins) is not None
    ]  # fmt: skip
    to.executemany(_insert("runs"), begun)
    changed = [
        (write.status, _ended_at(write), run_id)
        for run_id, write in writes.items()
        if write.begins is None and write.status != write.before
    ]
    to.executemany("UPDATE runs SET status = ?, end_time = coalesce(?, end_time) WHERE run_uuid = ?", changed)


def _ended_at(write: TrialWrite) -> int | None:
    return to_milliseconds(write.trial.ended_at or write.at) if write.status in ENDED else None


def _write_contents(to: sqlite3.Connection, writes: Mapping[str, TrialWrite]) -> None:
    to.executemany(
        _insert("tags", "OR REPLACE"),
        [
            (name, value, run_id)
            for run_id, write in writes.items()
            for name, value in (write.tags if write.begins is None else write.begins.all_tags).items()
        ],
    )
    params = [(name, value, run_id) for run_id, w in writes.items() for name, value in w.params.items()]
    to.executemany(_insert("params"), params)
    points = [
        (name, value, at, run_id, step, 0)
        for run_id, write in writes.items()
        for name, value, at, step in write.points
    ]
    to.executemany(_insert("metrics", "OR IGNORE"), points)
    latest = [
        (name, value, at, step, 0, run_id)
        for run_id, write in writes.items()
        for name, value, at, step in _latest(write.points)
    ]
    names = ("value", "timestamp", "step", "is_nan")
    change = ", ".join(f"{name} = excluded.{name}" for name in names)
    keep = f"ON CONFLICT (key, run_uuid) DO UPDATE SET {change} WHERE {_NEWER}"
    to.executemany(f"{_insert('latest_metrics')} {keep}", latest)


def _latest(points: Iterable[Point]) -> Iterable[Point]:
    """The newest point of each metric, as MLflow orders them: by step, then time, then value."""
    newest: dict[str, Point] = {}
    for point in points:
        name, value, at, step = point
        known = newest.get(name)
        if known is None or (step, at, value) > (known[3], known[2], known[1]):
            newest[name] = point
    return newest.values()


def _write_inputs(to: sqlite3.Connection, experiment_id: str, writes: Mapping[str, TrialWrite]) -> None:
    """Only runs that begin get the data as their input: no other can have the same one already."""
    known: dict[tuple[str, str], str] = {}
    inputs, tags = [], []
    for run_id, given in _begun_inputs(writes):
        key = (given.dataset.name, given.dataset.digest)
        if key not in known:
            known[key] = _find_or_add_data(to, experiment_id, given)
        input_id = uuid.uuid4().hex
        inputs.append((input_id, "DATASET", known[key], "RUN", run_id, 0))
        tags += [(input_id, tag.key, tag.value) for tag in given.tags]
    to.executemany(_insert("inputs"), inputs)
    to.executemany(_insert("input_tags"), tags)


def _begun_inputs(writes: Mapping[str, TrialWrite]) -> Iterator[tuple[str, DatasetInput]]:
    for run_id, write in writes.items():
        if write.begins is not None:
            yield run_id, write.begins.data


def _find_or_add_data(to: sqlite3.Connection, experiment_id: str, given: DatasetInput) -> str:
    data = given.dataset
    query = "SELECT dataset_uuid FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?"
    found = to.execute(query, (int(experiment_id), data.name, data.digest)).fetchone()
    if found is not None:
        return str(found[0])
    made = uuid.uuid4().hex
    row = (data.name, data.digest, data.source_type, data.source, data.schema, data.profile)
    to.execute(_insert("datasets"), (made, int(experiment_id), *row))
    return made


def _insert(table: str, otherwise: str = "") -> str:
    columns = _COLUMNS[table].split()
    return f"INSERT {otherwise} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
