"""What the sweeps of a cluster ask for, by their rows in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from infra.ledger import views
from infra.ledger.liveness import is_alive_here
from infra.ledger.rows import OwnerRow
from infra.ledger.store import Ledger
from infra.sharing.shares import LaneClaim
from trainers.types import Document

CLAIM = "claim"  # the fact of a sweep that its driver writes


def claim_fact(claim: LaneClaim, cluster: str) -> Document:
    """The fact, of the cluster of that name."""
    return {"cluster": cluster, **claim.to_json()}


def read_claims(
    ledger: Ledger, cluster: str, is_alive: Callable[[OwnerRow], bool] = is_alive_here
) -> list[LaneClaim]:
    """What the sweeps claim whose drivers live, on the cluster of that name; by sweep."""
    found = []
    for facts, owner in views.owned_facts(ledger):
        claim: Document | None = facts.get(CLAIM)
        if not claim or claim.get("cluster") != cluster or not is_alive(owner):
            continue
        with suppress(KeyError):  # of another version of Velodrome, which says less
            found.append(LaneClaim.from_json(claim))
    return sorted(found, key=lambda claim: claim.sweep_id)
