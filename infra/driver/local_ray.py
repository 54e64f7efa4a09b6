"""What `ray.init` does not let one ask for when it starts a Ray on this machine."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.secrets import redact

START_LIMIT_S = 300.0
# Below what Linux and macOS give to those that ask for any port, so that nobody comes between.
AGENT_PORTS = range(20_000, 32_768)
# What stands in for the dashboard's agent: a raylet ends where its agent does, and this ends with the raylet.
AGENT = "--dashboard_agent_command="
STAND_IN = f"{AGENT}sh -c 'while kill -0 $PPID; do sleep 5; done'"
AGENTS = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@contextlib.contextmanager
def adapt_start() -> Iterator[dict[str, Any]]:
    """Within the block a Ray that starts has `START_LIMIT_S`, process groups of its own, and no autoscaler,
    no reader of logs for a console, no server of a dashboard that nobody asked for (`ray.init` would wait for
    it), no agent for it and no exporter of metrics: a second of processor time and 70 MiB each, for nobody,
    and server and exporter answer whoever asks, without the token.

    A raylet waits 15 s for its agents to say which ports they took, and ends if they do not
    (ray-project/ray#65983): on a busy machine an interpreter takes longer to start. It does not wait for
    ports that it was told. `ray.init` itself waits for the raylet for 30 s.

    A signal to this process's whole group (`timeout`, systemd, a batch system) would end Ray's processes
    before the lanes have written their checkpoints, and then Ray ends this process too.

    Yields:
        What more `ray.init` must be given.
    """
    from ray._private import parameter, services

    popen: Callable[..., subprocess.Popen[bytes]] = services.ConsolePopen
    get_node: Callable[[str, str], object] = services.get_node
    start_api_server: Callable[..., object] = services.start_api_server
    params: Callable[..., parameter.RayParams] = parameter.RayParams
    started: list[subprocess.Popen[bytes]] = []

    export, *ports = free_ports(1 + len(AGENTS))  # where no metrics are, one is waited for
    agents = dict(zip(AGENTS, ports, strict=True))

    def start(command: list[str], *args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        if Path(command[0]).name == "raylet":
            # The only port that Ray tells its agent, but not the raylet.
            command = [*command, f"--dashboard_agent_listen_port={agents['dashboard_agent_listen_port']}"]
            command = [STAND_IN if word.startswith(AGENT) else word for word in command]
        started.append(popen(command, *args, **kwargs, process_group=0))
        return started[-1]

    def wait_for_node(address: str, node_id: str) -> object:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                return get_node(address, node_id)
            except RuntimeError:
                if time.monotonic() > deadline or any(child.poll() is not None for child in started):
                    raise

    def start_no_server(*_: object, **__: object) -> tuple[None, None]:
        return None, None

    quiet = functools.partial(params, no_monitor=True, include_log_monitor=False, **agents)
    vars(services).update(ConsolePopen=start, get_node=wait_for_node, start_api_server=start_no_server)
    vars(parameter).update(RayParams=quiet)
    try:
        yield {"_metrics_export_port": export, "_system_config": {"enable_metrics_collection": False}}
    finally:
        vars(services).update(ConsolePopen=popen, get_node=get_node, start_api_server=start_api_server)
        vars(parameter).update(RayParams=params)


@contextlib.contextmanager
def log_error_messages() -> Iterator[None]:
    """Within the block what Ray tells this process, as that a worker died, is logged: it prints it on stdout,
    in colours, where a document may be wanted."""
    from ray._private import worker

    printed: Callable[..., None] = worker.print_to_stdstream
    vars(worker).update(print_to_stdstream=_log_message)
    try:
        yield
    finally:
        vars(worker).update(print_to_stdstream=printed)


def _log_message(data: Mapping[str, Any], *_: object, **__: object) -> None:
    for line in data["lines"]:
        logging.getLogger("ray._private").warning("%s: %s", data.get("pid"), redact(str(line)))


def free_ports(count: int) -> list[int]:
    """Different ports that nothing listens on now."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for port in random.SystemRandom().sample(AGENT_PORTS, len(AGENT_PORTS)):
            if len(found) == count:
                break
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("", port)))
                found.append(port)
        return found
