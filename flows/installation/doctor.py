"""`velodrome doctor`: what is wrong with this installation, one line a check, with what to do."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from flows.installation.nodes import check_cluster
from flows.installation.requirements import installed_version, is_within_bounds, version_bounds
from flows.installation.result import Checkup, ClusterNode, HealthFinding, Verdict
from infra.addresses import bracket_ipv6
from infra.errors import StorageUnavailable, VelodromeError
from infra.home import Home, ledger_url, storage_root, tracking_uri
from infra.mirror import check_writable, find_mirror
from infra.secrets import redact
from infra.spec import SweepSpec

PACKAGES = (
    "ray",
    "torch",
    "mlflow",
    "optuna",
    "pydantic",
    "SQLAlchemy",
    "typer",
    "rich",
    "safetensors",
    "numpy",
)
OURS = ("velodrome", "flows", "infra", "trainers", "search_spaces")
OPENED_BY_RAY = ("ray", "gcs_server", "velodrome", "flows.cli")  # Ray listens in a sweep's driver too
LEAST_DISK_BYTES = 2 << 30
LEAST_SHM_BYTES = 64 << 20


def doctor(*, address: str | None = None, home: Home | None = None) -> Checkup:
    """Checks everything that a sweep needs here; writes at most a probe file, which it removes.

    Args:
        address: of a Ray cluster, each node of which is then asked what it reaches and what it runs.
    """
    place = home or Home.from_environment()
    checks: Sequence[tuple[str, Callable[[], Iterator[HealthFinding]]]] = (
        ("python", _python),
        ("packages", _packages),
        ("torch", _torch),
        ("ray", _ray),
        ("home", lambda: _home(place)),
        ("ledger", lambda: _ledger(place)),
        ("storage", lambda: _storage(place)),
        ("tracking", lambda: _tracking(place)),
        ("token", lambda: _tokens(place)),
        ("ports", _ports),
        ("folders", lambda: _shadowing_folders(Path.cwd())),
        ("memory", _shared_memory),
    )
    found = [finding for name, check in checks for finding in _run_check(name, check)]
    rows: list[ClusterNode] = []
    if address is not None:
        found += _run_check("cluster", lambda: check_cluster(address, place, rows))
    return Checkup(findings=tuple(found), nodes=tuple(rows))


def _run_check(name: str, check: Callable[[], Iterator[HealthFinding]]) -> list[HealthFinding]:
    try:
        return list(check())
    except VelodromeError as error:
        return [HealthFinding(name, "fail", f"{error.must}: {error.found}", error.do)]
    except Exception as error:  # broken installations break in ways that nobody foresaw: the finding
        found = redact(f"{type(error).__name__}: {error}".splitlines()[0])
        return [HealthFinding(name, "fail", found, "reinstall with constraints.txt")]


def _judge(name: str, good: bool, found: str, do: str, otherwise: Verdict = "fail") -> HealthFinding:
    return HealthFinding(name, "ok", found) if good else HealthFinding(name, otherwise, found, do)


def _python() -> Iterator[HealthFinding]:
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    yield _judge("python", good, f"{version} at {sys.executable}", "use Python 3.11 or later")


def _packages() -> Iterator[HealthFinding]:
    """Versions against the bounds that the installed distribution, or the checkout's pyproject, states."""
    bounds = version_bounds()
    for name in PACKAGES:
        bound = bounds.get(name.lower(), "")
        version = installed_version(name)
        good = version is not None and is_within_bounds(version, bound)
        yield _judge(
            name,
            good,
            f"{version or 'not installed'}{f' ({bound})' if bound else ''}",
            f"pip install '{name}{bound}'",
        )


def _torch() -> Iterator[HealthFinding]:
    import torch

    gpus = torch.cuda.device_count()
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    yield HealthFinding("torch build", "ok", f"{build}, {torch.get_num_threads()} threads, {gpus} GPU(s)")
    if torch.version.cuda and not gpus:
        yield HealthFinding(
            "gpu",
            "warn",
            "a CUDA build of torch that sees no GPU",
            "check nvidia-smi and CUDA_VISIBLE_DEVICES, or install the CPU build with constraints.txt",
        )


def _ray() -> Iterator[HealthFinding]:
    from infra.ray_surface import check_ray_surface

    check_ray_surface()
    yield HealthFinding("ray train", "ok", "single lanes can be replaced")


def _home(home: Home) -> Iterator[HealthFinding]:
    yield _check_writable("home", home.path)
    free = shutil.disk_usage(_nearest_existing(home.path)).free
    yield _judge(
        "disk",
        free >= LEAST_DISK_BYTES,
        f"{free / 2**30:.1f} GiB free for {home.path}",
        "make room, or set VELODROME_HOME to another disk",
        "warn",
    )


