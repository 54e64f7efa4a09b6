"""The chain: one winner a number, whatever the store; and every change in it is seen."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from infra.errors import Unavailable
from infra.home import Home
from infra.registry import records as records_module
from infra.registry import store as store_module
from infra.registry.chain import Chain, ChainEntry, alias_state, find_flaws, parse_entry
from infra.registry.moves import champion_line
from infra.registry.records import EXPERIMENT, Records
from infra.registry.store import Registry
from infra.tracking.client import connect
from tests import postgres

AT_ONCE = 4


def entry(chain: Chain, kind: Any = "promotion", **values: Any) -> ChainEntry:
    """An entry that nobody else writes."""
    import uuid

    return chain.make_next(kind, at=1.0, who="ada@here", nonce=uuid.uuid4().hex, **values)


def test_versions_made_at_once_leave_the_process_without_a_store() -> None:
    """Each is made with the process's own store set; the last to end would put back another's."""
    inside = threading.Barrier(2)

    def make(name: str) -> str:
        with store_module._global_tracking_uri(f"sqlite:///{name}.db"):
            with contextlib.suppress(threading.BrokenBarrierError):
                inside.wait(0.5)  # where both are within at once, they leave in the order that they came in
            time.sleep(0.2 * "ab".index(name))
            return str(mlflow.get_tracking_uri())

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(make, "ab")) == ["sqlite:///a.db", "sqlite:///b.db"]
    assert not mlflow.is_tracking_uri_set()


def race(registry: Registry, model: str) -> list[Chain]:
    """Writers that all append at the same numbers, each through records of its own; what each reads then."""

    def write(_: int) -> Chain:
        records = Records(registry, model)
        for _ in range(3):
            records.append_entry(entry(records.read_chain()))
        return records.read_chain()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(write, range(AT_ONCE)))
    return [Records(registry, model).read_chain() for _ in range(2)]


def check_race(registry: Registry, model: str = "shop") -> None:
    """One chain came of it, without gaps, and only one run keeps it."""
    one, other = race(registry, model)
    assert one.texts == other.texts
    assert len(one.texts) >= 3
    assert find_flaws(one.texts, model, {}) == []
    experiment = registry.call("get_experiment_by_name", EXPERIMENT)
    names = [run.info.run_name for run in registry.call("search_runs", [experiment.experiment_id])]
    assert names.count(f"history of {model}") == names.count("registered models") == 1


def test_history_writers_at_once_win_each_number_once(registry: Registry) -> None:
    check_race(registry)


def test_late_history_writer_keeps_the_root_it_adopted(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked for the root before there was one, then found the root's own run by its name."""
    Records(registry, "shop").append_entry(entry(Chain(model="shop")))
    monkeypatch.setattr(records_module, "_find_root", _first_none(records_module._find_root, 2))
    assert Records(registry, "other").append_entry(entry(Chain(model="other")))
    assert len(Records(registry, "shop").read_chain().texts) == 1


def _first_none(known: Any, times: int) -> Any:
    left = [None] * times
    return lambda registry: left.pop() if left else known(registry)


