"""What a run's parameters say: each name of the space, and different values differently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.ledger import views
from infra.ledger.rows import TrialRow
from infra.spec import FamilySpec
from infra.tracking.mapping import run_parameters, state_tags, trial_tags
from search_spaces.space import Space
from search_spaces.values import plain_text
from tests.infra.tracking.story import Story, a_spec

CHOICES = [
    1, 1.0, True, "1", "1.0", "true", "True", [1, [2, 3]], "[1, [2, 3]]", "[1,[2,3]]", None, "null", "", " ",
    '"1"', "NaN", "adam", "adam ", "adam\u200b", "\n", "a\nb", "a\\nb",
    {"shift": 1}, '{"shift": 1}', "[" * 5_000,
]  # fmt: skip


def test_choices_of_different_values_are_told_apart() -> None:
    shown = [plain_text(choice) for choice in CHOICES]
    assert len({text.strip() for text in shown}) == len(CHOICES)
    assert (plain_text("adam"), plain_text("1"), plain_text(1)) == ("adam", '"1"', "1")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("1", '"1"'), (1, "1"), ("sgd", "sgd"), ("sgd ", '"sgd "'), ("", '""'), ("inactive", '"inactive"')],
)
def test_parameter_text_is_quoted_where_it_reads_as_another_value(value: Any, shown: str) -> None:
    params, inactive = run_parameters(
        make_family({"mixed": {"type": "categorical", "choices": ["1", 1, "sgd", "sgd ", "", "inactive"]}}),
        make_trial({"mixed": value}),
        {},
    )
    assert (params, inactive) == ({"mixed": shown}, [])


def test_long_texts_that_begin_alike_are_told_apart() -> None:
    texts = ["x" * 7_000 + end for end in "ab"]
    family = make_family({"prompt": {"type": "categorical", "choices": texts}})
    shown = [run_parameters(family, make_trial({"prompt": text}), {})[0]["prompt"] for text in texts]
    assert shown[0] != shown[1]
    assert [len(text) for text in shown] == [6_000, 6_000]


def test_inactive_parameter_of_own_code_is_among_the_runs_parameters() -> None:
    """Parallel coordinates leave out a run without one of the searched names."""
    space = {
        "a": {"type": "categorical", "choices": ["x", "y"]},
        "b": {"type": "float", "low": 0.0, "high": 1.0, "when": {"a": "x"}},
    }
    params, inactive = run_parameters(make_family(space), make_trial({"a": "y"}), {})
    assert params == {"a": "y", "b": "inactive"}
    assert inactive == ["b"]


def make_family(space: dict[str, Any]) -> FamilySpec:
    return FamilySpec(name="quick.train", reference="quick:train", space=Space.from_mapping(space).to_json())


def make_trial(params: dict[str, Any]) -> TrialRow:
    return TrialRow(role="search", family="quick.train", number=0, params=params, seed=1)


def test_run_of_a_family_that_begins_with_anothers_weights_names_that_run(tmp_path: Path) -> None:
    earlier = {"sweep": "words", "family": "bert", "number": 3, "key": "k", "run_id": "r" * 32}
    first, second = a_spec().families
    told = Story(tmp_path, a_spec(families=(replace(first, begins_with=earlier), second)))
    row = views.find_sweep(told.ledger, "digits")
    assert row is not None
    tags, others = (
        trial_tags(row, TrialRow(role="search", family=name, number=0, params={}, seed=1), [])
        for name in (first.name, second.name)
    )
    assert {name: tag for name, tag in tags.items() if "begins" in name} == {
        "velodrome.begins_with": "words bert-0003",
        "velodrome.begins_with_key": "k",
        "velodrome.begins_with_run": "r" * 32,
    }
    assert not [name for name in others if "begins" in name]


def test_run_says_host_lane_and_gpu_of_the_last_attempt_where_they_are_known() -> None:
    trial = make_trial({})
    assert not [name for name in state_tags(trial) if name in {"velodrome.host", "velodrome.gpu"}]
    trial.facts["place"] = {"host": "w1", "lane": "lanes-1-0", "gpu": "3"}
    told = {name: tag for name, tag in state_tags(trial).items() if name[10:] in trial.facts["place"]}
    assert told == {"velodrome.host": "w1", "velodrome.lane": "lanes-1-0", "velodrome.gpu": "3"}
