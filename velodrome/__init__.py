"""Velodrome: hyper-parameter sweeps on warm Ray Train lanes, searched by Optuna, tracked in MLflow.

Every command is a function here, with the command's options, whose errors are of `infra.errors`. Names are
imported when they are first used, so that `import velodrome` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from flows.commands import PLACES
from infra.input_errors import with_one_error_tree

if TYPE_CHECKING:
    from flows.comparison.compare import compare as compare
    from flows.compression.compress import compress as compress
    from flows.config.schema import schema as schema
    from flows.confirmation.confirm import confirm as confirm
    from flows.explanation.explain import explain as explain
    from flows.export.export import export as export
    from flows.functions.ranges import choice as choice
    from flows.functions.ranges import integers as integers
    from flows.functions.ranges import loguniform as loguniform
    from flows.functions.ranges import uniform as uniform
    from flows.inference.drift import drift as drift
    from flows.inference.predict import predict as predict
    from flows.inference.serve import serve as serve
    from flows.inspection.inspect import inspect as inspect
    from flows.installation.doctor import doctor as doctor
    from flows.installation.families import families as families
    from flows.installation.ui import ui as ui
    from flows.jobs.submit import submit as submit
    from flows.promotion.adopt import adopt as adopt
    from flows.promotion.approve import approve as approve
    from flows.promotion.card import card as card
    from flows.promotion.history import history as history
    from flows.promotion.policy import policy as policy
    from flows.promotion.promote import promote as promote
    from flows.promotion.rollback import rollback as rollback
    from flows.report import report as report
    from flows.reproduction.reproduce import reproduce as reproduce
    from flows.sweeps.extend import extend as extend
    from flows.sweeps.new import new as new
    from flows.sweeps.plan import plan as plan
    from flows.sweeps.remove import remove as remove
    from flows.sweeps.retry import retry as retry
    from flows.sweeps.stop import stop as stop
    from flows.sweeps.sweep import sweep as sweep
    from flows.sweeps.views.logs import logs as logs
    from flows.sweeps.views.show import show as show
    from flows.sweeps.views.status import status as status
    from flows.upkeep.gc import gc as gc
    from trainers.family import Family as Family
    from trainers.options import Options as Options
    from trainers.try_out import try_out as try_out

__version__ = "0.1.0"

_PLACES = {
    **PLACES,
    **dict.fromkeys(("choice", "integers", "loguniform", "uniform"), "flows.functions.ranges"),
    "Family": "trainers.family",
    "Options": "trainers.options",
    "try_out": "trainers.try_out",
}

__all__ = sorted([*_PLACES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'velodrome' has no attribute {name!r}")
    found = getattr(importlib.import_module(_PLACES[name]), name)
    if name in PLACES:
        found = with_one_error_tree(found)
        found.__module__ = __name__  # where pickle finds this one
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
