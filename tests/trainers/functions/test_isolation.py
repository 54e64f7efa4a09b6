"""What a function changes in its process is undone when its trial ends."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers.functions.isolation import isolate_process


def flags() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "device": torch.get_default_device(),
        "anomaly": torch.is_anomaly_enabled(),
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: os.environ.update(CUDA_VISIBLE_DEVICES="7", HOME="/elsewhere"),
        lambda folder: os.environ.pop("PATH"),
        lambda folder: os.chdir(folder),
        lambda folder: sys.path.insert(0, str(folder)),
        lambda folder: sys.argv.extend(["--lr", "0.1"]),
        lambda folder: torch.use_deterministic_algorithms(True),
        lambda folder: torch.set_default_device("meta"),
        lambda folder: torch.autograd.set_detect_anomaly(True),
    ],
)
def test_change_of_the_process_is_undone(tmp_path: Path, change: Callable[[Path], object]) -> None:
    before = flags()
    with pytest.raises(ValueError, match="ends badly"), isolate_process():
        change(tmp_path)
        raise ValueError("ends badly")
    assert flags() == before


def test_arguments_are_the_programs_name_alone_within(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["velodrome", "plan", "naive.yaml"])
    with isolate_process():
        assert sys.argv == ["velodrome"]
    assert sys.argv == ["velodrome", "plan", "naive.yaml"]


def test_run_of_mlflow_that_began_within_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was active before, as in a notebook, goes on."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with mlflow.start_run() as outer:
        with isolate_process():
            inner = mlflow.start_run(nested=True)
        active = mlflow.active_run()
        assert active is not None
        assert active.info.run_id == outer.info.run_id
        assert mlflow.get_run(inner.info.run_id).info.status == "FINISHED"
    with isolate_process():
        mlflow.start_run()
    assert mlflow.active_run() is None


def test_thread_that_goes_on_is_named(caplog: pytest.LogCaptureFixture) -> None:
    end = threading.Event()
    with caplog.at_level(logging.WARNING), isolate_process():
        threading.Thread(target=end.wait, args=(30,), name="loader").start()
        threading.Thread(target=lambda: None, name="done").start()
    end.set()
    assert "stay in this process: loader" in caplog.text


def test_isolation_of_a_function_that_changes_nothing_imports_no_compiler() -> None:
    """`torch._inductor` takes seconds, in which an attempt makes no step."""
    code = (
        "import sys\nfrom trainers.functions.isolation import isolate_process\n"
        "with isolate_process():\n    pass\n"
        "print(sorted(m for m in sys.modules if m in ('torch._inductor', 'torch._dynamo', 'mlflow')))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True
    )
    assert ended.stdout.strip() == "[]"
