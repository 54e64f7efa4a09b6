"""A process that trains a real sweep ahead of its lanes, without any Ray."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

from flows.sweeps.ownership import own_sweep
from flows.sweeps.preparation import prepare_sweep, sweep_facts
from flows.sweeps.session import make_drive_job
from flows.sweeps.sweep import sweep
from infra.coordinator.placement import Node
from infra.driver.driver import DriveJob
from infra.errors import RefusedError
from infra.head_start import local_line, main
from infra.head_start.begin import begin_training
from infra.head_start.orders import EXITS_BY_STATE, LEAVE, HeadStartOrders
from infra.head_start.process import SWITCH, HeadStart, spare_process
from infra.home import Home
from infra.lanes.lane_process import EXIT_ALONE
from infra.ledger import views
from infra.ledger.rows import TrialRow
from infra.ledger.store import Ledger
from tests.faults.harness import until

HERE = Node(name="here", cpus=2.0)
SPACE = {"learning_rate": {"type": "float", "low": 1e-5, "high": 1e-1}}
LONG = 200_000  # epochs: until somebody ends it


@dataclass
class Registered:
    """A sweep in a ledger that this process owns."""

    home: Home
    ledger: Ledger
    sweep_id: int
    job: DriveJob

    def trials(self) -> list[TrialRow]:
        return views.trials(self.ledger, self.sweep_id)

    def has_reported(self) -> bool:
        return any(trial.epochs for trial in self.trials())

    @property
    def state(self) -> str:
        return views.sweep_by_id(self.ledger, self.sweep_id).state


def register(folder: Path, **changes: object) -> Iterator[Registered]:
    file = {
        "name": "early", "seed": 3, "data": {"source": "builtin:cancer"},
        "objective": {"metric": "accuracy"}, "budget": {"trials": 3, "epochs": 2},
        "checkpoint": {"every": "1 epoch"}, "families": {"logistic_regression": {}}, **changes,
    }  # fmt: skip
    home = Home(folder / "home")
    prepared = prepare_sweep(file, (), home)  # type: ignore[arg-type]
    ledger = Ledger(home.ledger_url, create=True)
    made = ledger.create_sweep(
        prepared.spec, fingerprint=prepared.fingerprint, facts=sweep_facts(prepared), at=time.time()
    )
    row = views.sweep_by_id(ledger, made)
    with own_sweep(ledger, row) as ownership:
        yield Registered(
            home, ledger, made, make_drive_job(row, home, ownership.token, "search", own_ray=True)
        )
    ledger.close()


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Registered]:
    """Three trials of a moment."""
    yield from register(tmp_path)


@pytest.fixture
def long(tmp_path: Path) -> Iterator[Registered]:
    """Trials without an end."""
    yield from register(tmp_path, budget={"trials": 3, "epochs": LONG}, search={"pruner": "none"})


class Orders:
    """Stands for a process: keeps what it is told."""

    orders: HeadStartOrders

    was_killed = False

    def begin(self, orders: HeadStartOrders, demand: object) -> None:
        self.orders, self.demand = orders, demand

    def kill(self) -> None:
        self.was_killed = True


def run_here(sweep: Registered, *words: tuple[str, str]) -> str:
    """`main.run` in this process, which hears the words once a trial has reported."""
    kept = Orders()
    assert begin_training(kept, sweep.ledger, sweep.job, HERE) is kept  # type: ignore[arg-type,comparison-overlap]
    inbox: main.Inbox = SimpleQueue()

    def speak() -> None:
        until(sweep.has_reported, 60)
        for word in words:
            inbox.put(word)

    threading.Thread(target=speak, daemon=True).start()
    return main.run(kept.orders, inbox)


def test_short_sweep_is_finished_before_any_lane_is_there(short: Registered) -> None:
    assert run_here(short) == "finished"
    assert [trial.state for trial in short.trials()] == ["complete"] * 3
    assert short.state == "finished"
    (attempt,) = views.attempts(short.ledger, short.sweep_id, "logistic_regression", 0)
    assert (attempt.lane, attempt.outcome) == ("head-start-0", "complete")


def test_long_trial_waits_with_its_checkpoint_once_lanes_are_there(
    long: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_line, "GRACE_S", 0.0)
    assert run_here(long, (LEAVE, "")) == "running"
    (trial,) = [one for one in long.trials() if one.attempts]
    assert (trial.state, trial.failures) == ("waiting", 0)
    assert trial.epochs > 0
    assert list(long.home.storage.rglob("checkpoints/*/tensors.safetensors")), "it could not go on elsewhere"
    assert long.state == "running"


def test_stop_is_obeyed_with_a_checkpoint(long: Registered) -> None:
    assert run_here(long, ("stop", "signal SIGINT")) == "stopped"
    assert long.state == "stopped"
    assert {trial.state for trial in long.trials()} == {"waiting"}


def test_process_that_is_killed_is_to_blame_and_one_whose_driver_is_gone_is_not(long: Registered) -> None:
    with spare_process(True) as process:
        assert isinstance(process, HeadStart)
        assert begin_training(process, long.ledger, long.job, HERE) is process
        assert process.demand["1x1cpu"][1] == 3
        until(long.has_reported, 60)
        assert process.is_at_work
        assert process.state is None
        process._process.send_signal(signal.SIGINT)  # a terminal's: the driver answers it
        process._process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.is_at_work
        process._process.send_signal(signal.SIGKILL)
        until(lambda: not process.is_at_work, 30)
        assert process.state is None
        assert process.is_to_blame
    other = HeadStart()
    begin_training(other, long.ledger, long.job, HERE)
    until(lambda: len(views.attempts(long.ledger, long.sweep_id, "logistic_regression", 0)) == 2, 60)
    other._process.stdin.close()  # type: ignore[union-attr]  # as when this process dies
    assert other._process.wait(30) == EXIT_ALONE
    assert not other.is_to_blame


def test_process_that_finished_the_sweep_says_so_by_its_status(short: Registered) -> None:
    with spare_process(True) as process:
        assert process is not None
        begin_training(process, short.ledger, short.job, HERE)
        until(lambda: not process.is_at_work, 60)
        assert process.state == "finished"
    assert short.state == "finished"
    assert (short.home.logs / "early" / main.LOG).exists()


def test_process_whose_driver_dies_while_it_loads_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it imports takes seconds; it does not wait for the end of that."""
    reading, writing = os.pipe()
    ended, statuses = threading.Event(), list[int]()

    def end_process(status: int, why: str) -> None:
        statuses.append(status)
        ended.set()

    def load(name: str) -> None:
        os.close(writing)
        assert ended.wait(30), f"{name} is waited for"
        raise StopIteration

    monkeypatch.setattr(main.signal, "signal", lambda *_: None)
    monkeypatch.setattr(main.os, "dup", lambda _: reading)
    monkeypatch.setattr(main, "end_process", end_process)
    monkeypatch.setattr(main.importlib, "import_module", load)
    with pytest.raises(StopIteration):
        main.main()
    assert statuses == [EXIT_ALONE]