def test_history_run_deleted_by_a_rival_writer_means_append_lost(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    Records(registry, "shop").append_entry(entry(Chain(model="shop")))
    late = Records(registry, "shop")
    whole = registry.call

    def call(method: str, *args: Any, **named: Any) -> Any:
        if method == "search_runs":
            return []
        if method == "set_terminated":
            whole("delete_run", *args)
        return whole(method, *args, **named)

    monkeypatch.setattr(registry, "call", call)
    monkeypatch.setattr(late, "_find_run", lambda: None)
    assert not late.append_entry(entry(Chain(model="shop")))
    monkeypatch.undo()
    assert len(Records(registry, "shop").read_chain().texts) == 1


@pytest.fixture
def on_postgres(tmp_path: Path) -> Iterator[Registry]:
    """A registry in a database of its own."""
    with postgres.run_postgres() as server:
        uri = server.database()
        home = Home(tmp_path / "home")
        yield Registry(connect(uri), home.artifacts)


@pytest.mark.slow
def test_history_writers_at_once_on_postgres_win_each_number_once(on_postgres: Registry) -> None:
    check_race(on_postgres)


def test_history_entry_is_written_once_and_documents_read_back(registry: Registry) -> None:
    records = Records(registry, "shop")
    first = entry(records.read_chain())
    assert records.append_entry(first)
    assert records.append_entry(first)  # the answer was lost, say: the same again is no second one
    assert not records.append_entry(entry(Chain(model="shop")))
    large = {"text": "ä" * 20_000}
    digest = records.store_document(large)
    assert records.store_document(large) == digest
    assert Records(registry, "shop").read_document(digest) == large
    with pytest.raises(Unavailable, match="missing"):
        records.read_document("0" * 64)


def test_deleted_history_is_refused_and_not_begun_anew(registry: Registry) -> None:
    records = Records(registry, "shop")
    records.append_entry(entry(records.read_chain()))
    experiment = registry.call("get_experiment_by_name", EXPERIMENT)
    for run in registry.call("search_runs", [experiment.experiment_id]):
        if run.info.run_name == "history of shop":
            registry.call("delete_run", run.info.run_id)
    with pytest.raises(Unavailable, match="deleted"):
        Records(registry, "shop").read_chain()


def a_chain(*kinds: tuple[Any, int | None, int | None]) -> Chain:
    """Moves from, to; all of them applied."""
    chain = Chain(model="shop")
    for kind, source, target in kinds:
        texts = (*chain.texts, entry(chain, kind, source=source, target=target).text)
        chain = Chain(model="shop", texts=texts, applied=dict.fromkeys(range(1, len(texts) + 1), 1.0))
    return chain


@pytest.mark.parametrize(
    "change",
    [
        {"target": 9},
        {"who": "eve@here"},
        {"at": 2.0},
        {"model": "other"},
        {"number": 5},
        {"content": "f" * 64},
    ],
)
def test_verify_finds_any_change_of_the_chain(change: dict[str, Any]) -> None:
    chain = a_chain(("promotion", None, 1), ("promotion", 1, 2), ("rollback", 2, 1))
    texts = list(chain.texts)
    assert find_flaws(texts, "shop", {}) == []
    changed = replace(parse_entry(texts[1]), **change).text
    assert find_flaws([texts[0], changed, texts[2]], "shop", {})
    assert find_flaws([texts[0], texts[2]], "shop", {})
    assert find_flaws(texts[1:], "shop", {})
    assert find_flaws([texts[0], texts[1].replace(" ", "") + " ", texts[2]], "shop", {})
    assert find_flaws([*texts[:2], json.dumps({"format": 1})], "shop", {})


def test_verify_with_anchor_finds_a_cut_end() -> None:
    chain = a_chain(("promotion", None, 1), ("promotion", 1, 2))
    assert find_flaws(chain.texts, "shop", {}, chain.last_hash[:16]) == []
    assert [flaw.number for flaw in find_flaws(chain.texts[:1], "shop", {}, chain.last_hash)] == [0]
    assert find_flaws(chain.texts, "shop", {}, chain.last_hash[:8])


def test_state_of_alias_is_settled_foreign_unknown_or_cut_off() -> None:
    none = Chain(model="shop")
    moved = a_chain(("promotion", None, 1), ("promotion", 1, 2))
    cut = Chain(model="shop", texts=moved.texts, applied={1: 1.0})
    assert [alias_state(none, at) for at in (None, 1)] == ["settled", "unknown"]
    assert [alias_state(moved, at) for at in (2, 1, None)] == ["settled", "foreign", "foreign"]
    assert [alias_state(cut, at) for at in (1, 2, 3, None)] == ["cut-off", "cut-off", "foreign", "foreign"]


def test_line_of_champions_lists_versions_to_roll_back_to() -> None:
    chain = a_chain(("promotion", None, 1), ("promotion", 1, 2), ("promotion", 2, 3), ("rollback", 3, 2))
    assert champion_line(chain) == [1, 2]
    assert champion_line(a_chain(("promotion", None, 1), ("rollback", 1, 4))) == [1, 4]
