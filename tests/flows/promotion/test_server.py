"""The same through an MLflow server, which keeps the artifacts too."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.promotion.judging.candidate import candidate_of_sweep
from flows.promotion.judging.promoter import Promoter
from flows.promotion.promote import conclude
from infra.registry.store import Registry
from infra.serving.registry_source import RegistrySource
from tests.flows.promotion.conftest import Shop
from tests.infra.registry.test_records import check_race
from tests.infra.tracking.test_server import server

__all__ = ["server"]


@pytest.mark.slow
def test_promote_through_tracking_server_moves_and_records(
    shop: Shop, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    registry = Registry.open(server, shop.home)
    for number, skill in enumerate((0.85, 0.95), start=1):
        name = shop.sweep(f"s{number}", skill=skill, seed=number)
        candidate = candidate_of_sweep(name, shop.home, trial=None, family=None, model=None)
        promoter = Promoter(home=shop.home, source=registry, target=registry, use=shop.ask)
        moved = conclude(promoter, candidate, reason="", dry_run=False)
        assert (moved.outcome, moved.version) == ("moved", number)
    served = RegistrySource(registry)
    assert served.alias_target("shop", "champion") == "shop/2"
    artifact = served.fetch("shop/2", tmp_path / "served")
    assert artifact.bundle
    assert any((tmp_path / "served").rglob("MLmodel"))
    check_race(registry, "other")
