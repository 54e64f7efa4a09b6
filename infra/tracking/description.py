"""The Markdown that people read first, on the experiment and on a sweep's parent run."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from infra.ledger.rows import SweepRow, TrialRow
from infra.secrets import redact
from infra.spec import FamilySpec
from infra.tracking.mapping import run_name, space_names, truncate_text
from infra.tracking.summary import SweepSummary

_NOTE_CHARACTERS = 5_000
_FRONT_ROWS = 10

Link = Callable[[TrialRow], str | None]


def sweep_note(sweep: SweepRow, state: SweepSummary, link: Link, trials: str) -> str:
    """What was swept, what came of it, and how to get it again.

    Args:
        sweep: as the ledger has it.
        state: how its trials stand.
        link: where a trial's run is in the UI, or None.
        trials: where all of them are, in Markdown.
    """
    parts = [
        _outcome_line(sweep, state, link),
        trials,
        _best_section(sweep, state, link),
        _sweep_section(sweep),
        _reproduce_section(sweep),
    ]
    return truncate_text(redact("\n\n".join(part for part in parts if part)), _NOTE_CHARACTERS)


def _sweep_section(sweep: SweepRow) -> str:
    spec = sweep.spec
    goals = " and ".join(f"{goal.direction} **{goal.metric}**" for goal in spec.objectives)
    lines = [
        "### What was swept",
        f"{goals.capitalize()} on `{spec.data.get('source', 'own data')}`.",
        "",
    ]
    lines += ["| family | trials | length | sampler | pruner | searched |", "|---|---|---|---|---|---|"]
    for family in spec.families:
        budget = family.budget
        length = f"{budget.epochs} epochs" if budget.steps is None else f"{budget.steps} steps"
        names = ", ".join(space_names(family, searched_only=True))
        samplers = f"{family.sampler.get('name', '')} | {family.pruner.get('name', '')}"
        lines.append(f"| {family.name} | {family.trials} | {length} | {samplers} | {names} |")
    lines += [f"\n{_beginning_line(family)}" for family in spec.families if family.begins_with]
    return "\n".join(lines)


def _beginning_line(family: FamilySpec) -> str:
    found = family.begins_with
    trial = f"{found['family']}-{found['number']:04d} of sweep {found['sweep']}"
    run = found.get("run_id")
    return f"{family.name} begins with the weights of {trial}" + (f", run `{run}`." if run else ".")


def _outcome_line(sweep: SweepRow, state: SweepSummary, link: Link) -> str:
    """One line: the UI shows no more of a note before a click."""
    order = ("complete", "pruned", "failed", "running", "waiting")
    counts = ", ".join(f"{state.states[name]} {name}" for name in order if state.states.get(name))
    parts = [f"Sweep **{sweep.label}** {sweep.state}"]
    if state.winner is not None and state.winner.objective:
        values = zip(sweep.spec.objectives, state.winner.objective, strict=True)
        best = ", ".join(f"{goal.metric} {value:.5g}" for goal, value in values)
        parts.append(f"best **{best}** by {_trial_title(state.winner, link(state.winner))}")
    return " · ".join([*parts, counts]) if counts else parts[0]


def _best_section(sweep: SweepRow, state: SweepSummary, link: Link) -> str:
    shown = list(state.best.values()) if len(sweep.spec.objectives) == 1 else state.front[:_FRONT_ROWS]
    if not shown:
        return ""
    title = "### Best of each family" if len(sweep.spec.objectives) == 1 else "### Pareto front"
    goals = " | ".join(goal.metric for goal in sweep.spec.objectives)
    ruler = "|---" * (3 + len(sweep.spec.objectives)) + "|"
    rows = [_best_row(trial, link(trial)) for trial in shown]
    return "\n".join([title, f"| trial | {goals} | epoch | parameters |", ruler, *rows])


def _best_row(trial: TrialRow, link: str | None) -> str:
    name = _trial_title(trial, link)
    values = " | ".join(f"{value:.5g}" for value in trial.objective or ())
    params = ", ".join(f"{key} {_format_value(value)}" for key, value in trial.params.items())
    return f"| {name} | {values} | {trial.epoch} | {params} |"


def _trial_title(trial: TrialRow, link: str | None) -> str:
    return f"[{run_name(trial)}]({link})" if link else run_name(trial)


def _format_value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def _reproduce_section(sweep: SweepRow) -> str:
    git, versions = sweep.facts.get("git") or {}, sweep.facts.get("versions") or {}
    lines = ["### How to reproduce", f"```\n{sweep.facts.get('command') or 'velodrome sweep FILE'}\n```"]
    if git.get("commit"):
        dirty = ", with changes that are not committed" if git.get("dirty") else ""
        lines.append(f"- git commit `{git['commit']}`{dirty}")
    lines.append(f"- seed {sweep.spec.seed}, data fingerprint `{sweep.fingerprint}`")
    if versions:
        lines.append("- " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())))
    return "\n".join(lines)


def trials_link(experiment_id: str, metric: str, *, maximize: bool) -> str:
    """All runs of an experiment in the UI, best first and with their charts.

    Sorted by a metric the UI lists trials flat; by time it hides them inside their parent.

    Args:
        metric: its name in MLflow, as `infra.tracking.mapping.best_name` gives it.
    """
    key = quote(f"metrics.`{metric}`", safe="")
    order = f"orderByKey={key}&orderByAsc={str(not maximize).lower()}"
    return f"#/experiments/{experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART&{order}"


def run_link(experiment_id: str, run_id: str) -> str:
    """A run's place in the UI that shows the note."""
    return f"#/experiments/{experiment_id}/runs/{run_id}"
