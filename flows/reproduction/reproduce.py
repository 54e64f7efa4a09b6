"""`velodrome reproduce`: trains a recorded run again, without Ray, and says whether it came out the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.reproduction.recorded_run import find_recorded_run
from flows.reproduction.result import (
    TOLERANCE,
    Circumstance,
    Reproduction,
    decide_verdict,
    pair_kept_epoch,
    pair_reports,
    select_deviations,
    select_goal_deviations,
)
from flows.sweeps.preparation import git_facts
from flows.sweeps.recorded_state import check_recorded_sweep
from flows.terminal.next_command import next_command
from infra.coordinator.messages import Assignment, AttemptResult
from infra.errors import RefusedError, WrongInput
from infra.home import Home, storage_root
from infra.ledger import views
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.mirror import fetch
from infra.spec import Resources, SweepSpec
from trainers.code.versions import installed_versions
from trainers.job import SilentHooks
from trainers.types import Ranks


def reproduce(
    run: str,
    *,
    trial: int | None = None,
    family: str | None = None,
    tolerance: float = TOLERANCE,
    home: Home | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Trains a recorded run again in this process and compares every number.

    Args:
        run: MLflow's run id of a trial or a confirmation; or a sweep's name or file, with `trial`.
        trial: a trial's number within its family.
        family: needed where the sweep has several families with a trial of that number.
        tolerance: the largest relative difference of the judged values that still counts as reproduced.
        say: takes a line an epoch.

    Raises:
        WrongInput: no such run, one that cannot be trained again here, or its data or code are not what
            they were.
        RefusedError: the training failed this time.
    """
    if not 0 <= tolerance < 1:
        raise WrongInput("--tolerance must be from 0 to below 1", f"{tolerance:g}")
    place = home or Home.from_environment()
    ledger, row, found = find_recorded_run(run, trial, family, place)
    with closing(ledger):
        lane = _last_lane(ledger, row, found)
        _check_reproducible(row, found, lane)
        check_recorded_sweep(row, place, families=[found.family])
        told = views.trial_events(ledger, row.id, found, "reported")
        recorded = {event.payload["epoch"]: event.payload["metrics"] for event in told}
    with TemporaryDirectory(prefix="velodrome-reproduce-") as aside:
        hooks = _RecordingHooks(
            last=_last_epoch(row, found), recorded=recorded, goal=_objective_metrics(row)[0], say=say
        )
        ended = _train_again(row, found, lane, place, Path(aside), hooks)
        weights = _has_same_weights(storage_root(place, row.spec), found, Path(aside), ended)
    return _compare_runs(row, found, lane, tolerance, hooks, ended, weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LaneResources:
    """What the lane of the last attempt had."""

    workers: int
    cpus: float
    gpus: float


def _last_lane(ledger: Ledger, row: SweepRow, trial: TrialRow) -> _LaneResources:
    known = views.attempts(ledger, row.id, trial.family, trial.number)
    mine = [attempt.lane_facts for attempt in known if attempt.role == trial.role]
    facts = mine[-1] if mine else {}
    return _LaneResources(
        workers=int(facts.get("workers", 1)),
        cpus=float(facts.get("cpus", 1.0)),
        gpus=float(facts.get("gpus") or 0),
    )


def _check_reproducible(row: SweepRow, trial: TrialRow, lane: _LaneResources) -> None:
    what = f"{row.label}, {trial.family} #{trial.number}"
    if trial.state not in {"complete", "pruned"}:
        raise WrongInput(
            "a run must be complete or pruned to be reproduced",
            f"{what} is {trial.state}",
            f"`{next_command(f'show {row.label} --trial {trial.number}', row.spec.ledger)}` tells more",
        )
    if trial.compression is not None:
        made_of, how = trial.compression["number"], trial.compression["how"]
        raise WrongInput(
            "a run must have been trained to be reproduced",
            f"{what} is #{made_of}'s model, made smaller",
            f"`velodrome compress {row.label} --trial {made_of} --how {how}` makes it again",
        )
    if lane.workers > 1:
        raise WrongInput(
            "a run must have been trained by one worker to be reproduced in one process",
            f"{what} was trained by {lane.workers} together, which sum in another order",
            "`velodrome sweep FILE --new` with the same file and seed trains it on such lanes again",
        )


def _last_epoch(row: SweepRow, trial: TrialRow) -> int | None:
    """Where to stop: a pruned run where the pruner did, one that a clock ended where the clock did."""
    by_clock = row.spec.family(trial.family).budget.trial_minutes is not None
    return trial.epochs if trial.state == "pruned" or by_clock else None


def _objective_metrics(row: SweepRow) -> list[str]:
    return [goal.metric for goal in row.spec.objectives]


@dataclass(slots=True, kw_only=True)
class _RecordingHooks(SilentHooks):
    """Hooks that write down every report, and stop where the recorded run stopped."""

    last: int | None
    recorded: Mapping[int, Mapping[str, float]]
    goal: str
    say: Callable[[str], None]
    reports: dict[int, dict[str, float]] = field(default_factory=dict)

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.reports[epoch] = dict(metrics)
        before = self.recorded.get(epoch, {}).get(self.goal)
        self.say(f"epoch {epoch}: {self.goal} {metrics.get(self.goal)} (recorded {before})")
        return self.last is None or epoch < self.last


def _train_again(
    row: SweepRow, trial: TrialRow, lane: _LaneResources, home: Home, aside: Path, hooks: _RecordingHooks
) -> AttemptResult:
    from infra.lanes.attempt import AttemptRunner
    from infra.lanes.settings import LaneSettings
    from infra.storage.sweep_key import current_key_name

    own_code = row.facts.get("own_code")
    settings = LaneSettings(
        run="reproduce",
        shape="",
        resources=Resources(cpus=lane.cpus),
        spec=_without_time_limits(row.spec, trial).to_json(),
        base=row.facts.get("base", "."),
        storage=str(aside),
        cache=str(home.cache),
        logs=str(home.logs),
        sys_path=(own_code,) if own_code else (),
        fingerprint="" if row.fingerprint == "none" else row.fingerprint,
        key_name=current_key_name(),
    )
    assignment = Assignment(
        attempt="reproduce", role=trial.role, family=trial.family, number=trial.number, ordinal=1,
        params=trial.params, seed=trial.seed, keep=trial.model is not None,
        read_test=False,  # of a confirmation too: its weights tell, and the test part is not read again
    )  # fmt: skip
    ended = AttemptRunner(settings, device=_device(lane), ranks=Ranks()).run(assignment, hooks)
    if ended.outcome == "failed":
        raise RefusedError(
            "the run must train to its end again",
            f"{ended.reason}: {ended.detail.strip().splitlines()[0] if ended.detail.strip() else ''}",
            f"`{next_command(f'show {row.label} --trial {trial.number}', row.spec.ledger)}` tells how it"
            " went before",
        )
    return ended


def _without_time_limits(spec: SweepSpec, trial: TrialRow) -> SweepSpec:
    """The specification without what ends a trial by the clock: this machine may be slower."""
    families = tuple(
        replace(family, budget=replace(family.budget, trial_minutes=None))
        if family.name == trial.family
        else family
        for family in spec.families
    )
    return replace(spec, families=families)


def _device(lane: _LaneResources) -> str:
    if not lane.gpus:
        return "cpu"
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _has_same_weights(storage: Path, trial: TrialRow, aside: Path, ended: AttemptResult) -> bool | None:
    """Whether the kept model's weights are the same to the bit; None where there is no model to compare."""
    if trial.model is None or ended.model is None:
        return None
    fetch(storage / trial.model, exact=True)
    if not (storage / trial.model).is_dir():
        return None
    import torch

    from trainers.bundle.bundle import read_bundle

    before, after = read_bundle(storage / trial.model).weights, read_bundle(aside / ended.model).weights
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def _compare_runs(
    row: SweepRow,
    trial: TrialRow,
    lane: _LaneResources,
    tolerance: float,
    hooks: _RecordingHooks,
    ended: AttemptResult,
    weights: bool | None,
) -> Reproduction:
    known = {name: value for name, value in trial.metrics.items() if not name.startswith("test/")}
    kept = pair_kept_epoch(known, ended.metrics or hooks.reports.get(trial.epoch, {}))
    every = [*pair_reports(hooks.recorded, hooks.reports), *kept]
    deviations, judged = select_deviations(every), list(select_goal_deviations(kept, _objective_metrics(row)))
    return Reproduction(
        sweep=row.label,
        family=trial.family,
        number=trial.number,
        role=trial.role,
        seed=trial.seed,
        params=trial.params,
        epochs=len(hooks.reports),
        verdict=decide_verdict(deviations, judged, weights, tolerance),
        tolerance=tolerance,
        judged=tuple(judged),
        compared=len(every),
        deviations=tuple(deviations),
        weights=weights,
        circumstances=tuple(_changed_circumstances(row, trial, lane)),
    )


def _changed_circumstances(row: SweepRow, trial: TrialRow, lane: _LaneResources) -> list[Circumstance]:
    before: dict[str, str] = dict(row.facts.get("versions") or {})
    after = installed_versions([name for name in before if name != "python"])
    git: Mapping[str, str | bool] = row.facts.get("git") or {}
    if git.get("commit"):
        now = git_facts(Path(row.facts.get("base", ".")))
        before["commit"] = _describe_commit(git)
        after["commit"] = _describe_commit(now)
    if trial.family in row.facts.get("code_changed", ()):
        before["code"], after["code"] = "maybe from before a change that was accepted", "from after it"
    if trial.facts.get("stack", 1) > 1:  # sums are rounded otherwise
        before["training"], after["training"] = f"in a stack of {trial.facts['stack']}", "alone"
    before["device"] = "cuda" if lane.gpus else "cpu"
    after["device"] = _device(lane).partition(":")[0]
    return [
        Circumstance(name=name, recorded=value, found=after.get(name, "none"))
        for name, value in sorted(before.items())
        if after.get(name) != value
    ]


def _describe_commit(git: Mapping[str, str | bool]) -> str:
    return f"{git.get('commit') or 'none'}{' with changes' if git.get('dirty') else ''}"
