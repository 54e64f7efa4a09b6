"""Many images on one sheet."""

from __future__ import annotations

import numpy as np

from trainers.types import Array, Pixels


def grid(images: Array, columns: int, *, side: int = 48) -> Pixels:
    """Images beside and below each other, with a line of white between them, small ones made larger.

    Args:
        images: uint8 [N, H, W] or [N, H, W, C] with one or three channels, row by row of the grid.
        columns: images a row.
        side: pixels that the shorter side has at least, by a whole factor.

    Returns:
        uint8 [H', W', 3].
    """
    values = np.asarray(images)
    values = values[..., None] if values.ndim == 3 else values
    factor = max(1, side // min(values.shape[1:3]))
    values = np.repeat(np.repeat(values, factor, axis=1), factor, axis=2)
    _, height, width, _ = values.shape
    rows = -(-len(values) // columns)
    sheet = np.full((rows * (height + 2) - 2, columns * (width + 2) - 2, 3), 255, np.uint8)
    for at, image in enumerate(values):
        top, left = (at // columns) * (height + 2), (at % columns) * (width + 2)
        sheet[top : top + height, left : left + width] = image
    return sheet
