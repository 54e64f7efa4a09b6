"""What needs a GPU: `make test-gpu`. Without CUDA each test is skipped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.by_hand import CASES, PreparedCase, prepare_case
from benchmarks.loop_overhead import TimingHooks
from tests.faults.harness import Stage
from trainers.errors import OutOfMemory
from trainers.job import Job, Outcome
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
    with pytest.raises(OutOfMemory, match=r"cuda.*(GiB|MiB)"):
        train(wide, given.data, TimingHooks())
    assert torch.cuda.memory_allocated() <= 64 << 20


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
