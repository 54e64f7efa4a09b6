"""What a bundle holds, once it is read and verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import numpy.typing as npt

from trainers.bundle.signature import Signature

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.compression.packing import Packing
    from trainers.data.dataset import KeyedBy
    from trainers.kept.description import KeptDocument
    from trainers.types import JsonObject, State


class BundleDocument(TypedDict, total=False):
    """`model.json`: a family's model has the first part, a function's module the second, another
    library's model the third, all have the last."""

    family: str
    options: JsonObject
    state: State
    signature: JsonObject

    build: str
    predict: str | None

    kept: KeptDocument

    format: int
    params: JsonObject
    code: dict[str, str]
    facts: JsonObject
    compression: Packing
    versions: dict[str, str]


RowHashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRows:
    """Hashes of rows beside those that a model was trained on.

    Attributes:
        validation: of the rows that its epoch and its parameters were selected by, as training's are known.
        contents: of both parts' rows with their target.
    """

    validation: RowHashes
    contents: RowHashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle's content, verified.

    Attributes:
        document: `model.json`.
        weights: CPU tensors by name.
        example: raw rows as `predict` takes them.
        train_rows: content hashes of the rows that it was trained on, ascending.
        kept: the files of another library's model, by their names in the bundle.
        stored_bytes: what the weights take as they are stored, where that is another number; else None.
    """

    document: BundleDocument
    weights: Mapping[str, torch.Tensor]
    example: pd.DataFrame
    train_rows: RowHashes
    kept: Mapping[str, bytes] = field(default_factory=dict)
    stored_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDescription:
    """What is known of a bundle's model without building it.

    Attributes:
        document: `model.json`.
        example: raw rows as `predict` takes them.
        signature: names and types of what goes in and out; None for people's own functions.
        train_rows: hashes of the rows that it was trained on, ascending; none where that is unknown.
        train_rows_by: what those hashes are of, see `Dataset.row_keys`.
        seen: of the other rows that it has seen; None in older bundles.
        fingerprint: of the data that it was trained on; empty where that is unknown.
    """

    document: BundleDocument
    example: pd.DataFrame
    signature: Signature | None
    train_rows: RowHashes
    train_rows_by: KeyedBy
    seen: SeenRows | None = None
    fingerprint: str = ""
