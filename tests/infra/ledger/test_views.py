"""Each reading of the ledger gives one sweep's rows, of the kind and role asked for, in their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sqlalchemy import insert

from infra.errors import LedgerUnavailable, WrongInput
from infra.ledger import schema, views
from infra.ledger.batch import WriteBatch
from infra.ledger.broken_families import BROKEN_AFTER, find_broken_families, is_broken, mark_outdated
from infra.ledger.extract import extract_sweep
from infra.ledger.follower import TrialFollower
from infra.ledger.requeue import requeue_trial
from infra.ledger.rows import AttemptRow, TrialRow, attempt_seconds, strip_measurements
from infra.ledger.store import Ledger
from tests.infra.conftest import Bench, family, sweep


def trial(number: int, *, role: str = "search", of: str = "noop", **changes: object) -> TrialRow:
    made = TrialRow(role=role, family=of, number=number, params={}, seed=number, state="waiting")
    return replace(made, created_at=float(number), **changes)  # type: ignore[arg-type]


def failed(number: int, reason: str = "error: no", epochs: int = 0, ended_at: float = 50.0) -> TrialRow:
    return trial(number, state="failed", reason=reason, epochs=epochs, ended_at=ended_at)


@pytest.fixture
def two(any_bench: Bench) -> tuple[Ledger, int, int]:
    """A ledger with a sweep and another one, each with rows of every table."""
    ledger, ids = any_bench.ledger, []
    for name in ("one", "other"):
        spec = sweep(family(), family("zeta"), name=name)
        sweep_id = ledger.create_sweep(spec, fingerprint=name, facts={"name": name}, at=1.0)
        ids.append(sweep_id)
        batch = WriteBatch(journal=[f"{name}-0", f"{name}-1"])
        rows = [trial(1), trial(0), trial(0, of="zeta"), trial(0, role="confirm")]
        for at, row in enumerate(rows if name == "one" else rows[:1]):
            batch.add_event("asked", float(at), {"sweep": name}, row)
        batch.add_event("noted", 9.0, {"sweep": name})
        about = {"role": "search", "family": "noop", "number": 1, "lane": "l", "lane_facts": "{}"}
        batch.set_attempt(f"{name}-late", **about, ordinal=2, started_at=1.0)
        batch.set_attempt(f"{name}-early", **about, ordinal=1, started_at=2.0)  # the clock was set back
        batch.set_attempt(f"{name}-zeta", **{**about, "family": "zeta"}, ordinal=1, started_at=1.5)
        ledger.add_events(sweep_id, batch)
        ledger.add_request(sweep_id, "stop", {"sweep": name}, at=1.0)
    return ledger, ids[0], ids[1]


def keys(rows: list[TrialRow]) -> list[tuple[str, str, int]]:
    return [row.key for row in rows]


def test_trials_of_one_sweep_are_those_of_the_role_in_order(two: tuple[Ledger, int, int]) -> None:
    ledger, one, other = two
    search = [("search", "noop", 0), ("search", "noop", 1), ("search", "zeta", 0)]
    assert keys(views.trials(ledger, one)) == search
    assert keys(views.trials(ledger, one, role="confirm")) == [("confirm", "noop", 0)]
    assert keys(views.trials(ledger, one, role=None)) == [*search, ("confirm", "noop", 0)]
    assert keys(views.trials(ledger, other, role=None)) == [("search", "noop", 1)]
    asked = [("search", "noop", 1), ("confirm", "noop", 0), ("search", "noop", 7)]
    assert sorted(keys(views.trials_by_key(ledger, one, asked))) == sorted(asked[:2])
    assert keys(views.trials_by_key(ledger, other, asked)) == asked[:1]


def test_attempts_of_a_trial_are_in_their_order_and_of_a_sweep_by_their_start(
    two: tuple[Ledger, int, int],
) -> None:
    ledger, one, _ = two
    assert [row.id for row in views.attempts(ledger, one)] == ["one-late", "one-zeta", "one-early"]
    assert [row.id for row in views.attempts(ledger, one, "noop", 1)] == ["one-early", "one-late"]
    assert [row.id for row in views.attempts(ledger, one, "zeta", 1)] == ["one-zeta"]
    assert views.attempts(ledger, one, "noop", 0) == []


def test_events_of_one_sweep_are_told_from_a_position_on(two: tuple[Ledger, int, int]) -> None:
    ledger, one, other = two
    told = views.events(ledger, one)
    assert {event.payload["sweep"] for event in told} == {"one"}
    assert [event.kind for event in told] == ["asked"] * 4 + ["noted"]
    assert views.events(ledger, one, after=told[1].seq) == told[2:]
    assert views.events(ledger, one, limit=2) == told[:2]
    assert views.events_of_kind(ledger, one, "noted") == told[4:]
    counts = [views.count_events(ledger, one, kind) for kind in ("asked", "noted", "*", "never")]
    assert counts == [4, 1, 5, 0]
    assert views.count_events(ledger, one, "*", after=told[2].seq) == 2
    assert views.count_events(ledger, other, "*") == 2
    about = views.trials(ledger, one)[0]
    assert [event.number for event in views.trial_events(ledger, one, about)] == [0]
    assert views.trial_events(ledger, one, about, "asked") == told[1:2]
    assert views.trial_events(ledger, one, about, "noted") == []


def test_changed_trials_are_those_of_the_role_since_a_position(two: tuple[Ledger, int, int]) -> None:
    ledger, one, _ = two
    told = views.events(ledger, one)
    last, changed = views.changed_trials(ledger, one, after=0, role="search")
    assert (last, len(changed)) == (told[-1].seq, 3)
    _, changed = views.changed_trials(ledger, one, after=told[1].seq, role="search")
    assert changed == [("search", "zeta", 0)]
    assert views.changed_trials(ledger, one, after=told[2].seq, role="confirm")[1] == [("confirm", "noop", 0)]
    assert views.changed_trials(ledger, one, after=last, role="search") == (last, [])


def test_journal_requests_and_owner_are_the_sweeps_own(two: tuple[Ledger, int, int]) -> None:
    ledger, one, other = two
    assert list(views.journal_records(ledger, one)) == ["one-0", "one-1"]
    assert views.has_journal(ledger, one)
    (request,) = views.open_requests(ledger, one)
    assert request.payload == {"sweep": "one"}
    assert ledger.withdraw_request(request.id, 2.0)
    assert not ledger.withdraw_request(request.id, 2.0)
    assert views.open_requests(ledger, one) == []
    assert len(views.open_requests(ledger, other)) == 1
    assert views.owner(ledger, one) is None
    fresh = ledger.create_sweep(sweep(name="fresh"), fingerprint="f", facts={}, at=1.0)
    assert not views.has_journal(ledger, fresh)


def test_removed_sweep_takes_its_rows_along_and_no_others(two: tuple[Ledger, int, int]) -> None:
    ledger, one, other = two
    ledger.remove_sweep(one)
    assert views.find_sweep(ledger, "one") is None
    assert views.trials(ledger, one, role=None) == []
    assert (views.attempts(ledger, one), views.events(ledger, one)) == ([], [])
    assert not views.has_journal(ledger, one)
    assert views.open_requests(ledger, one) == []
    assert [row.label for row in views.sweeps(ledger)] == ["other"]
    assert len(views.trials(ledger, other)) == 1
    assert len(views.attempts(ledger, other)) == 3
    with pytest.raises(LedgerUnavailable, match="was it removed"):
        views.sweep_by_id(ledger, one)


def test_sweep_is_found_by_its_name_and_version_the_newest_without_one(any_bench: Bench) -> None:
    ledger = any_bench.ledger
    ids = [
        ledger.create_sweep(sweep(name="digits", version=n), fingerprint="f", facts={}, at=1.0)
        for n in (1, 2)
    ]
    ledger.create_sweep(sweep(name="letters", version=3), fingerprint="f", facts={}, at=1.0)
    found = [views.find_sweep(ledger, label) for label in ("digits", "digits@1", "digits@2")]
    assert [row.id if row else 0 for row in found] == [ids[1], ids[0], ids[1]]
    assert views.find_sweep(ledger, "digits@3") is None
    assert ledger.create_sweep(sweep(name="digits", version=1), fingerprint="x", facts={}, at=2.0) == ids[0]
    with pytest.raises(WrongInput, match="version must be a number"):
        views.find_sweep(ledger, "digits@new")


def test_batch_is_empty_until_something_is_in_it() -> None:
    assert WriteBatch().is_empty
    noted = WriteBatch()
    noted.add_event("noted", 1.0, {})
    assert (noted.is_empty, noted.trials) == (False, {})
    for filled in (
        WriteBatch(journal=["x"]), WriteBatch(requests_done=[1]), WriteBatch(sweep={"state": "stopped"}),
    ):  # fmt: skip
        assert not filled.is_empty


@pytest.mark.parametrize(
    ("made", "outdated", "broken"),
    [
        ([failed(n) for n in range(BROKEN_AFTER)], 0, True),
        ([failed(n) for n in range(BROKEN_AFTER - 1)], 0, False),
        ([*[failed(n) for n in range(4)], failed(4, "worker-died: gone")], 0, False),
        ([*[failed(n) for n in range(5)], failed(5, "worker-died: gone")], 0, True),
        ([*[failed(n) for n in range(5)], trial(5, state="complete", ended_at=60.0)], 0, False),
        ([*[failed(n, epochs=1) for n in range(5)], trial(5, state="running", epochs=2)], 0, False),
        ([*[failed(n, epochs=2) for n in range(5)], trial(5, state="running", epochs=2)], 0, True),
        ([trial(9, state="running"), *[failed(n, "not-finite: inf") for n in range(5)]], 0, False),
        ([*[failed(n, "not-finite: inf") for n in range(5)], trial(9, state="running")], 0, True),
        ([trial(9, state="running"), *[failed(n) for n in range(5)]], 0, True),
        ([trial(0, state="complete"), *[failed(n) for n in range(1, 6)]], 1, True),
        ([trial(0, state="complete"), *[failed(n) for n in range(1, 6)]], 0, False),
        ([trial(0, state="pruned", ended_at=60.0), *[failed(n) for n in range(1, 6)]], 0, False),
        (
            [failed(0, epochs=2), *[failed(n) for n in range(1, 5)], trial(5, state="running", epochs=2)],
            0,
            True,
        ),
        (
            [trial(5, state="running", epochs=2), trial(6, state="running"), *[failed(n) for n in range(5)]],
            0,
            False,
        ),
        ([], 0, False),
        ([failed(n) for n in range(5)], 5, False),
        ([failed(n) for n in range(9)], 4, True),
    ],
)
def test_family_is_broken_where_its_first_five_failed_alike(
    made: list[TrialRow], outdated: int, broken: bool
) -> None:
    """Without those whose code was changed since, whatever the clock said when they ended."""
    mark_outdated(made[:outdated], {"noop"})
    assert is_broken(made) is broken


def test_trial_that_is_tried_again_with_other_code_counts_again() -> None:
    made = [failed(n) for n in range(5)]
    assert (
        mark_outdated([*made, trial(5, state="running"), replace(failed(6), family="other")], {"noop"})
        == made
    )
    assert not is_broken(made)
    for one in made:
        one.attempts += 1
    assert is_broken(made)


def test_broken_family_says_how_many_failed_the_last_reason_and_what_is_left(bench: Bench) -> None:
    ledger = bench.ledger
    spec = sweep(family(trials=9), family("zeta", trials=5))
    row = views.sweep_by_id(ledger, ledger.create_sweep(spec, fingerprint="f", facts={}, at=1.0))
    made = [failed(n) for n in range(5)] + [failed(5, "error: the last")]
    whole = [replace(one, family="zeta") for one in made[:5]]  # it has all the trials that it may have
    (found,) = find_broken_families(row, [*reversed(made), *whole, trial(6, role="confirm")])
    assert (found.family, found.kind, found.count, found.left) == ("noop", "error", 6, 3)
    assert found.message == "error: the last"
    assert "3 of its trials are not made: all 6 that ended failed alike" in str(found)
    assert found.to_json()["left"] == 3
    mark_outdated(made, {"noop"})
    assert find_broken_families(row, map(strip_measurements, made)) == ()
    before = [failed(n, "timeout: before") for n in range(3)]
    mark_outdated(before, {"noop"})
    since = [failed(n) for n in range(3, 8)]
    (found,) = find_broken_families(row, before + since)
    assert (found.kind, found.count, found.left) == ("error", 5, 1)


@pytest.mark.parametrize(("params", "kept"), [(None, {"a": 1}), (True, {"a": 1}), (False, {})])
def test_stripped_trial_keeps_its_models_size_alone_and_its_parameters_where_asked(
    params: bool | None, kept: dict[str, int]
) -> None:
    whole = trial(3, objective=[0.5], metrics={"m": 1.0}, facts={"parameters": 7, "place": {"host": "h"}})
    whole.params = {"a": 1}
    found = strip_measurements(whole) if params is None else strip_measurements(whole, params=params)
    assert found == replace(whole, metrics={}, facts={"parameters": 7.0}, params=kept)
    unknown = replace(whole, facts={"parameters": "many", "place": {}})
    assert strip_measurements(unknown).facts == {}


def test_follower_gives_trials_as_they_stand_and_reads_only_what_has_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = bench.ledger
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    rows, real, read = [trial(1), trial(0)], views.trials_by_key, list[set[int]]()
    for row in (*rows, trial(2, role="confirm")):
        row.params = {"a": 1}
        batch = WriteBatch()
        batch.add_event("asked", 1.0, {}, row)
        ledger.add_events(sweep_id, batch)

    def note(of: Ledger, sweep: int, keys: list[tuple[str, str, int]]) -> list[TrialRow]:
        read.append({number for _, _, number in keys})
        return real(of, sweep, keys)

    monkeypatch.setattr(views, "trials_by_key", note)
    follower = TrialFollower(ledger, sweep_id, "search")
    assert [(one.number, one.state, one.params) for one in follower.trials()] == [
        (0, "waiting", {}), (1, "waiting", {}),
    ]  # fmt: skip
    assert keys(follower.trials()) == [("search", "noop", 0), ("search", "noop", 1)]
    batch = WriteBatch()
    batch.add_event("ended", 2.0, {}, replace(rows[0], state="complete"))
    ledger.add_events(sweep_id, batch)
    assert [one.state for one in follower.trials()] == ["waiting", "complete"]
    assert read == [{0, 1}, set(), {1}]


def test_extracted_sweep_is_whole_and_clean_and_alone_in_a_closed_file(
    two: tuple[Ledger, int, int], tmp_path: Path
) -> None:
    """Without an owner, and without requests that nobody has answered."""
    ledger, one, _ = two
    many = [{"sweep_id": one, "at": 1.0, "kind": "noted", "payload": "{}"}] * 1_200
    ledger.run_transaction(lambda connection: connection.execute(insert(schema.events), many))
    path = tmp_path / "one.db"
    extract_sweep(ledger, one, path, facts='{"b": 1}', clean=lambda text: text.replace("late", "last"))
    assert not any(Path(file.path) == path for file in psutil.Process().open_files())
    copy = Ledger(f"sqlite:///{path}")
    (row,) = views.sweeps(copy)
    assert (row, row.facts) == (replace(views.sweep_by_id(ledger, one), facts={"b": 1}), {"b": 1})
    assert views.trials(copy, one, role=None) == views.trials(ledger, one, role=None)
    assert views.events(copy, one) == views.events(ledger, one)
    assert list(views.journal_records(copy, one)) == ["one-0", "one-1"]
    assert [row.id for row in views.attempts(copy, one)] == ["one-last", "one-zeta", "one-early"]
    assert views.open_requests(copy, one) == []
    assert views.owner(copy, one) is None
    copy.close()


@pytest.mark.parametrize(("given", "resources"), [({"gpus": 2}, {"gpus": 2}), (None, {"gpus": 1})])
def test_requeued_trial_waits_as_a_fresh_one_with_its_resources_or_others(
    given: dict[str, int] | None, resources: dict[str, int]
) -> None:
    again = replace(
        failed(3), failures=3, study_number=7, objective=[0.5], epoch=4, model="m", resources={"gpus": 1},
        attempts=3,
    )  # fmt: skip
    requeue_trial(again, given)
    assert again == trial(3, attempts=3, resources=resources)


def test_attempt_took_what_was_counted_whatever_the_clock_said() -> None:
    common = {"role": "search", "family": "noop", "number": 3, "lane": "l"}
    hours = 3_600.0
    attempts = [
        AttemptRow(id="a", ordinal=1, started_at=9 * hours, ended_at=6 * hours, lane_facts={}, **common),
        AttemptRow(
            id="b", ordinal=2, started_at=1.0, ended_at=hours, lane_facts={"seconds_before": 60.0}, **common
        ),
        AttemptRow(id="c", ordinal=3, started_at=2.0, lane_facts={"seconds_before": 65.0}, **common),
    ]
    assert attempt_seconds(attempts, 70.0) == [60.0, 5.0, None]
    assert attempt_seconds(attempts[:2], 66.0) == [60.0, 6.0]
    assert attempt_seconds([], 0.0) == []


def test_trials_are_in_the_order_in_which_they_ended_last(two: tuple[Ledger, int, int]) -> None:
    ledger, sweep_id, _ = two
    before = list(views.ending_order(ledger, sweep_id))
    for number, at in ((8, 90.0), (7, 80.0), (9, 5.0), (8, 6.0)):
        batch = WriteBatch()
        batch.add_event("ended", at, {}, trial(number))
        ledger.add_events(sweep_id, batch)
    found = views.ending_order(ledger, sweep_id)
    assert list(found) == [*before, *(("search", "noop", number) for number in (7, 9, 8))]
    assert list(found.values()) == list(range(1, len(found) + 1))
