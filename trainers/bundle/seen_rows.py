"""Which rows a model has seen before it is judged, beside those that it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainers.bundle.contents import SeenRows

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset


def seen_rows(dataset: Dataset) -> SeenRows:
    """The rows of a data set's training and validation parts."""
    validation = dataset.splits["validation"]
    both = np.concatenate([dataset.splits["train"], validation])
    return SeenRows(validation=dataset.row_keys()[validation], contents=dataset.row_hashes[both])
