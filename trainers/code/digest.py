"""The source that a family's results depend on: its own, what that imports from its own folder, and ours."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

_HERE = Path(__file__).parents[1]
_OURS = frozenset({"velodrome", "flows", "infra", "trainers", "search_spaces"})
_FAMILIES = "trainers.families."
# No trial's numbers depend on what looks at data, or uses a model that is trained already; nor does a family
# depend on another that it does not import.
_UNINVOLVED = (
    "families/", "bundle/", "code/", "samples/", "storage/atomic_folders.py", "data/examples.py",
    "data_profile.py", "registry.py", "try_out.py",
)  # fmt: skip


def source_digest(found: type | Callable[..., Any]) -> str:
    """64 hex digits over the sources that decide how a Family class, or a training function, trains.

    A file of people's own counts when it lies in the same folder or the same top-level package as the file
    that defines the family, and is imported by that one, by name and however indirectly. What is installed
    beside it counts by its version, not here.
    """
    things: list[Any] = list(inspect.getmro(found)) if inspect.isclass(found) else [found]
    digest = hashlib.sha256(_training_digest().encode() if inspect.isclass(found) else b"")
    parts: dict[str, bytes] = {}
    for thing in filter(_is_user_code, things):
        parts |= _collect_imports(thing.__module__, _top_package(found)) or {
            thing.__qualname__: _code_bytes(thing)
        }
    for name, text in sorted(parts.items()):
        digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()


def user_files(found: type | Callable[..., Any]) -> dict[str, bytes]:
    """The files of people's own that `source_digest` counts, by their path below the folder that Python
    imports them from; without those that are installed, and without our own."""
    things: list[Any] = list(inspect.getmro(found)) if inspect.isclass(found) else [found]
    files: dict[str, bytes] = {}
    for thing in (thing for thing in things if _is_user_code(thing) and _top_package(thing) not in _OURS):
        file = Path(getattr(sys.modules.get(thing.__module__), "__file__", None) or "")
        for name in _collect_imports(thing.__module__, _top_package(found)):
            root = file.parents[thing.__module__.count(".") + (file.name == "__init__.py")]
            at = _find_module(root, name)
            if at is not None and not _is_installed(root):
                files[at.relative_to(root).as_posix()] = at.read_bytes()
                files |= _package_marks(root, at)
    return files


def _package_marks(root: Path, file: Path) -> dict[str, bytes]:
    """The `__init__.py` of the packages above a file, which importing it runs."""
    folders = [folder for folder in file.parents if folder != root and folder.is_relative_to(root)]
    marks = [folder / "__init__.py" for folder in folders]
    return {mark.relative_to(root).as_posix(): mark.read_bytes() for mark in marks if mark.is_file()}


@lru_cache(maxsize=1)
def _training_digest() -> str:
    """A digest over all of `trainers` that decides training, whatever the family."""
    digest = hashlib.sha256()
    for path in sorted(_HERE.rglob("*.py")):
        name = path.relative_to(_HERE).as_posix()
        if not name.startswith(_UNINVOLVED):
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def _is_user_code(thing: Any) -> bool:
    known = _top_package(thing) in _OURS or _top_package(thing) in sys.stdlib_module_names
    return not known or thing.__module__.startswith(_FAMILIES)


def _top_package(thing: Any) -> str:
    name: str = thing.__module__.partition(".")[0]
    return name


def _collect_imports(module: str, own: str) -> dict[str, bytes]:
    """The files of a module and of all that it imports from its own folder.

    None where it has no file, or is installed and of another top-level package than `own`: a base class
    from a large library is not followed through all of it.
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not file.endswith(".py"):
        return {}
    path = Path(file)
    root = path.parents[module.count(".") + (path.name == "__init__.py")]
    if _is_installed(root) and module.partition(".")[0] != own:
        return {}
    found, waiting = {module: path.read_bytes()}, [(module, path)]
    while waiting:
        for name in _import_names(*waiting.pop()):
            if name not in found and _belongs(name, module, root) and (at := _find_module(root, name)):
                found[name] = at.read_bytes()
                waiting.append((name, at))
    return found


def _belongs(name: str, module: str, root: Path) -> bool:
    if module.startswith(_FAMILIES):
        return name.startswith(_FAMILIES)
    top = name.partition(".")[0]
    return top == module.partition(".")[0] or (not _is_installed(root) and top not in _OURS)


@lru_cache
def _is_installed(root: Path) -> bool:
    return root in {Path(path) for path in sysconfig.get_paths().values()}


def _find_module(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split("."))
    places = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((at for at in places if at.is_file()), None)


def _import_names(module: str, path: Path) -> Iterator[str]:
    """Every name that a module's file may import, the packages on the way among them."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # named by an import that is never made
        return
    above = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            package = above[: len(above) + 1 - node.level] if node.level else []
            base = [*package, *([node.module] if node.module else [])]
            for alias in node.names:
                yield from _with_packages(".".join([*base, alias.name]))


def _with_packages(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _code_bytes(thing: Any) -> bytes:
    """What stands for code without a file, as in a notebook."""
    members = list(vars(thing).values()) if inspect.isclass(thing) else [thing]
    return b"".join(_instruction_bytes(m.__code__) for m in members if inspect.isfunction(m))


def _instruction_bytes(code: CodeType) -> bytes:
    """The same bytes in every process: no addresses, and sets in order."""
    constants = []
    for value in code.co_consts:
        if isinstance(value, CodeType):
            constants.append(_instruction_bytes(value))
        else:
            constants.append(
                repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value).encode()
            )
    return code.co_code + repr(code.co_names).encode() + b"".join(constants)
