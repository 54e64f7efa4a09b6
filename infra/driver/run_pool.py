"""The Ray Train runs of one sweep: begun where there is room, ended where no lane of them comes up."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra.busy_machine import stretch_limit
from infra.coordinator.lane_health import choose_left_out
from infra.coordinator.placement import (
    LANES_A_RUN,
    Node,
    RunPlan,
    check_placeable,
    leave_to_others,
    plan_runs,
)
from infra.driver.cluster import list_leaving_nodes, list_nodes
from infra.driver.runs import LaneRun
from infra.driver.shortage import PLACE_LIMIT_S, RunProgress, describe_shortage, find_hopeless_runs
from infra.errors import ClusterUnavailable
from infra.lanes.settings import LaneSettings
from infra.sharing.growth import ClusterGrowth, held_workers, missing_workers
from infra.sharing.shares import choose_returned_runs

if TYPE_CHECKING:
    from infra.coordinator.shell.actor import CoordinatorHandle
    from infra.coordinator.shell.status import CoordinatorStatus
    from infra.spec import Resources

NODES_EVERY_S = 10.0
LEAVING_EVERY_S = 3.0  # a cloud takes a machine back 30 s after it says so
LANES_A_SHARED_RUN = 2  # a run is given back whole; each costs some processes of Ray's
MOST_RUN_DEATHS = 3
_log = logging.getLogger(__name__)


class RunPool:
    """The runs of one sweep. Used by one thread."""

    def __init__(
        self,
        settings: LaneSettings,
        nodes: Sequence[Node],
        actor: CoordinatorHandle,
        scratch: Path,
        lanes: int | None,
        *,
        start_s: float,
        own_ray: bool,
        growth: ClusterGrowth | None = None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Has no run yet.

        Args:
            settings: of the lanes, whose `run`, `shape` and `resources` are filled in.
            scratch: where Ray Train keeps its own files.
            lanes: how many lanes at most; None: as many as fit.
            start_s: `limits.start`.
            own_ray: whether Ray is this process's own and ends with it.
            growth: what is asked for lanes that find no room; None: nobody would bring it.
            steady: seconds that only pass.
        """
        self._steady, self._growth = steady, growth
        self._settings, self._actor, self._scratch = settings, actor, scratch
        self._lanes, self._start_s, self._own_ray = lanes, start_s, own_ray
        self._nodes, self._room = nodes, first_room(nodes, own_ray=own_ray)
        self._runs: list[LaneRun] = []
        self._ended: list[LaneRun] = []  # given up, and perhaps not over yet
        self._had_lane_at: dict[str, float] = {}
        self.allowed: int | None = None  # how many lanes beside other sweeps; None: nobody else is there
        self._dismissed: set[str] = set()
        self._deaths = 0
        self._left_out: frozenset[str] = frozenset()
        self._leaving: frozenset[str] = frozenset()
        self._looked_at = self._looked_for_leaving_at = self._steady()

    @property
    def planned_lanes(self) -> int:
        """How many lanes there are to be, without those that are given back."""
        return sum(plan.lanes for plan in self._staying().values())

    @property
    def nodes(self) -> Sequence[Node]:
        """The cluster's, as they were last looked at."""
        return self._nodes

    @property
    def plans(self) -> Sequence[RunPlan]:
        """Of the runs that hold something or are about to."""
        return self._plans()

    @property
    def runs(self) -> Sequence[LaneRun]:
        """Those that go on and those that were given up; each may have ended."""
        return (*self._runs, *self._ended)

    def maintain(self, standing: CoordinatorStatus) -> None:
        """Lets go of runs that have ended or cannot begin, and begins what there is room for."""
        if standing.lanes:
            self._deaths = 0  # it works; what ends a run now and then is not what would end each
        for run in [run for run in self._runs if not run.is_alive]:
            self._runs.remove(run)
            run.release()
            self._check_run(run)
        for run in [run for run in self._ended if not run.is_alive]:
            self._ended.remove(run)
            run.release()
        self._refresh(standing)
        self._give_back(standing)
        planned = Counter[str]()
        for plan in self._staying().values():
            planned[plan.shape] += plan.lanes
        shapes = _shapes(standing)
        for shape in shapes.keys() - planned.keys() if self._growth is None else ():
            check_placeable(shape, shapes[shape], self._nodes)  # `retry` may have asked for what is not there
        counts = {shape: count - planned[shape] for shape, (_, count) in standing.wanted.items()}
        limit, running = self._lane_limit(), self._plans()
        if limit is not None:
            limit += sum(plan.lanes for plan in running) - planned.total()  # those that leave are not counted
        most = LANES_A_RUN if self.allowed is None else LANES_A_SHARED_RUN
        for plan in plan_runs(
            shapes, counts, self._room, limit, running=running, most_a_run=most, run_sizes=standing.run_sizes
        ):
            run = LaneRun(plan, self._settings, self._actor, self._scratch, own_ray=self._own_ray)
            self._runs.append(run)
            self._had_lane_at[run.name] = self._steady()
            run.start()

    def describe_shortage(self, standing: CoordinatorStatus) -> str:
        """What lanes wait for, in words; empty where they wait for nothing."""
        if self._own_ray or standing.state != "running":
            return ""
        wanted = {shape: count for shape, (_, count) in standing.wanted.items()}
        found = describe_shortage(_shapes(standing), wanted, self._room, self._lane_limit(), self._plans())
        asked = "" if self._growth is None else self._growth.words
        return f"{found}; {asked}" if found and asked else found

    def _plans(self) -> list[RunPlan]:
        """Without those that are bound to a node that is gone: these wait for nothing."""
        known = {node.name for node in self._nodes}
        return [run.plan for run in self._runs if not run.plan.node or run.plan.node in known]

    def _staying(self) -> dict[str, RunPlan]:
        known = {node.name for node in self._nodes}
        return {
            run.name: run.plan
            for run in self._runs
            if run.name not in self._dismissed and (not run.plan.node or run.plan.node in known)
        }

    def _lane_limit(self) -> int | None:
        return min((most for most in (self._lanes, self.allowed) if most is not None), default=None)

    def _give_back(self, standing: CoordinatorStatus) -> None:
        """Has runs leave that are more than this sweep's share; their lanes end what they train before."""
        if self.allowed is None:
            return
        staying, by_name = self._staying(), {run.name: run for run in self._runs}
        excess = sum(plan.lanes for plan in staying.values()) - self.allowed
        chosen = choose_returned_runs(staying, standing.lanes_by_run, excess)
        for name in chosen:
            _log.warning("%d lane(s) are given back to other sweeps", staying[name].lanes)
            if not standing.lanes_by_run.get(name):
                self._end(by_name[name])
        self._dismissed |= set(chosen)
        if chosen:
            self._dismiss()

    def _dismiss(self) -> None:
        self._actor.dismiss_runs.remote(sorted(self._dismissed))

    def _end(self, run: LaneRun) -> None:
        self._runs.remove(run)
        self._ended.append(run)
        self._actor.end_run.remote(run.name)

    def _refresh(self, standing: CoordinatorStatus) -> None:
        """On a cluster that stays, nodes come and go, and so does what others run on them."""
        if self._own_ray:
            return
        leave = self._find_leaving()
        if self._steady() - self._looked_at < NODES_EVERY_S and not leave:
            return
        self._looked_at = self._steady()
        self._nodes = [node for node in list_nodes() if node.name not in self._leaving] or self._nodes
        if self._dismissed:  # said again: the coordinator may have begun anew
            self._dismiss()
        self._leave_out_sick(standing)
        self._give_up_hopeless(standing)
        plans = self._plans()
        settled = standing.lanes >= sum(plan.lanes for plan in plans)
        room = leave_to_others(self._nodes, plans, self._room, settled=settled)
        self._room = [node for node in room if node.name not in self._left_out]
        self._ask_for_more(standing, plans, room)

    def _find_leaving(self) -> bool:
        """Has lanes leave nodes that will soon be gone. True: there are more of these than before."""
        if self._steady() - self._looked_for_leaving_at < LEAVING_EVERY_S:
            return False
        self._looked_for_leaving_at = self._steady()
        more = list_leaving_nodes() - self._leaving
        self._leaving |= more
        if more:
            hosts = sorted(node.host or node.name for node in self._nodes if node.name in more) or sorted(
                more
            )
            _log.warning("taken back by whoever runs the cluster, so lanes leave: %s", ", ".join(hosts))
        if self._leaving:  # said again: the coordinator may have begun anew
            self._actor.evacuate.remote(sorted(self._leaving))
        return bool(more)

    def _ask_for_more(
        self, standing: CoordinatorStatus, plans: Sequence[RunPlan], room: Sequence[Node]
    ) -> None:
        if self._growth is None:
            return
        wanted = {shape: count for shape, (_, count) in standing.wanted.items()}
        staying = list(self._staying().values())
        missing = missing_workers(_shapes(standing), wanted, self._lane_limit(), staying)
        # Beside other sweeps what is not ours is mostly theirs, and in their own demands.
        strangers = self._nodes if self.allowed is None else ()
        self._growth.ask(missing, held_workers(plans, strangers, room))

    def _leave_out_sick(self, standing: CoordinatorStatus) -> None:
        out = choose_left_out(self._nodes, standing.sick_nodes)
        if out != self._left_out:
            self._left_out = out
            hosts = sorted(node.host or node.name for node in self._nodes if node.name in out)
            _log.warning("left out, since lanes there were sick again: %s", ", ".join(hosts) or "none")
        if standing.sick_nodes:
            self._actor.leave_out.remote(sorted(out))

    def _give_up_hopeless(self, standing: CoordinatorStatus) -> None:
        from infra.lanes.backend import list_pending_runs

        now = self._steady()
        for name in standing.lanes_by_run:
            self._had_lane_at[name] = now
        by_name = {run.name: run for run in self._runs}
        without = [name for name in by_name if not standing.lanes_by_run.get(name)]
        pending = list_pending_runs(without) if without else set()
        progress = [
            RunProgress(
                name=name, node=run.plan.node, lanes=standing.lanes_by_run.get(name, 0),
                pending=name in pending, waited_s=now - self._had_lane_at[name],
            )
            for name, run in by_name.items()
        ]  # fmt: skip
        for name, why in find_hopeless_runs(
            progress, self._nodes, stretch_limit(self._start_s), stretch_limit(PLACE_LIMIT_S)
        ):
            run = by_name[name]
            _log.warning("%d lane(s) are planned anew: %s", run.plan.lanes, why)
            self._end(run)

    def _check_run(self, run: LaneRun) -> None:
        if run.error is None:
            return
        self._deaths += 1
        if self._deaths >= MOST_RUN_DEATHS:
            first = str(run.error).strip().splitlines()
            raise ClusterUnavailable(
                "Ray Train must keep lanes running", first[0] if first else repr(run.error)
            )


def _shapes(standing: CoordinatorStatus) -> Mapping[str, Resources]:
    return {shape: resources for shape, (resources, _) in standing.wanted.items()}


def first_room(nodes: Sequence[Node], *, own_ray: bool) -> list[Node]:
    """What lanes are planned on at first. A Ray of our own has no strangers: what it does not say to be free
    yet, as it starts, is free all the same, and nobody looks again."""
    return list(nodes) if own_ray else leave_to_others(nodes, (), (), settled=True)
