"""What `velodrome confirm` found: candidates trained again on fresh seeds, and what can be said of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import ClassVar

from flows.statistics.verdicts import Interval
from flows.terminal.json_results import PlainResult
from flows.terminal.shown_result import ShownResult
from trainers.types import JsonObject, Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One number a seed, in the order of the seeds; `std` is the sample's (n − 1), None for one value.

    Attributes:
        interval: of the mean, where more than one seed or example tells of it.
        over: what the interval covers: `seeds and examples`, `examples of one seed` where there is one, or
            `seeds` for a metric of which no example has a share of its own (f1, auc, r2, a text's BLEU).
    """

    values: tuple[float, ...]
    interval: Interval | None = None
    over: str = ""

    @property
    def mean(self) -> float | None:
        """The values' mean."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """The values' standard deviation."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_json(self) -> JsonObject:
        """Values, mean and deviation, then the interval."""
        document: JsonObject = {"values": list(self.values), "mean": self.mean, "std": self.std}
        if self.interval is not None:
            found = self.interval
            document |= {"low": found.low, "high": found.high, "confidence": found.confidence}
            document["over"] = self.over
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class TestDifference:
    """A row's test score less the first row's, over seeds and examples.

    Attributes:
        metric: what the examples were scored by: the metric, or the one that it is a function of (mse for
            rmse, loss for perplexity).
        p_value: two-sided, after Holm's correction over the rows.
    """

    __test__ = False  # pytest takes it for a test otherwise

    metric: str
    interval: Interval
    p_value: float

    def to_json(self) -> JsonObject:
        """All of it."""
        found = self.interval
        return {
            "metric": self.metric, "difference": found.estimate, "low": found.low, "high": found.high,
            "confidence": found.confidence, "p_value": self.p_value,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedRow(PlainResult):
    """One confirmed trial.

    Attributes:
        tied: whether its validation values cannot be told apart from the first row's (paired t-test over the
            seeds, 5 % over all rows after Holm's correction); None for the first row and where there are too
            few values.
        p_value: that test's, after the correction.
        difference: of the test scores, where every example's own were kept; never ranks anything.
        failed: confirmations that ended without a value; `waiting`: those that have not ended.
    """

    family: str
    number: int
    params: Params
    validation: Scores
    test: Scores
    tied: bool | None = None
    p_value: float | None = None
    difference: TestDifference | None = None
    failed: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedFolds(PlainResult):
    """Out-of-fold probabilities, which `inspect` reads.

    Attributes:
        count: how many models, each trained without its share of the rows.
        trained: how many of them now; the others' answers were kept.
        rows: of training and validation, each of which one model did not see.
        out: where the probabilities are.
        next: the command that reads them.
    """

    count: int
    trained: int
    rows: int
    out: str
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation(ShownResult):
    """Confirmed trials in the order of their validation mean over the seeds that all of the sweep's have.

    Attributes:
        seeds: the fresh seeds, the same for all rows.
        test_reads: how often the test split was read for this sweep, each reading one confirmation's end.
        median_run: the first row's run with the median validation value, which `promote` takes: the number
            among the sweep's confirmations of that family; None where it kept no model, or where another
            trial is ahead.
        ahead: family and number of the trial that `promote` takes instead: it was confirmed by an earlier
            call, was not asked for by this one, and its mean is better. None where the first row leads.
        folds: where folds were asked for: then there is one row, whose validation values are the accuracies
            of the folds' models on the rows that they did not see, and no test part was read.
        note: why the runs' descriptions in MLflow do not have what was found; empty where they do.
    """

    screen: ClassVar[str] = "flows.confirmation.screens:print_confirmation"

    sweep: str
    metric: str
    direction: str
    rows: tuple[ConfirmedRow, ...]
    test_reads: int
    seeds: tuple[int, ...] = ()
    median_run: int | None = None
    ahead: tuple[str, int] | None = None
    folds: ConfirmedFolds | None = None
    note: str = ""

    @property
    def waiting(self) -> int:
        """Confirmations that have not ended: the command was stopped."""
        return sum(row.waiting for row in self.rows)

    def to_json(self) -> JsonObject:
        """What `--json` prints."""
        return {
            "sweep": self.sweep,
            "metric": self.metric,
            "rows": [row.to_json() for row in self.rows],
            "test_reads": self.test_reads,
            "direction": self.direction,
            "seeds": list(self.seeds),
            "median_run": self.median_run,
            "ahead": {"family": self.ahead[0], "number": self.ahead[1]} if self.ahead else None,
            "folds": self.folds.to_json() if self.folds else None,
            "note": self.note or None,
        }
