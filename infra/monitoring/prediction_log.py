"""Answered rows in Parquet files, so that what a model was asked can be looked at later.

A file a version and a batch of rows: `at`, `version`, `request_id`, `row`, `input.COLUMN` as the model got
it (of images their mean brightness alone), `answer.KEY`. Files are written aside, so that whoever reads the
folder sees whole ones; losing some when the process is killed never costs an answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, Metric

from infra.errors import StorageUnavailable
from infra.serving.model_schema import ModelSchema

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.serving.scoring_protocol import RequestRows
    from trainers.types import Cell

log = logging.getLogger("velodrome.serving")

EVERY_S = 5.0
MOST_WAITING = 50_000  # rows; beyond them rows are left out and counted
LEAST_FREE_BYTES = 1 << 30
INPUT, ANSWER = "input.", "answer."

Row = dict[str, Any]


class PredictionLog:
    """Keeps answered rows in a folder."""

    def __init__(self, folder: Path, share: float = 1.0, seed: int | None = None) -> None:
        """Makes the folder, for its owner alone.

        Args:
            share: of the requests that are kept, drawn at random.

        Raises:
            StorageUnavailable: it cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = folder / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            found = f"{folder}: {error.strerror}"
            do = "see --log-predictions"
            raise StorageUnavailable("the folder of predictions must be writable", found, do) from error
        self._folder, self._share, self._random = folder, share, random.Random(seed)
        self._waiting: dict[str, tuple[ModelSchema, list[Row]]] = {}
        self._files = self._count = 0
        self.written = self.dropped = 0

    def observe(
        self,
        version: str,
        schema: ModelSchema,
        rows: RequestRows,
        records: Sequence[Mapping[str, Cell]],
        request_id: str,
    ) -> None:
        """As `infra.serving.service.Observer`."""
        if self._random.random() >= self._share:
            return
        if self._count + rows.count > MOST_WAITING:
            self.dropped += rows.count
            return
        _, waiting = self._waiting.setdefault(version, (schema, []))
        at = datetime.now(UTC)
        for number, record in enumerate(records):
            inputs = {f"{INPUT}{name}": values[number] for name, values in rows.columns.items()}
            answers = {f"{ANSWER}{name}": value for name, value in record.items()}
            known = {"at": at, "version": version, "request_id": request_id, "row": number}
            waiting.append({**known, **inputs, **answers})
        self._count += rows.count

    async def write_forever(self, every_s: float = EVERY_S) -> None:
        """Writes what has gathered, again and again."""
        while True:
            await asyncio.sleep(every_s)
            await self.flush()

    async def flush(self) -> None:
        """Writes what has gathered; what cannot be written is counted and let go."""
        gathered, self._waiting, self._count = self._waiting, {}, 0
        for version, (schema, rows) in gathered.items():
            try:
                await asyncio.to_thread(self._write, version, schema, rows)
                self.written += len(rows)
            except Exception as error:  # a full disk, a value that no column takes: answers go on
                self.dropped += len(rows)
                log.warning("predictions of %s were not kept: %s", version, error)

    def _write(self, version: str, schema: ModelSchema, rows: list[Row]) -> None:
        from pyarrow import parquet

        if shutil.disk_usage(self._folder).free < LEAST_FREE_BYTES:
            raise OSError(f"less than {LEAST_FREE_BYTES >> 30} GiB are free")
        self._files += 1
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"{version.replace('/', '-')}-{stamp}-{os.getpid()}-{self._files}.parquet"
        aside = self._folder / f".{name}"
        parquet.write_table(rows_table(schema, rows), aside, compression="zstd")
        aside.chmod(0o600)
        aside.rename(self._folder / name)

    def collect(self) -> Iterator[Metric]:
        """As Prometheus' registry calls it."""
        rows = CounterMetricFamily(
            "velodrome_logged_rows", "Rows for the log of predictions", labels=["outcome"]
        )
        rows.add_metric(["written"], self.written)
        rows.add_metric(["dropped"], self.dropped)
        yield rows


def rows_table(schema: ModelSchema, rows: list[Row]) -> pa.Table:
    """Rows as a table whose columns have the types that the model's have, whatever these rows hold."""
    import pyarrow as pa

    kinds = {f"{INPUT}{column.name}": column.type for column in schema.fields}
    kinds |= {f"{ANSWER}{column.name}": column.type for column in schema.outputs}
    arrays: dict[str, pa.Array] = {
        "at": pa.array([row["at"] for row in rows], pa.timestamp("ms", tz="UTC")),
        "version": pa.array([row["version"] for row in rows], pa.string()),
        "request_id": pa.array([row["request_id"] for row in rows], pa.string()),
        "row": pa.array([row["row"] for row in rows], pa.int32()),
    }
    for name in dict.fromkeys(name for row in rows for name in row if name not in arrays):
        values = [row.get(name) for row in rows]
        arrays[name] = _typed_array(kinds.get(name, ""), values)
    return pa.table(arrays)


def _typed_array(kind: str, values: list[Cell]) -> pa.Array:
    import pyarrow as pa

    from trainers.data.cell_values import spell_value
    from trainers.data.distribution import DistributionKind, measure_value

    types: Mapping[str, pa.DataType] = {"double": pa.float64(), "long": pa.int64(), "boolean": pa.bool_()}
    if kind in types:
        return pa.array(values, types[kind])
    if kind in ("any", "audio") and any(isinstance(value, (list, bytes)) for value in values):
        of: DistributionKind = "audio" if kind == "audio" else "image"
        return pa.array([measure_value(of, value) for value in values], pa.float64())
    if all(value is None or type(value) in (int, float) for value in values):
        return pa.array(values, pa.float64())
    return pa.array([spell_value(value) for value in values], pa.string())
