"""What a process had before a trial it has after it: nothing of one trial reaches the next."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager, suppress

from trainers.code.mlflow_calls import remember_mlflow
from trainers.functions.process_state import remember_logs, remember_settings

_log = logging.getLogger(__name__)
_THREADS_END_S = 2.0


@contextmanager
def isolate_process() -> Iterator[None]:
    """Gives back, at the end, what code within may change for the whole process.

    That is the environment, the working folder, `sys.path` and `sys.argv`, torch's deterministic
    algorithms and default device, of MLflow the active runs, the store, the experiment and automatic
    logging, and what `remember_logs` and `remember_settings` know. `sys.argv` is the program's name alone
    within.
    Module globals stay as they are left, and threads and processes are not ended: those that go on are named
    in the log.
    """
    with ExitStack() as undo:
        undo.callback(remember_settings())
        undo.callback(_restore_environment, os.environ, dict(os.environ))
        undo.callback(_restore_folder, os.getcwd())
        undo.callback(_restore_list, "path", sys.path, list(sys.path))
        undo.callback(_restore_list, "argv", sys.argv, list(sys.argv))
        undo.callback(_torch_flags())
        undo.callback(remember_mlflow())
        undo.callback(_name_processes, frozenset(multiprocessing.active_children()))
        undo.callback(_name_threads, frozenset(threading.enumerate()))
        undo.callback(remember_logs())  # what is said of the rest is heard
        sys.argv[1:] = []
        yield


def _restore_environment(environment: MutableMapping[str, str], before: dict[str, str]) -> None:
    setattr(os, "environ", environment)  # noqa: B010  # code may have put another mapping in its place
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


def _restore_folder(before: str) -> None:
    with suppress(OSError):  # removed meanwhile
        os.chdir(before)


def _restore_list(name: str, values: list[str], before: list[str]) -> None:
    """The same list with the same words: code may have put another list in its place."""
    setattr(sys, name, values)
    values[:] = before


def _torch_flags() -> Callable[[], None]:
    """What puts torch's flags back that `fix_torch_flags` does not set."""
    import torch

    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    device = torch.get_default_device()
    anomaly = torch.is_anomaly_enabled()

    def restore() -> None:
        """Sets what has changed, and nothing else."""
        now = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        if now != (deterministic, warn_only):  # to set it imports torch's compiler, which takes seconds
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        torch.autograd.set_detect_anomaly(anomaly)

    return restore


def _name_threads(before: frozenset[threading.Thread]) -> None:
    left = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in left:
        thread.join(_THREADS_END_S / len(left))
    names = [thread.name for thread in left if thread.is_alive()]
    if names:
        _log.warning("threads that the function left running stay in this process: %s", ", ".join(names))


def _name_processes(before: frozenset[object]) -> None:
    left = [child for child in multiprocessing.active_children() if child not in before and not child.daemon]
    if left:
        names = ", ".join(f"{child.name} (pid {child.pid})" for child in left)
        _log.warning("processes that the function left running go on until its lane ends: %s", names)
