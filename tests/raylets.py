"""Clusters of several raylets on this machine, each with the time to start that a busy machine takes."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.driver.local_ray import adapt_start


@contextlib.contextmanager
def start_head(num_cpus: int) -> Iterator[Any]:
    """A cluster with a head of so many processors; all of it is ended."""
    from ray._common.utils import get_ray_address_file
    from ray.cluster_utils import Cluster

    # Ray writes the head's address there and takes the folder for granted: on a new machine it is missing.
    Path(get_ray_address_file(None)).parent.mkdir(parents=True, exist_ok=True)
    temp = tempfile.mkdtemp(prefix="vf-")
    made: Any = Cluster()
    try:
        add_node(made, num_cpus, temp_dir=temp, include_dashboard=False)  # its port is one for all
        yield made
    finally:
        made.shutdown()
        shutil.rmtree(temp, ignore_errors=True)


def add_node(cluster: Any, num_cpus: int, **more: Any) -> Any:
    """One more node, started as the product starts its own Ray."""
    with adapt_start() as options:
        if cluster.head_node is None:  # the others ask it for these
            more["_system_config"] = options["_system_config"]
        export = options["_metrics_export_port"]
        return cluster.add_node(num_cpus=num_cpus, metrics_export_port=export, **more)
