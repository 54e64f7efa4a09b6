"""Driving a sweep: the coordinator, the runs that its trials need, and the end, whatever it is."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, cast

import ray

from infra.busy_machine import stretch_limit
from infra.coordinator.core import Coordinator
from infra.coordinator.placement import (
    MANY,
    Node,
    check_placeable,
    gpu_rooms,
    plan_runs,
    resolve_shapes,
    shape_name,
)
from infra.coordinator.run_requests import KnownRuns
from infra.coordinator.shell.actor import CoordinatorHandle, actor_class
from infra.coordinator.shell.status import ActorSettings, CoordinatorStatus
from infra.driver.coordinator_link import CoordinatorLink, EarlyTraining
from infra.driver.head_monitor import HeadMonitor
from infra.driver.run_pool import RunPool, first_room
from infra.driver.runs import end_runs
from infra.driver.stop_signals import SecondSignal, StopSignals
from infra.errors import (
    ClusterUnavailable,
    FencedError,
    HeadGone,
    LedgerUnavailable,
    StorageUnavailable,
    VelodromeError,
)
from infra.lanes.settings import LaneSettings
from infra.ledger.store import Ledger
from infra.mirror import discard
from infra.sharing.claims import claim_fact
from infra.sharing.growth import ClusterGrowth, find_growth
from infra.sharing.negotiation import LaneShare, ShareKeeper
from infra.spec import SweepLimits, SweepSpec

_log = logging.getLogger(__name__)
POLL_S = 0.5
BEAT_S = 2.0
STOP_LIMIT_S = 25.0
RUNS_END_S = 15.0
RUNS_GONE_S = 90.0  # where a core is free they are gone at once
HURRIED_ANSWER_S = 1.0
CONTROLLER_END_S = 5.0
MOST_START_FAILURES = 3

Watch: TypeAlias = Callable[[CoordinatorStatus], KnownRuns | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveJob:
    """Everything that driving one sweep needs.

    Attributes:
        token: of the owner row that this process holds.
        lanes: what the lanes are told; `run`, `shape` and `resources` are filled in.
        role: `search` or `confirm`.
        own_ray: whether Ray is this process's own and ends with it.
        tracking: MLflow's URI, for trials whose code calls it.
    """

    ledger_url: str
    sweep_id: int
    token: str
    spec: SweepSpec
    lanes: LaneSettings
    role: str = "search"
    own_ray: bool = True
    tracking: str = ""


def drive_sweep(
    job: DriveJob,
    nodes: Sequence[Node],
    signals: StopSignals,
    watch: Watch = lambda standing: None,
    early: EarlyTraining | None = None,
) -> CoordinatorStatus:
    """Runs a sweep on the connected Ray until it ends or is stopped.

    Args:
        early: has the sweep already, until lanes are there.
        watch: called with each new standing, some times a second, from this thread; gives what is known of
            the runs that it asks for.
    """
    families = resolve_shapes(job.spec, nodes)
    growth = None if job.own_ray else find_growth()
    for family, resources in families.items() if growth is None else ():
        check_placeable(family, resources, nodes)
    driver = _Driver(job, nodes, signals, watch, growth, early)
    try:
        return driver.run()
    except HeadGone:
        _return_to_waiting(job)
        raise
    except BaseException:  # whatever ends this, Ctrl+C among it: no run of it may stay
        driver.end_runs(2 * RUNS_END_S)
        raise
    finally:
        driver.close()


def _return_to_waiting(job: DriveJob) -> None:
    """What runs waits for the next command; lanes that still live are not heard any more."""
    ledger = Ledger(job.ledger_url)
    try:
        epoch = ledger.raise_epoch(job.sweep_id, job.token)
        Coordinator(ledger, job.sweep_id, epoch=epoch, role=job.role).conclude_stop()
    finally:
        ledger.close()


class _Driver:
    def __init__(
        self,
        job: DriveJob,
        nodes: Sequence[Node],
        signals: StopSignals,
        watch: Watch,
        growth: ClusterGrowth | None,
        early: EarlyTraining | None,
    ) -> None:
        self._growth = growth
        self._job, self._nodes, self._signals, self._watch = job, nodes, signals, watch
        self._by_family = resolve_shapes(job.spec, nodes)
        self._seen_lane_at = time.monotonic()
        self._beaten_at = 0.0
        self._ledger = Ledger(job.ledger_url)
        _set_ray_limits(job.spec.limits)
        self._head = HeadMonitor(_head_address())
        self._link = CoordinatorLink(self._start_actor(waits=early is not None), self._head, early)
        self._pool = RunPool(
            job.lanes, nodes, self._link.actor, self._scratch_folder(), job.spec.lanes,
            start_s=job.spec.limits.start_s, own_ray=job.own_ray, growth=growth,
        )  # fmt: skip
        self._last = CoordinatorStatus()
        self._supply: tuple[object, ...] | None = None
        self._gpu_lanes: Mapping[str, str] = {}
        who = f"pid {os.getpid()} on {socket.gethostname()}"
        self._shares = (
            None if job.own_ray else ShareKeeper(self._ledger, job.sweep_id, job.spec, _cluster_name(), who)
        )

    def run(self) -> CoordinatorStatus:
        with contextlib.suppress(SecondSignal), self._signals.raise_on_second():
            self._poll_until_end()
        return self._conclude_sweep()

    def _poll_until_end(self) -> None:
        stopping_since: float | None = None
        while True:
            standing = self._fetch_status()
            if standing.failure is not None:
                raise standing.failure
            found = self._watch(self._note_supply(standing))
            if found is not None:
                self._link.actor.answer_runs.remote(found)
            self._renew_heartbeat()
            if standing.state != "running":
                return
            if self._signals.first_signal is not None and standing.stopping is None:
                self._link.stop(f"signal {signal.Signals(self._signals.first_signal).name}")
            if standing.stopping is not None:
                stopping_since = stopping_since or time.monotonic()
                waited_s = time.monotonic() - stopping_since
                if standing.lanes == 0 or waited_s > STOP_LIMIT_S:
                    return
            elif self._head.is_reachable():  # what follows asks it
                self._check_lanes(standing)
                self._pool.maintain(standing)
            time.sleep(POLL_S)

    def close(self) -> None:
        """Lets go of what this process holds. Ray ends its processes with the connection; one that was there
        before stays, and what began on it ends here."""
        if not self._job.own_ray:
            with contextlib.suppress(HeadGone):
                if self._head.is_reachable():
                    if self._growth is not None:
                        self._growth.close()
                    ray.kill(self._link.actor)
        self._ledger.close()
        scratch = self._scratch_folder()
        shutil.rmtree(scratch, ignore_errors=True)
        with contextlib.suppress(StorageUnavailable):  # `gc` finds what is left
            discard(scratch)

    def _start_actor(self, *, waits: bool) -> CoordinatorHandle:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        shapes = {shape_name(resources): resources for resources in self._by_family.values()}
        # As many as there may ever be: what others hold now they may give back.
        plans = plan_runs(shapes, dict.fromkeys(shapes, MANY), self._nodes, self._job.spec.lanes)
        settings = ActorSettings(
            ledger_url=self._job.ledger_url, sweep_id=self._job.sweep_id, token=self._job.token,
            role=self._job.role, lanes=max(1, sum(plan.lanes for plan in plans)), resources=self._by_family,
            storage=self._job.lanes.storage, sys_path=self._job.lanes.sys_path, tracking=self._job.tracking,
            waits=waits,
            gpu_rooms=gpu_rooms(self._job.spec, first_room(self._nodes, own_ray=self._job.own_ray)),
        )  # fmt: skip
        here = ray.get_runtime_context().get_node_id()
        options = {
            "num_cpus": 0,
            "max_restarts": -1,
            "max_task_retries": -1,
            "name": f"velodrome-coordinator-{uuid.uuid4().hex[:8]}",
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=here, soft=False),
        }
        return cast("CoordinatorHandle", actor_class().options(**options).remote(settings))

    def _fetch_status(self) -> CoordinatorStatus:
        self._last = self._link.fetch_status()
        return self._last

    def _renew_heartbeat(self) -> None:
        if time.monotonic() - self._beaten_at < BEAT_S:
            return
        self._beaten_at = time.monotonic()
        try:
            owned = self._ledger.renew_heartbeat(self._job.sweep_id, self._job.token)
        except LedgerUnavailable:
            return  # the coordinator waits for the ledger's return, with a limit
        if not owned:
            raise FencedError("a driver must own its sweep", "another driver took it over")

    def _check_lanes(self, standing: CoordinatorStatus) -> None:
        now = time.monotonic()
        if standing.lanes or not self._pool.planned_lanes:
            self._seen_lane_at = now
        if len(standing.start_failures) >= MOST_START_FAILURES:
            self._link.stop("lanes cannot begin")
            last = standing.start_failures[-1].strip().splitlines()[-1]
            raise ClusterUnavailable("a lane must be able to begin", last, "see the traceback in the log")
        limit_s = stretch_limit(self._job.spec.limits.start_s)
        if now - self._seen_lane_at > limit_s:
            raise ClusterUnavailable(
                f"a lane must come up within {self._job.spec.limits.start_s:.0f} s (limits.start)",
                f"none did in {limit_s:.0f} s, which this machine's load allows",
                "is the cluster busy? `ray status` tells; raise limits.start if its nodes are slow",
            )

    def _note_supply(self, standing: CoordinatorStatus) -> CoordinatorStatus:
        """The standing with what the driver knows of lanes, which goes into the ledger where it is news."""
        self._log_gpu_lanes(standing)
        share = self._take_share(standing)
        waits_for = self._pool.describe_shortage(standing)
        if share is not None and share.others and self._pool.planned_lanes < share.claim.wanted:
            waits_for = f"{waits_for or 'the cluster is shared'}; {share.others}"
        told = replace(standing, planned=self._pool.planned_lanes, waits_for=waits_for)
        claim = (
            None if share is None or self._shares is None else claim_fact(share.claim, self._shares.cluster)
        )
        supply = (told.planned, told.lanes, waits_for, claim)
        if supply != self._supply and told.state == "running" and not told.away:
            self._supply = supply
            if waits_for:
                _log.warning("%d of %d lanes are up; %s", told.lanes, told.planned, waits_for)
            # Nobody waits for it: the ledger may be away for longer than a driver waits for an answer.
            if not told.head_start:
                self._link.actor.record_supply.remote(told.planned, waits_for, claim)
        return told

    def _log_gpu_lanes(self, standing: CoordinatorStatus) -> None:
        for family, why in standing.gpu_lanes.items():
            if self._gpu_lanes.get(family) != why:
                _log.warning("gpus: auto: %s: %s", family, why)
        self._gpu_lanes = standing.gpu_lanes

    def _take_share(self, standing: CoordinatorStatus) -> LaneShare | None:
        """Where the Ray is others' too, how many lanes this sweep may have now."""
        if self._shares is None or standing.state != "running":
            return None
        share = self._shares.update(standing.wanted, self._pool.nodes, self._pool.plans)
        self._pool.allowed = share.allowed
        return share

    def _scratch_folder(self) -> Path:
        job_id: str = ray.get_runtime_context().get_job_id()
        return Path(self._job.lanes.storage) / ".ray" / job_id

    def _conclude_sweep(self) -> CoordinatorStatus:
        early = self._link.early
        if early is not None and early.is_at_work:  # it was told to stop, and did not in time
            early.kill()
            with contextlib.suppress(VelodromeError):
                _return_to_waiting(self._job)
        elif self._signals.has_second:
            # What runs is found by the next command and goes on from its checkpoint then.
            with contextlib.suppress(VelodromeError):
                self._link.call(lambda: self._link.actor.conclude_stop.remote(), limit_s=HURRIED_ANSWER_S)
        elif self._fetch_status().state == "running":
            self._link.call(lambda: self._link.actor.conclude_stop.remote())
        self.end_runs(RUNS_END_S if self._signals.has_second else RUNS_GONE_S)
        return self._last if self._signals.has_second else self._fetch_status()

    def end_runs(self, limit_s: float) -> None:
        """Ends what the runs' threads wait for: a connection that closes under them takes this process along.

        Runs on a cluster that stays are given the time to take down what they put up.
        """
        hurry = self._signals.has_second
        end_runs(
            self._pool.runs,
            lambda: self._link.call(lambda: self._link.actor.end_runs.remote(), limit_s=CONTROLLER_END_S),
            first_s=0.0 if self._job.own_ray else RUNS_END_S,
            again_s=CONTROLLER_END_S,
            limit_s=limit_s,
            is_hurried=lambda: self._signals.has_second != hurry,
        )


def _head_address() -> str:
    address: str = ray.get_runtime_context().gcs_address
    return address


def _cluster_name() -> str:
    """What no other cluster is called: the head's node."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's own
    heads = [node["NodeID"] for node in nodes if "node:__internal_head__" in node["Resources"]]
    return str(heads[0]) if heads else _head_address()


def _set_ray_limits(limits: SweepLimits) -> None:
    """Ray Train's own waits, which it reads when a run starts, follow the sweep's limits. A lane that is
    silent is ended by the coordinator; Ray's look at it comes after that."""
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(stretch_limit(limits.start_s))
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(max(2 * limits.lease_s, 30.0))
