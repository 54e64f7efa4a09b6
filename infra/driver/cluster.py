"""A Ray to run on: one of our own on this machine, or one that runs elsewhere."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.auth_tokens import make_token
from infra.coordinator.placement import Node, check_placeable, resolve_shapes
from infra.driver.local_ray import START_LIMIT_S, adapt_start, log_error_messages
from infra.driver.runs import is_any_run_alive
from infra.errors import ClusterUnavailable, HeadGone
from infra.home import Home
from infra.ledger.liveness import process_started_at
from infra.packing import excluded_files
from infra.ray_job import job_has_folder
from infra.ray_surface import check_ray_surface
from infra.secrets import redact
from infra.spec import SweepSpec

SCRATCH = "velodrome"
_log = logging.getLogger(__name__)

# Read when a run starts and passed on to its controller and workers.
RAY_TRAIN_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Workers started ahead could not be used, since Ray Train's have an environment of their own: a second
    # of processor time each, just when lanes come up.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    # An interpreter starts many times slower where every core is busy; these wait for 30, 30 and 60 s.
    "RAY_gcs_server_port_wait_time_s": str(int(START_LIMIT_S)),
    "RAY_agent_register_timeout_ms": str(int(START_LIMIT_S * 1000)),
    "RAY_worker_register_timeout_seconds": str(int(START_LIMIT_S)),
}


@contextlib.contextmanager
def connect_ray(
    address: str | None,
    home: Home,
    *,
    working_dir: str | None = None,
    trains: bool = False,
    starting: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
) -> Iterator[list[Node]]:
    """A connection to Ray for as long as the block lasts; yields the cluster's nodes.

    A Ray that this process is connected to already, as a notebook may be, is used and left as it is.

    Args:
        address: of a cluster that runs; None starts one on this machine that ends with the block, with token
            authentication and its own temporary folder.
        working_dir: the folder of people's own code that travels to a cluster elsewhere.
        trains: whether lanes are to run on it: a Ray without what they need is refused first.
        starting: entered while Ray starts, which takes seconds.
    """
    with _train_settings():
        if trains:
            check_ray_surface()
        if has_own_connection():
            _check_connected_to(address)
            yield list_nodes()
            return
        with _new_connection(address, home, working_dir, starting):
            yield list_nodes()


def has_own_connection() -> bool:
    """Whether this process is connected to a Ray that it, and not Velodrome, connected to."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def _check_connected_to(address: str | None) -> None:
    import ray

    connected: str = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", connected):
        raise ClusterUnavailable(
            "a process has one Ray at a time",
            f"connected to {connected}, asked for {address}",
            "call ray.shutdown() first, or leave address= out to use the Ray that runs",
        )


@contextlib.contextmanager
def _train_settings() -> Iterator[None]:
    """Ray Train's settings in the environment, and after the block what was there before."""
    names = (*RAY_TRAIN_SETTINGS, "RAY_AUTH_TOKEN_PATH")
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update({**RAY_TRAIN_SETTINGS, **before})
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextlib.contextmanager
def _new_connection(
    address: str | None,
    home: Home,
    working_dir: str | None,
    starting: Callable[[], AbstractContextManager[object]],
) -> Iterator[None]:

    temp = None if address else _make_temp_folder()
    let_go = True
    try:
        with starting():
            if temp is not None:
                _use_token(home)
            _forget_token()
            if temp is not None:
                with adapt_start() as options:
                    _init_ray(address="local", _temp_dir=temp, include_dashboard=False, **options)
            else:
                env: dict[str, Any] = {}
                if working_dir and not job_has_folder():
                    env = {"working_dir": working_dir, "excludes": excluded_files(Path(working_dir), home)}
                _init_ray(address=address, runtime_env=env)
        with log_error_messages():
            yield
    except HeadGone:
        let_go = False
        raise
    finally:
        gone = let_go and _shut_ray_down()
        if temp is not None and (gone or not let_go):
            shutil.rmtree(temp, ignore_errors=True)


def _shut_ray_down() -> bool:
    """Ends the connection, with nothing collected meanwhile; False where it must stay.

    A reference to a Ray object that dies while Ray's compiled half goes, in whichever thread, ends this
    process at once with status 1. Dead cycles (an error's traceback, a run's trainer) hold such references,
    and any thread that allocates, as the one that sends to MLflow, may collect them just then. Afterwards
    they are harmless. Where a thread still waits for a run, Ray stays until this process ends.
    """
    import ray

    if is_any_run_alive():
        _log.warning("Ray stays until this process ends: a run of lanes did not end in time")
        return False
    collects = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if collects:
            gc.enable()
    return True