def _ledger(home: Home) -> Iterator[HealthFinding]:
    from flows.config.lookup import open_ledger
    from infra.ledger import views

    shown = redact(ledger_url(home))
    ledger = open_ledger(home)
    if ledger is None:
        yield HealthFinding("ledger", "ok", f"{shown}: none yet, the first sweep makes it")
        return
    with closing(ledger):
        ledger.run_transaction(lambda connection: None)
        count = len(views.sweeps(ledger))
    yield HealthFinding("ledger", "ok", f"{shown}: {count} sweep(s), takes writes")


def _storage(home: Home) -> Iterator[HealthFinding]:
    root = storage_root(home, SweepSpec(name="none"))
    mirror = find_mirror(root)
    if mirror is None:
        yield _check_writable("storage", root)
        return
    try:
        check_writable(root)
    except StorageUnavailable as error:
        yield HealthFinding("storage", "fail", f"{error.must}: {error.found}", error.do)
        return
    yield HealthFinding("storage", "ok", f"{mirror.bucket.url} takes objects")


def _tracking(home: Home) -> Iterator[HealthFinding]:
    from infra.tracking.client import TrackingError, connect, is_unused

    uri = tracking_uri(home, SweepSpec(name="none"))
    if is_unused(uri):
        yield HealthFinding("tracking", "ok", f"{uri}: none yet, the first sweep makes it")
        return
    try:
        connect(uri).call("search_experiments", max_results=1)
    except TrackingError as error:
        yield HealthFinding(
            "tracking", "warn", str(error), "sweeps run without it and send later; is the server up?"
        )
        return
    yield HealthFinding("tracking", "ok", f"{redact(uri)} answers")


def _tokens(home: Home) -> Iterator[HealthFinding]:
    """Files with Ray's token: ours, and the one that Ray itself makes with everybody's permission to read."""
    candidates = [home.path / "ray_token", Path.home() / ".ray" / "auth_token"]
    if given := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        candidates.append(Path(given))
    present = [path for path in dict.fromkeys(candidates) if path.exists()]
    if not present:
        yield HealthFinding("token", "ok", "none yet, the first sweep makes it")
    for path in present:
        mode = stat.S_IMODE(path.stat().st_mode)
        private = not mode & 0o077
        yield _judge("token", private, f"{path} has mode {mode:04o}", f"chmod 600 {path}")


def _ports() -> Iterator[HealthFinding]:
    """What is open. Ray binds to all addresses by itself (2.60) and asks for the token there."""
    from flows.installation.listening_ports import own_listening_ports

    servers = own_listening_ports()
    groups: dict[tuple[bool, str], list[str]] = {}
    for server in servers:
        advice = "" if server.is_local else _port_advice(server.program)
        groups.setdefault((server.is_local, advice), []).append(
            f"{server.program} {bracket_ipv6(server.address)}:{server.port}"
        )
    for (loopback, advice), listed in groups.items():
        reach = "loopback" if loopback else "others can reach"
        yield _judge("ports", loopback, f"{reach}: {', '.join(listed)}", advice, "warn")
    if not servers:
        yield HealthFinding("ports", "ok", "no server of ours is open")


def _port_advice(program: str) -> str:
    if program.startswith(OPENED_BY_RAY):
        return "Ray cannot bind these to loopback: they ask for its token; a firewall keeps others out"
    return "bind it to 127.0.0.1, or put it behind a token"


def _shadowing_folders(folder: Path) -> Iterator[HealthFinding]:
    """A folder of the user's that Python, or Ray on a cluster, would import in the place of ours."""
    home = Path(__file__).resolve().parents[2]
    found = [
        name
        for name in OURS
        if folder.resolve() != home and ((folder / name).is_dir() or (folder / f"{name}.py").exists())
    ]
    held = (
        f"{folder} holds {', '.join(found)}"
        if found
        else f"nothing in {folder} has the name of a package of ours"
    )
    yield _judge("folders", not found, held, "rename it: it would be imported in the place of Velodrome's")


def _shared_memory() -> Iterator[HealthFinding]:
    path = Path("/dev/shm")
    if not path.is_dir():
        return
    free = shutil.disk_usage(path).free
    yield _judge(
        "/dev/shm",
        free >= LEAST_SHM_BYTES,
        f"{free / 2**20:.0f} MiB free",
        "give the container more (docker run --shm-size=1g)",
        "warn",
    )


def _check_writable(name: str, folder: Path) -> HealthFinding:
    place = _nearest_existing(folder)
    probe = place / f".velodrome-probe-{socket.gethostname()}-{os.getpid()}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        return HealthFinding(
            name, "fail", f"{folder}: {error.strerror}", "change its permissions, or choose another"
        )
    there = "" if place == folder else ", not made yet"
    return HealthFinding(name, "ok", f"{folder} is writable{there}")


def _nearest_existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
