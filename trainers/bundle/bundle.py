"""A trained model on disk: tensors, JSON and a manifest; no code, and nothing that is unpickled.

| file | what it holds |
| --- | --- |
| `weights.safetensors` | the module's state, by name |
| `model.json` | what rebuilds it: its family, options, params, fitted state; signature, facts, versions |
| `train_rows.bin` | hash of what each row of training is known by: uint64, little-endian, ascending |
| `validation_rows.bin` | the same of validation, by which the model was selected; older bundles have none |
| `seen_contents.bin` | hash of each row of both with its target; older bundles have none |
| `example.json` | a few raw rows as `predict` takes them |
| `kept-N` | files of another library's model, as `model.json` names them; other bundles have none |
| `manifest.json` | size and SHA-256 of each |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from trainers.bundle.contents import Bundle, BundleDescription, BundleDocument, RowHashes, SeenRows
from trainers.bundle.frames import frame_from_json, frame_to_json
from trainers.bundle.signature import Signature, column_specs
from trainers.code.references import source_hashes
from trainers.code.versions import installed_versions
from trainers.compression.packing import unpack_weights
from trainers.data.dataset import KeyedBy
from trainers.errors import InputError
from trainers.hyperparameters import PRIVACY, TEACHING
from trainers.options import LATER
from trainers.registry import BUILT_IN, load_reference
from trainers.storage.atomic_folders import DamagedFolder, as_json, read_folder, write_folder
from trainers.storage.safetensors_file import SafetensorsPieces, load_tensors

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.bundle.predictor import Predictor
    from trainers.types import Json, Params, State, Tensors

# Versions that cannot unpack weights, or ask other libraries' models, refuse the later ones by their number.
FORMAT, COMPRESSED_FORMAT, KEPT_FORMAT = 1, 2, 3
WEIGHTS, MODEL, TRAIN_ROWS, EXAMPLE = "weights.safetensors", "model.json", "train_rows.bin", "example.json"
VALIDATION_ROWS, SEEN_CONTENTS = "validation_rows.bin", "seen_contents.bin"
_VERSIONS_OF = ("velodrome", "torch", "numpy", "pandas", "safetensors", "tokenizers", "lightgbm")
_TRAINING_ONLY = {"pretrained", "sha256", "freeze", "encoder", "encoder_sha256", *LATER}


def save_bundle(
    folder: Path,
    *,
    family_reference: str,
    options: Params,
    params: Params,
    state: State,
    weights: Mapping[str, torch.Tensor],
    facts: Mapping[str, Json],
    example_rows: pd.DataFrame,
    row_hashes_of_train: RowHashes,
    seen: SeenRows | None = None,
) -> Path:
    """Writes the bundle of a family's model; afterwards it is there whole, or not at all.

    Args:
        family_reference: as in the sweep file: a built-in name or `package.module:Class`.
        options: as in the sweep file; they are stored as they came out, a preset's values among them.
        params: the trial's hyper-parameters; defaults are filled in.
        weights: the module's state by name.
        facts: JSON-able: metrics of the kept epoch, `fingerprint` of the data, sweep, trial, and so on.

    Raises:
        InputError: the reference is no family, or options or params are not its own.
        OSError: the folder exists, or the file system refused.
    """
    family = load_reference(family_reference)
    if not isinstance(family, type):
        raise InputError("a family's bundle needs a Family class", family_reference, "use save_functions")
    made = family(options)
    document: BundleDocument = {
        "family": family_reference,
        "options": made.options.model_dump(mode="json", exclude=_TRAINING_ONLY),
        "params": {
            n: value for n, value in made.complete(params).items() if n not in {**TEACHING, **PRIVACY}
        },
        "state": dict(state),
        "code": {} if family_reference in BUILT_IN else source_hashes([family_reference]),
    }
    files = bundle_files(document, weights, facts, example_rows, row_hashes_of_train, seen)
    return write_folder(folder, add_signature(folder, files, weights))


def bundle_files(
    document: BundleDocument,
    weights: Mapping[str, torch.Tensor],
    facts: Mapping[str, Json],
    example_rows: pd.DataFrame,
    row_hashes_of_train: RowHashes,
    seen: SeenRows | None,
) -> dict[str, Any]:
    """The files that every bundle has."""
    number = KEPT_FORMAT if "kept" in document else FORMAT
    whole = {"format": number, **document, "facts": dict(facts), "versions": bundle_versions()}
    hashes = {TRAIN_ROWS: row_hashes_of_train}
    if seen is not None:
        hashes |= {VALIDATION_ROWS: seen.validation, SEEN_CONTENTS: seen.contents}
    return {
        WEIGHTS: SafetensorsPieces(weights),
        MODEL: as_json(whole),
        **{name: np.sort(rows.astype("<u8")).tobytes() for name, rows in hashes.items()},
        EXAMPLE: as_json(frame_to_json(example_rows)),
    }


def add_signature(
    folder: Path, files: Mapping[str, Any], weights: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """The files with what the model takes and gives; as they are where it cannot be used here, as whoever
    loads it will be told."""
    from trainers.bundle.predictor import make_predictor

    try:
        bundle = _parse_bundle(folder, {**files, WEIGHTS: weights})
        signature = infer_signature(make_predictor(bundle, device="cpu", accept_code_change=True))
    except InputError:
        return dict(files)
    return {**files, MODEL: as_json({**json.loads(files[MODEL]), "signature": signature.to_json()})}


def bundle_versions() -> dict[str, str]:
    """The versions that a model's numbers may depend on, of what is installed."""
    return installed_versions(_VERSIONS_OF)


