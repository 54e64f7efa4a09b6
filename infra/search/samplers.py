"""The samplers by name: the options of each, how it is made, and the points that a search starts from.

A new sampler is a class here and its entry in `SAMPLERS`: schema, plan and study read that table.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from infra.errors import WrongInput
from infra.search.blocks import block_of, structural_names
from infra.spec import FamilySpec, derive_seed
from infra.strict_model import Strict
from search_spaces.nearest import advice

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.search_space import IntersectionSearchSpace

    from search_spaces.space import Space

FIRST_BATCH = 10
LARGEST_GRID = 100_000


class SamplerOptions(Strict):
    """What a sweep file says of a sampler. `learns`: whether its answers depend on finished trials."""

    learns: ClassVar[bool] = False
    name: str

    def make(self, seed: int, common: IntersectionSearchSpace | None = None) -> BaseSampler:
        """A fresh sampler for one question.

        Args:
            common: what all finished trials of the study have in common, which a fresh sampler would find
                out by going through every one of them.
        """
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)

    def first_batch(self, lanes: int) -> int | None:
        """How many points of the Sobol sequence come before the sampler is asked; None: all points do."""
        return None

    def _own(self) -> dict[str, Any]:
        return self.model_dump(exclude={"name"}, exclude_none=True)


class Tpe(SamplerOptions):
    """Tree-structured Parzen estimator."""

    learns: ClassVar[bool] = True
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

    def make(self, seed: int, common: IntersectionSearchSpace | None = None) -> BaseSampler:
        """As above; `common` is TPE's own kind, with pruned trials."""
        from optuna.samplers import TPESampler

        sampler = TPESampler(seed=seed, **self._own())
        if common is not None:
            sampler._search_space = common  # Optuna has no public way to hand it over
        return sampler

    def first_batch(self, lanes: int) -> int | None:
        """One for each lane at least."""
        return max(FIRST_BATCH, lanes)


class Random(SamplerOptions):
    """Independent random values."""

    name: Literal["random"]

    def first_batch(self, lanes: int) -> int | None:
        """The same for any number of lanes, on which its trials then do not depend."""
        return FIRST_BATCH


class Qmc(SamplerOptions):
    """One scrambled Sobol sequence over all parameters."""

    name: Literal["qmc"]


class Gp(SamplerOptions):
    """Gaussian process."""

    learns: ClassVar[bool] = True
    name: Literal["gp"]
    n_startup_trials: int = Field(default=10, ge=0)
    """Finished trials before the sampler builds its first model."""
    deterministic_objective: bool = False
    """Whether the same parameters always give the same value, without noise."""

    def make(self, seed: int, common: IntersectionSearchSpace | None = None) -> BaseSampler:
        """As above."""
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, **self._own())

    def first_batch(self, lanes: int) -> int | None:
        """One for each lane at least."""
        return max(FIRST_BATCH, lanes)


class Grid(SamplerOptions):
    """Every combination of points."""

    name: Literal["grid"]


SAMPLERS: dict[str, type[SamplerOptions]] = {"tpe": Tpe, "random": Random, "qmc": Qmc, "gp": Gp, "grid": Grid}


def sampler_options(options: Mapping[str, Any]) -> SamplerOptions:
    """The options of a sampler by its name.

    Raises:
        WrongInput: there is no such sampler.
    """
    name = options["name"]
    if name not in SAMPLERS:
        must = f"a sampler must be one of {', '.join(SAMPLERS)}"
        raise WrongInput(must, repr(name), advice(str(name), SAMPLERS))
    return SAMPLERS[name].model_validate(dict(options))


def make_sampler(
    options: Mapping[str, Any], seed: int, common: IntersectionSearchSpace | None = None
) -> BaseSampler:
    """A fresh sampler for one question; the points of `grid` and `qmc` come from `starting_point`.

    Made anew for each trial, since a sampler's random state is not in the study: with the seed of the trial
    the answer depends on the study's content alone, also after a crash.
    """
    return sampler_options(options).make(seed, common)


def grid_points(space: Space, start_with: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The grid's points in order, without those that the search starts with: nothing is tried twice."""
    tried = [space.encode(dict(params)) for params in start_with]
    return [point for point in space.grid(LARGEST_GRID) if not tried or space.encode(point) not in tried]


def count_configurations(family: FamilySpec) -> int | None:
    """How many trials the family may have: as many as its sampler has parameters for, and those that were
    made of others; None where any number."""
    if not isinstance(sampler_options(family.sampler), Grid):
        return None
    return len(family.start_with) + len(_family_grid(family)) + family.compressed


def _family_grid(family: FamilySpec) -> Sequence[Mapping[str, Any]]:
    stacked = family.stack not in (None, "off")
    return _cached_grid(json.dumps(family.space), json.dumps(family.start_with), stacked)


@lru_cache(maxsize=16)  # a grid of 100,000 points takes half a second, and each question reads one of them
def _cached_grid(space: str, start_with: str, stacked: bool) -> Sequence[Mapping[str, Any]]:
    from search_spaces.space import Space

    made = Space.from_json(json.loads(space))
    points = grid_points(made, json.loads(start_with))
    if not stacked:
        return points
    by_structure: dict[str, list[Mapping[str, Any]]] = {}
    names = structural_names(made)
    for point in points:
        by_structure.setdefault(json.dumps(_choose(point, names)), []).append(point)
    return [point for together in by_structure.values() for point in together]


def _choose(params: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name in names}


def starting_point(
    family: FamilySpec, seed: int, number: int, lanes: int, leader: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """The parameters, all or some, that trial `number` must have before any sampler is asked, or None.

    Known good configurations come first. Then `tpe` and `gp` take max(10, lanes) points of one scrambled
    Sobol sequence, `random` the first 10 of it (so that its trials do not depend on the number of lanes),
    `qmc` all of it, and `grid` the rest of its points in order. Where trials may be stacked, those of a block
    have their structure in common: that of the sequence's point at the block's number, or, where a sampler
    that learns was asked, of the block's first trial.

    Args:
        leader: the parameters of the block's first trial; None for that one itself.
    """
    from search_spaces.space import Space

    asked = number - family.compressed  # all of which have smaller numbers
    if asked < len(family.start_with):
        return dict(family.start_with[asked])
    index = number - len(family.start_with)
    sampler = sampler_options(family.sampler)
    if isinstance(sampler, Grid):
        return dict(_family_grid(family)[asked - len(family.start_with)])
    space, block = Space.from_json(family.space), block_of(family, number)
    structural = structural_names(space) if block.size > 1 else frozenset[str]()
    batch, sequence = sampler.first_batch(lanes), derive_seed(seed, family.name, "sobol")
    if batch is None or index < batch:
        return space.sobol(1, sequence, start=index, held=dict.fromkeys(structural, block.number))[0]
    if not structural or (sampler.learns and leader is None):
        return None
    common = leader if sampler.learns else space.sobol(1, sequence, start=block.number)[0]
    return _choose(common or {}, structural)
