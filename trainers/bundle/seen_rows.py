"""Which rows a model has seen before it is judged, whatever became of their target since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainers.bundle.contents import RowHashes, SeenRows
from trainers.data.hashing import hash_bytes, hash_column, mix_hashes

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset

_TARGET = np.uint64(hash_bytes(b"\0target"))


def seen_rows(dataset: Dataset) -> SeenRows:
    """The rows of a data set's training and validation parts."""
    validation = dataset.splits["validation"]
    both = np.concatenate([dataset.splits["train"], validation])
    return SeenRows(validation=dataset.row_hashes[validation], features=feature_hashes(dataset)[both])


def feature_hashes(dataset: Dataset) -> RowHashes:
    """Hash of each row without its target, uint64 [N]: what the target added is taken off again."""
    if dataset.target is None:
        return dataset.row_hashes
    import pyarrow as pa

    values = dataset.target.values
    column = pa.chunked_array([pa.array(values if isinstance(values, np.ndarray) else list(values))])
    return mix_hashes(_unmix_hashes(dataset.row_hashes) - mix_hashes(hash_column(column) ^ _TARGET))


def _unmix_hashes(values: RowHashes) -> RowHashes:
    """The inverse of `mix_hashes`."""
    z = values ^ (values >> np.uint64(31)) ^ (values >> np.uint64(62))
    z = z * np.uint64(0x319642B2D24D8EC3)
    z = z ^ (z >> np.uint64(27)) ^ (z >> np.uint64(54))
    z = z * np.uint64(0x96DE1B173F119089)
    z = z ^ (z >> np.uint64(30)) ^ (z >> np.uint64(60))
    found: RowHashes = z - np.uint64(0x9E3779B97F4A7C15)
    return found
