"""The ledger's database: who may own a sweep, what is refused at opening, and what a failed write leaves."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from infra.errors import FencedError, LedgerUnavailable, WrongInput
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.liveness import describe_this_process, is_alive_here
from infra.ledger.store import Ledger
from tests.infra.conftest import Bench, drive, family, hello, sweep

ROUNDS = 60
LONGER_THAN_A_CLAIM_S = 0.5


def _claim_each(url: str, sweep_ids: list[int], ready: object, answers: object) -> None:
    ledger = Ledger(url)
    for sweep_id in sweep_ids:
        ready.wait(60)  # type: ignore[attr-defined]
        epoch, other = ledger.claim(sweep_id, describe_this_process(), lambda owner: not is_alive_here(owner))
        answers.put((sweep_id, os.getpid(), epoch, other.pid if other else None))  # type: ignore[attr-defined]
    ready.wait(60)  # type: ignore[attr-defined]  # the winners live until all have asked
    ledger.close()


@pytest.mark.parametrize("owned", [False, True], ids=["nobody", "a-dead-driver"])
def test_claim_by_two_drivers_at_once_gives_one_owner(any_bench: Bench, owned: bool) -> None:
    """Sixty times: one gets it, the other is told who has it."""
    context, ledger = multiprocessing.get_context("fork"), any_bench.ledger
    sweep_ids = []
    for round_ in range(ROUNDS):
        sweep_ids.append(ledger.create_sweep(sweep(name=f"s{round_}"), fingerprint="f", facts={}, at=1.0))
        if owned:
            dead = replace(describe_this_process(), pid_started_at=-1.0)
            ledger.claim(sweep_ids[-1], dead, lambda owner: False)
    ledger.close()
    ready, answers = context.Barrier(2), context.Queue()
    drivers = [
        context.Process(target=_claim_each, args=(any_bench.url, sweep_ids, ready, answers)) for _ in range(2)
    ]
    for driver in drivers:
        driver.start()
    told = [answers.get(timeout=600) for _ in range(2 * ROUNDS)]
    for driver in drivers:
        driver.join(60)
    for sweep_id in sweep_ids:
        asked = [answer for answer in told if answer[0] == sweep_id]
        (winner,) = [answer for answer in asked if answer[2]]
        (loser,) = [answer for answer in asked if not answer[2]]
        assert winner[2] == 1 + owned
        assert loser[3] == winner[1]


def test_takeover_amid_an_owners_write_waits_until_it_is_over(any_bench: Bench) -> None:
    """Else a fenced coordinator writes after its successor: it has checked its epoch before."""
    any_bench.begin(sweep())
    former, waited = views.owner(any_bench.ledger, any_bench.sweep_id), list[bool]()
    assert former is not None
    other = Ledger(any_bench.url)
    takeover = threading.Thread(
        target=other.claim, args=(any_bench.sweep_id, describe_this_process(), lambda owner: True)
    )

    def take_over(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.startswith("INSERT INTO events"):
            takeover.start()
            takeover.join(LONGER_THAN_A_CLAIM_S)
            waited.append(takeover.is_alive())

    event.listen(any_bench.ledger.engine, "before_cursor_execute", take_over)
    batch = WriteBatch()
    batch.add_event("late", 1.0, {})
    any_bench.ledger.commit(any_bench.sweep_id, former.epoch, batch)
    event.remove(any_bench.ledger.engine, "before_cursor_execute", take_over)
    takeover.join(60)
    other.close()
    assert waited == [True]
    with pytest.raises(FencedError):
        any_bench.ledger.commit(any_bench.sweep_id, former.epoch, batch)
    assert views.count_events(any_bench.ledger, any_bench.sweep_id, "late") == 1


def test_event_of_another_process_amid_an_owners_write_comes_after_it(any_bench: Bench) -> None:
    """Else a reader sees the later one first, asks for what is newer, and never gets the other."""
    any_bench.begin(sweep())
    owner, waited = views.owner(any_bench.ledger, any_bench.sweep_id), list[bool]()
    assert owner is not None
    other, read = Ledger(any_bench.url), WriteBatch()
    read.add_event("test-read", 1.0, {})
    writer = threading.Thread(target=other.add_events, args=(any_bench.sweep_id, read))

    def write(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.startswith("INSERT INTO events") and writer.ident is None:
            writer.start()
            writer.join(LONGER_THAN_A_CLAIM_S)
            waited.append(writer.is_alive())

    event.listen(any_bench.ledger.engine, "after_cursor_execute", write)
    batch = WriteBatch()
    batch.add_event("late", 1.0, {})
    any_bench.ledger.commit(any_bench.sweep_id, owner.epoch, batch)
    writer.join(60)
    event.remove(any_bench.ledger.engine, "after_cursor_execute", write)
    other.close()
    assert waited == [True]
    kinds = [found.kind for found in views.events(any_bench.ledger, any_bench.sweep_id)]
    assert kinds[-2:] == ["late", "test-read"]


def _create(url: str, ready: object, answers: object) -> None:
    ready.wait(30)  # type: ignore[attr-defined]
    ledger = Ledger(url, create=True)
    answers.put(ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0))  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_ledger_created_by_two_at_once_holds_one_sweep(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Tables are made once, and a name and version stand for one sweep."""
    context = multiprocessing.get_context("fork")
    server = request.getfixturevalue("postgres") if kind == "postgresql" else None
    for round_ in range(5):
        url = server.database() if server else f"sqlite:///{tmp_path / f'{round_}.db'}"
        ready, answers = context.Barrier(2), context.Queue()
        makers = [context.Process(target=_create, args=(url, ready, answers)) for _ in range(2)]
        for maker in makers:
            maker.start()
        assert len({answers.get(timeout=600) for _ in makers}) == 1
        for maker in makers:
            maker.join(60)


