"""A kept model's bundle again, with its weights stored in less room."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from trainers.bundle.bundle import COMPRESSED_FORMAT, MODEL, WEIGHTS
from trainers.compression.methods import CompressionMethod
from trainers.compression.packing import pack_weights
from trainers.storage.atomic_folders import as_json, read_folder, write_folder
from trainers.storage.safetensors_file import SafetensorsPieces
from trainers.types import Json, Tensors


def save_compressed(
    folder: Path, source: Path, how: CompressionMethod, weights: Tensors, facts: Mapping[str, Json]
) -> Path:
    """Writes the bundle; afterwards it is there whole, or not at all.

    Args:
        source: the bundle that it is made of, whose code, rows and example it keeps.
        weights: of the module, pruned and tuned already where that is asked for.
        facts: that replace those of the source.

    Raises:
        InputError: nothing in it can be made smaller.
        OSError: the folder exists, or the file system refused.
    """
    files = dict(read_folder(source))
    document = json.loads(files[MODEL])
    stored, packing = pack_weights(weights, how)
    document |= {
        "format": COMPRESSED_FORMAT, "compression": packing, "facts": {**document["facts"], **facts},
    }  # fmt: skip
    return write_folder(folder, {**files, MODEL: as_json(document), WEIGHTS: SafetensorsPieces(stored)})
