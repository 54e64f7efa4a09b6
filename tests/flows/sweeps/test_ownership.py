"""Changing a sweep that somebody else runs: taken up by them, or refused with nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
from sqlalchemy import update

from flows.sweeps import ownership
from flows.sweeps.extend import extend
from flows.sweeps.views.states import pick_trial
from infra.errors import OwnedElsewhere, WrongInput
from infra.home import Home
from infra.ledger import schema, views
from infra.ledger.beats import keep_beating
from infra.ledger.store import Ledger
from infra.spec import FamilySpec
from search_spaces.space import Space
from tests.flows.ledger_sweeps import living_owner, set_owner, spec_of


@pytest.fixture
def ledger(home: Home, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """With a sweep of own code that reads its own data; a silent driver is given up soon."""
    for name in ("ANSWER_LIMIT_S", "LEAVE_LIMIT_S"):
        monkeypatch.setattr(ownership, name, 0.3)
    home.path.mkdir(parents=True, exist_ok=True)
    return Ledger(home.ledger_url, create=True)


def write(ledger: Ledger, **changes: object) -> int:
    spec = replace(spec_of("taken", trials=6), data={"source": "none"}, **changes)
    return ledger.create_sweep(spec, fingerprint="none", facts={}, at=1.0)


def test_refused_extend_leaves_no_request_behind(home: Home, ledger: Ledger) -> None:
    sweep = write(ledger)
    set_owner(home, sweep, living_owner())
    with pytest.raises(OwnedElsewhere, match="nothing was changed"):
        extend("taken", trials=2, home=home)
    assert views.open_requests(ledger, sweep) == []
    assert views.sweep_by_id(ledger, sweep).spec.families[0].trials == 6


def test_extend_whose_driver_hands_over_to_another_leaves_no_request_behind(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has ended, and a second `extend` owns the sweep before this one looks."""
    sweep = write(ledger)
    set_owner(home, sweep, living_owner())
    seen = iter([living_owner(), None])
    monkeypatch.setattr(ownership, "living_owner", lambda *_: next(seen))
    row = views.sweep_by_id(ledger, sweep)
    assert not ownership.ask_driver(ledger, row, "extend", {"trials": 2, "family": None})
    assert views.open_requests(ledger, sweep) == []


def test_extend_that_is_interrupted_leaves_no_request_behind(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = write(ledger)
    set_owner(home, sweep, living_owner())

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    row = views.sweep_by_id(ledger, sweep)
    with pytest.raises(KeyboardInterrupt):
        ownership.ask_driver(ledger, row, "extend", {"trials": 2}, sleep=interrupt)
    assert views.open_requests(ledger, sweep) == []


def test_extend_past_a_grid_of_a_running_sweep_asks_its_driver_for_nothing(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is in the ledger is the driver's to answer: it is too late to refuse it then."""
    family = FamilySpec(
        name="quick", reference="quick", trials=2, sampler={"name": "grid"},
        space=Space.from_mapping({"a": {"type": "int", "low": 1, "high": 3}}).to_json(),
    )  # fmt: skip
    sweep = write(ledger, families=(family,))
    set_owner(home, sweep, living_owner())
    asked: list[object] = []
    monkeypatch.setattr(ownership, "ask_driver", lambda *args, **named: bool(asked.append(args)) or True)
    with pytest.raises(WrongInput, match="2 more where 1 are left"):
        extend("taken", trials=2, home=home)
    assert asked == []
    assert extend("taken", trials=1, home=home).asked_driver


def test_extend_waits_for_another_command_that_owns_the_sweep_for_a_moment(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, asked, other = write(ledger), list[int](), living_owner()

    def come_and_go(*_: object, **__: object) -> bool:
        asked.append(1)
        if len(asked) == 1:
            ledger.claim(sweep, other, may_take=lambda owner: True)
        else:
            ledger.release(sweep, other.token)
        return False

    monkeypatch.setattr(ownership, "ask_driver", come_and_go)
    monkeypatch.setattr("flows.sweeps.sweep.resume_sweep", lambda label, home: None)
    assert set(extend("taken", trials=2, home=home).planned.values()) == {8}
    assert len(asked) == 2


def test_extend_whose_sweep_another_command_carries_on_has_ended_well(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ledger)

    def taken(label: str, home: Home) -> None:
        raise OwnedElsewhere("nobody must run taken meanwhile", "pid 1")

    monkeypatch.setattr("flows.sweeps.sweep.resume_sweep", taken)
    result = extend("taken", trials=2, home=home)
    assert (result.asked_driver, set(result.planned.values())) == (True, {8})


def test_owner_beats_for_as_long_as_it_owns_the_sweep(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Ray starts, a model is made smaller or the last runs are sent: another machine has only that."""
    sweep, beats = write(ledger), list[str]()

    @contextmanager
    def keep(url: str, sweep_id: int, token: str) -> Iterator[None]:
        beats.append("begun")
        yield
        beats.append("ended")

    monkeypatch.setattr(ownership, "keep_beating", keep)
    with ownership.own_sweep(ledger, views.sweep_by_id(ledger, sweep)):
        assert beats == ["begun"]
    assert beats == ["begun", "ended"]


@pytest.mark.parametrize(("beats", "hours"), [(True, -1), (False, -1), (False, 1)])
def test_owner_on_another_machine_is_replaced_only_where_it_does_not_beat(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, beats: bool, hours: int
) -> None:
    """Its last beat is an hour old by the clock, or still to come: that may have been set since."""
    monkeypatch.setattr("infra.ledger.liveness.EXPIRY_S", 0.6)
    monkeypatch.setattr("infra.ledger.liveness.WATCH_S", 0.3)
    monkeypatch.setattr("infra.ledger.liveness.LOOK_S", 0.01)
    sweep = write(ledger)
    away = replace(living_owner(), token="away-machine", host="there", pid=2**22 + 1)
    set_owner(home, sweep, away)
    set_clock = update(schema.owners).values(heartbeat_at=schema.owners.c.heartbeat_at + hours * 3_600.0)
    ledger.run_transaction(lambda connection: connection.execute(set_clock))
    row = views.sweep_by_id(ledger, sweep)
    beating = keep_beating(ledger.url, sweep, away.token, beat_s=0.02) if beats else nullcontext()
    refused = pytest.raises(OwnedElsewhere, match="on there") if beats else nullcontext()
    with beating, refused, ownership.own_sweep(ledger, row):
        pass


def test_family_of_own_code_is_named_as_in_the_file_or_by_its_label(home: Home, ledger: Ledger) -> None:
    family = spec_of("taken").families[0]
    sweep = write(ledger, families=(replace(family, name="hb.plane", reference="hb:plane"),))
    row = views.sweep_by_id(ledger, sweep)
    for given in ("hb:plane", "hb.plane"):
        with pytest.raises(WrongInput, match="a trial of that number"):
            pick_trial(ledger, row, 0, given)
    with pytest.raises(WrongInput, match="the family must be one of"):
        pick_trial(ledger, row, 0, "hb:other")
