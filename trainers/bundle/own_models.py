"""Bundles of models that people's own code made: a module that they build, or another library's files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.bundle.bundle import EXAMPLE, add_signature, bundle_files
from trainers.bundle.contents import BundleDocument, RowHashes, SeenRows
from trainers.bundle.frames import frame_to_json
from trainers.code.references import source_hashes
from trainers.kept.files import code_references, pack_files
from trainers.storage.atomic_folders import as_json, write_folder

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.kept.description import KeptModel
    from trainers.types import Json, Params

_log = logging.getLogger(__name__)


def save_functions(
    folder: Path,
    *,
    build: str,
    predict: str | None,
    params: Params,
    weights: Mapping[str, torch.Tensor],
    facts: Mapping[str, Json],
    example_rows: pd.DataFrame,
    row_hashes_of_train: RowHashes,
    seen: SeenRows | None = None,
    signed: bool = False,
) -> Path:
    """Writes the bundle of a plain function's model.

    Args:
        build: `package.module:name` of a function that makes the module of the params: `build(**params)`.
        predict: `package.module:name` of a function: `predict(module, rows)` gives one prediction a row;
            None: the module itself answers the rows' numbers, float32 [B, F].
        signed: whether the example is people's own, by which the signature is found now.
    """
    document: BundleDocument = {
        "build": build,
        "predict": predict,
        "params": dict(params),
        "code": source_hashes([build] if predict is None else [build, predict]),
    }
    files = bundle_files(document, weights, facts, example_rows, row_hashes_of_train, seen)
    return write_folder(folder, add_signature(folder, files, weights) if signed else files)


def save_kept(
    folder: Path,
    *,
    kept: KeptModel,
    directory: Path,
    params: Params,
    facts: Mapping[str, Json],
    example_rows: pd.DataFrame,
    row_hashes_of_train: RowHashes,
    seen: SeenRows | None = None,
) -> Path:
    """Writes the bundle of another library's model.

    Args:
        kept: what it is.
        directory: the trial's, that its files are below.
        example_rows: rows that it may answer; left out where it does not.
    """
    described, stored = pack_files(kept, directory)
    document: BundleDocument = {
        "kept": described, "params": dict(params), "code": source_hashes(code_references(described)),
    }  # fmt: skip
    files = {**bundle_files(document, {}, facts, example_rows, row_hashes_of_train, seen), **stored}
    signed = add_signature(folder, files, {})
    if signed == files and not example_rows.empty:
        _log.warning("the data's rows are not what the model takes: give example= for a signature")
        signed |= {EXAMPLE: as_json(frame_to_json(example_rows.iloc[:0, :0]))}
    return write_folder(folder, signed)
