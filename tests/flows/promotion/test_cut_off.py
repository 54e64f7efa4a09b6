"""A promotion that fails at any call: the same command again ends in the one right state (F16, F54)."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flows.promotion.promote import conclude
from infra.errors import Unavailable
from tests.faults.harness import ROOT
from tests.flows.promotion import models
from tests.flows.promotion.conftest import SOURCE, Shop
from tests.flows.promotion.failing import FailingClient
from tests.flows.promotion.kill_promotion import state
from tests.spread import EVERY_WRITE, some_of
from tests.tracking_stores import copy_store
from trainers.data.sources.opening import open_dataset

STRIDE = int(os.environ.get("EVERY_WRITE", "50"))
IN_TURN, THE_OTHER_WAY = ("before", "after"), ("after", "before")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fewer than elsewhere: each of some eighty promotions opens and judges them."""
    return models.write_csv(tmp_path_factory.mktemp("rows") / "rows.csv", rows=3_000)


@pytest.fixture(scope="module")
def dataset(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same, opened."""
    return open_dataset(SOURCE, base=rows.parent, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def client(shop: Shop) -> Any:
    """MLflow's own, on the shop's store."""
    from mlflow import MlflowClient

    return MlflowClient(shop.home.mlflow_uri, registry_uri=shop.home.mlflow_uri)


def promote_through_failures(shop: Shop, client: Any, name: str, odd: str, even: str) -> int:
    """Fails one write after another, in turn before and after it was done; after each, a repeat ends as if
    none had failed. How many there are; every third fails, with `EVERY_WRITE` each."""
    candidate, whole = shop.candidate(name), FailingClient(client)
    store, before = shop.home.path / "mlflow.db", shop.home.path.parent / "before.db"
    copy_store(store, before)
    assert conclude(shop.promoter(whole), candidate, reason="", dry_run=False).outcome == "moved"
    wanted = state(shop)
    for broken in some_of(len(whole.calls), 3):
        copy_store(before, store)
        failing = FailingClient(client, broken, when=odd if broken % 2 else even)
        with suppress(Unavailable):
            conclude(shop.promoter(failing), candidate, reason="", dry_run=False)
        again = conclude(shop.promoter(), candidate, reason="", dry_run=False)
        assert again.outcome in ("moved", "already"), (broken, failing.calls)
        assert state(shop) == wanted, (broken, failing.calls)
        assert len(failing.calls) >= broken, "another number of writes"
    return len(whole.calls)


@pytest.mark.slow
@pytest.mark.parametrize(("odd", "even"), [IN_TURN, THE_OTHER_WAY] if EVERY_WRITE else [IN_TURN])
def test_first_promotion_failing_at_any_write_can_be_finished(
    shop: Shop, client: Any, odd: str, even: str
) -> None:
    name = shop.sweep("one", gates={"min_examples": 100})
    assert promote_through_failures(shop, client, name, odd, even) >= 14


@pytest.mark.parametrize(("odd", "even"), [IN_TURN, THE_OTHER_WAY] if EVERY_WRITE else [THE_OTHER_WAY])
def test_later_promotion_failing_at_any_write_can_be_finished(
    shop: Shop, client: Any, odd: str, even: str
) -> None:
    shop.begin(one={"skill": 0.8})
    assert promote_through_failures(shop, client, shop.sweep("two", skill=0.9, seed=2), odd, even) >= 7


@pytest.mark.slow
@pytest.mark.timeout(7200)  # each write takes two promotions of its own
@pytest.mark.parametrize("later", [False, True] if EVERY_WRITE else [False])
def test_promotion_killed_at_any_write_can_be_finished(shop: Shop, later: bool) -> None:
    """At some writes, the last among them; with `EVERY_WRITE=1` in the environment at each one, with `=5` at
    each fifth."""
    if later:
        shop.promote(shop.sweep("one", skill=0.8))
    name = shop.sweep("two", skill=0.9, seed=2)
    command = [
        sys.executable,
        "-m",
        "tests.flows.promotion.kill_promotion",
        str(shop.home.path),
        name,
        str(STRIDE),
    ]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=7000, check=False)
    assert ended.returncode == 0
    assert int(ended.stdout) >= 20


def test_alias_never_moves_before_its_record(shop: Shop, client: Any) -> None:
    failing = FailingClient(client)
    conclude(shop.promoter(failing), shop.candidate(shop.sweep("one")), reason="", dry_run=False)
    names = failing.calls
    last_alias = len(names) - 1 - names[::-1].index("set_registered_model_alias")
    # the mark that it was applied, and then the card
    card = ["update_model_version", "log_model_artifacts", "update_registered_model"]
    assert names[last_alias + 1 :] == ["log_param", *card]
    assert names[:last_alias].count("log_param") >= 3
