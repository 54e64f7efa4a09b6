"""Many that want one database: the ledger's file held by somebody else, PostgreSQL with few connections, and
MLflow's tables written by eight at once."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra.errors import LedgerUnavailable
from infra.ledger import database, views
from infra.ledger.store import Ledger
from infra.tracking.client import TrackingStore, TrackingUnavailable
from tests.faults.outcome import Outcome, Pace, case
from tests.infra.conftest import Bench, drive, family, hello, sweep
from tests.postgres import run_postgres

HOLD = """
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
held.execute("ROLLBACK")
"""
WRITERS = 8
LIMIT_S = 120.0


@case("F19", "another process holds the ledger's file locked")
def locked(folder: Path, pace: Pace) -> Outcome:
    """Writes wait for it and are then done, reads go on; who waits too long is told what holds him up."""
    held_s, path = pace.scaled(30.0), folder / "ledger.db"
    bench = Bench(folder)
    coordinator = bench.begin(sweep(family(trials=8)))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(held_s)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        began = time.monotonic()
        views.trials(bench.ledger, bench.sweep_id)
        read_s = time.monotonic() - began
        drive(coordinator, hello())
        took_s = time.monotonic() - began
    coordinator.tick()
    assert read_s < held_s / 2 < took_s
    _is_named(path)
    lost = sum(not trial.has_ended for trial in views.trials(bench.ledger, bench.sweep_id))
    bench.ledger.close()
    return Outcome(lost=lost, note=f"waited {took_s:.1f} s")


def _is_named(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
        ledger, holder = Ledger(f"sqlite:///{path}"), sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match=r"locked by another process for 0\.2 s"):
            ledger.run_transaction(lambda connection: None)
        holder.execute("ROLLBACK")
        holder.close()
        ledger.close()


@case("F21", "PostgreSQL takes eight connections, and more than eight want one")
def few_connections(folder: Path, pace: Pace) -> Outcome:
    """They wait for their turn: no command and no coordinator fails."""
    over, waits = threading.Event(), [0]

    def wait(least_s: float, most_s: float) -> float:
        waits[0] += 1
        return random.uniform(least_s, most_s)

    def look() -> int:
        looks = 0
        while not over.is_set():
            ledger = Ledger(bench.url)
            views.trials(ledger, bench.sweep_id)
            ledger.close()
            looks += 1
        return looks

    with (
        run_postgres(connections=8) as server,
        pytest.MonkeyPatch.context() as patch,
        ThreadPoolExecutor(2 * WRITERS) as pool,
    ):
        patch.setattr(database, "random", _Uniform(wait))
        bench = Bench(folder, url=server.database())
        coordinator = bench.begin(sweep(family(trials=10 if pace.fast else 200)))
        looking = [pool.submit(look) for _ in range(2 * WRITERS)]
        try:
            drive(coordinator, hello())
        finally:
            over.set()
        looks = [one.result(LIMIT_S) for one in looking]
        lost = sum(not trial.has_ended for trial in views.trials(bench.ledger, bench.sweep_id))
        bench.ledger.close()
    assert waits[0] > 0
    assert min(looks) > 0
    return Outcome(lost=lost, note=f"{sum(looks)} looks, {waits[0]} times no room")


class _Uniform:
    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self.uniform = uniform


@case("F20", "eight writers of one run of MLflow's in PostgreSQL, metrics in any order")
def many_writers(folder: Path, pace: Pace) -> Outcome:
    """No deadlock reaches anybody, and every point is there once."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    batches, names = 25, [f"m{n}" for n in range(20)]
    with run_postgres() as server:
        uri = server.database()
        client = MlflowClient(uri, registry_uri=uri)
        run_id = client.create_run(client.create_experiment("writers")).info.run_id

        def write(writer: int) -> int:
            store, chance, again = TrackingStore(uri, client), random.Random(writer), 0
            for batch in range(batches):
                step = writer * batches + batch
                metrics = [Metric(name, step / 7, 1_000 + step, step) for name in names]
                chance.shuffle(metrics)
                while not _is_written(store, run_id, metrics):
                    again += 1  # as the sender does
            return again

        with ThreadPoolExecutor(WRITERS) as pool:
            again = sum(pool.map(write, range(WRITERS)))
        found = {name: [point.step for point in client.get_metric_history(run_id, name)] for name in names}
    expected = list(range(WRITERS * batches))
    lost = sum(len(set(expected) - set(steps)) for steps in found.values())
    duplicated = sum(len(steps) - len(set(steps)) for steps in found.values())
    return Outcome(lost=lost, duplicated=duplicated, note=f"{again} of {WRITERS * batches} sent again")


def _is_written(store: TrackingStore, run_id: str, metrics: list[Any]) -> bool:
    try:
        store.call("log_batch", run_id, metrics=metrics)
    except TrackingUnavailable:
        return False
    return True
