"""`velodrome drift`: what a server was asked and answered, beside what its model's training saw."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flows.inference.model_lookup import choose_model, fetch_artifact
from flows.terminal.json_results import PlainResult
from infra.errors import WrongInput
from infra.home import Home
from infra.monitoring.drift import answer_value
from infra.monitoring.prediction_log import ANSWER, INPUT
from trainers.bundle.bundle import MODEL
from trainers.data.distribution import TARGET, Distribution, count_values, empty_counts, stability_index

if TYPE_CHECKING:
    import pyarrow as pa

    from trainers.types import Cell

MODERATE, LARGE = 0.1, 0.25
LEAST_ROWS = 200
BATCH_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDrift:
    """One column's, or the answers'.

    Attributes:
        index: the population stability index, less what chance makes of it.
        verdict: `same` below 0.1, `moved` below 0.25, then `drifted`; `few rows` where that cannot be told.
        missing: the share without a value, in training and now.
        unseen: the share of categories that training did not list, or of numbers beyond its range.
    """

    column: str
    what: str
    index: float
    verdict: str
    missing: tuple[float, float]
    unseen: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport(PlainResult):
    """Of one version.

    Attributes:
        columns: the largest index first.
        since, until: times of the first and the last row, ISO 8601.
    """

    version: str
    rows: int
    since: str
    until: str
    columns: tuple[ColumnDrift, ...]


def drift(model: str, log: Path | str, *, home: Home | None = None) -> DriftReport:
    """Compares the rows that a server kept (`serve --log-predictions`) with the training of their version.

    Args:
        model: as `serve` takes it; of a registered model its champion.
        log: the folder of predictions.

    Raises:
        WrongInput: no such model or folder, no rows of the version, or a version that does not know how its
            training's values were distributed.
        Unavailable: the registry does not answer.
    """
    place = home or Home.from_environment()
    artifact = fetch_artifact(choose_model(model, place), place)
    known = _training_distributions(artifact.key, artifact.files)
    counts, seen = {name: empty_counts(found) for name, found in known.items()}, _LogSpan()
    beyond = dict.fromkeys(known, 0)
    for table in _logged_rows(Path(log), artifact.key, seen):
        for name, found in known.items():
            values = _column_values(table, name)
            beyond[name] += _count_beyond(found, values)
            counts[name] = [a + b for a, b in zip(counts[name], count_values(found, values), strict=True)]
    if not seen.rows:
        others = ", ".join(sorted(seen.versions)) or "no rows at all"
        do = "name the version: velodrome drift MODEL/N DIR"
        raise WrongInput(f"{log} must hold rows of {artifact.key}", others, do)
    columns = [_compare(name, found, counts[name], beyond[name], seen.rows) for name, found in known.items()]
    columns.sort(key=lambda column: -column.index)
    return DriftReport(
        version=artifact.key, rows=seen.rows, since=seen.since, until=seen.until, columns=tuple(columns)
    )


def _training_distributions(key: str, files: Mapping[str, bytes]) -> Mapping[str, Distribution]:
    facts = json.loads(files.get(MODEL, b"{}")).get("facts", {})
    found = facts.get("distribution")
    if not found:
        do = "train it again: bundles of this version of Velodrome and later keep that"
        raise WrongInput("the model must know how its training's values were distributed", key, do)
    return cast("Mapping[str, Distribution]", found)


class _LogSpan:
    """What was met in a log while it was read."""

    def __init__(self) -> None:
        self.rows, self.since, self.until = 0, "", ""
        self.versions: set[str] = set()

    def add(self, table: pa.Table) -> None:
        """Rows of the version."""
        times = [moment.isoformat() for moment in table.column("at").to_pylist()]
        self.rows += len(times)
        self.since = min([*([self.since] if self.since else []), *times])
        self.until = max([self.until, *times])


def _logged_rows(folder: Path, version: str, seen: _LogSpan) -> Iterator[pa.Table]:
    """The version's rows, some at a time; half-written files have names with a dot first."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    files = sorted(folder.glob("[!.]*.parquet")) if folder.is_dir() else []
    if not files:
        raise WrongInput("the log of predictions must be a folder of Parquet files", str(folder))
    for file in files:
        try:
            with parquet.ParquetFile(file) as opened:
                for batch in opened.iter_batches(BATCH_ROWS):
                    table = pa.Table.from_batches([batch])
                    seen.versions |= set(pc.unique(table.column("version")).to_pylist())
                    ours = table.filter(pc.equal(table.column("version"), version))
                    if len(ours):
                        seen.add(ours)
                        yield ours
        except (pa.ArrowException, OSError, KeyError) as error:
            found = f"{file.name}: {str(error).splitlines()[0][:200]}"
            raise WrongInput("the log of predictions must be what a server wrote", found) from error


def _column_values(table: pa.Table, name: str) -> list[Cell]:
    if name != TARGET:
        column = f"{INPUT}{name}"
        return table.column(column).to_pylist() if column in table.column_names else [None] * len(table)
    keys = [key for key in ("label", "prediction") if f"{ANSWER}{key}" in table.column_names]
    answers = {key: table.column(f"{ANSWER}{key}").to_pylist() for key in keys[:1]}
    return [answer_value(dict(zip(answers, row, strict=True))) for row in zip(*answers.values(), strict=True)]


def _count_beyond(known: Distribution, values: list[Cell]) -> int:
    """Numbers outside of training's range; categories are told by their place."""
    least, most = known["least"], known["most"]
    if known["kind"] != "number" or least is None or most is None:
        return 0
    return sum(isinstance(value, (int, float)) and not least <= value <= most for value in values)


def _compare(name: str, known: Distribution, counts: list[int], beyond: int, rows: int) -> ColumnDrift:
    index = stability_index(known["counts"], counts)
    verdict = "same" if index < MODERATE else "moved" if index < LARGE else "drifted"
    unseen = counts[-2] if known["kind"] == "category" else beyond
    return ColumnDrift(
        column=name or "answer", what="input" if name else "answer", index=index,
        verdict=verdict if rows >= LEAST_ROWS else "few rows",
        missing=(known["missing"], counts[-1] / max(1, sum(counts))), unseen=unseen / rows,
    )  # fmt: skip
