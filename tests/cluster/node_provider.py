"""A provider of nodes for Ray's autoscaler, whose nodes are machines in namespaces.

The autoscaler runs on the head, which cannot make machines: it says by a file which it wants, as KubeRay's
says it to an operator, and the test makes them (`Growing`).
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from tests.cluster.clusters import RayCluster

HEAD = "head"
WORKER = "worker"


class WantedMachines(NodeProvider):  # type: ignore[misc]  # Ray's own has no types
    """Nodes are files `NAME.json` in a folder: their tags, and their address once they have one."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._folder = Path(provider_config["folder"])

    def non_terminated_nodes(self, tag_filters: Mapping[str, str]) -> list[str]:
        names = [path.stem for path in sorted(self._folder.glob("*.json"))]
        return [name for name in names if tag_filters.items() <= self.node_tags(name).items()]

    def is_running(self, node_id: str) -> bool:
        return bool(self.internal_ip(node_id))

    def is_terminated(self, node_id: str) -> bool:
        return not (self._folder / f"{node_id}.json").exists()

    def node_tags(self, node_id: str) -> dict[str, str]:
        return read_node(self._folder / f"{node_id}.json")["tags"]

    def internal_ip(self, node_id: str) -> str | None:
        return read_node(self._folder / f"{node_id}.json").get("address")

    external_ip = internal_ip

    def set_node_tags(self, node_id: str, tags: Mapping[str, str]) -> None:
        path = self._folder / f"{node_id}.json"
        known = read_node(path)
        write_node(path, {**known, "tags": {**known["tags"], **tags}})

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> None:
        for _ in range(count):
            write_node(self._folder / f"grown{uuid.uuid4().hex[:6]}.json", {"tags": tags})

    def terminate_node(self, node_id: str) -> None:
        (self._folder / f"{node_id}.json").unlink(missing_ok=True)


def read_node(path: Path) -> dict[str, Any]:
    """What is known of a node; nothing of one that is gone."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {"tags": {}}
    return found


def write_node(path: Path, known: Mapping[str, Any]) -> None:
    """Whole, or not at all."""
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(known))
    aside.rename(path)


def named(node: str, kind: str) -> dict[str, str]:
    """By what Ray's second autoscaler knows that a node is one of those that it asked for."""
    return {"RAY_CLOUD_INSTANCE_ID": node, "RAY_NODE_TYPE_NAME": kind}


class Growing:
    """Makes the machines that the autoscaler asks for, and ends those that it lets go.

    Attributes:
        counts: how many there were beside the head at each change, with the seconds since the beginning.
    """

    def __init__(self, cluster: RayCluster, most: int) -> None:
        """The head starts with the autoscaler; `most` workers of one processor may come."""
        self._cluster, self._folder = cluster, cluster.network.shared / "nodes"
        self._folder.mkdir()
        self._up: set[str] = set()
        self._over = threading.Event()
        self._began = time.monotonic()
        self.counts: list[tuple[float, int]] = []
        head = cluster.network.add(HEAD)
        tags = {
            TAG_RAY_NODE_KIND: NODE_KIND_HEAD,
            TAG_RAY_USER_NODE_TYPE: HEAD,
            TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
        }
        write_node(self._folder / f"{HEAD}.json", {"tags": tags, "address": head.address})
        config = cluster.network.shared / "autoscaler.yaml"
        config.write_text(yaml.safe_dump(self._config(most)))
        cluster.join(head, 0, more=(f"--autoscaling-config={config}",), environment=named(HEAD, HEAD))
        self._thread = threading.Thread(target=self._make_machines)
        self._thread.start()

    def _config(self, most: int) -> dict[str, Any]:
        kinds = {
            HEAD: {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0},
            WORKER: {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": most},
        }
        provider = {
            "type": "external",
            "module": f"{__name__}.WantedMachines",
            "folder": str(self._folder),
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        }
        commands = ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        unused = {f"{which}_commands": [] for which in (*commands, "initialization")}
        files = {"file_mounts": {}, "cluster_synced_files": [], "rsync_exclude": [], "rsync_filter": []}
        return {
            **unused, **files, "file_mounts_sync_continuously": False, "docker": {},
            "cluster_name": "grown", "max_workers": most, "provider": provider, "auth": {"ssh_user": "root"},
            "available_node_types": kinds, "head_node_type": HEAD, "upscaling_speed": 100,
            "idle_timeout_minutes": 0.5,
        }  # fmt: skip

    def _make_machines(self) -> None:
        while not self._over.wait(0.3):
            wanted = {path.stem for path in self._folder.glob("*.json")} - {HEAD}
            for name in wanted - self._up:
                machine = self._cluster.network.add(name)
                path = self._folder / f"{name}.json"
                write_node(path, {**read_node(path), "address": machine.address})
                self._cluster.join(machine, 1, environment=named(name, WORKER), wait=False)
            for name in self._up - wanted:
                self._cluster.network.machines.pop(name).end()
            if wanted != self._up:
                self._up = wanted
                self.counts.append((time.monotonic() - self._began, len(wanted)))

    def close(self) -> None:
        """Makes no more."""
        self._over.set()
        self._thread.join()
