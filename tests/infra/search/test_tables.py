"""Samplers and pruners by name: each makes what it says, and no name falls back to another."""

from __future__ import annotations

import pickle

import optuna
import pytest

from flows.config.schema import json_schema
from infra.errors import WrongInput
from infra.search.pruners import PRUNERS, deciding_reports, make_pruner, pruner_options
from infra.search.samplers import SAMPLERS, count_configurations, make_sampler, sampler_options
from search_spaces.space import Space
from tests.infra.conftest import family


def test_unknown_sampler_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(WrongInput, match="tpe, random, qmc, gp, grid") as caught:
        make_sampler({"name": "tpee"}, 0)
    assert "tpe" in caught.value.do


def test_unknown_pruner_is_refused_with_the_nearest_name() -> None:
    for call in (make_pruner, deciding_reports):
        with pytest.raises(WrongInput, match="asha, hyperband, median, percentile, none") as caught:
            call({"name": "hyperbend"}, 9)
        assert "hyperband" in caught.value.do


def test_samplers_are_of_the_kind_that_they_name() -> None:
    made = {name: type(make_sampler({"name": name}, 0)) for name in SAMPLERS}
    random = optuna.samplers.RandomSampler
    assert made == {
        "tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler,
        "random": random, "qmc": random, "grid": random,
    }  # fmt: skip


def test_tpe_startup_trials_have_one_default() -> None:
    written = sampler_options({"name": "tpe"}).model_dump()["n_startup_trials"]
    made = make_sampler({"name": "tpe"}, 0)
    assert made._n_startup_trials == written == 10


def test_schema_knows_every_sampler_and_pruner() -> None:
    text = str(json_schema())
    for name in [*SAMPLERS, *PRUNERS]:
        assert f"'const': '{name}'" in text


@pytest.mark.parametrize(
    ("options", "reports", "expected"),
    [
        ({"name": "asha", "min_epochs": 1, "reduction": 3}, 10, (1, 3, 9)),
        ({"name": "asha", "min_epochs": 1, "reduction": 3}, 9, (1, 3)),
        ({"name": "asha", "min_epochs": 4, "reduction": 2}, 4, ()),
        ({"name": "hyperband", "min_epochs": 2, "reduction": 2}, 9, (2, 4, 8)),
        ({"name": "hyperband", "min_epochs": 2, "reduction": 2}, 8, (2, 4)),
        ({"name": "median", "warmup_epochs": 2}, 5, (2, 3, 4)),
        ({"name": "percentile", "percentile": 25}, 3, (1, 2)),
        ({"name": "none"}, 5, ()),
    ],
)
def test_pruner_decides_at_its_reports_and_never_at_the_last(
    options: dict[str, object], reports: int, expected: tuple[int, ...]
) -> None:
    assert tuple(deciding_reports(options, reports)) == expected


def test_reports_at_which_a_median_decides_are_a_small_message_however_many() -> None:
    assert len(pickle.dumps(deciding_reports({"name": "median"}, 100_000))) < 100


@pytest.mark.parametrize(
    ("options", "awaits_ends", "pauses"),
    [
        ({"name": "asha"}, False, False),
        ({"name": "asha", "resume": False}, False, False),
        ({"name": "asha", "resume": True}, True, True),
        ({"name": "hyperband"}, False, False),
        ({"name": "median"}, True, False),
        ({"name": "percentile", "percentile": 25}, True, False),
        ({"name": "none"}, False, False),
    ],
)
def test_pruner_says_whether_it_awaits_ends_and_whether_it_pauses(
    options: dict[str, object], awaits_ends: bool, pauses: bool
) -> None:
    made = pruner_options(options)
    assert (made.awaits_ends, made.pauses) == (awaits_ends, pauses)


@pytest.mark.parametrize(("reports", "largest"), [(0, 1), (1, 1), (2, 2), (9, 9)])
def test_hyperband_spends_on_a_trial_as_many_reports_as_a_whole_one_makes(reports: int, largest: int) -> None:
    made = make_pruner({"name": "hyperband", "min_epochs": 1, "reduction": 2}, reports)
    assert isinstance(made, optuna.pruners.HyperbandPruner)
    assert made._max_resource == largest


def test_samplers_options_have_documented_defaults() -> None:
    """A sweep file that says nothing of them gives the same trials in each version."""
    tpe = {"n_startup_trials": 10, "n_ei_candidates": 24, "multivariate": None, "group": False}
    assert sampler_options({"name": "tpe"}).model_dump() == {"name": "tpe", **tpe, "constant_liar": True}
    gp = {"name": "gp", "n_startup_trials": 10, "deterministic_objective": False}
    assert sampler_options({"name": "gp"}).model_dump() == gp
    learn = {name: sampler_options({"name": name}).learns for name in SAMPLERS}
    assert learn == {"tpe": True, "gp": True, "random": False, "qmc": False, "grid": False}


def test_choice_that_a_file_leaves_to_optuna_is_optunas() -> None:
    made, plain = make_sampler({"name": "tpe"}, 0), optuna.samplers.TPESampler()
    assert isinstance(made, optuna.samplers.TPESampler)
    assert made._multivariate is plain._multivariate


def test_grid_of_a_hundred_thousand_points_is_the_largest() -> None:
    space = {"a": {"type": "int", "low": 1, "high": 100_001}}
    with pytest.raises(ValueError, match="at most 100000 configurations"):
        count_configurations(family(sampler={"name": "grid"}, space=Space.from_mapping(space).to_json()))
    space["a"]["high"] = 100_000
    whole = family(sampler={"name": "grid"}, space=Space.from_mapping(space).to_json())
    assert count_configurations(whole) == 100_000
