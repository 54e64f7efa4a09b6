"""`velodrome status --openmetrics`: what a ledger says of its sweeps, as Prometheus reads it.

It is read from the ledger, by any machine that reaches it: a driver that has died tells nothing of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from flows.config.lookup import open_ledger
from flows.sweeps.views.status import STATES, sweep_status
from flows.sweeps.views.sweep_status import SweepStatus
from infra.errors import VelodromeError
from infra.home import Home, tracking_uri
from infra.ledger import views
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger
from infra.tracking.mapping import sweep_identity
from infra.tracking.outbox import Outbox

if TYPE_CHECKING:
    from prometheus_client import Metric

SWEEP_STATES = ("running", "finished", "stopped", "failed")


class SweepMetrics:
    """A collector of `prometheus_client` over one ledger."""

    def __init__(self, ledger: Ledger, home: Home) -> None:
        """Nothing is read yet."""
        self._ledger, self._home = ledger, home

    def collect(self) -> Iterator[Metric]:
        """As a registry calls it."""
        rows = views.sweeps(self._ledger)
        found = [(row, sweep_status(self._ledger, row)) for row in rows]
        yield from _state_metrics([status for _, status in found])
        yield from _trial_metrics([status for _, status in found])
        yield from _lane_metrics([status for _, status in found])
        yield from self._driver_metrics([row for row, status in found if row.state == "running"])

    def _driver_metrics(self, rows: list[SweepRow]) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        silent = GaugeMetricFamily(
            "velodrome_driver_silence_seconds", "Since a running sweep's driver last wrote", labels=["sweep"]
        )
        unsent = GaugeMetricFamily(
            "velodrome_unsent_events", "Events that MLflow has not got from this home", labels=["sweep"]
        )
        for row in rows:
            owner = views.owner(self._ledger, row.id)
            if owner is not None:
                silent.add_metric([row.label], owner.silent_s)
            if (count := self._count_unsent(row)) is not None:
                unsent.add_metric([row.label], count)
        yield silent
        yield unsent

    def _count_unsent(self, row: SweepRow) -> int | None:
        """None where another home sends, or a variable of the driver's environment names the store."""
        if not self._home.outbox.exists():
            return None
        try:
            uri = tracking_uri(self._home, row.spec)
        except VelodromeError:
            return None
        outbox = Outbox(self._home.outbox, uri, sweep_identity(row))
        with closing(outbox):
            known = outbox.cursor()
        return None if known is None else views.count_events(self._ledger, row.id, "*", after=known[0])


def write_metrics(home: Home | None = None) -> str:
    """All sweeps of the ledger in OpenMetrics' text format; an empty ledger has the names alone.

    Raises:
        LedgerUnavailable: it cannot be read.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    place = home or Home.from_environment()
    registry = CollectorRegistry()
    encode, _ = choose_encoder("application/openmetrics-text")
    ledger = open_ledger(place)
    if ledger is None:
        return encode(registry).decode()
    with closing(ledger):
        registry.register(SweepMetrics(ledger, place))
        return encode(registry).decode()


def _state_metrics(sweeps: list[SweepStatus]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    state = GaugeMetricFamily("velodrome_sweep", "1 for the state that it is in", labels=["sweep", "state"])
    updated = GaugeMetricFamily(
        "velodrome_sweep_updated_seconds", "When it last changed, since 1970", labels=["sweep"]
    )
    for sweep in sweeps:
        for name in SWEEP_STATES:
            state.add_metric([sweep.sweep, name], float(sweep.state == name))
        updated.add_metric([sweep.sweep], sweep.updated_at)
    yield state
    yield updated


def _trial_metrics(sweeps: list[SweepStatus]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    labels = ["sweep", "family"]
    trials = GaugeMetricFamily("velodrome_trials", "Trials by state", labels=[*labels, "state"])
    planned = GaugeMetricFamily("velodrome_trials_planned", "Trials of its budget", labels=labels)
    attempts = GaugeMetricFamily("velodrome_attempts", "Attempts at its trials", labels=labels)
    stopped = GaugeMetricFamily(
        "velodrome_families_stopped", "Families whose first trials all failed alike", labels=["sweep"]
    )
    for sweep in sweeps:
        for family, budget in sweep.planned.items():
            own = [trial for trial in sweep.trials if trial.family == family]
            for name in STATES:
                count = sum(trial.state == name for trial in own)
                trials.add_metric([sweep.sweep, family, name], count)
            planned.add_metric([sweep.sweep, family], budget)
            attempts.add_metric([sweep.sweep, family], sum(trial.attempts for trial in own))
        stopped.add_metric([sweep.sweep], len(sweep.stopped_families))
    yield from (trials, planned, attempts, stopped)


def _lane_metrics(sweeps: list[SweepStatus]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    lanes = GaugeMetricFamily("velodrome_lanes", "Lanes of a running sweep", labels=["sweep", "state"])
    waiting = GaugeMetricFamily(
        "velodrome_lanes_waiting", "1 where lanes wait for room; status says for what", labels=["sweep"]
    )
    sick = GaugeMetricFamily(
        "velodrome_sick_hosts", "Hosts on which lanes were replaced as sick", labels=["sweep"]
    )
    for sweep in sweeps:
        if sweep.lanes is not None:
            lanes.add_metric([sweep.sweep, "planned"], sweep.lanes.planned)
            lanes.add_metric([sweep.sweep, "up"], sweep.lanes.up)
            waiting.add_metric([sweep.sweep], float(bool(sweep.lanes.waits_for)))
            sick.add_metric([sweep.sweep], len(sweep.lanes.sick))
    yield from (lanes, waiting, sick)
