"""What a training function of people's own is given: `def train(trial)`.

The function trains as it likes; `trial` gives it parameters, device and data, takes its reports, and, by
`trial.epochs`, resumes it where an earlier attempt stopped. `trainers.functions.run` runs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, SupportsFloat

from trainers.code.importing import source_sha256
from trainers.errors import TrialError
from trainers.functions.checkpoint import pack_states, unpack_states
from trainers.functions.reports import check_metrics, require_goals
from trainers.functions.state_dicts import Stateful, check_states, find_module, plain_weights, unwrap_module
from trainers.job import Hooks, Outcome
from trainers.loop.collectives import RankGroup
from trainers.loop.memory import peak_bytes, restart_peak
from trainers.loop.progress import TrainingProgress
from trainers.metric_names import full_name
from trainers.types import Goal, Length, Params, Ranks

if TYPE_CHECKING:
    import torch

    from trainers.data.dataset import Dataset

Status = Literal["complete", "pruned", "stopped"]
_GO, _END, _PRUNED, _STOPPED = range(4)  # what rank 0 decides, as all ranks hear it
_STATUS: tuple[Status, ...] = ("complete", "complete", "pruned", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserModel:
    """What `trial.model` was told: the module, and how to build it and predict with it elsewhere."""

    module: torch.nn.Module
    code: Mapping[str, str]  # `build`, `build_sha256`, and the same for `predict` where it is given


class Trial:
    """One attempt, as the function sees it.

    Attributes:
        params: the sampled configuration, a dict of the function's own.
        device: a `torch.device`.
        seed, rank, world_size: of this attempt; `torch.distributed` is set up where world_size > 1.
        data: the sweep's decoded data set (`trainers.data.dataset.Dataset`), None for `data: none`.
        directory: a folder of this attempt's own for whatever the function writes.
    """

    def __init__(self, job: FunctionJob, hooks: Hooks) -> None:
        import torch

        self.params = dict(job.params)
        self.device = torch.device(job.device)
        self.seed = job.seed
        self.data = job.data
        self.rank = job.ranks.rank
        self.world_size = job.ranks.world_size
        self.directory = job.directory
        self._job, self._hooks = job, hooks
        self._crew = RankGroup(job.ranks, self.device)
        self._progress = TrainingProgress()
        self._pending: dict[str, float] = {}  # reported, not sent yet
        self._seen: set[str] = set()
        self._used_epochs = self._sent_last = False
        self._status: Status = "complete"
        self._ticks = 0
        self._module: torch.nn.Module | None = None  # whose weights are kept
        self._kept: dict[str, torch.Tensor] | None = None
        self._own: UserModel | None = None
        restart_peak(self.device)
        self._began = self._saved_at = time.monotonic()
        self._saved_reports, self._earlier_s = 0, 0.0

    # -- what the function calls ---------------------------------------------------------------------------

    def epochs(self, **stateful: Stateful) -> Iterator[int]:
        """The epochs that are left to do, counting from 0 over all attempts.

        Loads into what is given the states of the newest checkpoint, and the generators of Python, NumPy and
        torch on every rank. After each body it sends what was reported in it, saves by `checkpoint.every`,
        and ends when the epochs, `patience` or the time are used up, when the pruner said so, or when the
        sweep is asked to stop. Every rank calls it; rank 0's states are kept.

        Args:
            stateful: anything with `state_dict` and `load_state_dict`, and `torch.Generator`s, by name. The
                one called `model`, or the only module, has the weights of its best epoch kept.

        Raises:
            TrialError: called twice, or something without a state, or a checkpoint of other names.
        """
        if self._used_epochs:
            raise TrialError("trial.epochs must be called once in a trial", "a second call")
        self._used_epochs = True
        self._module = self._module or find_module(stateful)
        self._resume(stateful)
        while self._progress.reports < self._job.reports:
            yield self._progress.reports
            self.alive()
            if not self._after_body(stateful):
                return

    def report(self, metrics: Mapping[str, SupportsFloat] | None = None, /, **named: SupportsFloat) -> None:
        """Takes numbers by name; without a prefix they are `val/…`. Rank 0's values count.

        In a body of `epochs`, all reports of that body are one, sent when it ends. Elsewhere each call is a
        report of its own. Never raises because the trial is to end; after that it does nothing.

        Raises:
            TrialError: a value is not one number, or a name cannot be stored.
            NotFinite: the value of the objective is not a finite number.
        """
        self.alive()
        if self.rank != 0 or self._status != "complete":
            return
        self._pending |= check_metrics({**(metrics or {}), **named}, self._job.goals)
        if not self._used_epochs:
            self._send_report()

    def over(self) -> bool:
        """Whether to end now, for a function that does without `epochs`. Every rank must ask."""
        if self._status == "complete":
            asked = self.rank == 0 and self._hooks.stopping()
            self._status = "stopped" if asked else "complete"
        return self._share_status() != "complete"

    def alive(self) -> None:
        """Says that a long step is not a hang."""
        self._ticks += 1
        self._hooks.alive(self._ticks)

    def model(self, module: torch.nn.Module, *, build: str, predict: str | None = None) -> UserModel:
        """Names the model that this trial makes: what is logged and can be promoted.

        The weights that are kept are those of the best epoch (`objective.at: best`); for that the module
        must be known before the first report: give it to `epochs`, or call this first.

        Args:
            build: `package.module:name` of a function that makes the module anew from the params.
            predict: the same of a function of module and rows, for predictions in a person's terms.

        Raises:
            InputError: a name cannot be imported.
            TrialError: not a module; or one that was not known while the best epoch's weights were there.
        """
        code = {"build": build, "build_sha256": source_sha256(build)}
        if predict is not None:
            code |= {"predict": predict, "predict_sha256": source_sha256(predict)}
        own = unwrap_module(module)
        if own is None:
            raise TrialError("trial.model must be given a torch.nn.Module", type(module).__name__)
        if own is not self._module:
            self._refuse_late(self._progress.reports + bool(self._pending))
            self._module, self._kept = own, None
        self._own = UserModel(module=own, code=code)
        return self._own

    def _refuse_late(self, reports: int) -> None:
        if self._keeps_best and reports > 1 and self.rank == 0:
            raise TrialError(
                "a model must be known before the first report, so that its best epoch's weights are kept",
                f"a model first named after {reports} reports",
                "pass it to trial.epochs(model=…), call trial.model earlier, or set objective.at: last",
            )

    # -- reports -------------------------------------------------------------------------------------------

    @property
    def _keeps_best(self) -> bool:
        return self._job.at == "best" and bool(self._job.goals)

    def _send_report(self) -> None:
        """Sends what is pending as the next report; none is sent of a body that reported nothing."""
        progress, metrics = self._progress, self._pending
        self._pending, self._sent_last = {}, bool(metrics)
        progress.seconds = self._earlier_s + time.monotonic() - self._began
        self._note_metrics(metrics)
        self._seen |= metrics.keys()
        if metrics and not self._hooks.report(progress.reports, metrics):
            self._status = "pruned"

    def _note_metrics(self, metrics: dict[str, float]) -> None:
        progress, goals = self._progress, self._job.goals
        if goals and full_name(goals[0].metric) in metrics:
            if progress.record_report(metrics, goals[0], self._job.length, self._job.at) and self._keeps_best:
                self._kept = plain_weights(self._module) if self._module is not None else None
            return
        progress.reports += 1
        if metrics and not goals:  # nothing is judged: the last report stands
            progress.kept_epoch, progress.kept = progress.reports, metrics

    def _share_status(self) -> Status:
        """Rank 0's status, on every rank."""
        self._status = _STATUS[self._crew.broadcast(_STATUS.index(self._status))[0]]
        return self._status

    # -- after a body --------------------------------------------------------------------------------------

    def _after_body(self, stateful: Mapping[str, Stateful]) -> bool:
        """Whether there is another epoch; the same on every rank."""
        code, save = self._crew.broadcast(*(self._decide() if self.rank == 0 else (_GO, 0)))
        self._status = _STATUS[code]
        if self.rank != 0:
            self._progress.reports += 1
        if save:
            self._save(stateful)
        return code == _GO

    def _decide(self) -> tuple[int, int]:
        """What rank 0 finds after a body: how to go on, and whether to save."""
        self._send_report()
        progress = self._progress
        if self._status == "pruned":
            return _PRUNED, 0
        # `finished` counts steps; here the epochs are what is counted.
        if progress.reports >= self._job.reports or progress.is_finished(self._job.length, progress.step + 1):
            return _END, 0
        if self._hooks.stopping():
            return _STOPPED, 1
        return _GO, int(self._is_save_due())

    def _is_save_due(self) -> bool:
        seconds, epochs = self._job.checkpoint_seconds, self._job.checkpoint_epochs
        late = seconds is not None and time.monotonic() - self._saved_at >= seconds
        return late or (epochs is not None and self._progress.reports - self._saved_reports >= epochs)

    def _save(self, stateful: Mapping[str, Stateful]) -> None:
        tensors, document = pack_states(stateful, self._progress, self._kept, self._crew)
        if self.rank == 0:
            self._hooks.save(tensors, {**document, "seen": sorted(self._seen)})
        self._saved_at, self._saved_reports = time.monotonic(), self._progress.reports

    def _resume(self, stateful: Mapping[str, Stateful]) -> None:
        check_states(stateful)
        found = self._hooks.load()
        if found is None:
            return
        tensors, document = found
        self._progress, self._kept = unpack_states(stateful, tensors, document, self._crew)
        self._seen = set(document["seen"])
        self._earlier_s, self._saved_reports = self._progress.seconds, self._progress.reports

    # -- the end -------------------------------------------------------------------------------------------

    def outcome(self) -> Outcome:
        """How the attempt ended, once the function has returned.

        Raises:
            TrialError: the trial is complete and never reported what it is judged by.
        """
        if self._pending and self._status == "complete":
            if self._used_epochs and not self._sent_last and self._progress.reports > 0:
                self._progress.reports -= 1  # what is reported after the loop is its last body's report
            self._send_report()
        self._share_status()
        progress, goals = self._progress, self._job.goals
        if self._status == "complete" and self.rank == 0:
            require_goals(progress.kept or dict.fromkeys(self._seen, 0.0), goals, TrialError)
        names = [full_name(goal.metric) for goal in goals]
        return Outcome(
            status=self._status,
            values=tuple(progress.kept[name] for name in names if name in progress.kept),
            epoch=progress.kept_epoch,
            epochs=progress.reports,
            metrics=progress.kept,
            weights=self._final_weights(),
            facts=self._facts(),
            code=dict(self._own.code) if self._own is not None else {},
        )

    def _final_weights(self) -> dict[str, torch.Tensor]:
        if self.rank != 0 or self._own is None or self._status != "complete":
            return {}
        return self._kept if self._kept is not None else plain_weights(self._own.module)

    def _facts(self) -> dict[str, float]:

        facts = {"train_seconds": self._earlier_s + time.monotonic() - self._began}
        if self._own is not None:
            module = self._own.module
            facts["parameters"] = float(sum(p.numel() for p in module.parameters()))
            facts["size_bytes"] = float(
                sum(t.numel() * t.element_size() for t in module.state_dict().values())
            )
        peak = peak_bytes(self.device)
        return facts if peak is None else {**facts, "peak_memory_bytes": peak}


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionJob:
    """One attempt at one configuration of a function.

    Attributes:
        function: takes a `Trial`.
        params: what was sampled; a function has no defaults that Velodrome knows.
        seed: Python's, NumPy's and torch's generators are seeded with it on every rank.
        data: what `trial.data` is; None for `data: none`.
        directory: a folder of this attempt's own, which exists.
        checkpoint_seconds, checkpoint_epochs: between checkpoints, or None.
        threads: as in `Job`.
    """

    function: Callable[[Trial], object]
    params: Params
    seed: int
    length: Length
    goals: tuple[Goal, ...]
    directory: Path
    data: Dataset | None = None
    at: Literal["best", "last"] = "best"
    device: str = "cpu"
    ranks: Ranks = field(default_factory=Ranks)
    checkpoint_seconds: float | None = None
    checkpoint_epochs: int | None = None
    threads: int | None = None

    @property
    def reports(self) -> int:
        """How many epochs, or reports where the budget is in steps, a whole trial has."""
        if self.length.steps is not None:
            return -(-self.length.steps // (self.length.report_every or self.length.steps))
        return self.length.epochs or 0
