"""Velodrome: hyper-parameter sweeps on warm Ray Train lanes, searched by Optuna, tracked in MLflow.

Every command is a function here, with the command's options. Names are imported when they are first used,
so that `import velodrome` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.adopt import adopt
    from flows.approve import approve
    from flows.compare import compare
    from flows.confirm import confirm
    from flows.doctor import doctor
    from flows.export import export
    from flows.extend import extend
    from flows.families import families
    from flows.history import history
    from flows.logs import logs
    from flows.new import new
    from flows.plan import plan
    from flows.policy import policy
    from flows.predict import predict
    from flows.promote import promote
    from flows.remove import remove
    from flows.report import report
    from flows.reproduce import reproduce
    from flows.retry import retry
    from flows.rollback import rollback
    from flows.schema import schema
    from flows.serve import serve
    from flows.show import show
    from flows.status import status
    from flows.stop import stop
    from flows.sweep import sweep
    from flows.ui import ui
    from trainers.family import Family
    from trainers.options import Options
    from trainers.try_out import try_out

__version__ = "0.1.0"

_COMMANDS = """adopt approve compare confirm doctor export extend families history logs new plan policy
 predict promote remove report reproduce retry rollback schema serve show status stop sweep ui"""
_PLACES = {
    "Family": "trainers.family",
    "Options": "trainers.options",
    "try_out": "trainers.try_out",
    **{name: f"flows.{name}" for name in _COMMANDS.split()},
}

__all__ = [
    "Family",
    "Options",
    "__version__",
    "adopt",
    "approve",
    "compare",
    "confirm",
    "doctor",
    "export",
    "extend",
    "families",
    "history",
    "logs",
    "new",
    "plan",
    "policy",
    "predict",
    "promote",
    "remove",
    "report",
    "reproduce",
    "retry",
    "rollback",
    "schema",
    "serve",
    "show",
    "status",
    "stop",
    "sweep",
    "try_out",
    "ui",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'velodrome' has no attribute {name!r}")
    found = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
