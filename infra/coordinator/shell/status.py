"""What a coordinator is started with, and how it says that its sweep stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.coordinator.run_requests import TrialKey
from infra.gpus.deciding import GpuRoom
from infra.spec import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSettings:
    """What a coordinator is started with; the same again after its process died.

    Attributes:
        waits: somebody else has the sweep until `take_over` is called; lanes that come up wait for it.
        gpu_rooms: of families whose lanes may come to share GPUs, what the cluster has for them.
    """

    ledger_url: str
    sweep_id: int
    token: str
    role: str
    lanes: int
    resources: Mapping[str, Resources]  # of each family, settled on this cluster
    storage: str
    sys_path: tuple[str, ...] = ()  # folders from which people's own families are imported
    tracking: str = ""  # MLflow's URI, for lanes whose trials call it
    waits: bool = False
    gpu_rooms: Mapping[str, GpuRoom] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorStatus:
    """How a sweep stands, for the driver: cheap, read from memory.

    Attributes:
        wanted: by shape, what its trials need and how many have not ended.
        away: why the ledger cannot be written now; empty where it can.
        failure: what ended the coordinator's work for good.
        lanes_by_run: how many lanes of each Ray Train run are in.
        sick_nodes: how many lanes of each node were sick.
        planned: how many lanes there are to be, as the driver has planned them.
        waits_for: what lanes wait for, in words, as the driver sees it; empty where they wait for nothing.
        wanted_runs: the trials whose runs in MLflow are waited for.
        waits: whether the sweep is still somebody else's, and `waiting_lanes`: how many lanes wait for it.
        head_start: whether a process of the driver's trains while lanes come up.
        run_sizes: of shapes whose lanes may come to share a GPU, how many lanes a run has at most: a GPU's.
        gpu_lanes: by family whose lanes may, how many lanes a GPU has and why, in words.
    """

    state: str = "running"
    stopping: str | None = None
    lanes: int = 0
    running: int = 0
    wanted: Mapping[str, tuple[Resources, int]] = field(default_factory=dict)
    start_failures: tuple[str, ...] = ()
    away: str = ""
    failure: Exception | None = None
    lanes_by_run: Mapping[str, int] = field(default_factory=dict)
    sick_nodes: Mapping[str, int] = field(default_factory=dict)
    planned: int = 0
    waits_for: str = ""
    wanted_runs: tuple[TrialKey, ...] = ()
    waits: bool = False
    waiting_lanes: int = 0
    head_start: bool = False
    run_sizes: Mapping[str, int] = field(default_factory=dict)
    gpu_lanes: Mapping[str, str] = field(default_factory=dict)
