"""The page that MLflow opens by our links: the objective's curves, and trials by value with what matters.

MLflow's UI keeps how an experiment is shown in the browser; a shared view is the one way to say it with the
data. It is an experiment's tag whose JSON the UI reads (`viewStateShareKey` names it), as MLflow 3.17 has it.
"""

from __future__ import annotations

import json

from infra.spec import Objective, SweepSpec
from infra.tracking.mapping import (
    best_name,
    class_name,
    clean_name,
    group_name,
    space_names,
    sweep_label_query,
)
from trainers.metric_names import may_be_of_a_class, names_of_groups
from trainers.types import JsonObject

TAG = "mlflow.sharedViewState."
_FIRST_PARAMETERS = ("learning_rate", "optimizer")
_COLUMNS, _AXES = 2, 4  # of parameters; the UI sorts columns by name, and states come behind them
_RUNS = 20


def view_key(spec: SweepSpec) -> str:
    """Names the view of a sweep among those of its experiment."""
    return f"velodrome-v{spec.version}-{spec.name}"


def view_state(spec: SweepSpec) -> str:
    """The view's JSON: what the tag `TAG` + `view_key` holds."""
    goal = spec.objectives[0]
    parameters, metrics = _parameters(spec), [best_name(each.metric) for each in spec.objectives]
    columns = [
        *(f"metrics.`{name}`" for name in metrics),
        *(f"params.`{name}`" for name in parameters[:_COLUMNS]),
        "tags.`velodrome.state`",
        "tags.`velodrome.reason`",
    ]
    return json.dumps(
        {
            "searchFilter": f"{sweep_label_query(spec.label)} and tags.`velodrome.role` = 'search'",
            "orderByKey": f"metrics.`{metrics[0]}`",
            "orderByAsc": goal.direction == "minimize",
            "selectedColumns": columns,
            "compareRunCharts": _charts(spec.objectives, parameters, metrics),
            "compareRunSections": [
                {
                    "uuid": "objective", "name": "objective", "display": True, "isReordered": True,
                    "deleted": False, "isGenerated": False,
                }
            ],
            "isAccordionReordered": True,
        }
    )  # fmt: skip


def _parameters(spec: SweepSpec) -> list[str]:
    """What trials are told apart by: the learning rate and the optimizer first."""
    names = [name for family in spec.families for name in space_names(family, searched_only=True)]
    first = [name for name in _FIRST_PARAMETERS if name in names]
    return [clean_name(name) for name in dict.fromkeys([*first, *names])]


def _charts(goals: tuple[Objective, ...], parameters: list[str], metrics: list[str]) -> list[JsonObject]:
    curves = [_chart("LINE", goal.metric, _curve(goal.metric)) for goal in goals if "/" in goal.metric]
    bars = [_chart("BAR", name, {"metricKey": name}) for name in metrics]
    together: JsonObject = {"selectedParams": list(parameters[:_AXES]), "selectedMetrics": metrics[:1]}
    return [*curves, *bars, *([_chart("PARALLEL", "parameters", together)] if parameters else [])]


def _curve(metric: str) -> JsonObject:
    name = group_name(metric) if names_of_groups([metric]) else clean_name(metric)
    keys = [name, class_name(metric)] if may_be_of_a_class(metric) else [name]
    return {
        "metricKey": name, "selectedMetricKeys": keys, "scaleType": "linear",
        "lineSmoothness": 0,
        "xAxisKey": "step", "xAxisScaleType": "linear", "selectedXAxisMetricKey": "", "yAxisKey": "metric",
        "yAxisExpressions": [], "range": {}, "ignoreOutliers": False, "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }  # fmt: skip


def _chart(kind: str, name: str, more: JsonObject) -> JsonObject:
    common: JsonObject = {
        "uuid": f"{kind}-{name}".lower(), "type": kind, "runsCountToCompare": _RUNS,
        "metricSectionId": "objective", "deleted": False, "isGenerated": False,
    }  # fmt: skip
    return {**common, **more}
