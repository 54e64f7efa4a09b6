"""How much memory training took."""

from __future__ import annotations

import sys

import pytest
import torch

from trainers.loop.memory import peak_bytes, restart_peak

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
