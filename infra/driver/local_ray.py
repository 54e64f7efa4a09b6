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
from types import ModuleType
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

    export, *ports = free_ports(1 + len(AGENTS))  # where no metrics are, one is waited for
    agents = dict(zip(AGENTS, ports, strict=True))
    begun = _Start(services.ConsolePopen, services.get_node, agents)
    params: Callable[..., parameter.RayParams] = parameter.RayParams
    quiet = functools.partial(params, no_monitor=True, include_log_monitor=False, **agents)
    own = {"ConsolePopen": begun.start, "get_node": begun.wait_for_node, "start_api_server": _start_no_server}
    with _replace_names(services, own), _replace_names(parameter, {"RayParams": quiet}):
        yield {"_metrics_export_port": export, "_system_config": {"enable_metrics_collection": False}}


class _Start:
    """The processes of a Ray that starts."""

    def __init__(
        self,
        popen: Callable[..., subprocess.Popen[bytes]],
        get_node: Callable[[str, str], object],
        agents: Mapping[str, int],
    ) -> None:
        self._popen, self._get_node, self._agents = popen, get_node, agents
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str], *args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        """In a process group of its own."""
        if Path(command[0]).name == "raylet":
            # The only port that Ray tells its agent, but not the raylet.
            port = self._agents["dashboard_agent_listen_port"]
            command = [*command, f"--dashboard_agent_listen_port={port}"]
            command = [STAND_IN if word.startswith(AGENT) else word for word in command]
        self._started.append(self._popen(command, *args, **kwargs, process_group=0))
        return self._started[-1]

    def wait_for_node(self, address: str, node_id: str) -> object:
        """What Ray knows of the node, once it does; not for longer than its processes live."""
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                return self._get_node(address, node_id)
            except RuntimeError:
                if time.monotonic() > deadline or any(child.poll() is not None for child in self._started):
                    raise


def _start_no_server(*_: object, **__: object) -> tuple[None, None]:
    return None, None


@contextlib.contextmanager
def _replace_names(module: ModuleType, changes: Mapping[str, object]) -> Iterator[None]:
    """Within the block the module has these by their names."""
    before = {name: getattr(module, name) for name in changes}
    vars(module).update(changes)
    try:
        yield
    finally:
        vars(module).update(before)


@contextlib.contextmanager
def log_error_messages() -> Iterator[None]:
    """Within the block what Ray tells this process, as that a worker died, is logged: it prints it on stdout,
    in colours, where a document may be wanted."""
    from ray._private import worker

    with _replace_names(worker, {"print_to_stdstream": _log_message}):
        yield


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
