from __future__ import annotations

import numpy as np
import pytest

from trainers.column_warnings import warn_of_numbers


@pytest.mark.parametrize(
    ("first", "step", "words"),
    [
        (45_000, 1, "an identifier, or days as Excel counts them (45000 is 2023-03-15)"),
        (1_700_000_000, 37, "identifiers, or seconds since 1970 (1700000000 is 2023-11-14)"),
        (1_700_000_000_000, 3_700, "identifiers, or milliseconds since 1970 (1700000000000 is 2023-11-14)"),
        (1, 1, "an identifier? "),
        (20_000_000, 37, "identifiers? "),
    ],
)
def test_ascending_whole_numbers_may_be_identifiers_or_times(first: int, step: int, words: str) -> None:
    column = np.arange(first, first + 120 * step, step, dtype=np.float64)
    assert words in warn_of_numbers("joined", column, 120)