def test_process_without_orders_ends_with_its_block_and_is_at_no_work() -> None:
    with spare_process(True) as process:
        assert process is not None
        assert not process.is_at_work
    assert process._process.poll() is not None
    assert process._process.poll() not in EXITS_BY_STATE.values()


def test_no_process_is_made_where_none_is_wanted_or_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with spare_process(False) as process:
        assert process is None
    monkeypatch.setenv(SWITCH, "0")
    with spare_process(True) as process:
        assert process is None


def test_sweep_with_nothing_left_gives_no_orders(short: Registered) -> None:
    run_here(short)
    kept = Orders()
    assert begin_training(kept, short.ledger, short.job, HERE) is None  # type: ignore[arg-type]
    assert kept.was_killed, "it would only hold memory"


def test_ray_that_is_there_already_needs_nobody_ahead_of_its_lanes(short: Registered) -> None:
    kept = Orders()
    assert begin_training(kept, short.ledger, short.job, None) is None  # type: ignore[arg-type]
    assert kept.was_killed, "it would wait beside the whole sweep of a notebook"


def test_sweep_of_peoples_code_ends_the_process_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take a core from what the sweep waits for."""
    killed: list[bool] = []

    class Spare(Orders):
        stopping = None

        def kill(self) -> None:
            killed.append(True)

        close = kill

    def refuse(*_: object) -> None:
        raise RefusedError("here Ray would start", "nothing", "nothing")

    monkeypatch.setattr("infra.head_start.process.HeadStart", Spare)
    monkeypatch.setattr("flows.sweeps.sweep._run_sweep", refuse)
    for families, ended in (({"tests.faults.scripted:train": {"space": SPACE}}, 2), ({"mlp": {}}, 1)):
        killed.clear()
        file = {
            "name": f"s{ended}", "data": {"source": "none" if ended == 2 else "builtin:cancer"},
            "objective": {"metric": "accuracy", "direction": "maximize"},
            "budget": {"trials": 1, "epochs": 1}, "families": families,
        }  # fmt: skip
        with pytest.raises(RefusedError):
            sweep(file, home=Home(tmp_path / "home"))
        assert len(killed) == ended
