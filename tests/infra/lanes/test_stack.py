"""A stack in a lane, in this process: its members come, train, end and are told, whatever happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from infra.coordinator.messages import (
    Assignment,
    AttemptReports,
    AttemptResult,
    EpochReport,
    HeartbeatReply,
    LaneWork,
    StackHeartbeatReply,
    StackRequest,
)
from infra.coordinator.run_requests import RunAnswer, TrialKey
from infra.lanes.attempt import AttemptRunner
from infra.lanes.attempt_functions import RunSource
from infra.lanes.settings import LaneSettings
from infra.lanes.stack import StackRun
from infra.spec import Budget, FamilySpec, Objective, Resources, SweepSpec
from trainers.errors import OutOfMemory
from trainers.families.linear_regression import LinearRegression
from trainers.stacking import training as stacked_training
from trainers.tasks import MetricSink
from trainers.types import Batch, Outputs, Params, Ranks, State

RATES = [0.01 * (place + 1) for place in range(6)]


class TellingMlflow(LinearRegression):
    """Logs by MLflow what it does: alone in `start` and `judge`, for all at once in `loss`."""

    def start(self, module: torch.nn.Module) -> None:
        import mlflow

        mlflow.log_metric("began", float(len(list(module.parameters()))))
        super().start(module)

    def judge(self, module: torch.nn.Module, batch: Batch, metrics: MetricSink) -> None:
        import mlflow

        super().judge(module, batch, metrics)
        mlflow.log_metric("weight", float(next(module.parameters()).detach().abs().sum()))

    def loss(self, outputs: Outputs, batch: Batch, params: Params, state: State) -> torch.Tensor:
        import mlflow

        mlflow.log_metric("shared", 1.0)
        return super().loss(outputs, batch, params, state)


def assignment(number: int, rate: float) -> Assignment:
    return Assignment(
        attempt=f"a{number}", role="search", family="linear_regression", number=number, ordinal=1, seed=1,
        params={"learning_rate": rate, "optimizer": "sgd", "batch_size": 64}, structure="s",
    )  # fmt: skip


@dataclass
class Line:
    """A coordinator with a few trials in line."""

    waiting: deque[Assignment]
    ended: dict[str, AttemptResult] = field(default_factory=dict)
    epochs: dict[str, list[int]] = field(default_factory=dict)
    requests: list[StackRequest] = field(default_factory=list)

    def _hear(self, reports: AttemptReports) -> None:
        for attempt, told in reports.items():
            self.epochs.setdefault(attempt, []).extend(report.epoch for report in told)

    def decide(self, attempt: str, reports: list[EpochReport]) -> bool:
        self._hear({attempt: reports})
        return True

    def heartbeat(self, attempt: str | None, reports: list[EpochReport]) -> HeartbeatReply:
        self._hear({attempt or "": reports})
        return HeartbeatReply()

    def heartbeat_stack(self, reports: AttemptReports) -> StackHeartbeatReply:
        self._hear(reports)
        return StackHeartbeatReply()

    def refill_stack(
        self, request: StackRequest, ended: Sequence[AttemptResult], reports: AttemptReports
    ) -> LaneWork:
        assert not self.ended.keys() & {one.attempt for one in ended}
        assert not request.holding & {one.attempt for one in ended}
        self.requests.append(request)
        self.ended |= {one.attempt: one for one in ended}
        self._hear(reports)
        count = min(request.limit, len(self.waiting))
        return LaneWork(attempts=tuple(self.waiting.popleft() for _ in range(count)))


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., tuple[StackRun, Line]]:
    """Makes a stack of so many places beside a line of trials."""

    def make(
        width: int,
        rates: Sequence[float] = RATES,
        reference: str = "linear_regression",
        runs: RunSource | None = None,
        **changes: object,
    ) -> tuple[StackRun, Line]:
        family = FamilySpec(
            name="linear_regression", reference=reference, budget=Budget(epochs=2), stack=width
        )
        spec = SweepSpec(
            name="stacked", data={"source": "builtin:diabetes"}, families=(family,),
            objectives=(Objective(metric="val/mse", direction="minimize"),), **changes,  # type: ignore[arg-type]
        )  # fmt: skip
        settings = LaneSettings(
            run="test", shape="", resources=Resources(), spec=spec.to_json(), base=str(tmp_path),
            storage=str(tmp_path / "storage"), cache=str(tmp_path / "cache"), logs=str(tmp_path / "logs"),
        )  # fmt: skip
        runner = AttemptRunner(settings, device="cpu", ranks=Ranks(), runs=runs)
        line = Line(deque(assignment(number, rate) for number, rate in enumerate(rates)))
        return StackRun(runner, line, width, lambda one: tmp_path / f"{one.attempt}.log"), line

    return make


def test_stack_trains_and_tells_every_member_once(begin: Callable[..., tuple[StackRun, Line]]) -> None:
    run, line = begin(2)
    run.run([line.waiting.popleft()])
    assert {name: one.outcome for name, one in line.ended.items()} == {f"a{n}": "complete" for n in range(6)}
    assert all(epochs == [1, 2] for epochs in line.epochs.values())
    assert all(request.limit <= 2 and len(request.holding) <= 2 for request in line.requests)
    assert {one.facts["stack"] for one in line.ended.values()} == {2}


def test_stack_keeps_a_model_only_where_it_beats_those_that_it_kept(
    begin: Callable[..., tuple[StackRun, Line]],
) -> None:
    """All began before any model was there: each would be kept by what the coordinator knew then."""
    run, line = begin(6, list(reversed(RATES)))
    run.run([line.waiting.popleft()])
    kept = [one for one in line.ended.values() if one.model is not None]
    best = min(one.objective[0] for one in line.ended.values())
    assert best in {one.objective[0] for one in kept}
    assert len(kept) < 6


def test_stack_out_of_memory_goes_on_at_half_its_width(
    begin: Callable[..., tuple[StackRun, Line]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a stack takes is no member's fault; one alone that takes too much is."""
    real, widths = stacked_training.train_stack, list[int]()

    def scarce(members, encoded, *, refill, ended, width):  # type: ignore[no-untyped-def]
        widths.append(width)
        if width > 1:
            raise OutOfMemory("a stack must fit", "told to")
        real(members, encoded, refill=refill, ended=ended, width=width)

    monkeypatch.setattr(stacked_training, "train_stack", scarce)
    run, line = begin(4)
    run.run([line.waiting.popleft()])
    assert widths[:3] == [4, 2, 1]
    assert {one.outcome for one in line.ended.values()} == {"complete"}
    assert len(line.ended) == 6


