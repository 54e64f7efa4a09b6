"""What a training function of people's own is given: `def train(trial)`.

The function trains as it likes; `trial` gives it parameters, device and data, takes its reports, and, by
`trial.epochs`, resumes it where an earlier attempt stopped. `trainers.functions.run` runs it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat

from trainers.errors import TrialError
from trainers.functions.optuna_names import OptunaNames
from trainers.functions.own_model import ExampleRows, OwnModel, UserModel
from trainers.functions.report_log import ReportLog
from trainers.functions.report_steps import ReportSteps
from trainers.functions.reports import are_numbers, check_metrics, find_step, name_metrics, require_goals
from trainers.functions.state_dicts import Stateful, find_module, plain_weights, unwrap_module
from trainers.functions.trial_checkpoints import TrialCheckpoints
from trainers.job import Hooks, Outcome
from trainers.loop.collectives import RankGroup
from trainers.loop.memory import peak_bytes, restart_peak
from trainers.metric_names import full_name

if TYPE_CHECKING:
    import torch

    from trainers.functions.job import FunctionJob
    from trainers.kept.description import KeptModel

Status = Literal["complete", "pruned", "stopped"]
_DELIVER_S = 0.2  # between reports that are told at once
_GO, _END, _PRUNED, _STOPPED = range(4)  # what rank 0 decides, as all ranks hear it
_STATUS: tuple[Status, ...] = ("complete", "complete", "pruned", "stopped")
_log = logging.getLogger(__name__)


class Trial(OptunaNames):
    """One attempt, as the function sees it.

    Attributes:
        params: the sampled configuration, a dict of the function's own.
        device: a `torch.device`.
        seed, rank, world_size: of this attempt; `torch.distributed` is set up where world_size > 1.
        data: the sweep's decoded data set (`trainers.data.dataset.Dataset`), None for `data: none`.
        directory: the trial's own folder for whatever the function writes; a later attempt finds it again.
        sweep, family, number, attempt: which trial this is, and the how manieth attempt at it, from 1.
        budget: how long to train: `epochs`, or `steps` and `report_every`; `patience`, `seconds`.
        state: plain values of the function's own that travel in its checkpoints.
        datetime_start: when this attempt began, as Optuna has it.
    """

    def __init__(self, job: FunctionJob, hooks: Hooks) -> None:
        import torch

        self.params = dict(job.params)
        self.device = torch.device(job.device)
        self.seed, self.data, self.directory = job.seed, job.data, job.directory
        self.rank, self.world_size = job.ranks.rank, job.ranks.world_size
        self.sweep, self.family, self.number, self.attempt = job.sweep, job.family, job.number, job.attempt
        self.budget = job.length
        self.datetime_start = datetime.now()
        self._job, self._hooks = job, hooks
        self._crew = RankGroup(job.ranks, self.device)
        self._log = ReportLog(job, hooks)
        self._checkpoints = TrialCheckpoints(job, hooks, self._crew, self._log)
        self._used_epochs = self._spent = False
        self._status: Status = "complete"
        self._may_finish: bool | None = None  # an objective may, after the last report; False: it went on
        self._ticks = 0
        self._own = OwnModel(job.directory, writes=self.rank == 0)
        restart_peak(self.device)

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
        self._log.module = self._log.module or find_module(stateful)
        self._checkpoints.resume(stateful)
        while self._log.progress.reports < self._job.reports:
            yield self._log.progress.reports
            self.alive()
            if not self._after_body(stateful):
                return

    def report(
        self,
        metrics: Mapping[str, SupportsFloat] | SupportsFloat | None = None,
        step: int | None = None,
        /,
        **named: SupportsFloat,
    ) -> None:
        """Takes numbers by name; without a prefix they are `val/…`. Rank 0's values count.

        A number alone is the objective's, as Optuna's `report(value, step)` has it. The first step of an
        attempt says where the objective begins: what the trial has of it and later steps is left out.

        In a body of `epochs`, all reports of that body are one, sent when it ends. Elsewhere each call is a
        report of its own, numbered on from those of the trial's earlier attempts. Never raises because the
        trial is to end; once the pruner or a stop has said so, it does nothing.

        Raises:
            TrialError: a value is not one number, or a name cannot be stored.
            NotFinite: the value of the objective is not a finite number.
        """
        self.alive()
        if self.rank != 0 or self._status != "complete":
            return
        values = check_metrics(name_metrics(metrics, named, self._job.goals), self._job.goals)
        if self._used_epochs:
            self._log.pending |= values
            return
        self._log.recall_earlier()
        at, steps = find_step(metrics, step, named), ReportSteps(self.directory)
        if at is not None and not self._log.begun:
            self._log.begin_after(steps.count_before(at, self.reports))
        if self._log.skip_repeated():
            return
        if not self._log.judge():
            self._status = "pruned"
            return
        if self._may_finish and self.reports_left == 0:
            self._may_finish = False
            return
        if self._log.progress.reports == self._job.reports:
            _log.warning("report %d is beyond the budget: ask trial.over()", self._job.reports + 1)
        if at is not None:
            steps.note(self.reports + 1, at)
        self._log.pending = values
        self._log.send(deferred=True)
        self._log.deliver(every_s=_DELIVER_S)

    def group_metrics(self, answers: Iterable[object]) -> dict[str, float]:
        """Metrics of each group of the data's sensitive columns, for `report(…, **trial.group_metrics(…))`.

        Args:
            answers: one a validation row, in the order of `trial.data.splits["validation"]`: classes by name
                or by place in `trial.data.classes`, or numbers in the target's own units.

        Raises:
            TrialError: they are no answers of those rows, or there are no data.
        """
        from trainers.functions.group_metrics import compute_group_metrics

        return compute_group_metrics(self.data, answers)

    def over(self) -> bool:
        """Whether to end now, for a function that does without `epochs`. Every rank must ask.

        True at the end of the budget, of `patience` and of the time, when the pruner said so, and when the
        sweep is asked to stop.
        """
        code, save = _GO, 0
        if self.rank == 0 and self._status == "complete" and not self._spent:
            self._log.recall_earlier()
            code = self._decide_next(self._log.judge())
            save = int(self._checkpoints.has_plain and self._saves(code))
        elif self.rank == 0:
            code = _END if self._spent else _STATUS.index(self._status)
        code, save = self._crew.broadcast(code, save)
        self._status, self._spent = _STATUS[code], code == _END
        if save:
            self._checkpoints.save({})
        return code != _GO

    def should_prune(self) -> bool:
        """As `over`, for an Optuna objective, which raises `TrialPruned` where it is true.

        After the budget's last report there is nothing to stop: it is true only if the objective goes on, and
        what it then reports is left out.
        """
        over = self.over()
        if not over or not self._spent or self.reports_left > 0:
            return over
        if self._may_finish is None:
            self._may_finish = True
        return not self._may_finish

    def end_pruned(self) -> None:
        """The function has raised Optuna's `TrialPruned`, of its own accord or since it was told to."""
        if self._status == "complete" and not self._spent:
            self._status = "pruned"

    def alive(self) -> None:
        """Says that a long step is not a hang."""
        self._ticks += 1
        self._hooks.alive(self._ticks)

    def model(
        self,
        model: object,
        *,
        build: str | None = None,
        predict: str | None = None,
        example: ExampleRows | None = None,
        trusted: Collection[str] = (),
    ) -> UserModel | KeptModel | None:
        """Names the model that this trial makes: what is logged and can be promoted.

        Of a torch module the weights that are kept are those of the best epoch (`objective.at: best`); for
        that it must be known before the first report: give it to `epochs`, or call this first. Where a
        function does without `epochs` it may come last; then the weights are those that the module ends with,
        with a warning where these need not be the best epoch's.

        An estimator of scikit-learn, LightGBM or XGBoost is written as it is when this is called, without a
        pickle; the last call counts.

        Args:
            build: of a module: `package.module:name` of a function that makes it anew from the params.
            predict: the same of a function of model and rows, for predictions in a person's terms.
            example: a few rows as the model takes them, by which its signature is found.
            trusted: of an estimator: classes of your own in it, `package.module.Class`.

        Raises:
            InputError: a name cannot be imported, or the example is not answered.
            TrialError: no model that can be kept without a pickle; or a module that was not known while the
                best epoch's weights were there.
        """
        own = unwrap_module(model)
        if own is None:
            named: UserModel | KeptModel | None = self._own.name_estimator(model, predict, trusted)
        else:
            named = self._own.name_module(own, build, predict)
            if own is not self._log.module:
                self._refuse_late(self._log.progress.reports + bool(self._log.pending))
                self._log.module, self._log.weights = own, None
        self._own.take_example(example)
        return named

    def keep(
        self,
        path: Path | str,
        *,
        predict: str | None = None,
        load: str | None = None,
        example: ExampleRows | None = None,
    ) -> None:
        """Keeps a file or a folder with the trial, where its model would be kept: as the artifact `kept`.

        With `predict` it is the trial's model, and so is a folder of a Hugging Face classifier with its
        tokenizer, which takes texts.

        Args:
            path: below the trial's directory, or elsewhere: then a copy is made in it now.
            predict: `package.module:name` of a function of the path and rows, one prediction a row.
            load: the same of a function of the path; `predict` is then given what it returned.
            example: a few rows as the model takes them, by which its signature is found.

        Raises:
            TrialError: it is not there, or a model of it would hold a pickle.
            InputError: a name cannot be imported, or the example is not answered.
        """
        self._own.keep(path, predict, load)
        self._own.take_example(example)

    def _refuse_late(self, reports: int) -> None:
        if self._used_epochs and self._log.keeps_best and reports > 1 and self.rank == 0:
            raise TrialError(
                "a model must be known before the first report, so that its best epoch's weights are kept",
                f"a model first named after {reports} reports",
                "pass it to trial.epochs(model=…), call trial.model earlier, or set objective.at: last",
            )

    @property
    def state(self) -> dict[str, Any]:
        """Plain values (numbers, texts, lists, dicts) that travel in the checkpoint and come back with it.

        `epochs` saves them with the rest; without it `over` does, by `checkpoint.every`.
        """
        return self._checkpoints.plain(fresh=self._used_epochs)

    @property
    def reports(self) -> int:
        """How many reports the trial has, over all attempts; without what a body of `epochs` has pending."""
        if not self._used_epochs:
            self._log.recall_earlier()
        return self._log.progress.reports

    @property
    def earlier_reports(self) -> Mapping[int, Mapping[str, float]]:
        """What earlier attempts reported, by the reports' numbers."""
        self._log.recall_earlier()
        return self._log.earlier

    @property
    def last_report(self) -> Mapping[str, float]:
        """The newest report as it was sent, with the costs that the trial is judged by."""
        return self._log.last

    @property
    def reports_left(self) -> int:
        """How many reports of the budget are left."""
        return max(0, self._job.reports - self.reports)

    def is_told_to_end(self) -> bool:
        """Whether, on rank 0, `over` would be true without a judgement of the last report."""
        if self._status != "complete" or self._hooks.stopping():
            return True
        return self.reports_left > 0 and self._log.is_spent()

    def begin_after(self, reports: int) -> None:
        """Says how many reports what this attempt begins with stands for: what the trial has beyond them is
        told again, and left out. Without it reports are numbered on, and once something is reported it has
        no effect."""
        if self.rank == 0:
            self._log.begin_after(reports)

    def skip_repeated(self) -> bool:
        """Whether the next report is one that the trial has, and is passed over."""
        return self._log.skip_repeated()

    def deliver_reports(self) -> None:
        """Has rank 0's reports known now, before own code writes what it resumes from."""
        if self.rank == 0:
            self._log.deliver()

    def agree(self, value: int) -> int:
        """Rank 0's number, on every rank. Every rank calls it."""
        return self._crew.broadcast(value)[0]

    # -- after a body --------------------------------------------------------------------------------------

    def _after_body(self, stateful: Mapping[str, Stateful]) -> bool:
        """Whether there is another epoch; the same on every rank."""
        code, save = self._crew.broadcast(*(self._decide() if self.rank == 0 else (_GO, 0)))
        self._status = _STATUS[code]
        if self.rank != 0:
            self._log.progress.reports += 1
        if save:
            self._checkpoints.save(stateful)
        return code == _GO

    def _decide(self) -> tuple[int, int]:
        """What rank 0 finds after a body: how to go on, and whether to save."""
        code = self._decide_next(self._log.send(deferred=False))
        return code, int(self._saves(code))

    def _saves(self, code: int) -> bool:
        return code in {_GO, _STOPPED} and self._checkpoints.is_due(stopped=code == _STOPPED)

    def _decide_next(self, go: bool) -> int:
        if not go:
            return _PRUNED
        if self._log.is_spent():
            return _END
        return _STOPPED if self._hooks.stopping() else _GO

    def share_checkpoint(self) -> None:
        """Has every rank load its checkpoint before the function begins, where there are several: which of
        them asks for its state is the function's affair.

        Raises:
            InputError: they found different ones, or one found none.
        """
        self._checkpoints.share()

    # -- the end -------------------------------------------------------------------------------------------

    def outcome(self) -> Outcome:
        """How the attempt ended, once the function has returned.

        Raises:
            TrialError: the trial is complete and never reported what it is judged by.
        """
        self._settle()
        self._share_status()
        progress, goals = self._log.progress, self._job.goals
        if self._status == "complete" and self.rank == 0:
            require_goals(progress.kept or dict.fromkeys(self._log.seen, 0.0), goals, TrialError)
        names = [full_name(goal.metric) for goal in goals]
        ended = self._log.spent_goals() if progress.kept else {}
        metrics = {**progress.kept, **ended}  # what it took, to its end
        return Outcome(
            status=self._status,
            values=tuple(metrics[name] for name in names if name in metrics),
            epoch=progress.kept_epoch,
            epochs=progress.reports,
            metrics=metrics,
            weights=self._final_weights(),
            facts=self._facts(),
            keep=self._own.kept,
            code=dict(self._own.module.code) if self._own.module is not None else {},
            kept_model=self._own.files,
            example=self._own.example,
        )

    def _settle(self) -> None:
        """Counts what the function left open when it returned."""
        log = self._log
        if not self._used_epochs:
            log.recall_earlier()
        elif log.pending and self._status == "complete":
            if not log.sent_last and log.progress.reports > 0:
                log.progress.reports -= 1  # what is reported after the loop is its last body's report
            if not log.send(deferred=False):
                self._status = "pruned"

    def take_returned(self, returned: object) -> None:
        """A number that the function returns is its report; several where it has several objectives, or a
        dict that has them by name."""
        goals, log = self._job.goals, self._log
        if isinstance(returned, Mapping):
            named = {full_name(str(name)): value for name, value in returned.items()}
            returned = [named[full_name(goal.metric)] for goal in goals if full_name(goal.metric) in named]
        values = returned if isinstance(returned, (list, tuple)) else [returned]
        if self.rank != 0 or not goals or len(values) != len(goals) or not are_numbers(values):
            return
        given = {full_name(goal.metric): value for goal, value in zip(goals, values, strict=True)}
        told = self._used_epochs and given.keys() <= log.seen | log.pending.keys()
        known = (log.last, log.progress.kept)  # what it has reported itself, the last or the best
        if not told and not any(check_metrics(given, goals).items() <= one.items() for one in known):
            self.report(given)

    def _share_status(self) -> Status:
        """Rank 0's status, on every rank."""
        self._status = _STATUS[self._crew.broadcast(_STATUS.index(self._status))[0]]
        return self._status

    def _final_weights(self) -> dict[str, torch.Tensor]:
        if self.rank != 0 or self._own.module is None or self._status != "complete":
            return {}
        log = self._log
        if log.weights is not None:
            return log.weights
        if log.keeps_best and log.progress.kept_epoch != log.progress.reports:
            _log.warning(
                "the model that is kept has the weights that it ended with, after report %d; the best report "
                "is %d: give the module to trial.epochs, or call trial.model before the first report",
                log.progress.reports, log.progress.kept_epoch,
            )  # fmt: skip
        return plain_weights(self._own.module.module)

    def model_size(self) -> dict[str, int]:
        """`parameters` and `size_bytes` of the module that the trial was given, where it was."""
        module = self._log.module
        if module is None:
            return {}
        return {
            "parameters": sum(p.numel() for p in module.parameters()),
            "size_bytes": sum(t.numel() * t.element_size() for t in module.state_dict().values()),
        }

    def _facts(self) -> dict[str, float]:
        facts = self._log.spent()
        if self._own.module is not None:
            facts |= {name: float(value) for name, value in self.model_size().items()}
        peak = peak_bytes(self.device)
        return facts if peak is None else {**facts, "peak_memory_bytes": peak}
