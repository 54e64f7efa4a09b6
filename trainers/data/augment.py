"""Random changes of a batch in training: of images and spectrograms on the device, and of token ids.

The hyper-parameter `augment` is a name, a list of names, or a mapping from names to strengths:

    augment: flip
    augment: [flip, rotate]
    augment: {flip: 0.5, rotate: 15, noise: 0.02}

Shape legend: B examples, C channels, H height, W width, L tokens.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.errors import InputError
from trainers.nearest import advice

if TYPE_CHECKING:
    import torch

    from trainers.types import Batch, Json

UNKNOWN = 1  # the token id that stands for a word left out; 0 is padding and stays


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """One kind of change: its usual strength, the largest that makes sense, and what the number means."""

    usual: float
    most: float
    doc: str


IMAGES: Mapping[str, Augmentation] = {
    "flip": Augmentation(usual=0.5, most=1.0, doc="chance of a mirror image, left for right"),
    "crop": Augmentation(
        usual=0.125, most=0.5, doc="zeros added around, as a share of the side, then a cut-out"
    ),
    "rotate": Augmentation(usual=15.0, most=180.0, doc="largest angle in degrees, either way"),
    "scale": Augmentation(usual=0.1, most=0.9, doc="largest relative change of size, either way"),
    "shift": Augmentation(usual=0.1, most=0.5, doc="largest move as a share of the side, any way"),
    "noise": Augmentation(usual=0.05, most=1.0, doc="standard deviation, 1 being white less black"),
}
AUDIO: Mapping[str, Augmentation] = {
    "time_mask": Augmentation(usual=0.2, most=1.0, doc="longest stretch of time left out, as a share"),
    "frequency_mask": Augmentation(usual=0.2, most=1.0, doc="widest range of bands left out, as a share"),
}
TEXT: Mapping[str, Augmentation] = {
    "word_dropout": Augmentation(usual=0.1, most=1.0, doc="chance that a token becomes the unknown one")
}
CHANGES: Mapping[str, Augmentation] = {**IMAGES, **AUDIO, **TEXT}


def check_augment(spec: Json) -> dict[str, float]:
    """The changes to make and their strengths, in the order in which they are made.

    Args:
        spec: None or `none`, a name, a list of names, or a mapping from names to strengths.
    """
    given = {name: _check_one(name, strength) for name, strength in _read_strengths(spec).items()}
    return {name: given[name] for name in CHANGES if name in given}


def _read_strengths(spec: Json) -> Mapping[str, Json]:
    if spec is None or spec == "none":
        return {}
    if isinstance(spec, Mapping):
        return spec
    names = [spec] if isinstance(spec, str) else spec
    if not isinstance(names, (list, tuple)):
        raise InputError(
            "augment must be a name, a list of names or a mapping to strengths", repr(spec), key=("augment",)
        )
    return {name: CHANGES[name].usual if name in CHANGES else 0.0 for name in map(_check_name, names)}


def _check_name(name: Json) -> str:
    if not isinstance(name, str):
        raise InputError("a list under augment must hold names", repr(name), key=("augment",))
    return name


def _check_one(name: str, strength: Json) -> float:
    if name not in CHANGES:
        do = advice(str(name), CHANGES)
        raise InputError("augment must name known changes", repr(name), do, key=("augment", str(name)))
    most = CHANGES[name].most
    if not isinstance(strength, (int, float)) or isinstance(strength, bool) or not 0 <= strength <= most:
        raise InputError(
            f"augment's {name} must be a number from 0 to {most:g} ({CHANGES[name].doc})",
            repr(strength),
            key=("augment", str(name)),
        )
    return float(strength)


def augment_batch(batch: Batch, spec: Json, generator: torch.Generator) -> Batch:
    """The batch with changed `inputs`; every example is changed on its own.

    Args:
        batch: `inputs` are images [B, C, H, W], or spectrograms with time as their height, uint8 or floating,
            or token ids [B, L].
        spec: see `check_augment`.
        generator: the only source of chance; on any device, the batch's own being the fastest.

    Returns:
        A new mapping with a tensor of the same shape and type; the batch itself if nothing is to be done.
    """
    changes = _active_changes(spec)
    if not changes:
        return batch
    inputs = batch["inputs"]
    if inputs.ndim == 4 and (inputs.is_floating_point() or str(inputs.dtype) == "torch.uint8"):
        _refuse_others(changes, {**IMAGES, **AUDIO}, "images and clips")
        return {**batch, "inputs": _augment_images(inputs, changes, generator)}
    if inputs.ndim == 2 and str(inputs.dtype) in ("torch.int64", "torch.int32"):
        _refuse_others(changes, TEXT, "token ids")
        return {**batch, "inputs": _drop_words(inputs, changes["word_dropout"], generator)}
    _refuse_others(changes, {}, f"inputs of shape {tuple(inputs.shape)} and type {inputs.dtype}")
    return batch


def refuse_changes(spec: Json, known: Collection[str], what: str, *under: str) -> None:
    """Refuses changes of a kind that the data does not know.

    Args:
        spec: see `check_augment`.
        known: names that have a meaning there.
        what: the data, in words.
        under: the keys of the sweep file below which `augment` stands.
    """
    _refuse_others(_active_changes(spec), known, what, *under)


def _active_changes(spec: Json) -> dict[str, float]:
    """The changes that are made at all."""
    return {name: strength for name, strength in check_augment(spec).items() if strength > 0}


def _refuse_others(changes: Iterable[str], known: Collection[str], what: str, *under: str) -> None:
    for name in changes:
        if name not in known:
            raise InputError(
                f"augment must name changes that have a meaning for {what}",
                repr(name),
                f"use {' or '.join(known)}" if known else "leave augment out",
                key=(*under, "augment", name),
            )


def _draw_uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> torch.Tensor:
    import torch

    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def _drop_words(ids: torch.Tensor, chance: float, generator: torch.Generator) -> torch.Tensor:
    dropped = (_draw_uniform(tuple(ids.shape), generator, ids.device) < chance) & (ids != 0)
    return ids.masked_fill(dropped, UNKNOWN)


def _augment_images(
    images: torch.Tensor, changes: Mapping[str, float], generator: torch.Generator
) -> torch.Tensor:
    import torch

    was_bytes = images.dtype == torch.uint8
    changed = images.float() / 255 if was_bytes else images
    if "flip" in changes:
        changed = _flip(changed, changes["flip"], generator)
    if "crop" in changes:
        changed = _crop(changed, changes["crop"], generator)
    if changes.keys() & {"rotate", "scale", "shift"}:
        changed = _apply_affine(changed, changes, generator)
    for name, side in (("time_mask", 2), ("frequency_mask", 3)):
        if name in changes:
            changed = _mask_stretch(changed, side, changes[name], generator)
    if "noise" in changes:
        changed = _add_noise(changed, changes["noise"], generator)
    return (changed * 255).round_().clamp_(0, 255).to(torch.uint8) if was_bytes else changed


def _flip(images: torch.Tensor, chance: float, generator: torch.Generator) -> torch.Tensor:
    import torch

    mirrored = _draw_uniform((len(images), 1, 1, 1), generator, images.device) < chance
    return torch.where(mirrored, images.flip(-1), images)


def _crop(images: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    import torch

    count, _, height, width = images.shape
    rows, columns = math.ceil(share * height), math.ceil(share * width)
    chance = _draw_uniform((count, 2), generator, images.device)
    top = (chance[:, 0] * (2 * rows + 1)).long()
    left = (chance[:, 1] * (2 * columns + 1)).long()
    padded = torch.nn.functional.pad(images, (columns, columns, rows, rows))
    at_row = top[:, None] + torch.arange(height, device=images.device)
    at_column = left[:, None] + torch.arange(width, device=images.device)
    which = torch.arange(count, device=images.device)[:, None, None]
    # Indices on both sides of a slice put the slice's dimension last: [B, H, W, C].
    return padded[which, :, at_row[:, :, None], at_column[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _apply_affine(
    images: torch.Tensor, changes: Mapping[str, float], generator: torch.Generator
) -> torch.Tensor:
    """One rotation, change of size and move for each image, read from where each pixel came from."""
    import torch

    count, _, height, width = images.shape
    chance = _draw_uniform((count, 4), generator, images.device) * 2 - 1  # [B, 4] in [-1, 1)
    angle = chance[:, 0] * math.radians(changes.get("rotate", 0.0))
    size = 1 + chance[:, 1] * changes.get("scale", 0.0)
    cos, sin = angle.cos() / size, angle.sin() / size
    move = 2 * changes.get("shift", 0.0) * chance[:, 2:]  # the image's side is 2 in grid_sample's units
    across = torch.stack([cos, -sin * (height / width), move[:, 0]], dim=1)
    down = torch.stack([sin * (width / height), cos, move[:, 1]], dim=1)
    theta = torch.stack([across, down], dim=1).to(images.dtype)  # [B, 2, 3]
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images, grid, align_corners=False)


def _mask_stretch(images: torch.Tensor, side: int, share: float, generator: torch.Generator) -> torch.Tensor:
    """A stretch of each image's side (2: height, 3: width) at the image's mean.

    D. S. Park et al., "SpecAugment", Interspeech 2019 (arXiv 1904.08779), one mask of each kind.
    """
    import torch

    length = images.shape[side]
    chance = _draw_uniform((2, len(images), 1), generator, images.device)
    width = (chance[0] * (int(share * length) + 1)).floor().clamp(max=length)
    first = (chance[1] * (length - width + 1)).floor()
    place = torch.arange(length, device=images.device)
    masked = (place >= first) & (place < first + width)  # [B, length]
    shape = [len(images), 1, 1, 1]
    shape[side] = length
    return torch.where(masked.view(shape), images.mean(dim=(1, 2, 3), keepdim=True), images)


def _add_noise(images: torch.Tensor, deviation: float, generator: torch.Generator) -> torch.Tensor:
    import torch

    shape = tuple(images.shape)
    noise = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32)
    return images + deviation * noise.to(images.device, images.dtype)
