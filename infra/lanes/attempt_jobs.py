"""What an attempt trains: its job, made of the sweep, its family and its data, which stay in the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal, TypedDict

from infra.coordinator.messages import Assignment
from infra.durations import parse_seconds_or_epochs
from infra.lanes.attempt_functions import load_function
from infra.lanes.code_check import CodeCheck
from infra.lanes.settings import LaneSettings
from infra.mirror import fetch
from infra.spec import FamilySpec, SweepSpec
from infra.storage.paths import CHECKPOINTS, files_folder, samples_folder, trial_folder
from trainers.data.dataset import Dataset, EncodedDataset
from trainers.errors import InputError
from trainers.family import Family
from trainers.functions.job import FunctionJob
from trainers.job import Job
from trainers.registry import is_function, load_reference
from trainers.types import Goal, Length, Ranks


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


class AttemptJobs:
    """Makes the jobs of a sweep's attempts; data sets and families are kept."""

    def __init__(self, settings: LaneSettings, *, device: str, ranks: Ranks) -> None:
        """Nothing is loaded yet."""
        self._settings, self._device, self._ranks = settings, device, ranks
        self.spec = SweepSpec.from_json(settings.spec)
        self.storage, self.cache = Path(settings.storage), Path(settings.cache)
        self._families: dict[str, Family] = {}
        self._data: Dataset | None = None
        self._code = CodeCheck(settings)

    def trial_folder(self, assignment: Assignment) -> PurePosixPath:
        """The trial's folder, relative to the storage root."""
        return trial_folder(self.spec.label, assignment.role, assignment.family, assignment.number)

    def folder(self, assignment: Assignment) -> Path:
        """The trial's folder below the storage root."""
        return self.storage / self.trial_folder(assignment)

    def checkpoint_folder(self, assignment: Assignment) -> Path:
        """Where the trial's checkpoints are."""
        return self.folder(assignment) / CHECKPOINTS

    def own_folder(self, assignment: Assignment) -> Path:
        """The trial's own, for what its code writes."""
        relative = files_folder(self.spec.label, assignment.role, assignment.family, assignment.number)
        return self.storage / relative

    def samples_folder(self, assignment: Assignment) -> Path:
        """Where what the trial's family shows of its weights is."""
        relative = samples_folder(self.spec.label, assignment.role, assignment.family, assignment.number)
        return self.storage / relative

    def make_job(self, assignment: Assignment) -> Job:
        """The job of an attempt at a family."""
        spec = self.spec.family(assignment.family)
        family = self._load_family(spec).of_trial(assignment.params)
        return Job(
            family=family,
            params=family.complete(assignment.params),
            read_test=assignment.read_test,
            samples=self.samples_folder(assignment),
            **self._job_settings(spec, assignment),
        )

    def make_function_job(self, spec: FamilySpec, assignment: Assignment) -> FunctionJob:
        """The job of an attempt at a function or a command, its own folder brought here."""
        directory = self.own_folder(assignment)
        fetch(directory, exact=self._ranks.rank == 0)
        directory.mkdir(parents=True, exist_ok=True)
        data, settings = self.find_dataset(), self._job_settings(spec, assignment)
        function = load_function(spec, settings["goals"], self._settings.sys_path)
        self._code.check(spec)
        return FunctionJob(
            function=function,
            params=dict(assignment.params), directory=directory, data=data,
            sweep=self.spec.label, family=spec.name, number=assignment.number, attempt=assignment.ordinal,
            earlier=assignment.earlier, earlier_seconds=assignment.earlier_seconds,
            **settings,
        )  # fmt: skip

    def encode(self, job: Job) -> EncodedDataset:
        """The sweep's data as the job's family reads it; the same for all jobs of one structure."""
        from trainers.bundle.teaching import encode_for_training

        return encode_for_training(job.family, self.dataset(), job.params, self.cache)

    def dataset(self) -> Dataset:
        """The sweep's data, decoded once a node and kept in this process."""
        from trainers.data.sources.opening import open_dataset

        if self._data is None:
            base, expected = Path(self._settings.base), self._settings.fingerprint
            found = open_dataset(self.spec.data, base=base, cache=self.cache, recorded=expected)
            if expected and found.fingerprint != expected:
                raise InputError(
                    "the data must be what the sweep began with",
                    f"fingerprint {found.fingerprint[:12]} instead of {expected[:12]}",
                    "bring the former data back, or start the next version with --new",
                )
            self._data = found
        return self._data

    def find_dataset(self) -> Dataset | None:
        """As `dataset`; None where the sweep has none (`source: none`)."""
        return None if self.spec.data.get("source", "none") == "none" else self.dataset()

    def _load_family(self, spec: FamilySpec) -> Family:
        if spec.name not in self._families:
            found = load_reference(spec.reference)
            assert not is_function(found)
            self._code.check(spec)
            self._fetch_options(spec.options)
            self._families[spec.name] = found(spec.options)
        return self._families[spec.name]

    def find_family(self, assignment: Assignment) -> Family | None:
        """The trial's family; None for a function."""
        found = self._families.get(assignment.family)
        return None if found is None else found.of_trial(assignment.params)

    def _fetch_options(self, value: object) -> None:
        """Brings models here that a family begins with: options that are paths of the storage."""
        if isinstance(value, Mapping):
            for inner in value.values():
                self._fetch_options(inner)
        elif isinstance(value, str) and value.startswith(f"{self._settings.storage}/"):
            fetch(Path(value), exact=True)

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
            "device": self._device, "threads": max(1, int(self._settings.resources.cpus)),
            "ranks": replace(self._ranks, sharded=spec.resources.sharding == "full"),
            "checkpoint_seconds": seconds, "checkpoint_epochs": epochs,
            "per_second": self.spec.costs_per_second(self._settings.resources),
        }  # fmt: skip
