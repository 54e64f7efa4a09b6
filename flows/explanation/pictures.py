"""Importances of pixels as pictures: red for the answer, blue against it."""

from __future__ import annotations

import io

import numpy as np

from trainers.types import Array

SIDE = 160  # pixels that a picture's shorter side has at least, by a whole factor
FOR, AGAINST = (214, 39, 40), (31, 97, 200)


def heat_map(importances: Array) -> Array:
    """Importances [H, W] as colours on white, uint8 [H, W, 3]; the strongest has the full colour."""
    share = np.abs(importances) / max(float(np.abs(importances).max()), 1e-12)
    colour = np.where((importances > 0)[..., None], FOR, AGAINST)
    return np.asarray(255 + share[..., None] * (colour - 255.0)).round().astype(np.uint8)


def attention_map(layers: Array) -> Array:
    """Maps from word to word, [N, W, W], beside each other on white, uint8 [W, .., 3]; in each row the word
    that is attended to most has the full colour."""
    share = layers / np.maximum(layers.max(axis=-1, keepdims=True), 1e-12)
    colours = np.asarray(255 + share[..., None] * (np.array(AGAINST) - 255.0)).round().astype(np.uint8)
    line = np.full((layers.shape[1], 1, 3), 255, np.uint8)
    return np.concatenate([part for one in colours for part in (one, line)][:-1], axis=1)


def beside_each_other(pixels: Array, importances: Array) -> bytes:
    """An image uint8 [H, W, C] and its map, as a PNG."""
    grey = pixels if pixels.shape[2] == 3 else np.repeat(pixels[..., :1], 3, axis=2)
    line = np.full((len(grey), 1, 3), 255, np.uint8)
    return encode_png(np.concatenate([grey, line, heat_map(importances)], axis=1))


def encode_png(pixels: Array) -> bytes:
    """uint8 [H, W, 3], small ones made larger."""
    from PIL import Image

    factor = max(1, SIDE // min(pixels.shape[:2]))
    larger = np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)
    file = io.BytesIO()
    Image.fromarray(larger).save(file, "PNG", optimize=True)
    return file.getvalue()
