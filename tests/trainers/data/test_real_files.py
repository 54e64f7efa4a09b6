"""The real files that the project is tried on; skipped where they are not at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from trainers.data.sources.opening import open_dataset
from trainers.data_profile import profile_dataset

BESIDE = Path(__file__).parents[4] / "shared" / "data"
DATA = Path(os.environ.get("VELODROME_TEST_DATA", BESIDE))

pytestmark = pytest.mark.skipif(not (DATA / "mr.csv").is_file(), reason="set VELODROME_TEST_DATA")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("csv:mr.csv", ("text", "classification", 10_662, 2, None)),
        ("csv:trec", ("text", "classification", 5_952, 6, 500)),
        ("npz:mnist10k.npz", ("image", "classification", 10_000, 10, None)),
        ("images:hymenoptera", ("image", "classification", 396, 2, None)),
        ("csv:multi30k_en_de", ("pairs", "seq2seq", 31_014, 0, 1000)),
        ("text:tinyshakespeare.txt", ("corpus", "language-model", 656, 0, None)),
    ],
)
def test_real_data_file_has_its_kind_task_rows_and_parts(
    tmp_path: Path, source: str, expected: tuple[Any, ...]
) -> None:
    dataset = open_dataset({"source": source}, base=DATA, cache=tmp_path)
    test_rows = len(dataset.splits["test"])
    found = (dataset.kind, dataset.task, dataset.rows, len(dataset.classes))
    assert found == expected[:4]
    assert test_rows == (expected[4] or test_rows)
    shown = profile_dataset(dataset)
    assert sum(shown.parts.values()) == dataset.rows
    assert min(shown.parts.values()) > 0