def read_bundle(folder: Path, *, manifest_sha256: str | None = None) -> Bundle:
    """Everything in a bundle, once its manifest has verified.

    Args:
        manifest_sha256: what the manifest must hash to, where a registry knows it.
    """
    readers = {WEIGHTS: load_tensors}
    return _parse_bundle(folder, read_folder(folder, manifest_sha256=manifest_sha256, readers=readers))


def read_description(folder: Path, *, manifest_sha256: str | None = None) -> BundleDescription:
    """What a bundle says of its model, once its manifest has verified; needs neither torch nor its code.

    Args:
        manifest_sha256: what the manifest must hash to, where a registry knows it.
    """
    files = read_folder(folder, manifest_sha256=manifest_sha256)
    document = _read_document(folder, files)
    signature = document.get("signature")
    with _reject_forged(folder):
        return BundleDescription(
            document=document,
            example=frame_from_json(json.loads(files[EXAMPLE])),
            signature=None if signature is None else Signature.from_json(signature),
            train_rows=_train_rows(files),
            train_rows_by=_train_rows_by(document),
            seen=_seen_rows(files),
            fingerprint=str(document["facts"].get("fingerprint") or ""),
        )


def _parse_bundle(folder: Path, files: Mapping[str, Any]) -> Bundle:
    """Files as bytes, but for the weights, which are tensors already."""
    document = _read_document(folder, files)
    with _reject_forged(folder):
        stored, packing = files[WEIGHTS], document.get("compression")
        kept = {name: files[name] for name in document["kept"]["files"]} if "kept" in document else {}
        return Bundle(
            document=document,
            weights=stored if packing is None else unpack_weights(stored, packing),
            kept=kept,
            stored_bytes=_stored_bytes(document, stored, kept),
            example=frame_from_json(json.loads(files[EXAMPLE])),
            train_rows=_train_rows(files),
        )


def _stored_bytes(document: BundleDocument, stored: Tensors, kept: Mapping[str, bytes]) -> int | None:
    if kept:
        return sum(map(len, kept.values()))
    if "compression" in document:
        return sum(t.numel() * t.element_size() for t in stored.values())
    return None


@contextmanager
def _reject_forged(folder: Path) -> Iterator[None]:
    """Files whose manifest is true and whose content was never ours."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFolder(
            f"{folder} must hold what a bundle holds", f"{type(error).__name__}: {error}"[:300]
        ) from error


def _train_rows_by(document: BundleDocument) -> KeyedBy:
    """Bundles that say nothing of it are of before: they hashed inputs and target."""
    said = document["facts"].get("train_rows_by")
    return next((by for by in get_args(KeyedBy) if by == said), "content")


def _train_rows(files: Mapping[str, bytes], name: str = TRAIN_ROWS) -> RowHashes:
    return np.frombuffer(files[name], dtype="<u8").astype(np.uint64)


def _seen_rows(files: Mapping[str, bytes]) -> SeenRows | None:
    if not {VALIDATION_ROWS, SEEN_CONTENTS} <= files.keys():
        return None
    return SeenRows(
        validation=_train_rows(files, VALIDATION_ROWS), contents=_train_rows(files, SEEN_CONTENTS)
    )


def _read_document(folder: Path, files: Mapping[str, bytes]) -> BundleDocument:
    missing = {WEIGHTS, MODEL, TRAIN_ROWS, EXAMPLE} - files.keys()
    if missing:
        raise DamagedFolder(f"{folder} must be a model's bundle", f"no {min(missing)}")
    with _reject_forged(folder):
        document: BundleDocument = json.loads(files[MODEL])
        found = document.get("format")
    expected = COMPRESSED_FORMAT if "compression" in document else FORMAT
    if found != (KEPT_FORMAT if "kept" in document else expected):
        raise DamagedFolder(
            f"{folder} must be a bundle of format {FORMAT}, {COMPRESSED_FORMAT} where it is compressed, or "
            f"{KEPT_FORMAT} where it holds another library's model",
            f"format {found!r}",
            "load it with the version of Velodrome that its model.json names",
        )
    return document


def load_bundle(
    folder: Path | str,
    *,
    device: str = "cpu",
    manifest_sha256: str | None = None,
    accept_code_change: bool = False,
) -> Predictor:
    """A bundle's model, ready to predict.

    Args:
        device: where it computes.
        manifest_sha256: what the manifest must hash to, where a registry knows it.
        accept_code_change: also take people's own code that is not the same as when the model was saved.
    """
    from trainers.bundle.predictor import make_predictor

    bundle = read_bundle(Path(folder), manifest_sha256=manifest_sha256)
    return make_predictor(bundle, device=device, accept_code_change=accept_code_change)


def infer_signature(predictor: Predictor) -> Signature:
    """The signature, from the bundle's own example rows; empty where own code reads its own data."""
    if predictor.example.empty:
        return Signature(inputs=(), outputs=())
    answers = predictor.predict(predictor.example)
    spelt = spelt_numbers(predictor.document.get("state") or {})
    inputs = [
        replace(column, type="any") if column.name in spelt else column
        for column in column_specs(predictor.example, of_inputs=True)
    ]
    return Signature(inputs=tuple(inputs), outputs=column_specs(answers))


def spelt_numbers(state: State) -> set[str]:
    """Columns of a family's state whose cells may be texts that stand for numbers."""
    return {entry["name"] for entry in (state.get("table") or {}).get("numbers", ()) if "spelling" in entry}
