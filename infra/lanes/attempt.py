"""One attempt in a lane: from an assignment to how it ended. Knows nothing of Ray."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Literal, TypedDict

from infra.coordinator.messages import Assignment, AttemptResult
from infra.coordinator.policy import signed_value
from infra.coordinator.process_faults import find_process_fault
from infra.durations import parse_seconds_or_epochs
from infra.errors import StorageUnavailable
from infra.gpus.use import GpuUse, lanes_of, measure_use
from infra.lanes.attempt_functions import (
    MemberContext,
    RunSource,
    discard_shared_mlflow,
    keep_own_files,
    load_function,
    route_member_mlflow,
    route_mlflow,
)
from infra.lanes.settings import LaneSettings
from infra.mirror import fetch, publish
from infra.spec import FamilySpec, SweepSpec
from infra.storage.example_scores import TEST_SCORES, write_scores
from infra.storage.paths import CHECKPOINTS, files_folder, samples_folder, trial_folder
from infra.storage.sweep_key import check_lane_key
from trainers.errors import InputError, TrialError
from trainers.functions.job import FunctionJob
from trainers.job import Hooks, Job, Outcome
from trainers.loop.device_memory import HELD_BYTES, find_device_memory
from trainers.loop.memory import is_device_full
from trainers.registry import is_function, load_reference
from trainers.types import Goal, Length, Ranks

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset, EncodedDataset
    from trainers.family import Family
    from trainers.types import Json, JsonObject


class JobSettings(TypedDict):
    """What the jobs of a family and of a function have in common."""

    seed: int
    length: Length
    goals: tuple[Goal, ...]
    at: Literal["best", "last"]
    device: str
    threads: int
    ranks: Ranks
    checkpoint_seconds: float | None
    checkpoint_epochs: int | None
    per_second: Mapping[str, float]


class AttemptRunner:
    """Runs a sweep's attempts in this process, one after another; data sets and families are kept."""

    def __init__(
        self, settings: LaneSettings, *, device: str, ranks: Ranks, runs: RunSource | None = None
    ) -> None:
        """Nothing is loaded yet.

        Args:
            runs: knows the trials' runs in MLflow; None: what trials log there is thrown away.

        Raises:
            WrongInput: this process has another key than the driver.
        """
        check_lane_key(settings.key_name)
        self._settings, self._device, self._ranks, self._runs = settings, device, ranks, runs
        self._memory = find_device_memory(device)
        self.spec = SweepSpec.from_json(settings.spec)
        self._families: dict[str, Family] = {}
        self._data: Dataset | None = None

    def folder(self, assignment: Assignment) -> Path:
        """The trial's folder below the storage root."""
        relative = trial_folder(self.spec.label, assignment.role, assignment.family, assignment.number)
        return Path(self._settings.storage) / relative

    def checkpoint_folder(self, assignment: Assignment) -> Path:
        """Where the trial's checkpoints are."""
        return self.folder(assignment) / CHECKPOINTS

    def run(self, assignment: Assignment, hooks: Hooks) -> AttemptResult:
        """Trains, and says how it went; an exception becomes a failure with its class and traceback."""
        began = time.monotonic()
        try:
            ended = self.conclude(assignment, self._train(assignment, hooks))
        except BaseException as error:  # people's code may raise anything: the trial's failure
            if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
                raise  # a person's
            ended = self.describe_failure(assignment, error)
            with suppress(StorageUnavailable):  # the failure itself says more
                self._publish_files(assignment)
        finally:
            self.free_memory()
        return replace(ended, seconds=time.monotonic() - began)

    def describe_failure(self, assignment: Assignment, error: BaseException) -> AttemptResult:
        """The failure that an exception is, with its class and traceback."""
        full = self._memory is not None and is_device_full(error)
        if isinstance(error, TrialError):
            reason = error.reason
        elif full or isinstance(error, MemoryError):
            reason = "out-of-memory"
        else:
            reason = "worker-died" if self._is_lost_peer(error) else "error"
        first = _first_line(error)
        if full and self._gpu_lanes > 1:
            first += f"; {self._gpu_lanes} lanes share this GPU"
        text = "".join(traceback.format_exception(error))
        return AttemptResult(
            attempt=assignment.attempt, outcome="failed", reason=reason, detail=f"{first}\n{text}",
            fault=find_process_fault(error), gpu=self._measure_gpu(assignment, full=full),
        )  # fmt: skip

    def is_shared_failure(self, ended: AttemptResult, assignment: Assignment) -> bool:
        """Whether every rank failed at the same place: our loop agrees on what is not finite."""
        reference = self.spec.family(assignment.family).reference
        return ended.reason == "not-finite" and not is_function(load_reference(reference))

    def _is_lost_peer(self, error: BaseException) -> bool:
        """Whether a collective failed, as it does when another rank's process is gone."""
        if self._ranks.world_size == 1:
            return False
        from torch.distributed import DistError

        while True:
            if isinstance(error, DistError) or "gloo/transport" in str(error):
                return True
            former = error.__cause__ or error.__context__
            if former is None:
                return False
            error = former

    def _train(self, assignment: Assignment, hooks: Hooks) -> Outcome:
        spec = self.spec.family(assignment.family)
        if is_function(load_reference(spec.reference)):
            return self._run_function(spec, assignment, hooks)
        from trainers.loop.training import train

        job = self.make_job(assignment)
        with route_mlflow(self._runs, spec, assignment, self._own_folder(assignment)):
            return train(job, self.encode(job), hooks)

    def route_member(self, assignment: Assignment) -> MemberContext:
        """What a stack's member runs its own code in."""
        spec = self.spec.family(assignment.family)
        return route_member_mlflow(self._runs, spec, assignment, self._own_folder(assignment))

    def route_stack(self, assignment: Assignment) -> AbstractContextManager[None]:
        """What a stack runs in that begins with this attempt."""
        return discard_shared_mlflow(self.spec.family(assignment.family))

    def _own_folder(self, assignment: Assignment) -> Path:
        relative = files_folder(self.spec.label, assignment.role, assignment.family, assignment.number)
        return Path(self._settings.storage) / relative

    def conclude(self, assignment: Assignment, outcome: Outcome) -> AttemptResult:
        """What an outcome comes to, its model and its samples kept where they are to be."""
        spec = self.spec.family(assignment.family)
        facts: dict[str, Json] = dict(outcome.facts)
        model = None
        if outcome.status == "complete" and self._keeps_model(assignment, outcome):
            model, measured = self._save_model(spec, assignment, outcome)
            facts.update(measured)
            self._save_samples(spec, assignment, outcome)
        if outcome.status == "complete" and self._is_kept(assignment, outcome):
            keep_own_files(spec, outcome, self.folder(assignment))
        if outcome.test_scores:
            facts[TEST_SCORES] = self._save_scores(assignment, outcome)
        self._publish_files(assignment)
        return AttemptResult(
            attempt=assignment.attempt, outcome=outcome.status, objective=tuple(outcome.values),
            epoch=outcome.epoch, epochs=outcome.epochs, metrics=dict(outcome.metrics),
            facts=facts, model=model, gpu=self._measure_gpu(assignment),
        )  # fmt: skip

    def _publish_files(self, assignment: Assignment) -> None:
        """The trial's files, to the bucket that has them; checkpoints go there by themselves."""
        if self._ranks.rank == 0 and (folder := self.folder(assignment)).is_dir():
            for path in sorted(folder.iterdir()):
                if path.name != CHECKPOINTS:
                    publish(path)

    def _fetch_options(self, value: object) -> None:
        """Brings models here that a family begins with: options that are paths of the storage."""
        if isinstance(value, Mapping):
            for inner in value.values():
                self._fetch_options(inner)
        elif isinstance(value, str) and value.startswith(f"{self._settings.storage}/"):
            fetch(Path(value), exact=True)

    def make_job(self, assignment: Assignment) -> Job:
        """The job of an attempt at a family."""
        spec = self.spec.family(assignment.family)
        family = self._load_family(spec).of_trial(assignment.params)
        return Job(
            family=family,
            params=family.complete(assignment.params),
            read_test=assignment.read_test,
            samples=self._samples_folder(assignment),
            **self._job_settings(spec, assignment),
        )

    def encode(self, job: Job) -> EncodedDataset:
        """The sweep's data as the job's family reads it; the same for all jobs of one structure."""
        from trainers.bundle.teaching import encode_for_training

        return encode_for_training(job.family, self.dataset(), job.params, self.cache)

    @property
    def cache(self) -> Path:
        """This node's folder of what can be made again."""
        return Path(self._settings.cache)

    def _run_function(self, spec: FamilySpec, assignment: Assignment, hooks: Hooks) -> Outcome:
        from trainers.functions.run import run_function

        directory = self._own_folder(assignment)
        fetch(directory, exact=self._ranks.rank == 0)
        directory.mkdir(parents=True, exist_ok=True)
        data = None if self.spec.data.get("source", "none") == "none" else self.dataset()
        settings = self._job_settings(spec, assignment)
        job = FunctionJob(
            function=load_function(spec, settings["goals"], self._settings.sys_path),
            params=dict(assignment.params), directory=directory, data=data,
            sweep=self.spec.label, family=spec.name, number=assignment.number, attempt=assignment.ordinal,
            earlier=assignment.earlier, earlier_seconds=assignment.earlier_seconds,
            **settings,
        )  # fmt: skip
        with route_mlflow(self._runs, spec, assignment, directory):
            return run_function(job, hooks)

    def _job_settings(self, spec: FamilySpec, assignment: Assignment) -> JobSettings:
        budget = spec.budget
        seconds, epochs = parse_seconds_or_epochs(spec.checkpoint_every)
        length = Length(
            epochs=None if budget.steps is not None else budget.epochs, steps=budget.steps,
            report_every=budget.report_every, patience=budget.patience, min_delta=budget.min_delta,
            seconds=budget.trial_minutes * 60 if budget.trial_minutes is not None else None,
        )  # fmt: skip
        goals = tuple(
            Goal(metric=goal.metric, maximize=goal.direction == "maximize") for goal in self.spec.objectives
        )
        return {
            "seed": assignment.seed, "length": length, "goals": goals, "at": self.spec.objectives[0].at,
            "device": self._device, "threads": self._thread_count,
            "ranks": replace(self._ranks, sharded=spec.resources.sharding == "full"),
            "checkpoint_seconds": seconds, "checkpoint_epochs": epochs,
            "per_second": self.spec.costs_per_second(self._settings.resources),
        }  # fmt: skip

    @property
    def _thread_count(self) -> int:
        return max(1, int(self._settings.resources.cpus))

    def dataset(self) -> Dataset:
        """The sweep's data, decoded once a node and kept in this process."""
        from trainers.data.sources.opening import open_dataset

        if self._data is None:
            base, cache = Path(self._settings.base), Path(self._settings.cache)
            expected = self._settings.fingerprint
            found = open_dataset(self.spec.data, base=base, cache=cache, recorded=expected)
            if expected and found.fingerprint != expected:
                raise InputError(
                    "the data must be what the sweep began with",
                    f"fingerprint {found.fingerprint[:12]} instead of {expected[:12]}",
                    "bring the former data back, or start the next version with --new",
                )
            self._data = found
        return self._data

    def _load_family(self, spec: FamilySpec) -> Family:
        if spec.name not in self._families:
            found = load_reference(spec.reference)
            assert not is_function(found)
            self._fetch_options(spec.options)
            self._families[spec.name] = found(spec.options)
        return self._families[spec.name]

    def _known_family(self, spec: FamilySpec, assignment: Assignment) -> Family | None:
        """The trial's family; None for a function."""
        found = self._families.get(spec.name)
        return None if found is None else found.of_trial(assignment.params)

    def _keeps_model(self, assignment: Assignment, outcome: Outcome) -> bool:
        return outcome.has_model and self._is_kept(assignment, outcome)

    def _is_kept(self, assignment: Assignment, outcome: Outcome) -> bool:
        if self._ranks.rank != 0 or not assignment.keep or not outcome.values:
            return False
        value = signed_value(self.spec.objectives[0], outcome.values[0])
        return assignment.keep_above is None or value > assignment.keep_above

    def _save_model(
        self, spec: FamilySpec, assignment: Assignment, outcome: Outcome
    ) -> tuple[str, dict[str, float]]:
        from infra.lanes.attempt_models import save_bundle

        relative = trial_folder(self.spec.label, assignment.role, assignment.family, assignment.number)
        relative = relative / f"model-{assignment.ordinal}"
        about: JsonObject = {
            "sweep": self.spec.label, "family": spec.name, "number": assignment.number,
            "role": assignment.role, "seed": assignment.seed, "epoch": outcome.epoch,
            "metrics": dict(outcome.metrics), **self._reading(),
        }  # fmt: skip
        folder = Path(self._settings.storage) / relative
        dataset = None if self.spec.data.get("source", "none") == "none" else self.dataset()
        family = self._known_family(spec, assignment)
        measured = save_bundle(folder, spec, family, dataset, assignment.params, outcome, about, self.cache)
        return str(relative), measured

    def _reading(self) -> JsonObject:
        """`data.read` and the target's name, where it is said how the file is written."""
        read, columns = self.spec.data.get("read"), self.spec.data.get("columns")
        if not read:
            return {}
        return {"read": read, "target": columns.get("target") if isinstance(columns, Mapping) else None}

    def _save_scores(self, assignment: Assignment, outcome: Outcome) -> str:
        """Every test example's own scores, beside the model; returns the folder, relative to the storage."""
        relative = trial_folder(self.spec.label, assignment.role, assignment.family, assignment.number)
        relative = relative / f"test-{assignment.ordinal}"
        write_scores(Path(self._settings.storage) / relative, outcome.test_scores)
        return str(relative)

    def _samples_folder(self, assignment: Assignment) -> Path:
        relative = samples_folder(self.spec.label, assignment.role, assignment.family, assignment.number)
        return Path(self._settings.storage) / relative

    def _save_samples(self, spec: FamilySpec, assignment: Assignment, outcome: Outcome) -> None:
        """What the family shows of its kept weights; a model that is there is not lost for a picture."""
        from infra.lanes.attempt_models import save_samples

        family = self._known_family(spec, assignment)
        if family is None:
            return
        try:
            save_samples(
                self._samples_folder(assignment), family, self.dataset(), assignment.params, outcome,
                self.cache, self._device,
            )  # fmt: skip
        except Exception:  # people's own families may raise anything here
            traceback.print_exc()

    def free_memory(self) -> None:
        """Gives back what the last attempt left."""
        gc.collect()
        if self._memory is not None:
            self._memory.release()
            self._memory.restart_peak()

    def find_held_memory(self, assignment: Assignment) -> int:
        """Bytes of its GPU that this process holds although an attempt was the last to need them; 0 where
        they are few, or the lane has a share that nobody measured."""
        if self._memory is None or not self._is_measured(assignment) or not self._memory.is_used():
            return 0
        held = self._memory.held_bytes()
        return held if held > HELD_BYTES else 0

    @property
    def _gpu_lanes(self) -> int:
        return lanes_of(self._settings.resources.gpus)

    def _is_measured(self, assignment: Assignment) -> bool:
        """Whether how many lanes share a GPU is decided by what trials take (`gpus: auto`)."""
        asked = self.spec.family(assignment.family).resources
        return asked.gpus is None and asked.workers == 1

    def _measure_gpu(self, assignment: Assignment, *, full: bool = False) -> GpuUse | None:
        if self._memory is None or not self._is_measured(assignment):
            return None
        return measure_use(self._memory, self._gpu_lanes, full=full)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    name = "" if isinstance(error, (TrialError, InputError)) else f"{type(error).__name__}: "
    return f"{name}{text[0] if text else 'no message'}"
