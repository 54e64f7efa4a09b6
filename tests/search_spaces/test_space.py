"""Search spaces: reading, refusing, and the walks that samplers need."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.errors import SearchSpaceInputError, SpaceError
from search_spaces.files import built_in_spaces
from search_spaces.space import Space
from search_spaces.values import canonical_text

optuna.logging.set_verbosity(optuna.logging.WARNING)

CONTRACT: dict[str, Any] = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "optimizer": {"type": "categorical", "choices": ["sgd", "adam", "rmsprop"]},
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd", "rmsprop"]}},
    "batch_size": {"type": "int", "low": 16, "high": 256, "log": True},
    "filter_widths": {"type": "categorical", "choices": [[3], [3, 4, 5]]},
    "hidden": 64,
}
AWKWARD: dict[str, Any] = {
    "widths": {"type": "categorical", "choices": [[3], [3, 4, 5], None, "[3]", {"a": [1]}]},
    "same": {"type": "categorical", "choices": [True, 1, 1.0, "1", "true"]},
    "deep": {"type": "int", "low": 1, "high": 7, "step": 2, "when": {"widths": [[3], None]}},
    "deeper": {"type": "float", "low": 0.0, "high": 0.3, "step": 0.1, "when": {"deep": [3, 5]}},
    "nesterov": {"type": "categorical", "choices": [False, True], "when": {"same": [True]}},
    "fixed": [1, 2],
}


def whole_space(space: Space) -> list[dict[str, Any]]:
    return space.sobol(64, seed=3)


@pytest.fixture(params=["contract", "awkward", *built_in_spaces()])
def space(request: pytest.FixtureRequest) -> Space:
    spaces = {"contract": CONTRACT, "awkward": AWKWARD}
    return Space.from_mapping(spaces.get(request.param, request.param))


# -- contract over all spaces ---------------------------------------------------------------------------


def test_space_survives_json(space: Space) -> None:
    import json

    again = Space.from_json(json.loads(json.dumps(space.to_json(), sort_keys=True)))
    assert again == space
    assert canonical_text(again.to_json()) == canonical_text(space.to_json())


def test_sobol_depends_on_the_index_alone(space: Space) -> None:
    whole = space.sobol(20, seed=7)
    assert [space.sobol(1, seed=7, start=i)[0] for i in range(20)] == whole
    assert space.sobol(7, seed=7, start=6) == whole[6:13]
    assert space.sobol(20, seed=8) != whole
    assert space.sobol(0, seed=7) == []


def test_space_enqueued_in_optuna_suggests_the_same(space: Space) -> None:
    study = optuna.create_study()
    for params in whole_space(space)[:16]:
        space.check_params(params)
        study.enqueue_trial(space.encode(params))
        trial = study.ask()
        assert canonical_text(space.suggest(trial)) == canonical_text(params)
        assert canonical_text(space.decode(trial.params)) == canonical_text(params)
        assert trial.distributions.items() <= space.distributions().items()


def test_sampler_draws_lie_in_the_space(space: Space) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(16):
        space.check_params(space.suggest(study.ask()))


def test_changed_draw_leaves_the_space_unchanged(space: Space) -> None:
    before = canonical_text(space.to_json())
    for params in whole_space(space)[:8]:
        for value in params.values():
            if isinstance(value, list):
                value.clear()
    assert canonical_text(space.to_json()) == before


# -- what a space means ---------------------------------------------------------------------------------


def test_ends_of_a_logarithmic_range_of_whole_numbers_are_as_likely_as_the_rest() -> None:
    """Of 1 to 4 a number k has the share log((k + ½) / (k - ½)) / log 9 of 1,024 points."""
    drawn = [
        params["n"]
        for params in Space.from_mapping({"n": {"type": "int", "low": 1, "high": 4, "log": True}}).sobol(
            1_024, seed=0
        )
    ]
    for number in range(1, 5):
        share = math.log((number + 0.5) / (number - 0.5)) / math.log(9)
        assert drawn.count(number) == pytest.approx(1_024 * share, abs=3)


def test_sobol_covers_ranges_and_choices() -> None:
    drawn = Space.from_mapping(CONTRACT).sobol(256, seed=0)
    logs = [math.log10(params["learning_rate"]) for params in drawn]
    assert sum(value < -2.5 for value in logs) == 128
    counts = [sum(params["optimizer"] == name for params in drawn) for name in ("sgd", "adam", "rmsprop")]
    assert all(80 <= count <= 90 for count in counts)
    assert {params["hidden"] for params in drawn} == {64}
    assert min(p["batch_size"] for p in drawn) == 16
    assert max(p["batch_size"] for p in drawn) >= 250


def test_condition_holds_in_every_walk_of_the_space() -> None:
    space = Space.from_mapping(CONTRACT)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for params in [*space.sobol(32, 0), *(space.suggest(study.ask()) for _ in range(32))]:
        assert ("momentum" in params) == (params["optimizer"] != "adam")


def test_condition_on_absent_parameter_does_not_hold() -> None:
    space = Space.from_mapping(AWKWARD)
    for params in space.sobol(128, 1):
        deep = params["widths"] in ([3], None)
        assert ("deep" in params) == deep
        assert ("deeper" in params) == (deep and params["deep"] in (3, 5))
        assert ("nesterov" in params) == (params["same"] is True)


def test_space_orders_parents_before_children() -> None:
    space = Space.from_mapping(
        {
            "c": {"type": "int", "low": 0, "high": 1, "when": {"b": 1}},
            "b": {"type": "int", "low": 0, "high": 1, "when": {"a": [1]}},
            "a": {"type": "int", "low": 0, "high": 1},
        }
    )
    assert space.names == ("a", "b", "c")
    assert space.grid(10) == [{"a": 0}, {"a": 1, "b": 0}, {"a": 1, "b": 1, "c": 0}, {"a": 1, "b": 1, "c": 1}]


def test_a_grid_has_every_combination_once_and_no_idle_parameter() -> None:
    space = Space.from_mapping(
        {
            "lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True, "points": 3},
            "optimizer": {"type": "categorical", "choices": ["sgd", "adam"]},
            "momentum": {
                "type": "float",
                "low": 0,
                "high": 1,
                "values": [0, 0.9],
                "when": {"optimizer": "sgd"},
            },
            "width": {"type": "int", "low": 8, "high": 64, "log": True, "points": 4},
            "drop": {"type": "float", "low": 0, "high": 0.5, "step": 0.25},
            "k": 3,
        }
    )
    grid = space.grid(1000)
    assert len(grid) == 3 * (2 + 1) * 4 * 3
    assert len({canonical_text(params) for params in grid}) == len(grid)
    assert sorted({params["lr"] for params in grid}) == [1e-4, 1e-3, 1e-2]
    assert sorted({params["width"] for params in grid}) == [8, 16, 32, 64]
    assert all(("momentum" in params) == (params["optimizer"] == "sgd") for params in grid)
    for params in grid:
        space.check_params(params)
    with pytest.raises(SpaceError, match="at most 107"):
        space.grid(107)
    assert len(space.grid(108)) == 108


def test_a_grid_over_a_continuous_range_is_refused_and_over_a_huge_one_too() -> None:
    with pytest.raises(SpaceError, match="points") as caught:
        Space.from_mapping(CONTRACT).grid(100)
    assert caught.value.key == ("learning_rate",)
    with pytest.raises(SpaceError, match="at most 100"):
        Space.from_mapping({"n": {"type": "int", "low": 0, "high": 2**50}}).grid(100)


def test_a_space_without_parameters_has_one_configuration() -> None:
    assert Space.from_mapping({}).grid(1) == [{}]
    assert Space.from_mapping({"a": 1}).sobol(2, 0) == [{"a": 1}, {"a": 1}]


@pytest.mark.parametrize("name", sorted({*built_in_spaces()} - {"gradient_boosting"}))
def test_built_in_space_sweeps_learning_rate_and_three_optimizers(name: str) -> None:
    by_name = {parameter.name: parameter for parameter in Space.from_mapping(name).searched_parameters}
    assert "learning_rate" in by_name
    assert by_name["optimizer"].to_json()["choices"] == ["sgd", "adam", "rmsprop"]


@pytest.mark.parametrize("name", ["linear_regression", "image_cnn", "text_cnn", "training"])
def test_built_in_space_has_a_grid(name: str) -> None:
    assert Space.from_mapping(name).grid(100_000)


# -- start configurations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"learning_rate": 1.0}, "from 0.0001 to 0.1"),
        ({"learning_rate": "1e-3"}, "without quotes"),
        ({"learning_rate": True}, "number"),
        ({"learning_rate": math.nan}, "number"),
        ({"batch_size": 16.5}, "whole number"),
        ({"optimizer": "adamw"}, "choices are 'sgd'"),
        ({"filter_widths": [4]}, "one of its choices"),
        ({"optimizer": "adam", "momentum": 0.9}, "only when optimizer"),
        ({"hidden": 65}, "constant"),
    ],
)
def test_a_start_configuration_outside_the_space_is_refused(params: dict[str, Any], words: str) -> None:
    with pytest.raises(SpaceError, match=words) as caught:
        Space.from_mapping(CONTRACT).check_params(params)
    assert caught.value.key


def test_start_configuration_may_be_partial() -> None:
    space = Space.from_mapping(CONTRACT)
    space.check_params({"momentum": 0.5})
    assert space.encode({"momentum": 0.5}) == {"momentum": 0.5}
    assert space.encode({"optimizer": "adam", "momentum": 0.5, "hidden": 64}) == {"optimizer": "adam"}
    assert space.encode({"filter_widths": [3, 4, 5]}) == {"filter_widths": "[3, 4, 5]"}


# -- what is refused ------------------------------------------------------------------------------------

FLOAT: dict[str, Any] = {"type": "float", "low": 0.0, "high": 1.0}
INT: dict[str, Any] = {"type": "int", "low": 1, "high": 9}


@pytest.mark.parametrize(
    ("mapping", "key", "words"),
    [
        ({"a": {"type": "flaot", "low": 0, "high": 1}}, ("a", "type"), "did you mean 'float'"),
        ({"a": {"type": 3}}, ("a", "type"), "float, int or categorical"),
        ({"a": {"low": 0, "high": 1}}, ("a",), "type"),
        ({"a": {}}, ("a",), "type"),
        ({"a": {**FLOAT, "lowe": 1}}, ("a", "lowe"), "did you mean 'low'"),
        ({"a": {"type": "categorical", "choices": [1], "low": 1}}, ("a", "low"), "only keys"),
        ({"a": {"type": "float", "low": 0}}, ("a",), "add high"),
        ({"a": {**FLOAT, "low": "1e-3"}}, ("a", "low"), "without quotes"),
        ({"a": {**FLOAT, "low": True}}, ("a", "low"), "finite number"),
        ({"a": {**FLOAT, "low": None}}, ("a", "low"), "finite number"),
        ({"a": {**FLOAT, "low": math.nan}}, ("a", "low"), "finite"),
        ({"a": {**FLOAT, "high": math.inf}}, ("a", "high"), "finite"),
        ({"a": {**FLOAT, "low": -1e308, "high": 1e308}}, ("a", "high"), "finite distance"),
        ({"a": {**FLOAT, "low": 2.0}}, ("a", "low"), "exchange"),
        ({"a": {**FLOAT, "log": True}}, ("a", "low"), "above 0"),
        ({"a": {**INT, "low": 0, "log": True}}, ("a", "low"), "above 0"),
        ({"a": {**FLOAT, "log": "yes"}}, ("a", "log"), "true or false"),
        ({"a": {**INT, "low": 1.5}}, ("a", "low"), "whole"),
        ({"a": {**INT, "high": 1e3}}, ("a", "high"), "write 1000"),
        ({"a": {**INT, "high": 2**60}}, ("a", "high"), r"2\*\*53"),
        ({"a": {**FLOAT, "step": 0}}, ("a", "step"), "above 0"),
        ({"a": {**FLOAT, "step": 0.3}}, ("a", "step"), "set high: 0.9"),
        ({"a": {**FLOAT, "step": 1e-300}}, ("a", "step"), "steps"),
        ({"a": {**FLOAT, "low": 0.5, "log": True, "step": 0.1}}, ("a", "step"), "log"),
        ({"a": {**INT, "step": 3}}, ("a", "step"), "set high: 7"),
        ({"a": {**FLOAT, "points": 1}}, ("a", "points"), "from 2"),
        ({"a": {**FLOAT, "points": 3, "values": [0.1]}}, ("a", "points"), "drop one"),
        ({"a": {**FLOAT, "points": 3, "step": 0.5}}, ("a", "points"), "drop one"),
        ({"a": {**FLOAT, "values": [0.1, 2]}}, ("a", "values"), "from 0 to 1"),
        ({"a": {**FLOAT, "values": []}}, ("a", "values"), "at least one"),
        ({"a": {**FLOAT, "values": [0.1, 0.1]}}, ("a", "values"), "different"),
        ({"a": {"type": "categorical", "choices": []}}, ("a", "choices"), "at least one"),
        ({"a": {"type": "categorical"}}, ("a", "choices"), "list"),
        ({"a": {"type": "categorical", "choices": "sgd"}}, ("a", "choices"), "list"),
        ({"a": {"type": "categorical", "choices": ["x", "x"]}}, ("a", "choices"), "different"),
        ({"a": {"type": "categorical", "choices": [math.nan]}}, ("a", "choices"), "finite"),
        ({"a": math.inf}, ("a",), "finite"),
        ({"a": {**FLOAT, "when": 3}}, ("a", "when"), "mapping"),
        ({"a": {**FLOAT, "when": {"b": 1}}}, ("a", "when", "b"), "parameter of the space"),
        (
            {"a": {**FLOAT, "when": {"optimiser": 1}}, "optimizer": 1},
            ("a", "when", "optimiser"),
            "'optimizer'",
        ),
        ({"a": {**FLOAT, "when": {"b": []}}, "b": 1}, ("a", "when", "b"), "at least one"),
        ({"a": {**FLOAT, "when": {"b": 0.5}}, "b": FLOAT}, ("a", "when", "b"), "give it choices"),
        ({"a": {**FLOAT, "when": {"b": [10]}}, "b": INT}, ("a", "when", "b"), "from 1 to 9"),
        ({"a": {**INT, "when": {"a": 1}}}, ("a", "when"), "a → a"),
        ({"a": {**INT, "when": {"b": 1}}, "b": {**INT, "when": {"a": 1}}}, ("a", "when"), "a → b → a"),
        ({"1a": 3}, ("1a",), "name"),
        ({"a b": 3}, ("a b",), "name"),
        ({"__import__('os')": 3}, ("__import__('os')",), "name"),
        ({"extends": "linear_regresion"}, ("extends",), "did you mean 'linear_regression'"),
        ({"extends": "nowhere/x.yaml"}, ("extends",), "must exist"),
        ({"extends": ["linear_regression"]}, ("extends",), "name or a path"),
        ({f"p{i}": 1 for i in range(501)}, (), "at most 500"),
    ],
)
def test_a_wrong_space_is_refused_with_its_key_and_what_to_do(
    mapping: dict[str, Any], key: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SpaceError, match=words) as caught:
        Space.from_mapping(mapping)
    assert caught.value.key == key


def test_condition_on_a_choice_the_parent_never_takes_is_refused() -> None:
    mapping = {**CONTRACT, "beta1": {**FLOAT, "when": {"optimizer": ["adm"]}}}
    with pytest.raises(SpaceError, match=r"value that optimizer takes.*'adm'.*'adam'") as caught:
        Space.from_mapping(mapping)
    assert caught.value.key == ("beta1", "when", "optimizer")


# -- inheritance ----------------------------------------------------------------------------------------


def test_extends_replaces_by_name_and_keeps_the_rest(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: linear_regression\nlearning_rate: 0.1\nextra: 3\n")
    space = Space.from_mapping(
        {"extends": "mine.yaml", "extra": {"type": "int", "low": 1, "high": 2}}, tmp_path
    )
    assert space.constants == {"learning_rate": 0.1}
    assert {"optimizer", "momentum", "extra"} <= set(space.names)
    assert Space.from_mapping("mine.yaml", tmp_path).constants == {"learning_rate": 0.1, "extra": 3}


def test_narrowed_parent_drops_impossible_children() -> None:
    space = Space.from_mapping({"extends": "linear_regression", "optimizer": "adam"})
    assert "momentum" not in space.names
    space = Space.from_mapping(
        {"extends": "linear_regression", "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]}}
    )
    assert {p["optimizer"] for p in space.sobol(64, 0) if "momentum" in p} == {"sgd"}


def test_fixed_values_make_constants_of_inherited_parameters_alone() -> None:
    space = Space.from_mapping(
        {"extends": "image_cnn"}, fixed={"channels": [8], "optimizer": "adam", "kernel": 3}
    )
    assert space.constants == {"channels": [8], "optimizer": "adam"}
    assert "momentum" not in space.names


def test_a_fault_in_an_extended_file_names_that_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("a: 1\nb:\n  type: float\n  low: 3\n  high: 1\n")
    with pytest.raises(SpaceError, match="exchange") as caught:
        Space.from_mapping({"extends": "./mine.yaml"}, tmp_path)
    assert caught.value.file == str(tmp_path / "mine.yaml")
    assert caught.value.line == 4


def test_spaces_that_extend_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(SpaceError, match=r"a.yaml → b.yaml → a.yaml"):
        Space.from_mapping("a.yaml", tmp_path)


# -- any input ------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(),
    st.sampled_from(["sgd", "float", "int", "a"]),
)
definitions = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(
        st.sampled_from(["type", "low", "high", "log", "step", "points", "values", "choices", "when", "x"]),
        st.one_of(
            scalars,
            st.sampled_from(["float", "int", "categorical"]),
            st.lists(scalars, max_size=4),
            st.dictionaries(
                st.sampled_from(["a", "b", "c"]), st.one_of(scalars, st.lists(scalars, max_size=2))
            ),
        ),
    ),
)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(["a", "b", "c", "extends", "é"]), definitions, max_size=4))
def test_space_of_any_mapping_works_or_is_an_input_error(mapping: dict[str, Any]) -> None:
    try:
        space = Space.from_mapping(mapping)
    except SearchSpaceInputError:
        return
    assert Space.from_json(space.to_json()) == space
    for params in space.sobol(4, seed=0):
        space.check_params(params)


ranges = st.one_of(
    st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)).map(
        lambda pair: {"type": "float", "low": pair[0], "high": pair[0] + pair[1]}
    ),
    st.tuples(st.floats(1e-9, 1e3), st.floats(1, 1e6)).map(
        lambda pair: {"type": "float", "low": pair[0], "high": pair[0] * pair[1], "log": True}
    ),
    st.tuples(st.integers(-1000, 1000), st.integers(0, 10), st.integers(1, 5)).map(
        lambda t: {"type": "int", "low": t[0], "high": t[0] + t[1] * t[2], "step": t[2]}
    ),
    st.tuples(st.integers(1, 1000), st.integers(0, 1000)).map(
        lambda pair: {"type": "int", "low": pair[0], "high": sum(pair), "log": True}
    ),
    st.tuples(st.integers(-50, 50), st.integers(0, 20), st.sampled_from([0.1, 0.05, 0.25])).map(
        lambda t: {"type": "float", "low": t[0] / 10, "high": round(t[0] / 10 + t[1] * t[2], 6), "step": t[2]}
    ),
)


@settings(deadline=None, max_examples=150)
@given(ranges, st.integers(0, 2**31 - 1))
def test_range_point_of_sobol_is_accepted_by_optuna(definition: dict[str, Any], seed: int) -> None:
    space = Space.from_mapping({"x": definition})
    (distribution,) = space.distributions().values()
    for params in space.sobol(16, seed):
        assert distribution._contains(distribution.to_internal_repr(space.encode(params)["x"]))
