"""What people hand in as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainers.bundle.frames import as_frame, frame_from_json, frame_to_json
from trainers.bundle.signature import column_specs
from trainers.errors import InputError
from trainers.inputs.vocabulary import as_text


@pytest.mark.parametrize(
    "given",
    [
        ["a b", "c"],
        np.array(["a b", "c"]),
        np.array([["a b"], ["c"]], dtype=object),
        pd.Series(["a b", "c"]),
        pd.DataFrame({"TEXT": ["a b", "c"], "id": [1, 2]}),
        pd.DataFrame({"sentence": ["a b", "c"]}),
        [{"text": "a b"}, {"text": "c"}],
        {"text": ["a b", "c"]},
    ],
)
def test_frame_from_texts_in_any_form_is_one_column(given: Any) -> None:
    assert as_frame(given, ["text"])["text"].tolist() == ["a b", "c"]


def test_frame_from_one_text_has_one_row() -> None:
    assert as_frame("a b", ["text"])["text"].tolist() == ["a b"]


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (np.zeros((5, 4, 4, 1), np.uint8), 5),
        (np.zeros((5, 4, 4), np.uint8), 5),
        (np.zeros((4, 4, 1), np.uint8), 1),
        (np.zeros((4, 4), np.uint8), 1),
        (np.zeros((9, 7), np.uint8), 1),
        (np.zeros((2, 4, 4, 1), np.uint8).tolist(), 2),
        ([np.zeros((4, 4)), np.zeros((6, 6))], 2),
        (["a.png", "b.png"], 2),
        ("a.png", 1),
        (b"\x89PNG", 1),
    ],
)
def test_frame_from_images_has_a_row_per_image(given: Any, rows: int) -> None:
    assert len(as_frame(given, ["image"], [4, 4, 1])) == rows


@pytest.mark.parametrize("given", [np.zeros((5, 64)), np.zeros((5, 64)).tolist(), [[0] * 64]])
def test_images_that_are_a_row_of_numbers_each_are_refused(given: Any) -> None:
    """As scikit-learn's digits have them: all of them were one image of 5 x 64, with one answer."""
    with pytest.raises(InputError, match=r"rows of 64 numbers; rows\.reshape\(-1, \*\(8, 8\)\)"):
        as_frame(given, ["image"], [8, 8, 1])
    assert len(as_frame([np.zeros((64, 64))], ["image"], [8, 8, 1])) == 1


def test_image_of_lists_that_differ_is_left_to_who_reads_images() -> None:
    """NumPy raised a ValueError here."""
    assert as_frame([[[1, 2], [3]]], ["image"], [2, 2, 1])["image"].tolist() == [[[1, 2], [3]]]


@pytest.mark.parametrize("given", [{"plan": ["\ud800"]}, [{"plan": "\ud800"}]])
def test_half_a_character_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="must hold whole characters"):
        as_frame(given, ["plan"])
    with pytest.raises(InputError, match="must hold whole characters"):
        as_text("a\ud800b")


def test_frame_from_table_is_read_by_position_or_name() -> None:
    assert as_frame([[1, 2], [3, 4]], ["a", "b"])["b"].tolist() == [2, 4]
    assert as_frame([1, 2], ["a", "b"]).shape == (1, 2)
    assert as_frame({"B": 2, "a": 1}, ["a", "b"])[["a", "b"]].to_numpy().tolist() == [[1, 2]]


@pytest.mark.parametrize("given", [[[1], [2, 3]], [1, 2, 3], 5, pd.DataFrame({"a": [1], "c": [1]})])
def test_frame_from_rows_of_another_shape_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="rows"):
        as_frame(given, ["a", "b"])


def test_frame_survives_json() -> None:
    frame = pd.DataFrame(
        {
            "number": [1.5, np.nan],
            "whole": [1, 2],
            "text": ["x", None],
            "bytes": [b"\x00\xff", b""],
            "image": [np.arange(4, dtype=np.uint8).reshape(2, 2), [[1, 2], [3, 4]]],
        }
    )
    back = frame_from_json(frame_to_json(frame))
    assert back["number"].tolist()[0] == 1.5
    assert np.isnan(back["number"].tolist()[1])
    assert back["whole"].dtype == "int64"
    assert back["text"].tolist() == ["x", None]
    assert back["bytes"].tolist() == [b"\x00\xff", b""]
    assert back["image"].tolist() == [[[0, 1], [2, 3]], [[1, 2], [3, 4]]]


def test_frame_column_specs_have_their_types() -> None:
    frame = pd.DataFrame({"n": [1, 2], "t": ["a", "b"], "image": ["a", "b"], "f": [True, False]})
    kinds = {spec.name: spec.type for spec in column_specs(frame, of_inputs=True)}
    assert kinds == {"n": "double", "t": "string", "image": "any", "f": "boolean"}
    assert {spec.name: spec.type for spec in column_specs(frame)}["n"] == "long"


def test_frame_with_a_needed_column_twice_is_refused() -> None:
    rows = pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"])
    with pytest.raises(InputError, match="a twice"):
        as_frame(rows, ["a", "b"])
    assert list(as_frame(rows, ["b"]).columns) == ["a", "a", "b"]  # what no model takes is passed over


@pytest.mark.parametrize("listed", [list, tuple, np.array, pd.Series])
def test_frame_from_a_mapping_of_columns_has_their_rows(listed: Any) -> None:
    found = as_frame({"a": listed([1, 2]), "b": listed(["x", "y"])}, ["a", "b"])
    assert found["a"].tolist() == [1, 2]
    assert found["b"].tolist() == ["x", "y"]


def test_frame_from_one_row_may_hold_lists() -> None:
    found = as_frame({"a": 1, "tags": ["gold", "eu"]}, ["a", "tags"])
    assert len(found) == 1
    assert found["tags"][0] == ["gold", "eu"]


def test_frame_from_columns_named_with_blanks_has_the_models_names() -> None:
    assert list(as_frame(pd.DataFrame({" A": [1], "b ": [2]}), ["a", "b"]).columns) == ["a", "b"]
