"""What a kept model's bundle knows of the rows that it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from infra.lanes.attempt_models import _train_rows
from trainers.data.sources.opening import open_dataset


@pytest.mark.parametrize("by", ["content", "row"])
def test_bundle_knows_training_rows_by_what_decided_their_side(tmp_path: Path, by: str) -> None:
    lines = [f"{n % 40},{'ab'[n % 2]}" for n in range(400)]
    (tmp_path / "a.csv").write_text("\n".join(["x,label", *lines]))
    spec = {"source": "csv:a.csv", "split": {"by": by}}
    dataset = open_dataset(spec, base=tmp_path, cache=tmp_path)
    train = _train_rows(dataset)
    assert set(train) == set(dataset.row_keys()[dataset.splits["train"]])
    assert not np.isin(dataset.row_keys()[dataset.splits["test"]], train).any()
    assert not np.isin(train, dataset.row_hashes).any()
