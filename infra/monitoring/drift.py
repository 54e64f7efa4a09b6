"""How far inputs and answers have drifted from what training saw, for `/metrics`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from prometheus_client.core import GaugeMetricFamily, Metric

from infra.serving.model_schema import ModelSchema
from trainers.data.distribution import TARGET, Distribution, count_values, empty_counts, stability_index

if TYPE_CHECKING:
    from infra.serving.scoring_protocol import RequestRows
    from trainers.types import Cell

ROWS_A_SECOND = 200  # looked at; more would cost time that answers need
WINDOW_ROWS = 5_000  # of a half; figures cover the newest half that is full and the one that fills
LEAST_ROWS = 200  # before anything is told
MOST_COLUMNS = 200


def answer_value(record: Mapping[str, Cell]) -> Cell:
    """What a record answers: its class, or its number or text."""
    return record.get("label", record.get("prediction"))


class DriftWindow:
    """Counts of one version's newest rows, beside those of its training."""

    def __init__(self, known: Mapping[str, Distribution]) -> None:
        self._known = dict(list(known.items())[:MOST_COLUMNS])
        self._former: dict[str, list[int]] = {}
        self._former_rows = 0
        self._start_half()

    @property
    def rows(self) -> int:
        """How many are counted."""
        return self._rows + self._former_rows

    def add_rows(self, columns: Mapping[str, list[Cell]], answers: list[Cell]) -> None:
        """Counts rows, the answers as the column `TARGET`."""
        if self._rows >= WINDOW_ROWS:
            self._former, self._former_rows = self._counts, self._rows
            self._start_half()
        for name, known in self._known.items():
            values = answers if name == TARGET else columns.get(name, [])
            counts = self._counts[name]
            for place, count in enumerate(count_values(known, values)):
                counts[place] += count
        self._rows += len(answers)

    def indices(self) -> dict[str, float]:
        """Column → its stability index; nothing until there are enough rows."""
        if self.rows < LEAST_ROWS:
            return {}
        return {
            name: stability_index(known["counts"], self._both_halves(name))
            for name, known in self._known.items()
        }

    def _both_halves(self, name: str) -> list[int]:
        counts = self._counts[name]
        return [a + b for a, b in zip(counts, self._former.get(name, [0] * len(counts)), strict=True)]

    def _start_half(self) -> None:
        self._counts = {name: empty_counts(known) for name, known in self._known.items()}
        self._rows = 0


class DriftWatch:
    """Watches answers, a share of them where there are many, and tells Prometheus."""

    def __init__(self) -> None:
        self._windows: dict[str, DriftWindow] = {}
        self._second, self._left = 0.0, ROWS_A_SECOND

    def observe(
        self,
        version: str,
        schema: ModelSchema,
        rows: RequestRows,
        records: Sequence[Mapping[str, Cell]],
        request_id: str,
    ) -> None:
        """As `infra.serving.service.Observer`."""
        taken = self._take_rows(rows.count)
        if not taken or not schema.distribution:
            return
        if version not in self._windows:
            self._windows[version] = DriftWindow(cast("Mapping[str, Distribution]", schema.distribution))
        every = slice(0, None, -(-rows.count // taken))
        columns = {name: values[every] for name, values in rows.columns.items()}
        self._windows[version].add_rows(columns, [answer_value(record) for record in records[every]])

    def _take_rows(self, wanted: int) -> int:
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._second, self._left = now, ROWS_A_SECOND
        taken = min(wanted, self._left)
        self._left -= taken
        return taken

    def collect(self) -> Iterator[Metric]:
        """As Prometheus' registry calls it."""
        drift = GaugeMetricFamily(
            "velodrome_drift", "Population stability index of the newest rows against training's",
            labels=["version", "what", "column"],
        )  # fmt: skip
        rows = GaugeMetricFamily("velodrome_drift_rows", "Rows that it is of", labels=["version"])
        for version, window in list(self._windows.items()):
            rows.add_metric([version], window.rows)
            for name, value in window.indices().items():
                what = ["answer", "answer"] if name == TARGET else ["input", name]
                drift.add_metric([version, *what], value)
        yield drift
        yield rows
