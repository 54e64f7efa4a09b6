"""What a family shows of its work: pictures and texts by name, as files that tracking can pick up.

`Family.samples` says what they are. At the end of a kept trial they come from the kept weights; a family with
`samples_at = "report"` also shows them at each report, from the weights of that moment.

| file | what it holds |
| --- | --- |
| `<name>.png`, `<name>.txt` | of the kept weights |
| `<name>/0003.png`, `<name>/0003.txt` | of the third report |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trainers.errors import InputError

if TYPE_CHECKING:
    import torch

    from trainers.data.dataset import Encoded
    from trainers.family import Family, Params, State
    from trainers.loop.micro_batches import Source

Pixels: TypeAlias = npt.NDArray[np.uint8]  # [H, W] or [H, W, 3]
Sample: TypeAlias = "str | Pixels"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
MOST_CLASSES = 50  # a matrix of more is neither read nor looked at
ROWS_AT_ONCE = 256
CORNER = "true / predicted"  # in the corner of a confusion matrix


def write_samples(folder: Path, samples: Mapping[str, Sample], report: int | None = None) -> list[Path]:
    """Writes each sample into a file of its own, replacing what an earlier attempt left there.

    Args:
        samples: texts, and pictures as uint8 [H, W] or [H, W, 3].
        report: which one they are of, from 1; None for those of the kept weights.

    Returns:
        The files, in the order of the samples.

    Raises:
        InputError: a name that can't be a file's, or what is neither a text nor a picture.
        OSError: the file system refused.
    """
    return [_write(folder, name, sample, report) for name, sample in samples.items()]


def _write(folder: Path, name: str, sample: Sample, report: int | None) -> Path:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError("a sample's name must be lower-case letters, digits, _ and -", repr(name))
    content, suffix = (sample.encode(), "txt") if isinstance(sample, str) else (_png(name, sample), "png")
    path = folder / (f"{name}.{suffix}" if report is None else f"{name}/{report:04d}.{suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{name}-{path.name}"  # not within: what lies in the folder is sent
    aside.write_bytes(content)
    os.replace(aside, path)
    return path


def _png(name: str, pixels: Any) -> bytes:
    import io

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
    family: Family, encoded: Encoded, params: Params, weights: Mapping[str, torch.Tensor], device: str
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
    family: Family, module: torch.nn.Module, source: Source, state: State, params: Params
) -> dict[str, Sample]:
    """What a family shows of a module as it is; leaves it in training mode, and chance where it was."""
    import torch

    devices = [module_device] if (module_device := _cuda_of(module)) is not None else []
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)  # what is drawn by chance looks the same way at each report
            return dict(family.samples(module, source, state, params))
    finally:
        module.train()


def _cuda_of(module: torch.nn.Module) -> torch.device | None:
    first = next(module.parameters(), None)
    return first.device if first is not None and first.is_cuda else None


# -- classification ----------------------------------------------------------------------------------------


def confusion_samples(
    family: Family, module: torch.nn.Module, source: Source, state: State
) -> dict[str, Sample]:
    """A confusion matrix as a picture and as a table, where the task has classes, few enough to be read."""
    import torch

    classes: list[str] = [str(name) for name in state.get("classes", ())]
    if state.get("task") != "classification" or not 2 <= len(classes) <= MOST_CLASSES:
        return {}
    metrics = family.rules(state).metric_set(next(module.parameters()).device, scores=False)
    for start in range(0, len(source), ROWS_AT_ONCE):
        batch = source.gather(torch.arange(start, min(start + ROWS_AT_ONCE, len(source))))
        metrics.update(family.outputs(module, batch), batch)
    counts = metrics.confusion()
    if counts is None:
        return {}
    return {"confusion": confusion_picture(counts, classes), "classes": classes_table(counts, classes)}


def classes_table(counts: npt.NDArray[Any], classes: Sequence[str]) -> str:
    """Precision, recall, F1 and rows of each class, tab-separated."""
    from trainers.tasks.scores import by_class

    hits, actual, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    values = by_class(classes, hits, actual, predicted)
    lines = ["class\tprecision\trecall\tf1\trows"]
    for name, rows in zip(classes, actual, strict=True):
        figures = [f"{values.get(f'{metric}_{name}', 0.0):.4f}" for metric in ("precision", "recall", "f1")]
        lines.append("\t".join([" ".join(name.split()), *figures, str(int(rows))]))
    return "\n".join(lines) + "\n"


def confusion_picture(counts: npt.NDArray[Any], classes: Sequence[str]) -> Pixels:
    """A row a true class, a column a predicted one; a cell's shade is its share of the row.

    Args:
        counts: [true class, predicted class].
        classes: their names, cut where they are long.
    """
    from PIL import Image, ImageDraw, ImageFont

    size = len(classes)
    cell = max(18, min(64, 640 // size))
    font = ImageFont.load_default(size=max(9, min(15, cell // 3)))
    names = [name if len(name) <= 18 else name[:17] + "…" for name in classes]
    left = 28 + int(max(font.getlength(text) for text in (*names, CORNER)))
    picture = Image.new("RGB", (left + cell * size + 12, left + cell * size + 12), "white")
    draw = ImageDraw.Draw(picture)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for i in range(size):
        for j in range(size):
            box = (left + j * cell, left + i * cell, left + (j + 1) * cell - 1, left + (i + 1) * cell - 1)
            draw.rectangle(box, fill=_shade(float(shares[i, j])))
            if counts[i, j]:
                at = (left + (j + 0.5) * cell, left + (i + 0.5) * cell)
                ink = "white" if shares[i, j] > 0.5 else "black"
                draw.text(at, str(int(counts[i, j])), fill=ink, font=font, anchor="mm")
        draw.text((left - 6, left + (i + 0.5) * cell), names[i], fill="black", font=font, anchor="rm")
        _upright(picture, names[i], (int(left + (i + 0.5) * cell), left - 6), font)
    draw.text((left - 6, 6), CORNER, fill="gray", font=font, anchor="ra")
    return np.asarray(picture)


def _upright(picture: Any, text: str, foot: tuple[int, int], font: Any) -> None:
    """Writes from the foot upwards."""
    from PIL import Image, ImageDraw

    width, height = int(font.getlength(text)) + 2, int(font.size * 1.4)
    label = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(label).text((0, height / 2), text, fill="black", font=font, anchor="lm")
    picture.paste(label.rotate(90, expand=True), (foot[0] - height // 2, foot[1] - width))


def _shade(share: float) -> tuple[int, int, int]:
    """White to dark blue."""
    return tuple(round(255 + share * (dark - 255)) for dark in (8, 48, 107))  # type: ignore[return-value]


# -- images ------------------------------------------------------------------------------------------------


def grid(images: npt.NDArray[Any], columns: int, *, side: int = 48) -> Pixels:
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
