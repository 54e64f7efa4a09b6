"""One rule for names, refused identically everywhere."""

from __future__ import annotations

import pytest

from infra.errors import WrongInput
from infra.names import check_label, check_name, family_label, split_version
from tests.faults.hostile_names import HOSTILE_NAMES


@pytest.mark.parametrize("name", [n for n in HOSTILE_NAMES if n not in ("a:b", "x" * 64)], ids=ascii)
def test_hostile_family_name_is_refused(name: str) -> None:
    with pytest.raises(WrongInput):
        family_label(name)
    with pytest.raises(WrongInput):
        check_label(name)


@pytest.mark.parametrize("value", [None, 3, True, 1.5, ["a"], {"a": 1}, b"a"])
def test_name_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(WrongInput):
        check_name(value, "sweep")
    with pytest.raises(WrongInput):
        split_version(value)


@pytest.mark.parametrize("name", ["a", "0", "digits", "mr.v2_final-3", "x" * 63, "a..b"])
def test_sweep_name_of_allowed_characters_is_accepted(name: str) -> None:
    assert check_name(name, "sweep") == name


def test_a_sweep_may_be_named_with_its_version() -> None:
    assert split_version("digits") == ("digits", 1)
    assert split_version("digits@12") == ("digits", 12)
    for wrong in ("digits@", "digits@0", "digits@-1", "digits@1@2", "@2", "digits@1 "):
        with pytest.raises(WrongInput):
            split_version(wrong)


def test_labels_of_families_are_paths_without_surprises() -> None:
    assert family_label("image_cnn") == "image_cnn"
    assert family_label("my.nets:Net") == "my.nets.Net"
    for wrong in (
        "my.nets:",
        ":Net",
        "my..nets:Net",
        "my.nets:Net:x",
        "my nets:Net",
        "../x:Net",
        "a:b.c",
        "a:1",
    ):
        with pytest.raises(WrongInput):
            family_label(wrong)
