"""The source that a family's results depend on: what its file reaches by imports, and what trains it.

Syntax counts, not text: comments, docstrings and layout change no digest, nor does the version of Python.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import TypeAlias

Code: TypeAlias = type | FunctionType

_ROOT = Path(__file__).parents[2]
_OURS = frozenset({"velodrome", "flows", "infra", "trainers", "search_spaces"})
_FAMILIES = "trainers.families."
# Where training starts, whatever the family: reading the data, encoding it, the loop.
_TRAINING = ("trainers.data.sources.opening", "trainers.inputs.encoded_arrays", "trainers.loop.training")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# No trial's numbers depend on how folders are written, what a model shows, or how code is found.
_UNINVOLVED = (
    "trainers.code.",
    "trainers.samples.",
    "trainers.storage.",
    "trainers.data.examples.",
    "trainers.tasks.confusion.",
)


def source_digest(found: Code) -> str:
    """64 hex digits over the sources that decide how a Family class, or a training function, trains.

    A file of people's own counts when it lies in the same folder or the same top-level package as the file
    that defines the family, and is imported by that one, by name and however indirectly. Of ours counts what
    those files and the training of every family import in the same way. What is installed beside them counts
    by its version, not here.
    """
    things: list[Code] = list(inspect.getmro(found)) if inspect.isclass(found) else [found]
    parts: dict[str, bytes] = {}
    starts: set[str] = set(_TRAINING)
    for thing in filter(is_user_code, things):
        if _top_package(thing) in _OURS:
            starts.add(thing.__module__)
            continue
        files = _collect_imports(thing.__module__, _top_package(found))
        parts |= {name: _syntax(name, path) for name, path in files.items()}
        if not files:
            parts[thing.__qualname__] = code_bytes(thing)
        for name, path in files.items():
            starts |= {taken for taken in _import_names(name, path) if taken.startswith("trainers.")}
    if inspect.isclass(found):
        parts |= {name: _syntax(name, path) for name, path in _collect_ours(starts).items()}
    digest = hashlib.sha256()
    for name, text in sorted(parts.items()):
        digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()


def module_digests(module: str) -> dict[str, bytes]:
    """32 bytes over each file of a module of people's own and of what it imports from its folder, by dotted
    name; nothing where it is installed, ours or of Python's own."""
    top = module.partition(".")[0]
    if top in _OURS or top in sys.stdlib_module_names:
        return {}
    return {name: _syntax(name, path) for name, path in _collect_imports(module, "").items()}


def text_digest(text: bytes) -> bytes:
    """32 bytes over the syntax of a piece of Python."""
    return _analyze("", False, text)[0]


def user_files(found: Code) -> dict[str, bytes]:
    """The files of people's own that `source_digest` counts, by their path below the folder that Python
    imports them from; without those that are installed, and without our own."""
    things: list[Code] = list(inspect.getmro(found)) if inspect.isclass(found) else [found]
    files: dict[str, bytes] = {}
    for thing in (thing for thing in things if is_user_code(thing) and _top_package(thing) not in _OURS):
        file = Path(getattr(sys.modules.get(thing.__module__), "__file__", None) or "")
        for name in _collect_imports(thing.__module__, _top_package(found)):
            root = file.parents[thing.__module__.count(".") + (file.name == "__init__.py")]
            at = _find_module(root, name)
            if at is not None and not _is_installed(root):
                files[at.relative_to(root).as_posix()] = at.read_bytes()
                files |= _package_marks(root, at)
    return files


def local_modules(module: str, root: Path) -> dict[str, Path]:
    """The files below a folder of a module, of the packages around it and of all that they import from
    there, by their dotted names; of a package its `__main__` too."""
    waiting = [*_with_packages(module), f"{module}.__main__"]
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        path = None if name in found or name.partition(".")[0] in _OURS else _find_module(root, name)
        if path is not None:
            found[name] = path
            waiting += _import_names(name, path)
    return found


def file_digest(path: Path) -> bytes:
    """32 bytes over a file: over its syntax where it is Python."""
    return _syntax("", path) if path.suffix == ".py" else hashlib.sha256(path.read_bytes()).digest()


def _package_marks(root: Path, file: Path) -> dict[str, bytes]:
    """The `__init__.py` of the packages above a file, which importing it runs."""
    folders = [folder for folder in file.parents if folder != root and folder.is_relative_to(root)]
    marks = [folder / "__init__.py" for folder in folders]
    return {mark.relative_to(root).as_posix(): mark.read_bytes() for mark in marks if mark.is_file()}


