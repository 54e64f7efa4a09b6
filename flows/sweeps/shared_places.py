"""What lanes on other machines must reach is checked before any of them starts."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from infra.errors import ClusterUnavailable
from infra.home import Home, ledger_url, storage_root
from infra.places.check import check_nodes

if TYPE_CHECKING:
    from infra.coordinator.placement import Node
    from infra.spec import SweepSpec


def check_shared_places(spec: SweepSpec, home: Home, nodes: Sequence[Node]) -> None:
    """Lanes on other machines need a ledger, a tracking server and a storage that they can reach."""
    here = socket.gethostname()
    others = sorted({node.host for node in nodes if node.host != here})
    if not others:
        return
    local = []
    if storage_root(home, spec) == home.storage:
        local.append("storage (set storage: or VELODROME_STORAGE to a folder that all share, or s3://…)")
    if ledger_url(home, spec.ledger).startswith("sqlite"):
        local.append("ledger (set ledger: or VELODROME_LEDGER to postgresql+psycopg://…)")
    if local:
        raise ClusterUnavailable(
            "lanes on other machines must reach what they share",
            f"on this machine alone: {'; '.join(local)}",
            f"the cluster has nodes on {', '.join(others[:3])}",
        )
    check_nodes(spec, home, nodes)
