"""A test's own PostgreSQL server, from the system's packages: `initdb` and `pg_ctl` in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

START_LIMIT_S = 60
SETTINGS = "fsync=off\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\n"


def binaries() -> Path | None:
    """The folder of the newest installed server's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = shutil.which("initdb")
    return found[-1].parent if found else Path(path).parent if path else None


@dataclass
class Postgres:
    """One server on a port; it refuses to run as root, so somebody else runs it.

    Attributes:
        connections: how many it takes at once.
        host: the address that it is asked by; with another than the loopback interface's it listens on all.
        within: words that run a command on the machine that the server is on.
    """

    folder: Path
    programs: Path
    port: int
    connections: int = 40
    databases: int = 0
    host: str = "127.0.0.1"
    within: tuple[str, ...] = ()

    def url(self, database: str = "postgres") -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://velodrome@{self.host}:{self.port}/{database}"

    def make(self, more_hosts: str = "") -> None:
        """A cluster of databases that trusts whoever connects from here, and as `more_hosts` says."""
        if (user := self._user()) is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._run("initdb", "-D", str(self.data), "-U", "velodrome", "-A", "trust", "-E", "UTF8", "-N")
        with (self.data / "postgresql.conf").open("a") as out:
            out.write(f"{SETTINGS}max_connections={self.connections}\nport={self.port}\n")
            if self.host != "127.0.0.1":
                out.write("listen_addresses='*'\n")
        with (self.data / "pg_hba.conf").open("a") as out:
            out.write(more_hosts)

    @property
    def data(self) -> Path:
        """The server's files."""
        return self.folder / "data"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.data), "-l", log, "-w", "-t", str(START_LIMIT_S), "start")

    def stop(self, how: str = "immediate") -> None:
        """`immediate` is a crash."""
        self._run("pg_ctl", "-D", str(self.data), "-m", how, "-w", "-t", str(START_LIMIT_S), "stop")

    def database(self) -> str:
        """The URL of a fresh, empty database."""
        self.databases += 1
        name = f"test{self.databases}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "velodrome", name)
        return self.url(name)

    def end_sessions(self) -> None:
        """Ends all connections but its own, as an administrator may at any time."""
        self.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    def ask(self, statement: str) -> None:
        """A statement of the administrator's."""
        words = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "velodrome", "-d", "postgres")
        self._run("psql", *words, "-c", statement)

    def _user(self) -> pwd.struct_passwd | None:
        return pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    def _run(self, program: str, *words: str) -> None:
        user = self._user()
        who = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        within = self.within
        if within and user is not None:  # who enters another machine is somebody else only there
            ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
            within, who = (*within, "setpriv", *ids), {}
        done = subprocess.run(
            [*within, str(self.programs / program), *words],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            timeout=2 * START_LIMIT_S, **who,
        )  # type: ignore[call-overload]  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"


@contextmanager
def run_postgres(connections: int = 40) -> Iterator[Postgres]:
    """A server that takes so many connections, for as long as the block lasts; the test is skipped where none
    is installed."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    pytest.importorskip("psycopg")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not below pytest's own folder, which nobody but its user may enter.
    with tempfile.TemporaryDirectory(prefix="velodrome-pg-") as folder:
        server = Postgres(Path(folder), programs, port, connections)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
