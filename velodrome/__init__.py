"""Velodrome: hyper-parameter sweeps on warm Ray Train lanes, searched by Optuna, tracked in MLflow.

Every command is a function here, with the command's options. Names are imported when they are first used,
so that `import velodrome` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.comparison.compare import compare
    from flows.config.schema import schema
    from flows.confirmation.confirm import confirm
    from flows.export.export import export
    from flows.inference.predict import predict
    from flows.inference.serve import serve
    from flows.installation.doctor import doctor
    from flows.installation.families import families
    from flows.installation.ui import ui
    from flows.promotion.adopt import adopt
    from flows.promotion.approve import approve
    from flows.promotion.history import history
    from flows.promotion.policy import policy
    from flows.promotion.promote import promote
    from flows.promotion.rollback import rollback
    from flows.report import report
    from flows.reproduction.reproduce import reproduce
    from flows.sweeps.extend import extend
    from flows.sweeps.logs import logs
    from flows.sweeps.new import new
    from flows.sweeps.plan import plan
    from flows.sweeps.remove import remove
    from flows.sweeps.retry import retry
    from flows.sweeps.show import show
    from flows.sweeps.status import status
    from flows.sweeps.stop import stop
    from flows.sweeps.sweep import sweep
    from trainers.family import Family
    from trainers.options import Options
    from trainers.try_out import try_out

__version__ = "0.1.0"

_PLACES = {
    "adopt": "flows.promotion.adopt",
    "approve": "flows.promotion.approve",
    "compare": "flows.comparison.compare",
    "confirm": "flows.confirmation.confirm",
    "doctor": "flows.installation.doctor",
    "export": "flows.export.export",
    "extend": "flows.sweeps.extend",
    "families": "flows.installation.families",
    "history": "flows.promotion.history",
    "logs": "flows.sweeps.logs",
    "new": "flows.sweeps.new",
    "plan": "flows.sweeps.plan",
    "policy": "flows.promotion.policy",
    "predict": "flows.inference.predict",
    "promote": "flows.promotion.promote",
    "remove": "flows.sweeps.remove",
    "report": "flows.report",
    "reproduce": "flows.reproduction.reproduce",
    "retry": "flows.sweeps.retry",
    "rollback": "flows.promotion.rollback",
    "schema": "flows.config.schema",
    "serve": "flows.inference.serve",
    "show": "flows.sweeps.show",
    "status": "flows.sweeps.status",
    "stop": "flows.sweeps.stop",
    "sweep": "flows.sweeps.sweep",
    "ui": "flows.installation.ui",
    "Family": "trainers.family",
    "Options": "trainers.options",
    "try_out": "trainers.try_out",
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