def _init_ray(**options: Any) -> None:
    import ray

    # It announces the token that we chose; `doctor` tells of it.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **options)
    except Exception as error:  # Ray raises a bare one where it starts slowly
        known = (RuntimeError, ValueError, OSError, ray.exceptions.RayError)
        if not isinstance(error, known) and type(error) is not Exception:
            raise
        where = options["address"]
        raise ClusterUnavailable(
            "a Ray cluster must be reachable" if where != "local" else "a local Ray must start",
            redact(f"{where}: {_error_words(error)}"),
            "start one with `ray start --head`, here and there with the same RAY_AUTH_MODE=token and"
            " RAY_AUTH_TOKEN_PATH (docs/cluster.md), or leave --address out"
            if where != "local"
            else "see `velodrome doctor`",
        ) from error
    finally:
        # Ray takes SIGTERM for itself when it starts: a command would end with a status of Ray's.
        if terminate is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)


def _error_words(error: BaseException) -> str:
    """The first line of Ray's message, and the error that it says at its end to have met, if any."""
    text = str(error).strip()
    met = re.findall(r"^ray\.exceptions\.(\w+: [^.\n]+)", text, flags=re.MULTILINE)
    return " ".join([text.splitlines()[0] if text else type(error).__name__, *met[-1:]])


def _make_temp_folder() -> str:
    """A folder for Ray's sockets and logs, short enough for a socket's path; those of dead processes go."""
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}-*-*"):
        pid = left.name.split("-")[1]
        if pid.isdecimal() and process_started_at(int(pid)) is None:
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{SCRATCH}-{os.getpid()}-")


def _use_token(home: Home) -> None:
    """Ray's own ports cannot be bound to loopback, so they ask for a token that only this user can read."""
    path = home.path / "ray_token"
    make_token(path)
    # The mode is left to `ray.init`, which turns it on for a local cluster and tells its compiled half so;
    # set here, that half would not hear of it.
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)


def _forget_token() -> None:
    """Ray's compiled half reads a token once a process; another home or cluster has another one."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled

    AuthenticationTokenLoader.instance().reset_cache()


def check_local_placeable(spec: SweepSpec) -> Node:
    """Refuses before Ray is started what a Ray of our own could never place here; gives this machine."""
    import psutil
    from ray._private.accelerators import get_accelerator_manager_for_resource
    from ray._private.utils import get_num_cpus

    gpus = get_accelerator_manager_for_resource("GPU")
    here = Node(
        name="local",
        cpus=float(get_num_cpus()),
        gpus=0.0 if gpus is None else float(gpus.get_current_node_num_accelerators()),
        memory_bytes=psutil.virtual_memory().total,
    )
    for family, resources in resolve_shapes(spec, [here]).items():
        # Kinds of accelerators and labels are known to a running Ray alone.
        check_placeable(family, replace(resources, accelerator=None, labels={}), [here])
    return here


def list_nodes() -> list[Node]:
    """The living nodes of the connected cluster, with what each has in all and what is free of it."""
    import ray
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()  # type: ignore[no-untyped-call]  # Ray's own
    living = [entry for entry in ray.nodes() if entry.get("Alive")]  # type: ignore[no-untyped-call]  # Ray's own
    return [_node_from_ray(entry, free.get(entry["NodeID"])) for entry in living]


def list_leaving_nodes() -> frozenset[str]:
    """Names of nodes that will soon be gone, as the cluster was told by a cloud that takes one back, by an
    autoscaler or by a person (`ray drain-node`): Ray places nothing there any more."""
    from ray._private.state import state

    return frozenset(state.get_draining_nodes())


def _node_from_ray(entry: Mapping[str, object], free: Mapping[str, float] | None) -> Node:
    """A node; what is free of it is unknown where Ray has not heard from it yet."""
    resources = dict(entry.get("Resources") or {})  # type: ignore[call-overload]
    kinds = tuple(name.partition(":")[2] for name in resources if name.startswith("accelerator_type:"))
    return Node(
        name=str(entry["NodeID"]),
        host=str(entry.get("NodeManagerHostname", "")),
        cpus=float(resources.get("CPU", 0.0)),
        gpus=float(resources.get("GPU", 0.0)),
        memory_bytes=int(resources.get("memory", 0)),
        accelerators=kinds,
        labels=dict(entry.get("Labels") or {}),  # type: ignore[call-overload]
        free_cpus=None if free is None else free.get("CPU", 0.0),
        free_gpus=None if free is None else free.get("GPU", 0.0),
    )
