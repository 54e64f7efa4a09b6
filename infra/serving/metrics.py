"""What `/metrics` tells Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from infra.serving.alias_follower import ServingState
    from infra.serving.batching import Batcher

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ServingMetrics:
    """Counters of one server; asked for in Prometheus' text format."""

    def __init__(self, batcher: Batcher, standing: ServingState) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "velodrome_requests", "Requests by version and status", ["version", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "velodrome_request_seconds", "Seconds from a request's headers to its answer",
            registry=self._registry, buckets=_SECONDS,
        )  # fmt: skip
        self._rows = Counter("velodrome_rows", "Rows answered", ["version"], registry=self._registry)
        self._shadow = Counter(
            "velodrome_shadow_rows", "Rows that the challenger answered too, by outcome", ["outcome"],
            registry=self._registry,
        )  # fmt: skip
        self._canary = Counter(
            "velodrome_canary_requests", "Requests that went to the challenger first", ["outcome"],
            registry=self._registry,
        )  # fmt: skip
        self._registry.register(_StateCollector(batcher, standing))

    def count_request(self, version: str | None, status: int, rows: int, seconds: float) -> None:
        """A request has ended."""
        name = version or "none"
        self._requests.labels(name, str(status)).inc()
        self._seconds.observe(seconds)
        if status == 200:
            self._rows.labels(name).inc(rows)

    def count_shadow_rows(self, outcome: str, rows: int) -> None:
        """The challenger answered rows too: `agreed`, `differed`, `failed` or `skipped`."""
        self._shadow.labels(outcome).inc(rows)

    def count_canary_request(self, outcome: str) -> None:
        """A request went to the challenger first: `answered` or `failed`."""
        self._canary.labels(outcome).inc()

    def metric_value(self, name: str, **labels: str) -> float:
        """One figure as it is now; 0 where nothing was counted."""
        return self._registry.get_sample_value(name, labels) or 0.0

    def metrics_text(self) -> bytes:
        """All figures."""
        return generate_latest(self._registry)


class _StateCollector:
    """Figures that stand elsewhere already."""

    def __init__(self, batcher: Batcher, standing: ServingState) -> None:
        self._batcher, self._standing = batcher, standing

    def collect(self) -> Iterator[Metric]:
        waiting, standing = self._batcher, self._standing
        yield GaugeMetricFamily("velodrome_waiting_rows", "Rows not yet computed", waiting.waiting_rows)
        yield CounterMetricFamily("velodrome_batches", "Batches sent to replicas", waiting.batches)
        yield CounterMetricFamily("velodrome_batched_rows", "Rows in those batches", waiting.batched_rows)
        yield CounterMetricFamily("velodrome_batch_retries", "Batches sent once more", waiting.retries)
        yield CounterMetricFamily("velodrome_swaps", "Versions that replaced another", standing.swaps)
        age = time.time() - standing.polled_at if standing.polled_at else 0.0
        yield GaugeMetricFamily("velodrome_registry_age_seconds", "Since the registry last answered", age)
        yield GaugeMetricFamily(
            "velodrome_refused_versions", "Versions that did not load", len(standing.refused)
        )
        info = GaugeMetricFamily("velodrome_version_info", "What answers now", labels=["role", "version"])
        for role, version in standing.answering.items():
            if version:
                info.add_metric([role, version], 1)
        yield info
