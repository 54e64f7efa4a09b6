"""What a comparison says: rows, groups of rows that may be put in one order, and what cannot be told
apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from flows.comparison.groups import GroupTable
from flows.terminal.json_results import PlainResult
from infra.spec import Direction, Objective
from trainers.types import JsonObject, Params

COSTS = (
    "parameters",
    "size_bytes",
    "flops",
    "train_flops",
    "peak_memory_bytes",
    "latency_ms",
    "latency_p99_ms",
    "latency_batch_ms",
    "latency_batch_p99_ms",
    "train_seconds",
    "gpu_seconds",
    "cpu_seconds",
    "price",
    "energy_joules",
    "epsilon",
)
"""What a row costs, by name; less is better in each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread(PlainResult):
    """How a metric is spread over several numbers. `best` by the metric's direction; `std` (of a sample)
    is None for one number."""

    count: int
    best: float
    median: float
    mean: float
    std: float | None


def spread_of(values: Sequence[float], direction: Direction) -> Spread | None:
    """The spread of the values; None where there are none."""
    if not values:
        return None
    return Spread(
        count=len(values),
        best=max(values) if direction == "maximize" else min(values),
        median=statistics.median(values),
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEstimate(PlainResult):
    """How far a row's value may be off. `std`: one standard error or deviation, in the objective's units.

    `over`: `seeds`, the spread of fresh trainings, or `examples`, what another validation set of the same
    size would have given (for a share of right answers as Agresti and Coull have it, so that it is never 0).
    `count`: how many seeds or examples.
    """

    std: float
    over: Literal["seeds", "examples"]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One of the best trials of one family of one sweep, and how the others of it spread.

    Attributes:
        values: of the trial, one an objective; `goals`: the objectives' names, in the same order.
        error: how uncertain the first value is; None where nothing is known of that.
        example_error: its standard error over validation examples, where that follows from the value.
        trials: spread of the first objective over the family's complete trials.
        confirmed: of that configuration's confirmations: the validation metric over fresh seeds.
        confirmed_values: the same, by the seed's index.
        tested: the test metric over the same seeds.
        trivial: what always guessing the majority or the mean scores; None where that is not known.
        costs: by `COSTS`; None where one was not measured.
        size: how many weights its model has, as `infra.ledger.ranking.model_size` gives it for equal values.
        latency_from: `measured` on this machine on the logged model, or in the `lane` that trained it.
        metrics: everything that was measured at the kept epoch.
        groups: the same by the groups of each sensitive column.
        model: where the kept model is; None where none is.
        manifest: SHA-256 of the kept model's manifest.
        on_front: no other row of the group is at least as good in everything and better in something.
    """

    sweep: str
    family: str
    number: int
    goals: tuple[str, ...]
    values: tuple[float, ...]
    params: Params
    error: ErrorEstimate | None
    example_error: float | None = None
    trials: Spread | None
    confirmed: Spread | None
    confirmed_values: dict[int, float] = field(default_factory=dict)
    tested: Spread | None
    trivial: float | None
    costs: dict[str, float | None]
    size: float = math.inf
    latency_from: Literal["measured", "lane"] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    groups: tuple[GroupTable, ...] = ()
    data_fingerprint: str | None
    validation_rows: int | None = None
    model: str | None = None
    manifest: str | None = None
    on_front: bool = False

    @property
    def name(self) -> str:
        """`digits image_cnn #7`."""
        return f"{self.sweep} {self.family} #{self.number}"

    def to_json(self) -> JsonObject:
        """All of it but for what only identifies the model's files."""
        document = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for name in ("goals", "model", "confirmed_values", "example_error", "size"):
            del document[name]
        for name in ("error", "trials", "confirmed", "tested"):
            document[name] = document[name].to_json() if document[name] else None
        groups = [table.to_json() for table in self.groups]
        return {**document, "costs": dict(self.costs), "groups": groups}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie(PlainResult):
    """What is known of two neighbours. `rows`: their places in the group.

    `tied`: True: they cannot be told apart; False: they can; None: there is too little to say.
    `p`: of the test, where there was one; corrected for the number of neighbours. `why`: in words.
    """

    rows: tuple[int, int]
    tied: bool | None
    p: float | None = None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that may be put in one order: the same objectives on the same validation examples.

    Attributes:
        ordered_by: the column of the order: the first objective, `confirmed` where every row is, or what was
            asked for.
        front_over: the columns that the front weighs up.
        ties: one a pair of neighbours, where the order is by the objective.
        note: what a person should know of the rows; may be empty.
    """

    objectives: tuple[Objective, ...]
    rows: tuple[Row, ...]
    ordered_by: str
    front_over: tuple[str, ...]
    ties: tuple[Tie, ...] = ()
    note: str = ""

    def to_json(self) -> JsonObject:
        """The objectives and the rows."""
        return {
            "objectives": [{"metric": goal.metric, "direction": goal.direction} for goal in self.objectives],
            "ordered_by": self.ordered_by,
            "front_over": list(self.front_over),
            "note": self.note or None,
            "rows": [row.to_json() for row in self.rows],
            "ties": [tie.to_json() for tie in self.ties],
        }
