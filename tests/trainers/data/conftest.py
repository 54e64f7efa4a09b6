from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trainers.data.dataset import Dataset
from trainers.data.hashing import fingerprint
from trainers.data.sources.opening import open_dataset
from trainers.inputs.encoded_arrays import clear_cache

Open = Callable[..., Dataset]


def former_fingerprint(dataset: Dataset) -> str:
    """What the data's fingerprint was when sides were by inputs and target; of a source without parts."""
    target = dataset.target.name if dataset.target else None
    return fingerprint(dataset.row_hashes, None, sorted(dataset.columns), target, dataset.task)


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """opened("csv:a.csv", task=…) reads from the test's own folder."""

    def read(source: Any, *, recorded: str | None = None, **rest: Mapping[str, Any] | str) -> Dataset:
        spec = {"source": source, **rest}
        return open_dataset(spec, base=tmp_path, cache=tmp_path / "cache", recorded=recorded)

    return read


@pytest.fixture(autouse=True)
def _fresh() -> None:
    clear_cache()
