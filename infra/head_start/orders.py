"""What a process that trains ahead of the lanes is told, and whether a sweep may have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from infra.coordinator.placement import shape_name
from infra.lanes.settings import LaneSettings
from infra.spec import Resources, SweepSpec
from trainers.registry import BUILT_IN

LEAVE = "leave"  # lanes are there: what remains is theirs
# How such a process ends. What it trained is in the ledger each time.
EXIT_HANDED_OVER = 0
EXITS_BY_STATE: Mapping[str, int] = {"finished": 10, "failed": 11, "stopped": 12}

Command: TypeAlias = tuple[Literal["leave", "stop"], str]  # and why


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStartOrders:
    """One sweep's work for one process.

    Attributes:
        token: of the owner row that the driver holds.
        lanes: how many lanes the sweep is to have.
        resources: what a worker of each family gets on this machine.
        settings: of its lane; `shape` and `resources` are those of the trials that it may take.
        tracking: MLflow's URI.
    """

    ledger_url: str
    sweep_id: int
    token: str
    role: str
    lanes: int
    resources: Mapping[str, Resources]
    settings: LaneSettings
    tracking: str = ""


def choose_shape(spec: SweepSpec, resources: Mapping[str, Resources]) -> str | None:
    """The first shape whose trials a process of the driver's own may train; None where there is none.

    It is one process without a GPU, and what it trains is Velodrome's own families: people's code may end
    the process that it runs in, or count on what Ray sets up for it.
    """
    for shape in dict.fromkeys(map(shape_name, resources.values())):
        families = [family for family in spec.families if shape_name(resources[family.name]) == shape]
        if all(family.reference in BUILT_IN and _is_plain(resources[family.name]) for family in families):
            return shape
    return None


def may_have_head_start(spec: SweepSpec) -> bool:
    """Whether anything of the sweep could be trained so on some machine: on one without a GPU."""
    return (
        choose_shape(
            spec, {f.name: replace(f.resources, gpus=f.resources.gpus or 0.0) for f in spec.families}
        )
        is not None
    )


def _is_plain(resources: Resources) -> bool:
    asks = (resources.gpus, resources.fresh_process, resources.accelerator, resources.labels)
    return resources.workers == 1 and resources.memory_bytes is None and not any(asks)