def _collect_ours(starts: Iterable[str]) -> dict[str, Path]:
    """The files of `trainers` that these modules reach by their imports, themselves among them."""
    found: dict[str, Path] = {}
    waiting, seen = list(starts), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        counts = name.startswith("trainers.") and not f"{name}.".startswith(_UNINVOLVED)
        path = _find_module(_ROOT, name) if counts else None
        if path is not None:
            found[name] = path
            waiting.extend(_import_names(name, path))
    return found


def _syntax(name: str, path: Path) -> bytes:
    """32 bytes that stand for a module's syntax tree without its docstrings."""
    return _analyze(name, path.name == "__init__.py", path.read_bytes())[0]


def _import_names(name: str, path: Path) -> tuple[str, ...]:
    """Every name that a module's file may import, the packages on the way among them."""
    return _analyze(name, path.name == "__init__.py", path.read_bytes())[1]


@lru_cache(maxsize=512)
def _analyze(module: str, is_package: bool, text: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The digest of a file's syntax, and what it imports; of the text itself where it is no Python."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # named by an import that is never made
        return hashlib.sha256(text).digest(), ()
    words: list[str] = []
    imports: list[ast.Import | ast.ImportFrom] = []
    _write_syntax(tree, words, imports)
    above = module.split(".") if is_package else module.split(".")[:-1]
    names = tuple(dict.fromkeys(name for node in imports for name in _names_of(node, above)))
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).digest(), names


def _write_syntax(node: ast.AST, words: list[str], imports: list[ast.Import | ast.ImportFrom]) -> None:
    """Appends a node's kind and fields; empty ones are left out, since versions of Python differ in them."""
    words.append(type(node).__name__)
    if isinstance(node, ast.Import | ast.ImportFrom):
        imports.append(node)
    for name in node._fields:
        value = getattr(node, name, None)
        if (
            name == "body"
            and isinstance(node, _DOCUMENTED)
            and ast.get_docstring(node, clean=False) is not None
        ):
            value = node.body[1:]
        if value is None or value == []:
            continue
        words.append(name)
        for entry in value if isinstance(value, list) else (value,):
            if isinstance(entry, ast.AST):
                _write_syntax(entry, words, imports)
            else:
                words.append(repr(entry))


def is_user_code(thing: Code) -> bool:
    """Whether its source counts: neither Python's own nor ours, but for our families."""
    known = _top_package(thing) in _OURS or _top_package(thing) in sys.stdlib_module_names
    return not known or thing.__module__.startswith(_FAMILIES)


def _top_package(thing: Code) -> str:
    return thing.__module__.partition(".")[0]


def _collect_imports(module: str, own: str) -> dict[str, Path]:
    """The files of a module and of all that it imports from its own folder.

    Empty where it has no file, or is installed and of another top-level package than `own`: a base class
    from a large library is not followed through all of it.
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not file.endswith(".py"):
        return {}
    path = Path(file)
    root = path.parents[module.count(".") + (path.name == "__init__.py")]
    if _is_installed(root) and module.partition(".")[0] != own:
        return {}
    found, waiting = {module: path}, [(module, path)]
    while waiting:
        for name in _import_names(*waiting.pop()):
            if name not in found and _belongs(name, module, root) and (at := _find_module(root, name)):
                found[name] = at
                waiting.append((name, at))
    return found


def _belongs(name: str, module: str, root: Path) -> bool:
    top = name.partition(".")[0]
    return top == module.partition(".")[0] or (not _is_installed(root) and top not in _OURS)


@lru_cache
def _is_installed(root: Path) -> bool:
    return root in {Path(path) for path in sysconfig.get_paths().values()}


def _find_module(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split("."))
    places = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((at for at in places if at.is_file()), None)


def _names_of(node: ast.Import | ast.ImportFrom, above: list[str]) -> Iterator[str]:
    """What one import may load; `above` are the packages that a relative one counts from."""
    base = ""
    if isinstance(node, ast.ImportFrom):
        package = above[: len(above) + 1 - node.level] if node.level else []
        base = "".join(f"{part}." for part in [*package, *([node.module] if node.module else [])])
    for alias in node.names:
        yield from _with_packages(base + alias.name)


def _with_packages(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def code_bytes(thing: Code) -> bytes:
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