def test_error_of_a_whole_stack_is_charged_to_the_member_that_has_it_alone(
    begin: Callable[..., tuple[StackRun, Line]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stacked_training.train_stack

    def picky(members, encoded, *, refill, ended, width):  # type: ignore[no-untyped-def]
        if any(member.job.params["learning_rate"] == RATES[2] for member in members):
            raise RuntimeError("no such operation")
        real(members, encoded, refill=lambda: None, ended=ended, width=width)

    monkeypatch.setattr(stacked_training, "train_stack", picky)
    run, line = begin(4)
    run.run([line.waiting.popleft()])
    assert {name for name, one in line.ended.items() if one.outcome == "failed"} == {"a2"}
    assert "no such operation" in line.ended["a2"].detail
    assert len(line.ended) == 6


def test_stack_in_a_spoilt_process_trains_no_member_alone(
    begin: Callable[..., tuple[StackRun, Line]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would fail by what is not its fault."""

    def spoilt(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(stacked_training, "train_stack", spoilt)
    run, line = begin(4)
    with pytest.raises(RuntimeError, match="device-side"):
        run.run([line.waiting.popleft()])
    assert line.ended == {}


class TrackedRuns:
    """A store in a folder with a run for each trial, made when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.client = MlflowClient(folder.as_uri())
        self.made: dict[int, str] = {}
        self.uri = folder.as_uri()

    def find_run(self, trial: TrialKey, wanted: bool) -> RunAnswer:
        number = trial[2]
        if wanted and number not in self.made:
            self.made[number] = self.client.create_run("0").info.run_id
        return RunAnswer(uri=self.uri, run_id=self.made.get(number))


@pytest.mark.parametrize("width", [1, 4])
def test_stacked_member_logs_to_its_own_run_and_what_is_shared_to_none(
    width: int,
    begin: Callable[..., tuple[StackRun, Line]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    runs = TrackedRuns(tmp_path / "tracking")
    monkeypatch.setattr(TellingMlflow, "stackable", True)
    reference = f"{__name__}:TellingMlflow"
    run, line = begin(width, RATES[:4], reference=reference, runs=runs)
    run.run([line.waiting.popleft()])
    assert {one.detail for one in line.ended.values()} == {""}
    assert sorted(runs.made) == list(range(4))
    logged = [runs.client.get_run(runs.made[number]).data.metrics for number in range(4)]
    assert len({metrics["weight"] for metrics in logged}) == 4, "members' numbers are in each other's runs"
    assert all({"began", "weight"} <= metrics.keys() for metrics in logged)
    shared = [message for message in caplog.messages if "for all trials of a stack at once" in message]
    assert len(shared) == (width > 1)
    by_itself = sum("shared" in metrics for metrics in logged)
    assert by_itself == (4 if width == 1 else 1), "one member's cost stands for all, measured by itself"
    assert not list(Path.cwd().iterdir())
    assert len(runs.client.search_runs(["0"])) == 4
