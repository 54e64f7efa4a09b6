"""People's own functions and classes that a bundle names: found, checked, and known by their source's hash.

A bundle holds names, never code. Whoever loads it must have the package, in the same version of the file,
and a name must lead to something that was defined right there: a bundle from elsewhere cannot make `load`
call into the standard library or into what Velodrome itself depends on.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType

from trainers.code.importing import import_module
from trainers.errors import InputError

# Packages that hold functions which run or unpickle what they are given, and that are always there.
_ALWAYS_THERE = """torch numpy pandas scipy sklearn joblib ray mlflow optuna datasets tokenizers transformers
safetensors huggingface_hub fsspec pyarrow PIL yaml cloudpickle pickle dill setuptools pip pkg_resources
sqlalchemy flask starlette uvicorn fastapi typer rich plotly pydantic psutil requests urllib3 torchmetrics"""
_NOT_PEOPLES_OWN = frozenset(_ALWAYS_THERE.split())


def resolve_reference(reference: str) -> type | FunctionType:
    """What `package.module:name` leads to: a function or class that this module defines.

    Raises:
        InputError: it cannot be imported (says which package is missing), or is not people's own.
    """
    module_name, _, name = reference.partition(":")
    top = module_name.partition(".")[0]
    if not top or not name.isidentifier():
        raise InputError("code must be named package.module:name", repr(reference))
    if top in sys.stdlib_module_names or top in _NOT_PEOPLES_OWN:
        raise InputError("a bundle's code must be of people's own package", repr(reference))
    found: type | FunctionType | None = getattr(_import_module(module_name, reference), name, None)
    if found is None or getattr(found, "__module__", None) != module_name:
        raise InputError(
            f"{reference} must be a function or class that {module_name} defines",
            "nothing of that name" if found is None else f"one of {getattr(found, '__module__', None)}",
        )
    return found


def _import_module(module_name: str, reference: str) -> ModuleType:
    try:
        return import_module(module_name)
    except ImportError as error:
        missing = error.name or module_name
        raise InputError(
            f"{reference} must be importable, for the bundle holds no code",
            f"{type(error).__name__}: {error}",
            f"install the package {missing.partition('.')[0]!r} here, or put its folder on PYTHONPATH",
        ) from error


def source_hashes(references: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the source file behind each name."""
    return {reference: _source_hash(resolve_reference(reference)) for reference in references}


def _source_hash(found: type | FunctionType) -> str:
    path = inspect.getsourcefile(found)
    if path is None:
        raise InputError(
            f"{found.__module__}:{found.__qualname__} must have a source file", "none (made in a session)"
        )
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def check_unchanged(recorded: Mapping[str, str]) -> None:
    """Refuses code that is not, byte by byte, what the model was saved with.

    Raises:
        InputError: names the file; or the code is not installed.
    """
    for reference, digest in recorded.items():
        found = resolve_reference(reference)
        if _source_hash(found) != digest:
            raise InputError(
                f"{reference} must be the code that the model was saved with",
                f"another content of {inspect.getsourcefile(found)} (SHA-256 differs)",
                "install that version, or load with accept_code_change=True",
            )
