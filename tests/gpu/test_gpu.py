"""What needs a GPU: `make test-gpu`. Without CUDA each test is skipped."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.by_hand import CASES, PreparedCase, prepare_case
from benchmarks.loop_overhead import TimingHooks
from infra.gpus.use import measure_use
from tests.faults.harness import Stage
from trainers.errors import OutOfMemory
from trainers.job import Job, Outcome
from trainers.loop.device_memory import CONTEXT_BYTES, HELD_BYTES, CudaMemory
from trainers.loop.training import train
from trainers.stacking.training import Member, train_stack
from trainers.types import Goal, Length

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU with CUDA here"),
]
FAMILIES = ["logistic_regression", "mlp", "image_cnn", "text_cnn", "rnn", "transformer"]
FILE = """
name: shared
data: {source: "builtin:digits"}
budget: {trials: 8, epochs: 2}
search: {sampler: random, pruner: none}
resources: {gpus: 0.5, cpus: 0.5}
families: {mlp: {}}
"""
TAKING = """
import time
import torch

def take(trial):
    held = torch.zeros(1 << 27, device=trial.device)
    time.sleep(6.0)
    trial.report(score=float(held[0]))
"""
MEASURED = """
name: measured
data: {source: none}
objective: {metric: score, direction: maximize}
budget: {trials: 24, epochs: 1}
search: {pruner: none, sampler: random}
resources: {cpus: 0.5}
families:
  taking:take:
    space: {rate: {type: float, low: 0.0, high: 1.0}}
code: {root: .}
"""
USES = """
import sys
import torch

weights = torch.randn(512, 512, device="cuda", requires_grad=True)
seen = torch.nn.functional.conv2d(weights[None, None], weights[None, None, :3, :3])[0, 0]
(seen @ weights[:510]).sum().backward()
torch.cuda.synchronize()
print(torch.cuda.memory_reserved(), flush=True)
sys.stdin.read()
"""


def prepare(family: str, folder: Path) -> PreparedCase:
    (case,) = (case for case in CASES if case.family == family)
    return prepare_case(case, folder)


def make_job(given: PreparedCase, device: str) -> Job:
    return Job(
        family=given.family, params=given.params, seed=0, length=Length(epochs=1), device=device,
        goals=(Goal(metric="val/loss", maximize=False),), threads=1,
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_family_learns_on_a_gpu_what_it_learns_on_the_processor(family: str, tmp_path: Path) -> None:
    """To rounding: sums are taken in other orders there."""
    given = prepare(family, tmp_path)
    losses = [
        train(make_job(given, device), given.data, TimingHooks()).metrics["val/loss"]
        for device in ("cpu", "cuda")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_member_of_a_stack_on_a_gpu_is_the_trial_alone(tmp_path: Path) -> None:
    given = prepare("mlp", tmp_path)
    job = make_job(given, "cuda")
    alone = train(job, given.data, TimingHooks())
    found: list[Outcome] = []

    def keep(_member: Member, outcome: Outcome | Exception) -> None:
        assert isinstance(outcome, Outcome), outcome
        found.append(outcome)

    members = [Member(job=replace(job, seed=seed), hooks=TimingHooks()) for seed in range(8)]
    train_stack(members, given.data, refill=lambda: None, ended=keep, width=8)
    assert len(found) == 8
    closest = min(abs(one.metrics["val/loss"] - alone.metrics["val/loss"]) for one in found)
    assert closest <= 1e-3 * abs(alone.metrics["val/loss"])


def test_trial_gives_a_gpu_s_memory_back(tmp_path: Path) -> None:
    given = prepare("image_cnn", tmp_path)
    train(make_job(given, "cuda"), given.data, TimingHooks())
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= 64 << 20  # what libraries keep for themselves


def test_trial_that_is_too_large_for_a_gpu_says_how_much_was_wanted(tmp_path: Path) -> None:
    given = prepare("mlp", tmp_path)
    _, total = torch.cuda.mem_get_info()
    width = int((total / 4) ** 0.5)  # its weights alone are as large as the GPU
    wide = replace(make_job(given, "cuda"), params={**given.params, "hidden": [width, width]})
    with pytest.raises(OutOfMemory, match=r"cuda.*(GiB|MiB).* are free, and this trial's process had"):
        train(wide, given.data, TimingHooks())
    assert torch.cuda.memory_allocated() <= 64 << 20


def test_memory_of_a_gpu_is_told_as_torch_and_cuda_have_it() -> None:
    memory = CudaMemory("cuda:0")
    torch.zeros(1, device="cuda")
    memory.release()
    memory.restart_peak()
    free, held = memory.free_bytes(), memory.held_bytes()
    large = torch.zeros(1 << 28, device="cuda")  # a GiB
    assert memory.held_bytes() - held == 1 << 30
    assert free - memory.free_bytes() >= 1 << 30
    del large
    assert memory.held_bytes() == held
    assert memory.peak_held_bytes() - held == 1 << 30
    assert memory.peak_reserved_bytes() >= memory.peak_held_bytes()
    found = measure_use(memory, 1)
    assert found.peak_bytes == memory.peak_reserved_bytes() + CONTEXT_BYTES
    assert found.total_bytes == torch.cuda.get_device_properties(0).total_memory
    memory.release()
    assert memory.free_bytes() >= free
    memory.restart_peak()
    assert memory.peak_reserved_bytes() < 1 << 30


def test_context_of_a_process_takes_no_more_than_is_allowed_for_it(tmp_path: Path) -> None:
    """Seen from this process, before and while another trains."""
    torch.zeros(1, device="cuda")
    torch.cuda.empty_cache()
    before, _ = torch.cuda.mem_get_info()
    with subprocess.Popen(
        [sys.executable, "-c", USES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        reserved = int(other.stdout.readline())
        taken = before - torch.cuda.mem_get_info()[0]
        other.communicate("")
    assert taken - reserved <= CONTEXT_BYTES


def test_memory_that_libraries_keep_after_a_trial_is_below_the_bound(tmp_path: Path) -> None:
    given = prepare("transformer", tmp_path)
    train(make_job(given, "cuda"), given.data, TimingHooks())
    gc.collect()
    memory = CudaMemory("cuda:0")
    memory.release()
    assert memory.held_bytes() <= HELD_BYTES


@pytest.mark.ray
def test_lanes_come_to_share_a_gpu_by_what_trials_take(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.write("taking.py", TAKING)
    stage.write("measured.yaml", MEASURED)
    done = stage.run("sweep", "measured.yaml", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(stage.run("status", "measured", "--json").stdout)
    assert {trial["state"] for trial in told["trials"]} == {"complete"}
    shares = [attempt.lane_facts["gpus"] for attempt in stage.attempts("measured")]
    assert shares[:2] == [1.0, 1.0]
    assert min(shares) < 1.0
    assert "the largest trial so far took" in told["gpu_lanes"]["taking.take"]


@pytest.mark.ray
def test_two_lanes_share_a_gpu_and_the_ledger_says_which(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.write("shared.yaml", FILE)
    done = stage.run("sweep", "shared.yaml", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(stage.run("status", "shared", "--json").stdout)
    assert {trial["state"] for trial in told["trials"]} == {"complete"}
    assert all(trial["place"]["gpu"] for trial in told["trials"])
    assert len({trial["place"]["lane"] for trial in told["trials"]}) == 2
