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

from trainers.code import exits
from trainers.code.exits import ProcessExit, refuse_exits, tell_interrupts_apart
from trainers.code.mlflow_calls import import_without_runs
from trainers.errors import InputError, cut_words, describe_error


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
    given, words = sys.argv, list(sys.argv)
    sys.argv[:] = [f"{name.rpartition('.')[2]}.py"]
    try:
        with import_without_runs(), refuse_exits(), tell_interrupts_apart() as was_interrupted:
            try:
                return importlib.import_module(name)
            except (Exception, SystemExit):
                raise
            except BaseException as error:  # the top of people's own module may raise anything
                if was_interrupted():
                    raise
                raise _refuse(name, error) from error
    except SystemExit as left:
        raise InputError(
            f"{name} must be importable without arguments",
            cut_words(f"sys.exit({left.code!r})") + " while it is imported",
            "give each argument a default, or parse them inside the function",
        ) from left
    except (ImportError, InputError):
        raise
    except Exception as error:  # theirs to correct
        raise _refuse(name, error) from error
    finally:
        sys.argv = given
        sys.argv[:] = words


def _refuse(name: str, error: BaseException) -> InputError:
    do = "correct the module; what trains belongs into the function"
    return InputError(f"{name} must be importable", _describe_failure(error), do)


def _describe_failure(error: BaseException) -> str:
    said = str(error) if isinstance(error, ProcessExit) else describe_error(error, 250)
    if isinstance(error, SyntaxError):  # says where by itself
        return said
    frames = traceback.extract_tb(error.__traceback__)
    last = next(frame for frame in reversed(frames) if frame.filename != exits.__file__)
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
        raise InputError(f"{name} must be importable", describe_error(error)) from error
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
