"""Lanes share GPUs that are none: a Ray that was told of two, and figures in place of a device."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from infra.ledger import views
from tests.faults.cases.clusters import start_cluster
from tests.faults.harness import ROOT, Stage
from tests.raylets import add_node

FILE = """
name: shared
seed: 2
data: {source: "builtin:digits"}
budget: {trials: 24, epochs: 2}
search: {sampler: random, pruner: none, stack: off}
families: {mlp: {}}
"""
FULL_TRIAL = 12  # the first attempt at it that shares its GPU finds it full
# Lanes of these tests train on the processor, and their device's memory is made of figures.
PRETEND = f"""
import importlib.abc
import importlib.machinery
import sys


class Pretend(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in CHANGES:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        load = found.loader.exec_module

        def exec_module(module):
            load(module)
            CHANGES[name](module)

        found.loader.exec_module = exec_module
        return found


def hurry(deciding):
    deciding.WORTH_S = 0.0  # its trials take a second


def pretend(worker):
    import torch
    from infra.lanes import attempt
    from tests.infra.gpus.fake_memory import GIB, FakeMemory
    from trainers.loop import memory

    device = FakeMemory(peak_reserved=int(2.5 * GIB))
    train = attempt.AttemptRunner._train

    def run(self, assignment, hooks):
        if assignment.number == {FULL_TRIAL} and self._settings.resources.gpus < 1:
            with memory.catch_out_of_memory("cuda:0"):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
        return train(self, assignment, hooks)

    worker.choose_device = lambda gpus: "cpu"
    attempt.find_device_memory = lambda of: device
    memory.find_device_memory = lambda of: device if str(of).startswith("cuda") else None
    attempt.AttemptRunner._train = run


CHANGES = {{"infra.gpus.deciding": hurry, "infra.lanes.worker": pretend}}
sys.meta_path.insert(0, Pretend())
"""


@pytest.mark.ray
@pytest.mark.long
def test_lanes_come_to_share_gpus_and_have_one_each_again_where_it_was_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pretend").mkdir()
    (tmp_path / "pretend" / "sitecustomize.py").write_text(PRETEND)
    path = os.pathsep.join([str(tmp_path / "pretend"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    stage = Stage(tmp_path / "stage", environment={"PYTHONPATH": path})
    stage.write("shared.yaml", FILE)
    with start_cluster(stage, head_cpus=0) as cluster:
        monkeypatch.setenv("PYTHONPATH", path)  # what the node's processes, and lanes among them, begin with
        add_node(cluster, 4, num_gpus=2)
        done = stage.run("sweep", "shared.yaml", "--address", cluster.address)
    assert done.returncode == 0, done.stderr[-3_000:]
    attempts = stage.attempts("shared")
    assert [one.outcome for one in attempts].count("gpu-full") == 1
    assert {one.outcome for one in attempts} == {"complete", "gpu-full"}
    shares = [one.lane_facts["gpus"] for one in attempts]
    assert shares[:2] == [1.0, 1.0]
    assert set(shares) == {1.0, 0.5}
    assert shares[-1] == 1.0
    full, retried = (one for one in attempts if one.number == FULL_TRIAL)
    assert (full.lane_facts["gpus"], retried.lane_facts["gpus"]) == (0.5, 1.0)
    assert "2 lanes share this GPU" in full.detail
    assert {trial.failures for trial in stage.trials("shared")} == {0}
    told = json.loads(stage.run("status", "shared", "--json").stdout)
    assert told["gpu_lanes"] == {
        "mlp": "1 lane a GPU, the largest trial so far took 3.1 GiB of 24.0 GiB, and with 2 a GPU was full"
    }
    ledger = stage.ledger()
    try:
        events = views.events_of_kind(ledger, stage.sweep("shared").id, "gpu-lanes")
    finally:
        ledger.close()
    assert [event.payload["lanes"] for event in events] == [2, 1]
