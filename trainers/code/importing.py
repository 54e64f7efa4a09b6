"""Names of people's own code (`package.module:name`): importable elsewhere, and known by their source."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from trainers.code.mlflow_calls import import_without_runs
from trainers.errors import InputError


def import_module(name: str) -> ModuleType:
    """A module of people's own. While it is imported `sys.argv` is a program's name alone: a parser at its
    top reads its defaults, and nothing of our own command line. A run of MLflow that its top begins is
    thrown away.

    Raises:
        InputError: it raises, or ends the process, instead of being imported; or it is `__main__`, which
            every process has another of.
        ImportError: there is none, or it lacks something.
    """
    if name == "__main__":
        raise InputError(
            "code must be importable by its name in another process",
            "__main__, a notebook or a script itself",
            "put the function into a module beside it, and name that one",
        )
    if name in sys.modules:
        return importlib.import_module(name)
    given = list(sys.argv)
    sys.argv[:] = [f"{name.rpartition('.')[2]}.py"]
    try:
        with import_without_runs():
            return importlib.import_module(name)
    except SystemExit as left:
        raise InputError(
            f"{name} must be importable without arguments",
            f"sys.exit({left.code!r}) while it is imported",
            "give each argument a default, or parse them inside the function",
        ) from left
    except ImportError:
        raise
    except Exception as error:  # the top of people's own module may raise anything: theirs to correct
        must, do = f"{name} must be importable", "correct the module; what trains belongs into the function"
        raise InputError(must, _describe_failure(error), do) from error
    finally:
        sys.argv[:] = given


def _describe_failure(error: Exception) -> str:
    said = f"{type(error).__name__}: {error}"[:250]
    if isinstance(error, SyntaxError):  # says where by itself
        return said
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{said} ({Path(last.filename).name}, line {last.lineno})"


def import_function(name: str) -> Callable[..., object]:
    """The function or class of that name."""
    module_name, _, attribute = str(name).partition(":")
    if not attribute:
        raise InputError(
            "a function that a model needs must be named as package.module:name",
            repr(name),
            "put it into a module, so that the model can be built again elsewhere",
        )
    try:
        found: object = import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{name} must be importable", f"{type(error).__name__}: {error}") from error
    if not callable(found):
        raise InputError(f"{name} must be a function or a class", type(found).__name__)
    return found


def source_sha256(name: str) -> str:
    """The SHA-256 of the file that holds it, in hex; of its repr where there is no Python source."""
    found = import_function(name)
    try:
        path = inspect.getsourcefile(found)
    except TypeError:
        path = None
    text = Path(path).read_bytes() if path else repr(found).encode()
    return hashlib.sha256(text).hexdigest()
