"""What a ledger's writes leave: owners and their numbers, requests, and rows that are written again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from infra.errors import FencedError, LedgerUnavailable
from infra.ledger import schema, views
from infra.ledger.batch import WriteBatch
from infra.ledger.liveness import describe_this_process
from infra.ledger.rows import TrialRow
from tests.infra.conftest import Bench, family, sweep


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


def test_answer_to_a_request_that_was_withdrawn_is_not_written(bench: Bench) -> None:
    """Who withdrew it goes on to do it, or says that nothing was changed."""
    ledger, me = bench.ledger, describe_this_process()
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={"k": 1}, at=1.0)
    epoch, _ = ledger.claim(sweep_id, me, lambda owner: False)
    request = ledger.add_request(sweep_id, "extend", {"trials": 1}, at=1.0)
    assert ledger.withdraw_request(request, at=2.0)
    with pytest.raises(LedgerUnavailable, match="withdrawn"):
        ledger.commit(sweep_id, epoch, WriteBatch(requests_done=[request], sweep={"facts": {"k": 2}}))
    assert views.sweep_by_id(ledger, sweep_id).facts == {"k": 1}


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
