"""The Markdown that people read first, on the experiment and on a sweep's parent run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.summary import SweepSummary
from infra.secrets import redact
from infra.spec import FamilySpec
from infra.tracking.mapping import run_name, space_names, truncate_text
from search_spaces.values import ParamValue, plain_text

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
        _outcome_line(sweep, state, link, trials),
        _best_section(sweep, state, link),
        _sweep_section(sweep),
        _reproduce_section(sweep),
    ]
    return truncate_text(redact("\n\n".join(part for part in parts if part)), _NOTE_CHARACTERS)


def model_note(sweep: SweepRow, trial: TrialRow, ranked: Sequence[TrialRow], model_id: str) -> str:
    """What a kept trial's run says of its model: how good it is, on what, and how to get it again.

    Args:
        ranked: the sweep's complete trials, best first.
        model_id: MLflow's logged model.
    """
    values = zip(sweep.spec.objectives, trial.objective or (), strict=False)
    value = ", ".join(f"{goal.metric} {value:.5g}" for goal, value in values)
    rank = next((place for place, other in enumerate(ranked, 1) if other.key == trial.key), None)
    place = f", rank {rank} of {len(ranked)} complete trials" if rank else ""
    params = ", ".join(f"{key} {_format_value(value)}" for key, value in trial.params.items())
    which = f"{sweep.label} --family {trial.family} --trial {trial.number}"
    parts = [
        f"**{value}** on validation{place} of sweep {sweep.label}",
        f"- epoch {trial.epoch}: {params}",
        f"- data `{sweep.spec.data.get('source', 'own data')}`, fingerprint `{sweep.fingerprint}`",
        f"```\nvelodrome reproduce {which}\nvelodrome promote {which}\n```",
        f'```python\nmlflow.pyfunc.load_model("models:/{model_id}").predict(rows)\n```',
    ]
    return truncate_text(redact("\n".join(parts)), _NOTE_CHARACTERS)


def _sweep_section(sweep: SweepRow) -> str:
    spec = sweep.spec
    goals = " and ".join(f"{goal.direction} **{goal.metric}**" for goal in spec.objectives)
    what = f"{goals[:1].upper()}{goals[1:]} on `{spec.data.get('source', 'own data')}`."
    lines = ["### What was swept", what, ""]
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


def _outcome_line(sweep: SweepRow, state: SweepSummary, link: Link, trials: str) -> str:
    """One line, what matters first: the UI shows no more of a note before a click."""
    order = ("complete", "pruned", "failed", "running", "waiting")
    counts = ", ".join(f"{state.states[name]} {name}" for name in order if state.states.get(name))
    best = []
    if state.winner is not None and state.winner.objective:
        values = zip(sweep.spec.objectives, state.winner.objective, strict=True)
        value = ", ".join(f"{goal.metric} {value:.5g}" for goal, value in values)
        title = _trial_title(state.winner, link(state.winner))
        best = [f"**{value}** by {title}{_choice(state.winner)}"]
    whole = f"sweep **{sweep.label}** {sweep.state}" + (f": {counts}" if counts else "")
    return " · ".join([*best, trials, whole])


def _choice(trial: TrialRow) -> str:
    """What the line says of a trial's parameters: what everybody asks first."""
    known = [name for name in ("learning_rate", "optimizer") if name in trial.params]
    shown = ", ".join(f"{name} {_format_value(trial.params[name])}" for name in known)
    return f" ({shown})" if shown else ""


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


def _format_value(value: ParamValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else plain_text(value).replace("|", "/")


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


def trials_link(experiment_id: str, view: str | None) -> str:
    """The trials of a sweep in the UI, best first, with the objective's curves.

    Args:
        view: the key of the sweep's shared view (`infra.tracking.shared_view`); None where it has none.
    """
    shown = "" if view is None else f"&viewStateShareKey={view}"
    return f"{_page(experiment_id, 'runs')}&compareRunsMode=CHART{shown}"


def table_link(experiment_id: str, view: str) -> str:
    """The same as a table, with parameters and states in columns."""
    return f"{_page(experiment_id, 'runs')}&viewStateShareKey={view}"


def run_link(experiment_id: str, run_id: str) -> str:
    """A run's place in the UI that shows the note."""
    return _page(experiment_id, f"runs/{run_id}")


def _page(experiment_id: str, path: str) -> str:
    """A page among those for training: without the word for it MLflow 3 opens those for language models."""
    return f"#/experiments/{experiment_id}/{path}?workflowType=machine_learning"
