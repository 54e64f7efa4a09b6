"""What a node does to say how it is: an actor that takes none of its resources."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from infra.errors import StorageUnavailable
from infra.mirror import attach, discard, fetch_file, publish
from infra.secrets import redact

if TYPE_CHECKING:
    from infra.places.judging import NodeReport

CONNECT_LIMIT_S = 10.0
PACKAGES = ("ray", "torch", "velodrome")
Answer = TypeVar("Answer")
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPlaces:
    """What nodes are to reach; an empty one is not asked for.

    Attributes:
        storage: a folder.
        bucket: the address that it mirrors, if it is no folder of its own.
        ledger: a database's URL, with its password.
        tracking: an address.
        name: of this probe's own folder in the storage.
    """

    name: str
    storage: str = ""
    bucket: str = ""
    ledger: str = ""
    tracking: str = ""

    @property
    def folder(self) -> Path:
        """Where each node leaves a file for the others."""
        return Path(self.storage) / self.name


def read_software() -> dict[str, str]:
    """Versions of what must be the same on all nodes, and a hash of Velodrome's files."""
    from infra.wheel import hash_packages

    found = {"python": platform.python_version(), "code": hash_packages()[:12]}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


class NodeProbe:
    """Runs on one node. `step` may be asked while the others wait."""

    def __init__(self, node: str, places: SharedPlaces) -> None:
        """Nothing is looked at yet."""
        self._node, self._places, self._step = node, places, "started"
        self._made: list[Path] = []

    def now(self) -> float:
        """What the node's clock says."""
        return time.time()

    def step(self) -> str:
        """What it is doing."""
        return self._step

    def look(self, gpus: float) -> NodeReport:
        """All but what others wrote."""
        from infra.places.judging import NodeReport

        return NodeReport(
            node=self._node,
            host=socket.gethostname(),
            software=self._do("read its own files", read_software),
            gpus=gpus,
            gpus_seen=self._do("imported torch", _count_gpus) if gpus else None,
            storage=self._do(f"wrote to {self._places.bucket or self._places.storage}", self._write),
            ledger=self._do("connected to the ledger", lambda: ledger_error(self._places.ledger)),
            tracking=self._do("connected to tracking", lambda: tracking_error(self._places.tracking)),
        )

    def list_unseen(self, nodes: Sequence[str]) -> tuple[str, ...]:
        """Those of the nodes whose file is not there, or not theirs; none where no storage is asked for."""
        if not self._places.storage:
            return ()
        self._step = f"read in {self._places.bucket or self._places.storage}"
        return tuple(node for node in nodes if not self._is_seen(node))

    def clean(self) -> None:
        """Takes away what it made: its file, and folders that are empty then."""
        if not self._places.storage:
            return
        with contextlib.suppress(OSError):
            (self._places.folder / self._node).unlink(missing_ok=True)
        with contextlib.suppress(StorageUnavailable):
            discard(self._places.folder)
        for folder in (self._places.folder, *self._made):
            with contextlib.suppress(OSError):  # others' files are in it, or it is gone
                folder.rmdir()

    def _do(self, step: str, function: Callable[[], Answer]) -> Answer:
        self._step = step
        return function()

    def _write(self) -> str:
        if not self._places.storage:
            return ""
        self._made = [path for path in self._places.folder.parents if not path.exists()]
        try:
            if self._places.bucket:
                attach(Path(self._places.storage), self._places.bucket)
            self._places.folder.mkdir(parents=True, exist_ok=True)
            with (self._places.folder / self._node).open("w") as out:
                out.write(self._node)
                out.flush()
                os.fsync(out.fileno())
            publish(self._places.folder / self._node)
        except StorageUnavailable as error:
            return f"{error.must}: {error.found}"
        except OSError as error:
            return f"{self._places.storage}: {error.strerror or error}"
        return ""

    def _is_seen(self, node: str) -> bool:
        try:
            fetch_file(self._places.folder / node)
            return (self._places.folder / node).read_text() == node
        except (OSError, StorageUnavailable):
            return False


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def ledger_error(url: str) -> str:
    """Why a database cannot be asked from here; empty where it can, and where it is a file."""
    if not url or url.startswith("sqlite"):
        return ""
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(url, connect_args={"connect_timeout": int(CONNECT_LIMIT_S)})
        try:
            with engine.connect() as connection:
                connection.execute(text("select 1"))
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        return redact(str(error).splitlines()[0])
    return ""


def tracking_error(uri: str) -> str:
    """Why nobody takes a connection at a server's address; empty where somebody does, and for other kinds."""
    parts = urlsplit(uri)
    if parts.scheme not in PORTS or not parts.hostname:
        return ""
    place = (parts.hostname, parts.port or PORTS[parts.scheme])
    try:
        socket.create_connection(place, CONNECT_LIMIT_S).close()
    except OSError as error:
        return f"{place[0]}:{place[1]}: {error.strerror or error}"
    return ""
