"""What a function changes in its process is undone when its trial ends."""

from __future__ import annotations

import decimal
import gc
import io
import locale
import logging
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


def settings() -> dict[str, Any]:
    """What of a process `flags` has not; lists and dicts as copies."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "umask": mask,
        "warnings": list(warnings.filters),
        "numpy": np.geterr(),
        "locale": locale.setlocale(locale.LC_ALL),
        "zone": time.tzname,
        "timer": signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 0,
        "handler": signal.getsignal(signal.SIGUSR1),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "cores": os.sched_getaffinity(0),
        "socket": socket.getdefaulttimeout(),
        "temporary": tempfile.gettempdir(),
        "decimal": decimal.getcontext().prec,
        "collects": gc.isenabled(),
        "stdout": sys.stdout,
        "hook": threading.excepthook,
        "start": multiprocessing.get_start_method(allow_none=True),
        "logs": (logging.getLogger().level, list(logging.getLogger().handlers), logging.root.manager.disable),
        "autocast": torch.is_autocast_enabled("cpu"),
        "denormal": float(torch.tensor(1e-310, dtype=torch.float64) * 1.0),
        "tf32": torch.backends.cudnn.allow_tf32,
        "onednn": torch.backends.mkldnn.enabled,
        "hooks": dict(torch.nn.modules.module._global_forward_hooks),
    }


def change_zone() -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("umask", lambda: os.umask(0o077)),
        ("warnings", lambda: warnings.simplefilter("error")),
        ("numpy", lambda: np.seterr(all="raise")),
        ("locale", lambda: locale.setlocale(locale.LC_ALL, "C")),
        ("zone", change_zone),
        ("timer", lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 100)),
        ("handler", lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN)),
        ("files", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, settings()["files"][1]))),
        ("cores", lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})),
        ("socket", lambda: socket.setdefaulttimeout(0.01)),
        ("temporary", lambda: setattr(tempfile, "tempdir", "/elsewhere")),
        ("decimal", lambda: setattr(decimal.getcontext(), "prec", 3)),
        ("collects", gc.disable),
        ("stdout", lambda: setattr(sys, "stdout", io.StringIO())),
        ("hook", lambda: setattr(threading, "excepthook", print)),
        ("start", lambda: multiprocessing.set_start_method("forkserver", force=True)),
        ("logs", lambda: logging.basicConfig(level=1, force=True)),
        ("logs", lambda: logging.disable(logging.CRITICAL)),
        ("autocast", lambda: torch.set_autocast_enabled("cpu", True)),
        ("denormal", lambda: torch.set_flush_denormal(True)),
        ("tf32", lambda: setattr(torch.backends.cudnn, "allow_tf32", False)),
        ("onednn", lambda: setattr(torch.backends.mkldnn, "enabled", False)),
        ("hooks", lambda: torch.nn.modules.module.register_module_forward_hook(lambda *_: None)),
    ],
)
def test_setting_that_a_function_changes_is_given_back(name: str, change: Callable[[], object]) -> None:
    before = settings()
    with isolate_process():
        change()
        changed = settings()[name]
    assert settings() == before
    assert changed != before[name] or (name, len(before["cores"])) == ("cores", 1) or name == "locale"


def test_list_or_mapping_that_a_function_replaces_is_the_former_one_again() -> None:
    before = (sys.argv, sys.path, os.environ)
    with isolate_process():
        sys.argv, sys.path = ["train.py", "--lr", "0.1"], ["/elsewhere"]
        os.environ = {"HOME": "/elsewhere"}  # type: ignore[assignment]  # noqa: B003
    assert all(now is one for now, one in zip((sys.argv, sys.path, os.environ), before, strict=True))


def test_setting_that_cannot_be_given_back_keeps_no_other_from_its_place() -> None:
    """The hard limit only goes down; the mask for new files is set back all the same."""
    kind = resource.RLIMIT_CORE
    mask, (_, hard) = settings()["umask"], resource.getrlimit(kind)
    with isolate_process():
        os.umask(0o077)
        resource.setrlimit(kind, (0, 0))
    assert settings()["umask"] == mask
    assert resource.getrlimit(kind)[1] in {0, hard}


def test_process_that_goes_on_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the function has said of logs."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,), name="server")
    with caplog.at_level(logging.WARNING), isolate_process():
        logging.disable(logging.CRITICAL)
        child.start()
    child.kill()
    child.join()
    assert "go on until its lane ends: server" in caplog.text
