"""Sweeps on machines in namespaces: they go where there is room, and lose nothing when the rest goes away."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from infra.errors import LedgerAbsent
from tests.cluster.clusters import RayCluster, scripted_sweep, start_cluster
from tests.faults.harness import check_tracking, until

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.long]
LIMIT_S = 900.0
SIZES = {"head": 1, "one": 2, "two": 2}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """Three machines with five processors, of which this one has fewer: the trials mostly sleep."""
    folder = tmp_path_factory.mktemp("cluster")
    with start_cluster(folder, SIZES, SCRIPTED_SLEEP="0.5") as made:
        yield made


@pytest.fixture(autouse=True)
def whole(cluster: RayCluster) -> None:
    """What a test before has cut off or killed is there again."""
    cluster.bring_back(SIZES)


def write_sweep(cluster: RayCluster, name: str, trials: int, epochs: int, every: str = "1 epoch") -> str:
    """A sweep file on the head; checkpoints are written so often."""
    path = cluster.head.home / f"{name}.yaml"
    path.write_text(scripted_sweep(name, trials, epochs, every=every))
    return path.name


def start_bad_wires(cluster: RayCluster) -> dict[str, str]:
    """The ledger and tracking by connections that are 200 ms longer and of which one in twenty is cut."""
    wires = {"db": ("5433", "5432"), "mlflow": ("5001", "5000")}
    for name, (listen, target) in wires.items():
        machine = cluster.network.machines[name]
        with (machine.home / "proxy.log").open("w") as log:
            words = ("-m", "tests.cluster.proxy", listen, target, "--delay", "0.1", "--cut", "0.05")
            machine.start(sys.executable, *words, output=log)
        ask = f"import socket; socket.create_connection(('localhost', {listen})).close()"
        machine.wait_for(sys.executable, "-c", ask)
    ledger = cluster.head.environment["VELODROME_LEDGER"]
    return {
        "VELODROME_LEDGER": ledger.replace(":5432/", ":5433/"),
        "MLFLOW_TRACKING_URI": "http://mlflow:5001",
    }


def running_on(cluster: RayCluster, name: str) -> Counter[str]:
    """How many trials run on each machine now; none while the ledger is still to be made."""
    try:
        attempts = cluster.stage.attempts(name)
    except LedgerAbsent:
        return Counter()
    return Counter(attempt.lane_facts["host"] for attempt in attempts if attempt.ended_at is None)


def check_end(cluster: RayCluster, driver: subprocess.Popen[str], name: str, trials: int) -> None:
    """The command ends with 0, and each trial ended once with all its epochs."""
    _, err = driver.communicate(timeout=LIMIT_S)
    assert driver.returncode == 0, err
    assert [trial.state for trial in cluster.stage.trials(name)] == ["complete"] * trials
    assert set(cluster.stage.ends(name).values()) == {1}
    assert len(cluster.stage.ends(name)) == trials


def test_sweep_on_three_machines_has_a_lane_on_every_processor(cluster: RayCluster) -> None:
    driver = cluster.sweep(write_sweep(cluster, "spread", trials=10, epochs=20))
    cluster.stage.wait_for("spread", lambda trials: bool(trials), LIMIT_S)
    until(lambda: running_on(cluster, "spread") == SIZES, 240)
    check_end(cluster, driver, "spread", 10)


def check_no_split(cluster: RayCluster, name: str) -> None:
    """No two attempts of a trial ran at once by the ledger, and each attempt's end is the only one."""
    by_trial: dict[int, list[tuple[float, float]]] = {}
    for attempt in cluster.stage.attempts(name):
        by_trial.setdefault(attempt.number, []).append((attempt.started_at, attempt.ended_at))
    for spans in by_trial.values():
        spans.sort()
        assert all(ended <= started for (_, ended), (started, _) in itertools.pairwise(spans))


