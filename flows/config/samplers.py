"""Samplers and pruners by name, with the options that each takes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.config.types import name_shorthand


class Strict(BaseModel):
    """A mapping of the sweep file: unknown keys and near types are refused; sentences below fields are its
    documentation, for editors too."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Tpe(Strict):
    """Tree-structured Parzen estimator."""

    name: Literal["tpe"]
    n_startup_trials: int = Field(default=10, ge=0)
    """Finished trials before the sampler builds its first model."""
    n_ei_candidates: int = Field(default=24, ge=1)
    """How many candidates are drawn for each choice by expected improvement."""
    multivariate: bool | None = None
    """Whether parameters are modelled jointly, not one by one (Optuna's choice)."""
    group: bool = False
    """With `multivariate`: parameters that occur together are modelled as a group, for conditional spaces."""
    constant_liar: bool = True
    """Whether running trials count as bad ones, so that lanes do not try the same place at once."""


class Random(Strict):
    """Independent random values."""

    name: Literal["random"]


class Qmc(Strict):
    """One scrambled Sobol sequence over all parameters."""

    name: Literal["qmc"]


class Gp(Strict):
    """Gaussian process."""

    name: Literal["gp"]
    n_startup_trials: int = Field(default=10, ge=0)
    """Finished trials before the sampler builds its first model."""
    deterministic_objective: bool = False
    """Whether the same parameters always give the same value, without noise."""


class Grid(Strict):
    """Every combination of points."""

    name: Literal["grid"]


class Asha(Strict):
    """Asynchronous successive halving."""

    name: Literal["asha"]
    min_epochs: int = Field(default=1, ge=1)
    """The first epoch at which a trial can be stopped."""
    reduction: int = Field(default=3, ge=2)
    """One of so many trials goes on from each rung."""


class Hyperband(Strict):
    """Several brackets of successive halving, from eager to patient."""

    name: Literal["hyperband"]
    min_epochs: int = Field(default=1, ge=1)
    """The first epoch at which a trial can be stopped."""
    reduction: int = Field(default=3, ge=2)
    """One of so many trials goes on from each rung."""


class Median(Strict):
    """Stops what is worse than the median of earlier trials at the same epoch."""

    name: Literal["median"]
    startup: int = Field(default=5, ge=0)
    """Finished trials before any is stopped."""
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs before a trial can be stopped."""
    interval_epochs: int = Field(default=1, ge=1)
    """Epochs between two decisions."""
    min_trials: int = Field(default=1, ge=1)
    """How many earlier values at that epoch are needed to decide."""


class Percentile(Strict):
    """Stops what is not among the best percentile of earlier trials at the same epoch."""

    name: Literal["percentile"]
    percentile: float = Field(ge=0, le=100)
    """The best share of trials, in percent, that goes on."""
    startup: int = Field(default=5, ge=0)
    """Finished trials before any is stopped."""
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs before a trial can be stopped."""
    interval_epochs: int = Field(default=1, ge=1)
    """Epochs between two decisions."""
    min_trials: int = Field(default=1, ge=1)
    """How many earlier values at that epoch are needed to decide."""


class NoPruner(Strict):
    """Every trial runs its length."""

    name: Literal["none"]


_Samplers = Annotated[Tpe | Random | Qmc | Gp | Grid, Field(discriminator="name")]
_Pruners = Annotated[Asha | Hyperband | Median | Percentile | NoPruner, Field(discriminator="name")]
Sampler = Annotated[_Samplers, name_shorthand(("tpe", "random", "qmc", "gp", "grid"), _Samplers)]
Pruner = Annotated[_Pruners, name_shorthand(("asha", "hyperband", "median", "none"), _Pruners)]
