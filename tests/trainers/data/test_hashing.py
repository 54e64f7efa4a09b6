from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from trainers.data.hashing import MISSING, fingerprint, hash_arrays, hash_column, hash_rows


def hash_values(values: object, kind: pa.DataType | None = None) -> list[int]:
    return hash_column(pa.chunked_array([pa.array(values, kind)])).tolist()


def test_hashes_never_change_between_versions() -> None:
    """Splits hang on them: another value here would mix old test rows into new training."""
    assert hash_values(["good", "1.5", "", None]) == [
        6737770499354986736,
        15481881892811333770,
        int(MISSING),
        int(MISSING),
    ]


def test_a_number_hashes_the_same_however_it_is_kept() -> None:
    as_text, as_float = hash_values(["1", "-2.50", "1e3"]), hash_values([1.0, -2.5, 1000.0])
    assert as_text == as_float == hash_values(["1.0", "-2.5", "1000"])
    assert hash_values([1, 7]) == hash_values([1.0, 7.0])
    assert hash_values(["1", "word"])[0] == hash_values([1])[0]  # also in a column that holds words too


def test_missing_value_hashes_the_same_in_every_type() -> None:
    missing = int(MISSING)
    assert hash_values([None, 1.0])[0] == missing
    assert hash_values([float("nan"), 1.0])[0] == missing
    assert hash_values(["", "a"])[0] == missing
    assert hash_values([None, None]) == [missing, missing]
    assert hash_values([0.0]) == hash_values([-0.0])


@given(st.lists(st.text(max_size=5), min_size=2, max_size=30))
def test_hashes_are_equal_only_for_equal_values(values: list[str]) -> None:
    found = hash_values(values, pa.string())
    for a, ha in zip(values, found, strict=True):
        for b, hb in zip(values, found, strict=True):
            assert (ha == hb) or a != b


def test_fingerprint_changes_with_any_row_but_not_with_order() -> None:
    values = np.arange(20_000)
    rows = hash_rows({"a": hash_column(pa.chunked_array([values]))}, len(values))
    same = fingerprint(rows[np.random.default_rng(0).permutation(len(rows))], None, ["a"])
    assert same == fingerprint(rows, None, ["a"])
    values[15_000] = -1
    changed = hash_rows({"a": hash_column(pa.chunked_array([values]))}, len(values))
    assert fingerprint(changed, None, ["a"]) != same
    assert fingerprint(rows, None, ["b"]) != same
    assert len(same) == 32
    int(same, 16)


def test_fingerprint_counts_duplicate_rows() -> None:
    rows = np.array([5, 5, 9], np.uint64)
    assert fingerprint(rows, None) != fingerprint(np.array([5, 9, 9], np.uint64), None)
    assert fingerprint(rows, None) != fingerprint(rows[:2], None)


def test_a_row_that_moves_to_another_part_changes_the_fingerprint() -> None:
    rows = np.array([1, 2, 3], np.uint64)
    before = fingerprint(rows, np.array([0, 0, 2], np.int8))
    assert before != fingerprint(rows, np.array([0, 2, 0], np.int8))


def test_row_hash_depends_on_column_name_and_not_place() -> None:
    a, b = np.array([1, 2], np.uint64), np.array([3, 4], np.uint64)
    assert (hash_rows({"a": a, "b": b}, 2) == hash_rows({"b": b, "a": a}, 2)).all()
    assert (hash_rows({"a": a, "b": b}, 2) != hash_rows({"a": b, "b": a}, 2)).all()


def test_image_rows_are_hashed_with_their_shape() -> None:
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)
    assert (hash_arrays(images) != hash_arrays(images.reshape(2, 2, 8, 1))).all()
    assert hash_arrays(images)[0] == hash_arrays(images[:1])[0]
