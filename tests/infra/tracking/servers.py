"""A real `mlflow server` on loopback, which can be killed, stopped, and started again on its database."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.tracking_stores import empty_store_file

START_S = 90.0
QUIET = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Server:
    """One server; its artifacts, and its database unless another is named, are in a folder of its own."""

    def __init__(self, folder: Path, store: str = "") -> None:
        """Starts it, and waits until it answers.

        Args:
            store: its database's URL; by default a file in the folder.
        """
        self._folder = folder
        self._store = store or f"sqlite:///{folder}/server.db"
        folder.mkdir(parents=True, exist_ok=True)
        if not store:
            shutil.copyfile(empty_store_file(), folder / "server.db")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Starts it again, and waits until it answers."""
        store = ["--backend-store-uri", self._store]
        place = ["--artifacts-destination", str(self._folder / "kept"), "--host", "127.0.0.1"]
        command = [sys.executable, "-m", "mlflow", "server", *store, *place, "--port", str(self._port)]
        with (self._folder / "server.log").open("a") as printed:
            self._process = subprocess.Popen(
                [*command, "--workers", "1"],
                env={**os.environ, **QUIET}, cwd=self._folder, stdout=printed, stderr=printed,
                start_new_session=True,
            )  # fmt: skip
        _wait_for(f"{self.url}/health")

    def signal(self, number: int) -> None:
        """To all of its processes."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """At once."""
        self.signal(signal.SIGKILL)
        self._process.wait(30)

    def end(self) -> None:
        """For good, whatever state it is in."""
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            self._process.wait(30)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