def test_machine_that_is_cut_off_for_ninety_seconds_splits_no_trial(cluster: RayCluster) -> None:
    """What it told meanwhile is refused or counted once; others train its trials (F08)."""
    driver = cluster.sweep(write_sweep(cluster, "cut-off", trials=12, epochs=60))
    until(lambda: running_on(cluster, "cut-off")["two"] == 2, 240)
    machine = cluster.network.machines["two"]
    cluster.network.unplug(machine)
    until(lambda: running_on(cluster, "cut-off")["two"] == 0, 90)
    time.sleep(60)
    cluster.network.plug_again(machine)
    check_end(cluster, driver, "cut-off", 12)
    check_no_split(cluster, "cut-off")
    moved = [trial for trial in cluster.stage.trials("cut-off") if trial.failures]
    assert {trial.failures for trial in moved} == {1}
    assert len(moved) == 2


@pytest.mark.parametrize("away_s", [60.0, 180.0])
def test_database_that_is_away_stops_no_training(cluster: RayCluster, away_s: float) -> None:
    """Trials go on while it is away, and none is given up for its silence (F17)."""
    name = f"database-away-{away_s:.0f}"
    driver = cluster.sweep(write_sweep(cluster, name, trials=10, epochs=60))
    until(lambda: running_on(cluster, name).total() == 5, 240)
    cluster.postgres.stop("immediate")
    time.sleep(away_s)
    cluster.postgres.start()
    check_end(cluster, driver, name, 10)
    assert [attempt.outcome for attempt in cluster.stage.attempts(name)] == ["complete"] * 10


def test_sessions_that_are_ended_every_five_seconds_are_not_seen(cluster: RayCluster) -> None:
    """Each connection begins anew (F18)."""
    driver = cluster.sweep(write_sweep(cluster, "no-sessions", trials=10, epochs=60))
    until(lambda: running_on(cluster, "no-sessions").total() == 5, 240)
    over = threading.Event()

    def end_sessions() -> None:
        while not over.wait(5):
            cluster.postgres.end_sessions()

    ending = threading.Thread(target=end_sessions)
    ending.start()
    try:
        driver.wait(LIMIT_S)
    finally:
        over.set()
        ending.join()
    check_end(cluster, driver, "no-sessions", 10)
    assert [attempt.outcome for attempt in cluster.stage.attempts("no-sessions")] == ["complete"] * 10


def test_slow_and_cut_connections_make_a_sweep_slower_and_never_wrong(cluster: RayCluster) -> None:
    """At most twice as long, with checkpoints as often as a file has them by itself: each waits until the
    ledger knows what it lets a trial skip, a second and more over such a wire (F09)."""
    took = {}
    for name, environment in (("good-wires", None), ("bad-wires", start_bad_wires(cluster))):
        began = time.monotonic()
        file = write_sweep(cluster, name, trials=20, epochs=30, every="30s")
        driver = cluster.sweep(file, environment=environment)
        check_end(cluster, driver, name, 20)
        check_tracking(cluster.stage, name)
        took[name] = time.monotonic() - began
    assert took["bad-wires"] <= 2 * took["good-wires"], took


def test_trials_of_a_drained_machine_go_on_elsewhere(cluster: RayCluster) -> None:
    """A machine that is to go within 30 s gives its trials away where they are, and none is charged (F14)."""
    driver = cluster.sweep(write_sweep(cluster, "drained", trials=10, epochs=60))
    until(lambda: running_on(cluster, "drained")["two"] == 2, 240)
    machine = cluster.network.machines["two"]
    cluster.drain(machine, within_s=30)
    until(lambda: running_on(cluster, "drained")["two"] == 0, 30)
    cluster.kill_ray(machine)
    check_end(cluster, driver, "drained", 10)
    check_no_split(cluster, "drained")
    attempts = cluster.stage.attempts("drained")
    left = [attempt for attempt in attempts if attempt.outcome == "node-left"]
    assert [attempt.lane_facts["host"] for attempt in left] == ["two", "two"]
    assert {attempt.outcome for attempt in attempts} == {"node-left", "complete"}
    assert {trial.failures for trial in cluster.stage.trials("drained")} == {0}
