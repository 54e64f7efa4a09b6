"""The pruners by name: the options of each, how it is made, and at which reports it can decide.

A new pruner is a class here and its entry in `PRUNERS`: schema, plan and study read that table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field

from infra.errors import WrongInput
from infra.strict_model import Strict
from search_spaces.nearest import advice

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

Deciding: TypeAlias = tuple[int, ...] | range  # a range of 10,000 epochs is three numbers in each message


class PrunerOptions(Strict):
    """What a sweep file says of a pruner."""

    name: str

    @property
    def awaits_ends(self) -> bool:
        """Whether what it decides depends on how many trials are trained side by side."""
        return False

    @property
    def pauses(self) -> bool:
        """Whether a trial that it stops may go on later."""
        return False

    def make(self, reports: int) -> BasePruner:
        """The pruner of one study.

        Args:
            reports: how many reports a whole trial makes.
        """
        raise WrongInput("a pruner must say how it is made", self.name)

    def deciding_reports(self, reports: int) -> Deciding:
        """At which reports it can stop a trial. Never at the last one: by then all is spent."""
        return ()


class HalvingOptions(PrunerOptions):
    """Rungs at which one of `reduction` trials goes on."""

    min_epochs: int = Field(default=1, ge=1)
    """The first epoch at which a trial can be stopped."""
    reduction: int = Field(default=3, ge=2)
    """One of so many trials goes on from each rung."""

    def deciding_reports(self, reports: int) -> Deciding:
        """Its rungs."""
        rungs, rung = [], self.min_epochs
        while rung < reports:
            rungs.append(rung)
            rung *= self.reduction
        return tuple(rungs)


class Asha(HalvingOptions):
    """Asynchronous successive halving."""

    name: Literal["asha"]
    resume: bool | None = None
    """Whether a trial that is stopped at a rung waits there with its checkpoint, and goes on when it has
    become one of the best (false)."""

    @property
    def awaits_ends(self) -> bool:
        """Which of those that wait goes on depends on who has come to a rung."""
        return self.pauses

    @property
    def pauses(self) -> bool:
        """As the file says."""
        return bool(self.resume)

    def make(self, reports: int) -> BasePruner:
        """As above."""
        from infra.search.halving import IndexedHalving

        return IndexedHalving(min_epochs=self.min_epochs, reduction=self.reduction)


class Hyperband(HalvingOptions):
    """Several brackets of successive halving, from eager to patient."""

    name: Literal["hyperband"]

    def make(self, reports: int) -> BasePruner:
        """As above; the largest resource is a whole trial."""
        from optuna.pruners import HyperbandPruner

        return HyperbandPruner(
            min_resource=self.min_epochs, max_resource=max(reports, 1), reduction_factor=self.reduction
        )


class QuantileOptions(PrunerOptions):
    """Comparing with earlier trials at the same epoch."""

    @property
    def awaits_ends(self) -> bool:
        """It compares with finished trials."""
        return True

    startup: int = Field(default=5, ge=0)
    """Finished trials before any is stopped."""
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs before a trial can be stopped."""
    interval_epochs: int = Field(default=1, ge=1)
    """Epochs between two decisions."""
    min_trials: int = Field(default=1, ge=1)
    """How many earlier values at that epoch are needed to decide."""

    def deciding_reports(self, reports: int) -> Deciding:
        """Each one after the warm-up."""
        return range(max(self.warmup_epochs, 1), reports)

    def _for_optuna(self) -> dict[str, int]:
        return {
            "n_startup_trials": self.startup,
            "n_warmup_steps": self.warmup_epochs,
            "interval_steps": self.interval_epochs,
            "n_min_trials": self.min_trials,
        }


class Median(QuantileOptions):
    """Stops what is worse than the median of earlier trials at the same epoch."""

    name: Literal["median"]

    def make(self, reports: int) -> BasePruner:
        """As above."""
        from optuna.pruners import MedianPruner

        return MedianPruner(**self._for_optuna())


class Percentile(QuantileOptions):
    """Stops what is not among the best percentile of earlier trials at the same epoch."""

    name: Literal["percentile"]
    percentile: float = Field(ge=0, le=100)
    """The best share of trials, in percent, that goes on."""

    def make(self, reports: int) -> BasePruner:
        """As above."""
        from optuna.pruners import PercentilePruner

        return PercentilePruner(float(self.percentile), **self._for_optuna())


class NoPruner(PrunerOptions):
    """Every trial runs its length."""

    name: Literal["none"]

    def make(self, reports: int) -> BasePruner:
        """Optuna's that never prunes."""
        from optuna.pruners import NopPruner

        return NopPruner()


PRUNERS: dict[str, type[PrunerOptions]] = {
    "asha": Asha,
    "hyperband": Hyperband,
    "median": Median,
    "percentile": Percentile,
    "none": NoPruner,
}


def pruner_options(options: Mapping[str, Any]) -> PrunerOptions:
    """The options of a pruner by its name.

    Raises:
        WrongInput: there is no such pruner.
    """
    name = options["name"]
    if name not in PRUNERS:
        must = f"a pruner must be one of {', '.join(PRUNERS)}"
        raise WrongInput(must, repr(name), advice(str(name), PRUNERS))
    return PRUNERS[name].model_validate(dict(options))


def make_pruner(options: Mapping[str, Any], reports: int) -> BasePruner:
    """The pruner that a family's `search.pruner` names.

    Args:
        reports: how many reports a whole trial makes, Hyperband's largest resource.
    """
    return pruner_options(options).make(reports)


def deciding_reports(options: Mapping[str, Any], reports: int) -> Deciding:
    """At which reports the pruner can stop a trial."""
    return pruner_options(options).deciding_reports(reports)
