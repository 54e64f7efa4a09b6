"""Giving a spare process a sweep's work, where the sweep has work for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from infra.coordinator.placement import MANY, Node, plan_runs, resolve_shapes, shape_name
from infra.head_start.orders import HeadStartOrders, choose_shape
from infra.ledger import views
from infra.search.growth import limit_to_grids

if TYPE_CHECKING:
    from infra.driver.driver import DriveJob
    from infra.head_start.process import HeadStart
    from infra.ledger.store import Ledger
    from infra.spec import Resources

LANE = "head-start"


def begin_training(process: HeadStart, ledger: Ledger, job: DriveJob, here: Node | None) -> HeadStart | None:
    """Lets it train until lanes are there; ends it, and gives None, where there is no work for it.

    Args:
        here: this machine, on which a Ray of the driver's own starts; None where the Ray is there already.
    """
    if here is None:
        process.kill()
        return None
    resources = resolve_shapes(job.spec, [here])
    shape = choose_shape(job.spec, resources)
    demand = find_demand(ledger, job.sweep_id, job.role, resources)
    if shape is None or shape not in demand:
        process.kill()  # it would only hold memory
        return None
    shapes = {shape_name(needs): needs for needs in resources.values()}
    plans = plan_runs(shapes, dict.fromkeys(shapes, MANY), [here], job.spec.lanes)
    settings = replace(job.lanes, run=LANE, shape=shape, resources=shapes[shape])
    orders = HeadStartOrders(
        ledger_url=job.ledger_url, sweep_id=job.sweep_id, token=job.token, role=job.role,
        lanes=max(1, sum(plan.lanes for plan in plans)), resources=resources, settings=settings,
        tracking=job.tracking,
    )  # fmt: skip
    process.begin(orders, demand)
    return process


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
