"""Which parameters decide whether a trial is among the best tenth: PED-ANOVA, by Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.spec import Objective, SweepSpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

LEAST_TRIALS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Importances:
    """Shares that come to 1, largest first, for one family and one objective; `why` where there are none."""

    family: str
    metric: str
    shares: Mapping[str, float]
    why: str = ""


def compute_importances(spec: SweepSpec, journal: Iterable[str]) -> list[Importances]:
    """For each family and objective, from the sweep's own studies.

    Args:
        journal: Optuna's records, as `infra.ledger.views.journal_records` gives them.
    """
    from infra.search.study import read_studies

    studies = read_studies(spec, journal)
    return [
        _study_importances(studies.get(family.name), family.name, place, goal)
        for family in spec.families
        for place, goal in enumerate(spec.objectives)
    ]


def _study_importances(study: Study | None, family: str, place: int, goal: Objective) -> Importances:
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if study else []
    if study is None or len(complete) < LEAST_TRIALS:
        why = f"it takes {LEAST_TRIALS} complete trials, and there are {len(complete)}"
        return Importances(family=family, metric=goal.metric, shares={}, why=why)
    found, why = _ped_anova(study, _objective_target(place, goal))
    return Importances(family=family, metric=goal.metric, shares=found, why=why)


def _objective_target(place: int, goal: Objective) -> Callable[[FrozenTrial], float]:
    sign = -1.0 if goal.direction == "maximize" else 1.0  # PED-ANOVA takes less for better
    return lambda trial: sign * float(trial.values[place])


def _ped_anova(study: Study, target: Callable[[FrozenTrial], float]) -> tuple[dict[str, float], str]:
    """Conditional parameters too (conditional PED-ANOVA)."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    evaluator: Any = PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings(
            "ignore", message="PedAnovaImportanceEvaluator computes", category=UserWarning
        )
        try:
            found = get_param_importances(study, evaluator=evaluator, target=target)
        except (ValueError, RuntimeError) as error:  # a space without a parameter that all trials have, …
            return {}, str(error).partition("\n")[0]
    return {name: float(share) for name, share in found.items()}, "" if found else "nothing was searched"
