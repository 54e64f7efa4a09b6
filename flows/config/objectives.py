"""The objectives of a sweep: full names, directions, and whether the families can report them."""

from __future__ import annotations

from collections.abc import Mapping

from flows.config.errors import Path
from flows.config.loading import SweepFile
from flows.config.schema import ObjectiveEntry as ObjectiveEntry
from infra.errors import WrongInput
from infra.spec import Direction, Objective
from search_spaces.nearest import nearest
from trainers.metric_names import DIRECTIONS, FOR_ALL, GAP, PER_TASK, direction_of, full_name, names_of_groups
from trainers.registry import Reference, is_function


def resolve_objectives(
    file: SweepFile, default_metric: str | None, families: Mapping[str, Reference]
) -> tuple[Objective, ...]:
    """What trials are judged by: at least one objective, in the order of the file.

    Raises:
        WrongInput: a metric is missing, given twice, on the test split, unknown and without a direction, or
            none that a family's tasks have; objectives differ in `at`.
    """
    entries = file.sweep.objective or [ObjectiveEntry()]
    listed = isinstance(file.written.value_at(("objective",)), list)
    objectives = []
    for index, entry in enumerate(entries):
        path: Path = ("objective", index) if listed else ("objective",)
        metric = entry.metric or (default_metric if len(entries) == 1 else None)
        if metric is None:
            do = f"write one of {', '.join(DIRECTIONS)}"
            raise file.written.error_at((*path, "metric"), "be given", "nothing", do)
        _check_families(file, metric, families, (*path, "metric"))
        objectives.append(
            Objective(
                metric=objective_name(metric),
                direction=_direction(file, entry, metric, path),
                at=entry.at or "best",
            )
        )
    _check_objectives(file, objectives)
    return tuple(objectives)


def objective_name(metric: str) -> str:
    """The full name: `val/` where no prefix is written, and none for what is known of every model."""
    return metric if metric in FOR_ALL else full_name(metric)


def _direction(file: SweepFile, entry: ObjectiveEntry, metric: str, path: Path) -> Direction:
    prefix, slash, _ = metric.rpartition("/")
    key = (*path, "metric")
    if slash and prefix == "test":
        do = "use val/…; the test split is for confirm, report and promote"
        raise file.written.error_at(key, "be measured on the validation split", repr(metric), do)
    direction = entry.direction or direction_of(metric)
    if direction is None:
        near = nearest(metric.rpartition("/")[2], DIRECTIONS)
        hint = f"did you mean {near!r}? else " if near else ""
        do = f"{hint}add direction: minimize or maximize"
        raise file.written.error_at(key, "have a direction where it is not Velodrome's own", repr(metric), do)
    return direction


def _check_families(file: SweepFile, metric: str, families: Mapping[str, Reference], key: Path) -> None:
    """A metric of ours that none of a family's tasks has could never be reported."""
    name = metric.rpartition("/")[2]
    _check_groups(file, metric, families, key)
    tasks = {task for task, metrics in PER_TASK.items() if name in metrics}
    if not tasks or name in FOR_ALL:
        return
    for label, code in families.items():
        if is_function(code):
            continue
        own = set(getattr(code, "tasks", ()))
        if not own & tasks:
            found = f"{metric!r}, and {label} learns {' or '.join(sorted(own))}"
            known = sorted({m for task in own for m in PER_TASK[task]})
            raise file.written.error_at(
                key, "be a metric of every family", found, f"write one of {', '.join(known)}"
            )


def _check_groups(file: SweepFile, metric: str, families: Mapping[str, Reference], key: Path) -> None:
    """A metric by groups needs columns of groups, where the metrics are Velodrome's own."""
    plain = metric.rpartition("/")[2] == GAP
    if (not plain and not names_of_groups([metric])) or all(map(is_function, families.values())):
        return
    columns = file.data.get("columns")
    if not (columns if isinstance(columns, Mapping) else {}).get("sensitive"):
        raise file.written.error_at(
            key, "have columns of groups beside a metric by groups", f"{metric!r}, and no sensitive column",
            "name them: data: {columns: {sensitive: [gender]}}",
        )  # fmt: skip


def _check_objectives(file: SweepFile, objectives: list[Objective]) -> None:
    names = [objective.metric for objective in objectives]
    for name in names:
        if names.count(name) > 1:
            raise file.written.error_at(("objective",), "name each metric once", repr(name), "drop one")
    if len({objective.at for objective in objectives}) > 1:
        found = ", ".join(f"{o.metric} at {o.at}" for o in objectives)
        raise _mixed_at_error(file, found)


def _mixed_at_error(file: SweepFile, found: str) -> WrongInput:
    do = "a trial keeps one epoch's weights: write the same at for all"
    return file.written.error_at(("objective",), "have one at", found, do)
