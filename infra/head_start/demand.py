"""What a sweep's trials need, as the ledger has it: for whoever has no coordinator to ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from infra.coordinator.placement import shape_name
from infra.ledger import views
from infra.search.growth import limit_to_grids

if TYPE_CHECKING:
    from infra.ledger.store import Ledger
    from infra.spec import Resources


def find_demand(
    ledger: Ledger, sweep_id: int, role: str, resources: Mapping[str, Resources]
) -> dict[str, tuple[Resources, int]]:
    """For each shape, its resources and how many trials have not ended, those to be asked for among them.

    Args:
        role: `search`, or `confirm`, whose trials are all there.
        resources: what a worker of each family gets.
    """
    trials = views.trials(ledger, sweep_id, role=role)
    counts: Counter[str] = Counter(trial.family for trial in trials if not trial.has_ended)
    if role == "search":
        spec = limit_to_grids(views.sweep_by_id(ledger, sweep_id).spec)
        made = Counter(trial.family for trial in trials)
        counts.update({family.name: max(0, family.trials - made[family.name]) for family in spec.families})
    by_shape: dict[str, tuple[Resources, int]] = {}
    for name, needs in resources.items():
        shape = shape_name(needs)
        by_shape[shape] = (needs, by_shape.get(shape, (needs, 0))[1] + counts[name])
    return {shape: need for shape, need in by_shape.items() if need[1]}
