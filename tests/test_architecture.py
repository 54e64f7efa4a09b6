"""The order of the house: who may import whom, lazy imports among them, as the syntax of each file has it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the top floor down: each may import those behind it, never those before it.
HOUSE = ("velodrome", "flows", "infra", "trainers", "search_spaces")
SIDE_BY_SIDE = {"trainers": "search_spaces"}
ROOMS = {
    "flows": (
        "cli", "promotion", "promotion.judging", "promotion.gates", "report", "export", "confirmation",
        "reproduction", "comparison", "compression", "inspection", "upkeep", "jobs", "sweeps", "sweeps.views",
        "explanation", "inference",
        "installation", "config.writing", "config", "functions", "terminal", "statistics",
    ),
    "infra": (
        "predicting", "monitoring", "serving.http", "serving", "registry", "jobs", "places", "head_start",
        "driver", "lanes", "tracking", "sharing",
        "coordinator.shell", "coordinator", "gpus", "storage", "search", "ledger",
    ),
    "trainers": (
        "functions", "commands", "explaining", "families", "stacking", "loop", "modules", "samples",
        "bundle", "kept",
        "compression", "inputs", "tasks", "optim", "pretrained", "data.sources", "data.disk", "data.assembly",
        "data", "storage", "code",
    ),
}  # fmt: skip
MOST_FILES = 20


@cache
def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    found = {}
    for folder in HOUSE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> dict[str, frozenset[str]]:
    """What each module imports of the product, wherever in the file the import stands."""
    return {name: frozenset(_imports_of(name, path)) for name, path in modules().items()}


def _imports_of(name: str, path: Path) -> Iterable[str]:
    known = modules()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                target = inner if inner in known else node.module
                if target in known and target != name:
                    yield target
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


def room_of(module: str) -> str:
    """The folder below the five that a module lies in; a module that lies in one of the five is its own."""
    folder = modules()[module].parent.relative_to(ROOT).parts
    return ".".join(folder) if len(folder) > 1 else module


def _refuse_circle(graph: Mapping[str, Iterable[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' imports '.join(reversed(error.args[1]))}")


def test_files_import_each_other_in_no_circle() -> None:
    _refuse_circle(imports())


def test_rooms_import_each_other_in_no_circle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for module, targets in imports().items():
        graph[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module)}
    _refuse_circle(graph)


def test_imports_never_lead_to_a_floor_above() -> None:
    for module, targets in imports().items():
        top = module.partition(".")[0]
        below = HOUSE[HOUSE.index(top) :]
        for target in targets:
            assert target.partition(".")[0] in below, f"{module} imports {target}"
            assert SIDE_BY_SIDE.get(top) != target.partition(".")[0], f"{module} imports {target}"


@pytest.mark.parametrize("folder", ROOMS)
def test_rooms_import_only_rooms_behind_them(folder: str) -> None:
    order = {f"{folder}.{name}": place for place, name in enumerate(ROOMS[folder])}
    for module, targets in imports().items():
        here = order.get(room_of(module))
        for target in targets if here is not None else ():
            there = order.get(room_of(target))
            assert there is None or there >= here, f"{module} imports {target}"


@pytest.mark.parametrize("folder", ROOMS)
def test_rooms_are_all_listed_in_the_order(folder: str) -> None:
    rooms = {room_of(name) for name in modules() if name.startswith(f"{folder}.")}
    named = {name for name in rooms if (ROOT / name.replace(".", "/")).is_dir()}
    assert named == {f"{folder}.{name}" for name in ROOMS[folder]}


def test_rooms_hold_no_more_files_than_the_limit() -> None:
    counts: dict[Path, int] = defaultdict(int)
    for path in modules().values():
        counts[path.parent] += path.name != "__init__.py"
    assert {str(folder): count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_nearest_words_are_found_in_one_module_a_side() -> None:
    """The trainers stand beside the search spaces and may not import theirs; nobody else has an own one."""
    own = [name for name, path in modules().items() if "get_close_matches" in path.read_text()]
    assert own == ["trainers.nearest", "search_spaces.nearest"]


def test_ledgers_are_opened_by_commands_in_one_module() -> None:
    """`sweep` alone makes one; whether an embedded ledger is there is asked in `flows.config.lookup`."""
    opening = [
        name
        for name, path in modules().items()
        if name.startswith("flows.") and "Ledger(" in path.read_text()
    ]
    assert opening == ["flows.config.lookup", "flows.sweeps.sweep"]
