"""How much memory training took."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from trainers.errors import OutOfMemory
from trainers.loop.facts import model_facts, spent_facts
from trainers.loop.memory import catch_out_of_memory, is_out_of_memory, peak_bytes, restart_peak

CPU = torch.device("cpu")
MEBIBYTE = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't say")
def test_peak_memory_counts_from_the_restart() -> None:
    large = torch.ones(64 * MEBIBYTE // 4)
    del large
    restart_peak(CPU)
    before = peak_bytes(CPU)
    assert before is not None
    large = torch.ones(96 * MEBIBYTE // 4)
    del large
    after = peak_bytes(CPU)
    assert after is not None
    assert 90 * MEBIBYTE < after - before < 140 * MEBIBYTE
    restart_peak(CPU)
    again = peak_bytes(CPU)
    assert again is not None
    assert again < after - 80 * MEBIBYTE


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (RuntimeError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("not enough memory: you tried"), True),
        (MemoryError(), True),
        (torch.OutOfMemoryError("odd"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_only_what_says_that_memory_ran_out_is_taken_for_it(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


@pytest.mark.parametrize(
    ("error", "found"),
    [(RuntimeError("out of memory\nsecond line"), "out of memory"), (MemoryError(), "MemoryError")],
)
def test_memory_that_ran_out_is_told_by_its_first_line(error: Exception, found: str) -> None:
    with pytest.raises(OutOfMemory, match="cuda:1 must have room") as caught, catch_out_of_memory("cuda:1"):
        raise error
    assert caught.value.found == found
    with pytest.raises(RuntimeError, match="shapes differ"), catch_out_of_memory("cpu"):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(
    ("status", "peak"), [(" VmHWM:  7 kB", None), ("VmPeak: 9 kB\nVmHWM:\t  12 kB\n", 12_288.0)]
)
def test_peak_is_read_in_kibibytes_where_the_system_tells_it(
    status: str, peak: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: status)
    assert peak_bytes(CPU) == peak


def test_peak_is_not_known_where_there_is_no_such_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    restart_peak(CPU)
    assert peak_bytes(CPU) is None
    assert "peak_memory_bytes" not in model_facts(torch.nn.Linear(2, 3), CPU)


def test_facts_count_parameters_and_the_bytes_of_buffers_too() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3).double())
    found = model_facts(module, CPU)
    assert found["parameters"] == 9 + 6
    assert found["size_bytes"] == 9 * 4 + 12 * 8 + 8
    assert found["peak_memory_bytes"] > 0
    assert spent_facts(4.0, None, {"price": 0.5}) == {"train_seconds": 4.0, "price": 2.0}
    assert spent_facts(4.0, 3.0, {}) == {"train_seconds": 4.0, "energy_joules": 3.0}
