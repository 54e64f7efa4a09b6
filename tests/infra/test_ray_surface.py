"""A Ray that lacks what lanes use is refused by what it lacks, before one is started."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.driver.cluster import connect_ray
from infra.errors import ClusterUnavailable
from infra.home import Home
from infra.ray_surface import SURFACE, check_ray_surface

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = ("ray._", "ray.train.v2._internal")


def test_installed_ray_has_what_lanes_use() -> None:
    check_ray_surface()


@pytest.mark.parametrize("module", SURFACE)
def test_ray_without_a_module_is_refused_by_its_name(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ClusterUnavailable, match=rf"without {module}.*2\.60"):
        check_ray_surface()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("ray._private.services", "ConsolePopen"),
        ("ray.train.v2._internal.execution.worker_group.worker_group", "WorkerGroup.replace_replica_group"),
        ("ray.train.v2._internal.execution.controller.controller", "TrainController._replace_bad_workers"),
    ],
)
def test_ray_without_a_name_is_refused_by_it(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner: object = importlib.import_module(module)
    *parents, last = name.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    monkeypatch.delattr(owner, last)  # type: ignore[arg-type]
    with pytest.raises(ClusterUnavailable, match=f"{module}.{name}"):
        check_ray_surface()


def test_ray_without_a_module_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.train.v2._internal.callbacks.datasets", None)
    refused = pytest.raises(ClusterUnavailable, match=r"callbacks\.datasets")
    with refused, connect_ray(None, Home(path=tmp_path), trains=True):
        pass


def test_all_that_is_used_of_rays_own_is_looked_for() -> None:
    used = {
        name for room in ("flows", "infra") for path in (ROOT / room).rglob("*.py") for name in _uses(path)
    }
    known = {f"{module}.{name.partition('.')[0]}" for module, names in SURFACE.items() for name in names}
    assert used - known - set(SURFACE) == set()
    assert len(used) > 15


def _uses(path: Path) -> Iterator[str]:
    """What a module imports of Ray's own, but for types."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PRIVATE):
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PRIVATE))
