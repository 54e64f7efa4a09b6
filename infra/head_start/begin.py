"""Giving a spare process a sweep's work, where the sweep has work for one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from infra.coordinator.placement import MANY, Node, plan_runs, resolve_shapes, shape_name
from infra.head_start.demand import find_demand
from infra.head_start.orders import HeadStartOrders, choose_shape

if TYPE_CHECKING:
    from infra.driver.driver import DriveJob
    from infra.head_start.process import HeadStart
    from infra.ledger.store import Ledger

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
