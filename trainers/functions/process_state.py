"""The settings of a process that own code may change: read before it runs, and put back as they were."""

from __future__ import annotations

import decimal
import gc
import locale
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

_REFUSED = (OSError, ValueError, RuntimeError, locale.Error)  # a limit that only goes down, and the like
_HOOKS = (
    "_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks",
    "_global_backward_pre_hooks", "_global_forward_hooks_always_called",
    "_global_forward_hooks_with_kwargs", "_global_buffer_registration_hooks",
    "_global_module_registration_hooks", "_global_parameter_registration_hooks",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Setting:
    """`write` puts back what `read` gave; where nothing has changed it is not called."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


def remember_settings() -> Callable[[], None]:
    """What puts back all that is set for the whole process, or for this thread, as it is now.

    Each is put back by itself: one that the system refuses, as a limit that only goes down, keeps no other
    from its place. Settings that a library has of its own (matplotlib's, pandas') are its module's globals.
    """
    settings = [*_interpreter(), *_system(), *_torch(), *_numbers()]
    before = [(setting, setting.read()) for setting in settings]
    restore_signals = _remember_signals()

    def restore() -> None:
        """Sets what has changed, and nothing else."""
        for setting, value in before:
            with suppress(*_REFUSED):
                if setting.read() != value:
                    setting.write(value)
        restore_signals()

    return restore


def _attribute(owner: ModuleType, name: str) -> _Setting:
    return _Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _interpreter() -> list[_Setting]:
    names = ("stdout", "stderr", "excepthook", "unraisablehook", "dont_write_bytecode")
    return [
        *(_attribute(sys, name) for name in names),
        _attribute(threading, "excepthook"),
        _attribute(warnings, "showwarning"),
        _Setting(lambda: list(warnings.filters), _write_filters),
        _Setting(sys.getrecursionlimit, sys.setrecursionlimit),
        _Setting(sys.getswitchinterval, sys.setswitchinterval),
        _Setting(sys.gettrace, sys.settrace),
        _Setting(sys.getprofile, sys.setprofile),
        _Setting(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        _Setting(gc.get_threshold, lambda values: gc.set_threshold(*values)),
        _Setting(
            lambda: multiprocessing.get_start_method(allow_none=True),
            lambda method: multiprocessing.set_start_method(method, force=True),
        ),
    ]


def _write_filters(before: Sequence[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index]  # a list, whatever its stub says
    warnings._filters_mutated()  # type: ignore[attr-defined]  # as the module itself after each change


def _system() -> list[_Setting]:
    found = [
        _Setting(_read_umask, os.umask),
        _Setting(lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
        _Setting(
            lambda: time.tzname, lambda names: time.tzset()
        ),  # by the environment, which is back by then
        _Setting(socket.getdefaulttimeout, socket.setdefaulttimeout),
        _attribute(tempfile, "tempdir"),
        *map(_timer, (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)),
    ]
    if hasattr(os, "sched_getaffinity"):
        found.append(_Setting(lambda: os.sched_getaffinity(0), lambda cores: os.sched_setaffinity(0, cores)))
    return [*found, *_limits()]


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _timer(kind: int) -> _Setting:
    def write(was_running: bool) -> None:
        if not was_running:  # an alarm that rings in a later trial ends its process
            signal.setitimer(kind, 0)

    return _Setting(lambda: signal.getitimer(kind)[0] > 0, write)


def _limits() -> list[_Setting]:
    import resource

    names = (name for name in dir(resource) if name.startswith("RLIMIT_"))
    return [_limit(getattr(resource, name)) for name in names]


def _limit(kind: int) -> _Setting:
    import resource

    def write(before: tuple[int, int]) -> None:
        soft, hard = before[0], resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))

    return _Setting(lambda: resource.getrlimit(kind), write)


def _torch() -> list[_Setting]:
    """What changes a later trial's numbers, or its speed, and `fix_torch_flags` does not set."""
    import torch

    backends: Any = torch.backends
    cuda, mkldnn = backends.cuda, backends.mkldnn
    found = [
        _attribute(backends.cudnn, "enabled"),
        _attribute(backends.cudnn, "allow_tf32"),
        _attribute(torch.utils.deterministic, "fill_uninitialized_memory"),
        _Setting(cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
        _Setting(cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
        _Setting(cuda.math_sdp_enabled, cuda.enable_math_sdp),
        _Setting(_flushes_denormal, torch.set_flush_denormal),
        _Setting(torch.multiprocessing.get_sharing_strategy, torch.multiprocessing.set_sharing_strategy),
        *(_autocast(kind) for kind in ("cpu", "cuda")),
        *(_hook_registry(getattr(torch.nn.modules.module, name)) for name in _HOOKS),
    ]
    if hasattr(mkldnn, "enabled"):
        found.append(_attribute(mkldnn, "enabled"))
    return found


def _flushes_denormal() -> bool:
    import torch

    return float(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1.0) == 0.0


def _autocast(kind: str) -> _Setting:
    import torch

    def write(before: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(kind, before[0])
        torch.set_autocast_dtype(kind, before[1])

    return _Setting(lambda: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)), write)


def _hook_registry(hooks: dict[int, Any]) -> _Setting:
    def write(before: dict[int, Any]) -> None:
        hooks.clear()
        hooks.update(before)

    return _Setting(lambda: dict(hooks), write)


def _numbers() -> list[_Setting]:
    return [
        _Setting(np.geterr, lambda kinds: np.seterr(**kinds)),
        _Setting(np.get_printoptions, lambda options: np.set_printoptions(**options)),
        _Setting(_read_decimal_rules, lambda rules: decimal.setcontext(rules.context)),
    ]


def _read_decimal_rules() -> _DecimalRules:
    return _DecimalRules(decimal.getcontext().copy())


@dataclass(frozen=True, slots=True)
class _DecimalRules:
    """Contexts are equal where all that they say is."""

    context: decimal.Context

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _DecimalRules) and repr(self.context) == repr(other.context)

    __hash__ = None  # type: ignore[assignment]


def remember_logs() -> Callable[[], None]:
    """Levels and handlers of the loggers that there are; a handler that a trial adds writes to its own log,
    which is closed with it."""
    root, disabled = logging.getLogger(), logging.root.manager.disable
    known = [root, *(one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger))]
    before = [(one, one.level, list(one.handlers), one.propagate, one.disabled) for one in known]

    def restore() -> None:
        logging.disable(disabled)
        for one, level, handlers, propagate, off in before:
            one.propagate, one.disabled = propagate, off
            if one.handlers != handlers:
                one.handlers[:] = handlers
            if one.level != level:
                one.setLevel(level)

    return restore


def _remember_signals() -> Callable[[], None]:
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # Python lets no other thread set one
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:  # None: not Python's to set
                signal.signal(number, handler)

    return restore
