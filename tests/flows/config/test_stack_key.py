"""`search.stack`: what may be written, and what it comes to for each family."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import WrongInput
from infra.spec import Stack
from tests.flows.config.test_sweep_file import spec

RATE = {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}}
NUMBERS_ALONE = {"space": {**RATE, "optimizer": {"type": "categorical", "choices": ["sgd", "adam"]}}}
BOTH: dict[str, dict[str, object]] = {"linear_regression": NUMBERS_ALONE, "gradient_boosting": {}}


@pytest.mark.parametrize(
    ("written", "stack"), [("auto", "auto"), ("off", "off"), (False, "off"), (16, 16)], ids=str
)
def test_stack_of_the_file_holds_for_families_that_can_be_stacked(
    tmp_path: Path, written: object, stack: Stack
) -> None:
    """YAML reads a bare `off` as false."""
    found = spec(tmp_path, search={"stack": written}, families=BOTH)
    assert [family.stack for family in found.families] == [stack, "off"]


def test_stack_left_out_is_auto(tmp_path: Path) -> None:
    assert spec(tmp_path, families={"linear_regression": NUMBERS_ALONE}).families[0].stack == "auto"


@pytest.mark.parametrize("stack", [None, "auto", 8])
def test_stack_is_off_where_structures_are_searched_unless_a_number_is_written(
    tmp_path: Path, stack: Stack
) -> None:
    """Each value of a batch size is a structure: few trials share one, and each would be measured."""
    size = {"type": "int", "low": 8, "high": 64}
    families = {"linear_regression": {"space": {**RATE, "batch_size": size}}}
    search = {} if stack is None else {"stack": stack}
    assert spec(tmp_path, search=search, families=families).families[0].stack == (8 if stack == 8 else "off")


def test_stack_of_a_family_stands_over_that_of_the_file(tmp_path: Path) -> None:
    found = spec(tmp_path, search={"stack": "off"}, families={"linear_regression": {"stack": 8}})
    assert found.families[0].stack == 8


def test_stack_is_off_where_the_pruner_compares_with_what_has_ended(tmp_path: Path) -> None:
    """How many are trained side by side would decide which trials are pruned, unless the file says it."""
    median = {"pruner": "median", "stack": "auto"}
    families = {"linear_regression": NUMBERS_ALONE}
    assert spec(tmp_path, search=median, families=families).families[0].stack == "off"
    assert spec(tmp_path, search={**median, "stack": 4}, families=families).families[0].stack == 4


def test_stack_is_off_where_a_trial_has_several_workers(tmp_path: Path) -> None:
    families = {"linear_regression": NUMBERS_ALONE}
    assert spec(tmp_path, resources={"workers": 2}, families=families).families[0].stack == "off"


@pytest.mark.parametrize("written", [1, 0, True, 5000, "on"])
def test_stack_of_no_use_is_refused(tmp_path: Path, written: object) -> None:
    with pytest.raises(WrongInput, match="auto, off or a whole number"):
        spec(tmp_path, search={"stack": written})


def test_number_for_a_family_that_cannot_be_stacked_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="no rule for stacked recurrent layers"):
        spec(tmp_path, families={"rnn": {"stack": 4}})
