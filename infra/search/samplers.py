"""Samplers, pruners and the points that a search starts from, made from what a sweep file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from infra.spec import FamilySpec, derive_seed

if TYPE_CHECKING:
    import optuna

FIRST_BATCH = 10
LARGEST_GRID = 100_000


def make_sampler(
    options: Mapping[str, Any], seed: int, common: optuna.search_space.IntersectionSearchSpace | None = None
) -> optuna.samplers.BaseSampler:
    """A fresh sampler for one question; the points of `grid` and `qmc` come from `starting_point`.

    Made anew for each trial, since a sampler's random state is not in the study: with the seed of the trial
    the answer depends on the study's content alone, also after a crash.

    Args:
        common: what all finished trials of the study have in common, which a fresh sampler would find out by
            going through every one of them; its own kind, with pruned trials, is `tpe`'s.
    """
    from optuna import samplers

    rest = {key: value for key, value in options.items() if key not in {"name", "points"}}
    match options["name"]:
        case "tpe":
            sampler = samplers.TPESampler(seed=seed, **{"n_startup_trials": 5, **rest})
            if common is not None:
                sampler._search_space = common  # Optuna has no public way to hand it over
            return sampler
        case "gp":
            return samplers.GPSampler(seed=seed, **rest)
        case _:
            return samplers.RandomSampler(seed=seed)


def make_pruner(options: Mapping[str, Any], reports: int) -> optuna.pruners.BasePruner:
    """The pruner that a family's `search.pruner` names.

    Args:
        reports: how many reports a whole trial makes, Hyperband's largest resource.
    """
    from optuna import pruners

    from infra.search.halving import IndexedHalving

    given = {key: value for key, value in options.items() if key != "name"}
    match options["name"]:
        case "asha":
            return IndexedHalving(min_epochs=given.get("min_epochs", 1), reduction=given.get("reduction", 3))
        case "hyperband":
            return pruners.HyperbandPruner(
                min_resource=given.get("min_epochs", 1),
                max_resource=max(reports, 1),
                reduction_factor=given.get("reduction", 3),
            )
        case "median":
            return pruners.MedianPruner(**_percentile_options(given))
        case "percentile":
            return pruners.PercentilePruner(float(given["percentile"]), **_percentile_options(given))
        case _:
            return pruners.NopPruner()


def _percentile_options(given: Mapping[str, Any]) -> dict[str, int]:
    return {
        "n_startup_trials": given.get("startup", 5),
        "n_warmup_steps": given.get("warmup_epochs", 0),
        "interval_steps": given.get("interval_epochs", 1),
        "n_min_trials": given.get("min_trials", 1),
    }


def deciding_reports(options: Mapping[str, Any], reports: int) -> Deciding:
    """At which reports the pruner can stop a trial. Never at the last one: by then all is spent."""
    match options["name"]:
        case "none":
            return ()
        case "asha" | "hyperband":
            rungs, rung = [], int(options.get("min_epochs", 1))
            while rung < reports:
                rungs.append(rung)
                rung *= int(options.get("reduction", 3))
            return tuple(rungs)
        case _:
            first = int(options.get("warmup_epochs", 0))
            return tuple(range(max(first, 1), reports))


def starting_point(family: FamilySpec, seed: int, number: int, lanes: int) -> dict[str, Any] | None:
    """The parameters that trial `number` must have before any sampler is asked, or None.

    Known good configurations come first. Then `tpe` and `gp` take max(10, lanes) points of one scrambled
    Sobol sequence, `random` the first 10 of it (so that its trials do not depend on the number of lanes),
    `qmc` all of it, and `grid` its points in order.
    """
    from search_spaces.space import Space

    if number < len(family.start_with):
        return dict(family.start_with[number])
    index = number - len(family.start_with)
    space = Space.from_json(family.space)
    name = family.sampler["name"]
    if name == "grid":
        return space.grid(limit=LARGEST_GRID)[index]
    batch = {"tpe": max(FIRST_BATCH, lanes), "gp": max(FIRST_BATCH, lanes), "random": FIRST_BATCH}.get(name)
    if batch is not None and index >= batch:
        return None
    return space.sobol(1, derive_seed(seed, family.name, "sobol"), start=index)[0]


Deciding = tuple[int, ...] | Literal["every"]
