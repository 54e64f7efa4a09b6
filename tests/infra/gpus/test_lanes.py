"""What a lane measures of its GPU, gives back and says, with figures for a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from infra.coordinator.messages import Assignment, AttemptResult, LaneWork
from infra.gpus.use import GpuUse
from infra.lanes import attempt, worker
from infra.lanes.attempt import AttemptRunner
from infra.lanes.settings import LaneSettings
from infra.lanes.worker import LaneLoop
from infra.spec import Budget, FamilySpec, Objective, Resources, SweepSpec
from tests.infra.gpus.fake_memory import GIB, FakeMemory
from tests.trainers.tiny import Recorder
from trainers.errors import OutOfMemory
from trainers.loop import memory as loop_memory
from trainers.loop.device_memory import CONTEXT_BYTES, HELD_BYTES, CudaMemory, find_device_memory
from trainers.loop.memory import catch_out_of_memory, is_device_full, peak_bytes, restart_peak
from trainers.types import Ranks

ASKED = Assignment(attempt="1", role="search", family="mlp", number=0, ordinal=1, params={}, seed=1)
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def make_runner(
    folder: Path, device: FakeMemory | None, asked: Resources, gpus: float = 0.25
) -> AttemptRunner:
    """One that trains on the processor and takes its device's memory for another's."""
    spec = SweepSpec(
        name="shared", version=1, data={"source": "builtin:digits"},
        objectives=(Objective(metric="val/loss", direction="minimize"),),
        families=(
            FamilySpec(
                name="mlp", reference="mlp", trials=1, resources=asked,
                budget=Budget(epochs=None, steps=2, report_every=2),
            ),
        ),
    )  # fmt: skip
    settings = LaneSettings(
        run="test", shape="", resources=Resources(gpus=gpus), spec=spec.to_json(), base=str(folder),
        storage=str(folder / "storage"), cache=str(folder / "cache"), logs=str(folder / "logs"),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempt, "find_device_memory", lambda _: device)
        return AttemptRunner(settings, device="cpu", ranks=Ranks())


def test_attempt_tells_what_it_took_at_most_and_gives_memory_back(tmp_path: Path) -> None:
    device = FakeMemory()
    ended = make_runner(tmp_path, device, Resources()).run(ASKED, Recorder())
    assert ended.outcome == "complete", ended.detail
    assert ended.gpu == GpuUse(peak_bytes=3 * GIB + CONTEXT_BYTES, total_bytes=24 * GIB, lanes=4)
    assert (device.released, device.restarted) == (1, 1)


@pytest.mark.parametrize(
    ("asked", "device"),
    [
        (Resources(gpus=0.25), FakeMemory(held=9 * GIB)),
        (Resources(workers=2), FakeMemory(held=9 * GIB)),
        (Resources(), None),
    ],
)
def test_share_that_is_written_is_not_measured(
    tmp_path: Path, asked: Resources, device: FakeMemory | None
) -> None:
    runner = make_runner(tmp_path, device, asked)
    assert runner.run(ASKED, Recorder()).gpu is None
    assert runner.find_held_memory(ASKED) == 0


@pytest.mark.parametrize(
    ("error", "reason", "full"),
    [
        (FULL, "out-of-memory", True),
        (RuntimeError("CUDA error: out of memory"), "out-of-memory", True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out-of-memory", False),
        (MemoryError(), "out-of-memory", False),
        (ValueError("ours"), "error", False),
    ],
)
def test_failure_says_whether_the_gpu_was_full_and_who_shares_it(
    tmp_path: Path, error: Exception, reason: str, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make_runner(tmp_path, FakeMemory(), Resources())

    def fail(*_: object) -> None:
        with catch_out_of_memory("cuda:0"):
            raise error

    monkeypatch.setattr(runner, "_train", fail)
    monkeypatch.setattr(loop_memory, "find_device_memory", lambda _: FakeMemory(free=GIB // 2))
    ended = runner.run(ASKED, Recorder())
    assert (ended.reason, ended.gpu is not None and ended.gpu.full) == (reason, full)
    first = ended.detail.splitlines()[0]
    assert first.endswith("; 4 lanes share this GPU") is full
    if full:
        assert "of its 24.0 GiB 0.5 GiB are free" in first
        assert "3.0 GiB reserved at its peak, 2.0 GiB of that in tensors" in first
        assert "lower batch_size" in first
        assert "gpus: 1" in first


def test_lane_of_a_whole_gpu_names_no_neighbours(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, FakeMemory(), Resources(), gpus=1.0)
    assert "share this GPU" not in runner.describe_failure(ASKED, FULL).detail


def test_gpu_that_is_full_outside_of_training_is_out_of_memory_as_well(tmp_path: Path) -> None:
    told = make_runner(tmp_path, FakeMemory(), Resources()).describe_failure(ASKED, FULL)
    assert told.reason == "out-of-memory"
    assert told.gpu is not None
    assert told.gpu.full


@pytest.mark.parametrize(
    ("held", "used", "found"),
    [
        (HELD_BYTES, True, 0),
        (HELD_BYTES + 1, True, HELD_BYTES + 1),
        (9 * GIB, False, 0),
    ],
)
def test_memory_that_stays_is_found_above_a_bound(tmp_path: Path, held: int, used: bool, found: int) -> None:
    runner = make_runner(tmp_path, FakeMemory(held=held, used=used), Resources())
    assert runner.find_held_memory(ASKED) == found


@pytest.mark.parametrize(("held", "fresh"), [(0, False), (2 * GIB, False), (0, True)])
def test_lane_whose_process_holds_memory_tells_its_result_and_ends(
    held: int, fresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after each trial with `fresh_process`: the result is told first, and another process takes over."""
    ends: list[str] = []

    def end_process(_status: int, why: str) -> None:
        ends.append(why)
        raise SystemExit

    monkeypatch.setattr(worker, "end_process", end_process)
    made: Any = LaneLoop.__new__(LaneLoop)
    made._ranks, made._watch, made._widths, made._line = Ranks(), MagicMock(), MagicMock(), MagicMock()
    made._settings, made._runner = MagicMock(resources=Resources(fresh_process=fresh)), MagicMock()
    made._widths.find_width.return_value, made._runner.find_held_memory.return_value = 1, held
    result = AttemptResult(attempt="1", outcome="complete")
    monkeypatch.setattr(made, "_run_attempt", lambda _: (result, []), raising=False)
    wait, work = LaneWork(wait_s=0.0), LaneWork(attempts=(ASKED,))
    made._line.next_attempts.side_effect = [work, wait, LaneWork(leave=True)]
    if held or fresh:
        with pytest.raises(SystemExit):
            made.run_attempts()
    else:
        made.run_attempts()
    asked = [call.args for call in made._line.next_attempts.call_args_list]
    assert asked[:2] == [(None, [], 1), (result, [], 0 if held or fresh else 1)]
    assert ["2.0 GiB of its GPU" in why for why in ends] == ([True] if held else [False] if fresh else [])
    assert made._line.note_held_memory.call_args_list == ([((held,),)] if held else [])


def test_device_full_is_found_in_what_an_error_was_raised_from() -> None:
    told = OutOfMemory("a stack must fit")
    told.__cause__ = FULL
    assert is_device_full(told)
    ours = ValueError("met while it was being handled")
    ours.__context__ = FULL
    assert not is_device_full(ours)


def test_memory_of_the_machine_is_no_device_s() -> None:
    assert find_device_memory("cpu") is None
    assert find_device_memory(torch.device("cpu")) is None
    assert isinstance(find_device_memory("cuda:1"), CudaMemory)


def test_peak_of_a_gpu_is_that_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeMemory(peak_held=7)
    monkeypatch.setattr(loop_memory, "find_device_memory", lambda _: device)
    restart_peak(torch.device("cuda:0"))
    assert (peak_bytes(torch.device("cuda:0")), device.restarted) == (7.0, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU with CUDA answers")
def test_cuda_that_was_not_begun_with_is_asked_nothing() -> None:
    memory = CudaMemory("cuda:0")
    memory.restart_peak()
    memory.release()
    assert not memory.is_used()
    assert (memory.peak_held_bytes(), memory.peak_reserved_bytes(), memory.held_bytes()) == (0, 0, 0)
