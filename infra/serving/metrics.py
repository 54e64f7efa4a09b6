"""What `/metrics` tells Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from infra.serving.alias_follower import ServingState
    from infra.serving.batching import Batcher
    from infra.serving.readiness import Readiness

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LABELS = ["path", "status", "version"]


class ServingMetrics:
    """Counters of one server; asked for in the text format of Prometheus or of OpenMetrics."""

    def __init__(self, batcher: Batcher, standing: ServingState) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "velodrome_requests", "Requests by path, status and version", _LABELS, registry=self._registry
        )
        self._seconds = Histogram(
            "velodrome_request_seconds", "Seconds from a request's headers to its answer", _LABELS,
            registry=self._registry, buckets=_SECONDS,
        )  # fmt: skip
        self._children: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
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

    def add_collector(self, collector: Collector) -> None:
        """Has figures that stand elsewhere told too."""
        self._registry.register(collector)

    def count_request(self, path: str, status: int, version: str | None, seconds: float) -> None:
        """A request has ended.

        Args:
            path: of those that are answered, else `other`; `none` where the request had none yet.
        """
        labels = (path, str(status), version or "none")
        if labels not in self._children:  # looking them up costs more than counting does
            self._children[labels] = self._requests.labels(*labels), self._seconds.labels(*labels)
        requests, duration = self._children[labels]
        requests.inc()
        duration.observe(seconds)

    def count_rows(self, version: str, rows: int) -> None:
        """A version has answered rows."""
        self._rows.labels(version).inc(rows)

    def count_shadow_rows(self, outcome: str, rows: int) -> None:
        """The challenger answered rows too: `agreed`, `differed`, `failed` or `skipped`."""
        self._shadow.labels(outcome).inc(rows)

    def count_canary_request(self, outcome: str) -> None:
        """A request went to the challenger first: `answered` or `failed`."""
        self._canary.labels(outcome).inc()

    def metric_value(self, name: str, **labels: str) -> float:
        """One figure as it is now; 0 where nothing was counted."""
        return self._registry.get_sample_value(name, labels) or 0.0

    def metrics_text(self, accept: str = "") -> tuple[bytes, str]:
        """All figures, and their media type.

        Args:
            accept: the request's header: OpenMetrics is given to whoever asks for it.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class ReadinessCollector:
    """Whether requests are wanted, and how many replicas there are."""

    def __init__(self, readiness: Readiness, standing: ServingState) -> None:
        self._readiness, self._standing = readiness, standing

    def collect(self) -> Iterator[Metric]:
        """As Prometheus' registry calls it."""
        ready = not self._readiness.find_objection(self._standing)
        yield GaugeMetricFamily("velodrome_ready", "Whether /health/ready says yes", float(ready))
        replicas = GaugeMetricFamily("velodrome_replicas", "Processes that compute", labels=["state"])
        running = 0 if self._readiness.trouble else self._readiness.replicas.running
        replicas.add_metric(["wanted"], self._readiness.replicas.wanted)
        replicas.add_metric(["running"], running)
        yield replicas


class _StateCollector:
    """Figures that stand elsewhere already."""

    def __init__(self, batcher: Batcher, standing: ServingState) -> None:
        self._batcher, self._standing = batcher, standing

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now, for whoever asks for the page."""
        waiting, standing = self._batcher, self._standing
        yield GaugeMetricFamily("velodrome_waiting_rows", "Rows not yet computed", waiting.waiting_rows)
        yield CounterMetricFamily("velodrome_batches", "Batches sent to replicas", waiting.batches)
        yield CounterMetricFamily("velodrome_batched_rows", "Rows in those batches", waiting.batched_rows)
        yield CounterMetricFamily("velodrome_batch_retries", "Batches sent once more", waiting.retries)
        yield CounterMetricFamily("velodrome_swaps", "Versions that replaced another", standing.swaps)
        age = 0.0 if standing.polled_at is None else time.monotonic() - standing.polled_at
        yield GaugeMetricFamily("velodrome_registry_age_seconds", "Since the registry last answered", age)
        yield GaugeMetricFamily(
            "velodrome_refused_versions", "Versions that did not load", len(standing.refused)
        )
        info = GaugeMetricFamily("velodrome_version_info", "What answers now", labels=["role", "version"])
        for role, version in standing.answering.items():
            if version:
                info.add_metric([role, version], 1)
        yield info
        state = GaugeMetricFamily(
            "velodrome_champion_state", "How the alias champion stands to the history", labels=["state"]
        )
        state.add_metric([standing.champion_state], 1)
        yield state
