"""A sweep as the machinery sees it: resolved, checked, one value for every key, JSON and back.

The sweep file's schema (`flows.config.loading`) is what people write; this is what it comes to once defaults
and per-family overrides are in place. It is stored in the ledger and sent to the lanes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, TypeAlias

from trainers.registry import COMMAND
from trainers.types import Document, JsonObject, Params

Direction = Literal["minimize", "maximize"]
Stack: TypeAlias = int | Literal["auto", "off"]  # how many trials are trained as one program


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a trial is judged by: the metric's full name (`val/accuracy`), where it should go, and when."""

    metric: str
    direction: Direction
    at: Literal["best", "last"] = "best"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one worker of a trial needs. `gpus=None` means: none where the cluster has no GPUs, else one at
    first, and then a part of one, as far as trials are seen to need no more (`infra.gpus`).

    With `sharding="full"` each of several workers holds its part of weights, gradients and optimizer. With
    `fresh_process` each attempt begins in a new process, which ends with it.
    """

    workers: int = 1
    sharding: Literal["none", "full"] = "none"
    cpus: float = 1.0
    gpus: float | None = None
    memory_bytes: int | None = None
    accelerator: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    fresh_process: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long one trial may train: in epochs, or in steps with a report every `report_every`.

    With `steps` an "epoch" everywhere else means a report.
    """

    epochs: int | None = 10
    steps: int | None = None
    report_every: int | None = None
    patience: int | None = None
    min_delta: float = 0.0
    trial_minutes: float | None = None

    @property
    def reports(self) -> int:
        """How many reports a whole trial makes."""
        if self.steps is not None:
            return -(-self.steps // (self.report_every or self.steps))
        return self.epochs or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySpec:
    """One family of a sweep. `space` is the JSON form that `search_spaces.space.Space.from_json` reads."""

    name: str
    reference: str  # a built-in family's name, or package.module:name
    options: Params = field(default_factory=dict)
    space: Document = field(default_factory=dict)
    start_with: tuple[Params, ...] = ()
    trials: int = 20
    compressed: int = 0  # of these trials: those that `compress` made, which no sampler was asked for
    budget: Budget = field(default_factory=Budget)
    sampler: Params = field(default_factory=lambda: {"name": "tpe"})
    pruner: Params = field(default_factory=lambda: {"name": "asha"})
    resources: Resources = field(default_factory=Resources)
    checkpoint_every: str = "30s"  # "30s", "2m" or "5 epochs"
    source_hash: str = ""  # of the family's own source, so that a change of code is seen
    weights: dict[str, str] = field(default_factory=dict)  # of each model that it begins with: SHA-256
    begins_with: JsonObject = field(default_factory=dict)  # the earlier sweep's trial whose weights it takes
    stack: Stack | None = None  # None: a sweep from before there were stacks, as with `off`

    @property
    def written_as(self) -> str:
        """Its key in the sweep file."""
        return self.name if self.reference == COMMAND else self.reference


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLimits:
    """Seconds: no step for so long; a lane that does not come up; a lane whose heartbeat is lost."""

    stall_s: float = 600.0
    start_s: float = 120.0
    lease_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """One sweep, resolved. `tracking_uri`, `ledger` and `storage` keep `${VARIABLE}` as written, so that
    no secret is stored; they are resolved where they are used."""

    name: str
    version: int = 1
    seed: int = 0
    data: JsonObject = field(default_factory=dict)
    objectives: tuple[Objective, ...] = ()
    families: tuple[FamilySpec, ...] = ()
    lanes: int | None = None  # None: as many as fit
    weight: float = 1.0  # of its share of a cluster, beside other sweeps
    minutes: float | None = None
    gpu_hours: float | None = None
    cost: float | None = None
    prices: dict[str, float] = field(default_factory=dict)
    warm_start: tuple[str, ...] = ()
    keep_models: str = "best"  # "best", "top: K" or "all"
    keep_checkpoints: int = 1
    limits: SweepLimits = field(default_factory=SweepLimits)
    tracking_uri: str | None = None
    experiment: str | None = None
    ledger: str | None = None
    storage: str | None = None
    model: str | None = None
    gates: JsonObject = field(default_factory=dict)
    card: JsonObject = field(default_factory=dict)  # purpose, limits and licence of the models
    code: JsonObject = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How this version is named to people: `digits`, and `digits@2` for the second one."""
        return self.name if self.version == 1 else f"{self.name}@{self.version}"

    def price(self, gpu_s: float, cpu_s: float) -> float:
        """What so many seconds of GPUs and CPUs cost."""
        each = self.prices
        return gpu_s / 3600 * each.get("gpu_hour", 0.0) + cpu_s / 3600 * each.get("cpu_hour", 0.0)

    def costs_per_second(self, held: Resources) -> dict[str, float]:
        """What a second of a trial with these resources takes; `price` where the sweep has prices."""
        gpus, cpus = held.workers * (held.gpus or 0.0), held.workers * held.cpus
        price = {"price": self.price(gpus, cpus)} if self.prices else {}
        return {"gpu_seconds": gpus, "cpu_seconds": cpus, **price}

    def family(self, name: str) -> FamilySpec:
        """The family of that name.

        Raises:
            KeyError: no family of this sweep has the name.
        """
        for family in self.families:
            if family.name == name:
                return family
        raise KeyError(name)

    def to_json(self) -> Document:
        """Plain JSON types only."""
        document: Document = json.loads(json.dumps(asdict(self)))
        return document

    @classmethod
    def from_json(cls, document: Document) -> SweepSpec:
        """The inverse of `to_json`."""
        families = tuple(_family_from_json(entry) for entry in document["families"])
        objectives = tuple(Objective(**entry) for entry in document["objectives"])
        rest = {
            "families": families,
            "objectives": objectives,
            "limits": SweepLimits(**document["limits"]),
            "warm_start": tuple(document["warm_start"]),
        }
        return cls(**{**document, **rest})


def extend_families(spec: SweepSpec, payload: Document) -> SweepSpec:
    """The sweep with so many `trials` more of each family, or of one `family`."""
    only = payload.get("family")
    grown = tuple(
        replace(family, trials=family.trials + int(payload["trials"]))
        if only in (None, family.name)
        else family
        for family in spec.families
    )
    return replace(spec, families=grown)


def _family_from_json(document: Document) -> FamilySpec:
    typed = {
        "budget": Budget(**document["budget"]),
        "resources": Resources(**document["resources"]),
        "start_with": tuple(document["start_with"]),
    }
    return FamilySpec(**{**document, **typed})


def derive_seed(*parts: object) -> int:
    """A 31-bit seed that depends on all parts and on nothing else (SHA-256 of their JSON)."""
    text = json.dumps([str(part) for part in parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