def test_ledger_on_a_foreign_database_is_refused(tmp_path: Path) -> None:
    """Optuna's or MLflow's, say."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    connection.close()
    with pytest.raises(LedgerUnavailable, match="alembic_version"):
        Ledger(f"sqlite:///{path}", create=True)


@pytest.mark.parametrize("url", ["nonsense", "mysql://u:hunter2@h/d"])
def test_ledger_url_of_unknown_kind_is_wrong_input_without_password(url: str) -> None:
    """Before anything is opened."""
    with pytest.raises(WrongInput) as caught:
        Ledger(url)
    assert "hunter2" not in str(caught.value)


def test_sweep_with_any_failing_ledger_write_ends_like_a_quiet_run(bench: Bench, tmp_path_factory) -> None:
    """Fail the first, second, … statement that writes, until the sweep goes through; each time the
    coordinator is made again from the ledger, as its shell does."""
    spec = sweep(family(trials=4, sampler={"name": "tpe"}))
    quiet = Bench(tmp_path_factory.mktemp("quiet"))
    drive(quiet.begin(spec), hello())
    expected = [
        (t.params, t.state, t.objective, t.epochs) for t in views.trials(quiet.ledger, quiet.sweep_id)
    ]
    coordinator = bench.begin(spec)
    left = {"calls": 0}

    def fail(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.startswith(("INSERT", "UPDATE")):
            left["calls"] -= 1
            if left["calls"] == 0:
                raise sqlite3.OperationalError("disk I/O error, told to")

    event.listen(bench.ledger.engine, "before_cursor_execute", fail)
    failures, nth = 0, 0
    while not coordinator.is_done:
        nth += 1
        left["calls"] = nth
        try:
            drive(coordinator, hello(pid=nth))
        except (LedgerUnavailable, sqlite3.OperationalError):
            failures += 1
        left["calls"] = 0
        coordinator = bench.take_over(token=f"driver-{nth}")
    assert failures > 5
    assert _outcomes(bench) == expected
    quiet.ledger.close()


def _outcomes(bench: Bench) -> list[tuple[object, ...]]:
    trials = views.trials(bench.ledger, bench.sweep_id)
    return [(trial.params, trial.state, trial.objective, trial.epochs) for trial in trials]


def test_ledger_batch_is_written_whole_or_not_at_all(any_bench: Bench) -> None:
    """A second attempt of the same id cannot be inserted: nothing of its batch is there."""
    any_bench.begin(sweep())
    batch = WriteBatch()
    columns = {"role": "search", "family": "noop", "number": 0, "ordinal": 1, "lane": "l", "lane_facts": "{}"}
    batch.set_attempt("a", **columns, started_at=1.0)
    epoch = views.owner(any_bench.ledger, any_bench.sweep_id)
    assert epoch is not None
    any_bench.ledger.commit(any_bench.sweep_id, epoch.epoch, batch)
    batch.add_event("told-twice", 1.0, {})
    with pytest.raises(IntegrityError):
        any_bench.ledger.commit(any_bench.sweep_id, epoch.epoch, batch)
    assert views.count_events(any_bench.ledger, any_bench.sweep_id, "told-twice") == 0
