"""Who becomes the champion, and who is refused, by name."""

from __future__ import annotations

import pytest

from flows.promote import GateRefused
from tests.flows.promotion.conftest import Shop


def refused_by(shop: Shop, name: str) -> set[str]:
    """The gates that refuse a sweep's winner."""
    with pytest.raises(GateRefused) as refusal:
        shop.promote(name)
    return {finding.gate for finding in refusal.value.promotion.findings if finding.refused}


def test_the_first_is_promoted_a_better_one_follows_and_a_worse_one_is_refused(shop: Shop) -> None:
    first = shop.promote(shop.sweep("one", skill=0.85), reason="to begin with")
    assert (first.outcome, first.version, first.former) == ("moved", 1, None)
    assert {f.gate: f.verdict for f in first.findings}["better"] == "not applicable"
    better = shop.promote(shop.sweep("two", skill=0.92, seed=2))
    assert (better.outcome, better.version, better.former) == ("moved", 2, 1)
    assert better.metrics["challenger"]["accuracy"] > better.metrics["champion"]["accuracy"] + 0.03
    assert better.examples > 1_000
    assert better.test_reads == 1
    assert refused_by(shop, shop.sweep("three", skill=0.8, seed=3)) >= {"better"}
    assert shop.champion == 2
    kinds = [(entry.kind, entry.source, entry.target) for entry in shop.mover.records.read().entries]
    assert kinds == [("promotion", None, 1), ("promotion", 1, 2), ("refusal", 2, 3)]
    assert shop.registry.aliases("shop") == {"champion": 2, "challenger": 3, "previous": 1}
    again = shop.promote("two")
    assert (again.outcome, again.version) == ("already", 2)
