"""The ledger's database: who may own a sweep, what is refused at opening, and what a failed write leaves."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.exc import IntegrityError

from infra.errors import FencedError, LedgerUnavailable, WrongInput
from infra.ledger import schema, views
from infra.ledger.batch import WriteBatch
from infra.ledger.liveness import describe_this_process, is_alive_here
from infra.ledger.rows import TrialRow
from infra.ledger.store import Ledger
from tests.infra.conftest import Bench, drive, family, hello, sweep

ROUNDS = 20
LONGER_THAN_A_CLAIM_S = 0.5


def _claim(url: str, sweep_id: int, ready: object, answers: object) -> None:
    ledger = Ledger(url)
    ready.wait(30)  # type: ignore[attr-defined]
    epoch, other = ledger.claim(sweep_id, describe_this_process(), lambda owner: not is_alive_here(owner))
    answers.put((os.getpid(), epoch, other.pid if other else None))  # type: ignore[attr-defined]
    ready.wait(30)  # type: ignore[attr-defined]  # the winner lives until all have asked
    ledger.close()


@pytest.mark.parametrize("owned", [False, True], ids=["nobody", "a-dead-driver"])
def test_claim_by_two_drivers_at_once_gives_one_owner(any_bench: Bench, owned: bool) -> None:
    """Twenty times: one gets it, the other is told who has it."""
    context, ledger = multiprocessing.get_context("fork"), any_bench.ledger
    for round_ in range(ROUNDS):
        sweep_id = ledger.create_sweep(sweep(name=f"s{round_}"), fingerprint="f", facts={}, at=1.0)
        if owned:
            dead = replace(describe_this_process(), pid_started_at=-1.0)
            ledger.claim(sweep_id, dead, lambda owner: False)
        ledger.close()
        ready, answers = context.Barrier(2), context.Queue()
        drivers = [
            context.Process(target=_claim, args=(any_bench.url, sweep_id, ready, answers)) for _ in range(2)
        ]
        for driver in drivers:
            driver.start()
        told = [answers.get(timeout=600) for _ in drivers]
        for driver in drivers:
            driver.join(60)
        (winner,) = [answer for answer in told if answer[1]]
        (loser,) = [answer for answer in told if not answer[1]]
        assert winner[1] == 1 + owned
        assert loser[2] == winner[0]


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


def test_epoch_rises_by_one_with_each_owner_and_each_release(bench: Bench) -> None:
    """So that none of them ever bears the number of one before, whose writes must be refused."""
    ledger, me = bench.ledger, describe_this_process()
    ids = [ledger.create_sweep(sweep(name=name), fingerprint="f", facts={}, at=1.0) for name in ("a", "b")]
    taken = [ledger.claim(sweep_id, me, lambda owner: False) for sweep_id in ids]
    assert taken == [(1, None), (1, None)]
    assert ledger.raise_epoch(ids[0], me.token) == 2
    other = replace(me, token="other")
    epoch, present = ledger.claim(ids[0], other, lambda owner: False)
    assert (epoch, present and present.token, present and present.epoch) == (0, me.token, 2)
    assert ledger.claim(ids[0], other, lambda owner: True) == (3, None)
    with pytest.raises(FencedError):
        ledger.raise_epoch(ids[0], me.token)
    ledger.release(ids[0], me.token)  # it is not its own any more
    owner = views.owner(ledger, ids[0])
    assert owner is not None
    assert (owner.token, owner.epoch) == ("other", 3)
    ledger.release(ids[0], "other")
    assert views.owner(ledger, ids[0]) is None
    for epoch in (1, 2, 3):
        with pytest.raises(FencedError):
            ledger.commit(ids[0], epoch, WriteBatch(journal=["late"]))
    assert ledger.claim(ids[0], me, lambda owner: False) == (5, None)
    still = views.owner(ledger, ids[1])
    assert still is not None
    assert (still.token, still.epoch) == (me.token, 1)


def test_epoch_of_a_sweep_that_nobody_owns_or_that_is_gone_is_not_raised(bench: Bench) -> None:
    sweep_id = bench.ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    with pytest.raises(FencedError, match="another owner"):
        bench.ledger.raise_epoch(sweep_id, "me")


def test_heartbeat_is_renewed_by_the_owner_alone_and_in_its_sweep(bench: Bench) -> None:
    ledger, me = bench.ledger, describe_this_process()
    ids = [ledger.create_sweep(sweep(name=name), fingerprint="f", facts={}, at=1.0) for name in ("a", "b")]
    for sweep_id in ids:
        ledger.claim(sweep_id, me, lambda owner: False)
    long_ago = update(schema.owners).values(heartbeat_at=schema.owners.c.heartbeat_at - 100.0)
    ledger.run_transaction(lambda connection: connection.execute(long_ago))
    assert not ledger.renew_heartbeat(ids[0], "somebody else")
    assert ledger.renew_heartbeat(ids[0], me.token)
    silent = [owner.silent_s for owner in (views.owner(ledger, one) for one in ids) if owner]
    assert silent[0] < 50.0 < silent[1]


def test_claim_closes_unanswered_stops_of_its_sweep_and_nothing_else(bench: Bench) -> None:
    ledger = bench.ledger
    ids = [ledger.create_sweep(sweep(name=name), fingerprint="f", facts={}, at=1.0) for name in ("a", "b")]
    for sweep_id in ids:
        for kind in ("stop", "extend", "retry"):
            ledger.add_request(sweep_id, kind, {}, at=1.0)
    ledger.claim(ids[0], describe_this_process(), lambda owner: False)
    left = [[request.kind for request in views.open_requests(ledger, one)] for one in ids]
    assert left == [["extend", "retry"], ["stop", "extend", "retry"]]


def test_request_is_known_by_its_own_number(bench: Bench) -> None:
    sweep_id = bench.ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    asked = [bench.ledger.add_request(sweep_id, "extend", {"trials": n}, at=1.0) for n in range(3)]
    assert bench.ledger.withdraw_request(asked[1], at=2.0)
    assert [(r.id, r.payload) for r in views.open_requests(bench.ledger, sweep_id)] == [
        (asked[0], {"trials": 0}), (asked[2], {"trials": 2}),
    ]  # fmt: skip
    bench.ledger.add_events(sweep_id, WriteBatch(requests_done=[asked[0]]))
    assert not bench.ledger.withdraw_request(asked[0], at=3.0)
    assert [request.id for request in views.open_requests(bench.ledger, sweep_id)] == [asked[2]]


def test_facts_of_owned_sweeps_are_each_owners_own(bench: Bench) -> None:
    ledger, me = bench.ledger, describe_this_process()
    ids = [
        ledger.create_sweep(sweep(name=name), fingerprint="f", facts={"name": name}, at=1.0)
        for name in ("a", "b", "c")
    ]
    for sweep_id, token in zip(ids, ("ta", "tb", "tc"), strict=True):
        ledger.claim(sweep_id, replace(me, token=token), lambda owner: False)
    ledger.release(ids[1], "tb")
    found = [(facts["name"], owner.token) for facts, owner in views.owned_facts(ledger)]
    assert sorted(found) == [("a", "ta"), ("c", "tc")]
    assert all(0.0 <= owner.silent_s < 50.0 for _, owner in views.owned_facts(ledger))


def test_change_of_a_sweep_is_written_to_its_own_row(bench: Bench) -> None:
    ledger = bench.ledger
    ids = [
        ledger.create_sweep(sweep(name=name), fingerprint="f", facts={"k": name}, at=1.0)
        for name in ("a", "b")
    ]
    grown = sweep(family(trials=9), name="a")
    ledger.add_events(ids[0], WriteBatch(sweep={"spec": grown, "state": "stopped", "updated_at": 3.0}))
    ledger.add_events(ids[1], WriteBatch(sweep={"facts": {"k": 2}}))
    one, other = (views.sweep_by_id(ledger, sweep_id) for sweep_id in ids)
    assert (one.spec, one.state, one.updated_at, one.facts) == (grown, "stopped", 3.0, {"k": "a"})
    assert (other.spec, other.state, other.facts) == (sweep(name="b"), "running", {"k": 2})


def test_journal_goes_on_where_it_ended(bench: Bench) -> None:
    ids = [
        bench.ledger.create_sweep(sweep(name=name), fingerprint="f", facts={}, at=1.0) for name in ("a", "b")
    ]
    told = [["0"], ["1", "2"], ["3", "4", "5"], ["6"]]
    for records in told:
        for sweep_id in ids:
            bench.ledger.add_events(sweep_id, WriteBatch(journal=[f"{sweep_id}-{one}" for one in records]))
    for sweep_id in ids:
        assert list(views.journal_records(bench.ledger, sweep_id)) == [f"{sweep_id}-{n}" for n in range(7)]
    with bench.ledger.engine.connect() as connection:
        positions = connection.execute(select(schema.journal.c.position)).scalars().all()
    assert sorted(positions) == sorted([*range(7)] * 2)


def test_attempt_that_ended_keeps_how_it_began_and_others_stay_open(bench: Bench) -> None:
    sweep_id = bench.ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    about = {"role": "search", "family": "noop", "number": 0, "lane": "l", "lane_facts": "{}"}
    begun = WriteBatch()
    for ordinal in (1, 2):
        begun.set_attempt(f"a{ordinal}", **about, ordinal=ordinal, started_at=float(ordinal))
    bench.ledger.add_events(sweep_id, begun)
    over = WriteBatch()
    over.set_attempt("a1", ended_at=5.0, outcome="complete", detail="d")
    bench.ledger.add_events(sweep_id, over)
    one, other = views.attempts(bench.ledger, sweep_id)
    assert (one.started_at, one.ended_at, one.outcome, one.detail) == (1.0, 5.0, "complete", "d")
    assert (other.started_at, other.ended_at, other.outcome, other.detail) == (2.0, None, None, None)


def test_trial_written_again_takes_the_place_of_what_it_was(bench: Bench) -> None:
    sweep_id = bench.ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    first = TrialRow(role="search", family="noop", number=0, params={"a": 1}, seed=3)
    other = replace(first, number=1)
    bench.ledger.add_events(sweep_id, WriteBatch(trials={row.key: row for row in (first, other)}))
    again = replace(
        first, state="complete", attempts=2, failures=1, objective=[0.5], epoch=3, epochs=4, seconds=1.5,
        reason="r", metrics={"m": 1.0}, facts={"f": 2}, model="model", origin={"o": 1}, resources={"cpus": 2},
        study_number=7, created_at=1.0, started_at=2.0, ended_at=3.0,
    )  # fmt: skip
    bench.ledger.add_events(sweep_id, WriteBatch(trials={again.key: again}))
    assert views.trials(bench.ledger, sweep_id) == [again, other]


def test_fresh_trial_has_tried_and_spent_nothing(bench: Bench) -> None:
    fresh = TrialRow(role="search", family="noop", number=0, params={}, seed=0)
    assert (fresh.attempts, fresh.failures, fresh.epoch, fresh.epochs) == (0, 0, 0, 0)
    assert (fresh.value, fresh.compression, fresh.has_ended) == (None, None, False)
    assert replace(fresh, objective=[0.5, 0.25]).value == 0.5


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
