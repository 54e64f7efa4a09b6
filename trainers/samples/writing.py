"""What a family shows of its work: pictures and texts by name, as files that tracking can pick up.

`Family.samples` says what they are. At the end of a kept trial they come from the kept weights; a family with
`samples_at = "report"` also shows them at each report, from the weights of that moment.

| file | what it holds |
| --- | --- |
| `<name>.png`, `<name>.txt` | of the kept weights |
| `<name>/0003.png`, `<name>/0003.txt` | of the third report |
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.errors import InputError
from trainers.types import Pixels, Sample

if TYPE_CHECKING:
    import torch

    from trainers.data.dataset import EncodedDataset
    from trainers.family import Family
    from trainers.types import ExampleSource, Params, State

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def write_samples(folder: Path, samples: Mapping[str, Sample], report: int | None = None) -> list[Path]:
    """Writes each sample into a file of its own, replacing what an earlier attempt left there.

    Args:
        samples: texts, and pictures as uint8 [H, W] or [H, W, 3].
        report: which one they are of, from 1; None for those of the kept weights.

    Returns:
        The files, in the order of the samples.
    """
    return [_write_sample(folder, name, sample, report) for name, sample in samples.items()]


def _write_sample(folder: Path, name: str, sample: Sample, report: int | None) -> Path:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError("a sample's name must be lower-case letters, digits, _ and -", repr(name))
    content, suffix = (
        (sample.encode(), "txt") if isinstance(sample, str) else (_encode_png(name, sample), "png")
    )
    path = folder / (f"{name}.{suffix}" if report is None else f"{name}/{report:04d}.{suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{name}-{path.name}"  # not within: what lies in the folder is sent
    aside.write_bytes(content)
    os.replace(aside, path)
    return path


def _encode_png(name: str, pixels: Pixels) -> bytes:
    from PIL import Image

    array = np.asarray(pixels)
    flat = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if array.dtype != np.uint8 or not flat or 0 in array.shape:
        raise InputError(
            "a sample must be a text or a picture, uint8 [H, W] or [H, W, 3]",
            f"{name}: {array.dtype} of shape {array.shape}",
        )
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", optimize=True)
    return file.getvalue()


def samples_of_weights(
    family: Family, encoded: EncodedDataset, params: Params, weights: Mapping[str, torch.Tensor], device: str
) -> dict[str, Sample]:
    """What a family shows of a finished model, on the validation split.

    Args:
        params: complete hyper-parameters.
        weights: the module's state by name.
        device: where it is computed.
    """
    import torch

    from trainers.data.batches import Batches

    with torch.random.fork_rng(devices=[]):
        module = family.build(encoded.state, params)
    module.load_state_dict(dict(weights))
    source = Batches(encoded, "validation", device)
    return samples_now(family, module.to(device), source, encoded.state, params)


def samples_now(
    family: Family, module: torch.nn.Module, source: ExampleSource, state: State, params: Params
) -> dict[str, Sample]:
    """What a family shows of a module as it is; leaves it in training mode, and chance where it was."""
    import torch

    devices = [module_device] if (module_device := _cuda_device(module)) is not None else []
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)  # what is drawn by chance looks the same way at each report
            return dict(family.samples(module, source, state, params))
    finally:
        module.train()


def _cuda_device(module: torch.nn.Module) -> torch.device | None:
    first = next(module.parameters(), None)
    return first.device if first is not None and first.is_cuda else None
