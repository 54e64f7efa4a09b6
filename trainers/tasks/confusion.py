"""The confusion matrix of a classifier, as a picture and as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainers.types import Array, Pixels, Sample

if TYPE_CHECKING:
    from PIL import Image, ImageFont

    from trainers.tasks import MetricSet, MetricSink, TaskRules
    from trainers.types import Batch, ExampleSource, State

MOST_CLASSES = 50  # a matrix of more is neither read nor looked at
ROWS_AT_ONCE = 256
CORNER = "true / predicted"  # in the corner of a confusion matrix


def confusion_samples(
    rules: TaskRules, judge: Callable[[Batch, MetricSink], None], source: ExampleSource, state: State
) -> dict[str, Sample]:
    """A confusion matrix as a picture and as a table, where the task has classes, few enough to be read.

    Args:
        judge: adds a batch to the metrics, as `Family.judge` does for one module.
    """
    import torch

    classes: list[str] = [str(name) for name in state.get("classes", ())]
    if state.get("task") != "classification" or not 2 <= len(classes) <= MOST_CLASSES:
        return {}
    metrics: MetricSet | None = None
    for start in range(0, len(source), ROWS_AT_ONCE):
        batch = source.gather(torch.arange(start, min(start + ROWS_AT_ONCE, len(source))))
        if metrics is None:
            metrics = rules.metric_set(next(iter(batch.values())).device, scores=False)
        judge(batch, metrics)
    counts = metrics.confusion() if metrics is not None else None
    if counts is None:
        return {}
    return {"confusion": confusion_picture(counts, classes), "classes": classes_table(counts, classes)}


def classes_table(counts: Array, classes: Sequence[str]) -> str:
    """Precision, recall, F1 and rows of each class, tab-separated."""
    from trainers.tasks.scores import metrics_by_class

    hits, actual, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    values = metrics_by_class(classes, hits, actual, predicted)
    lines = ["class\tprecision\trecall\tf1\trows"]
    for name, rows in zip(classes, actual, strict=True):
        figures = [f"{values.get(f'{metric}_{name}', 0.0):.4f}" for metric in ("precision", "recall", "f1")]
        lines.append("\t".join([" ".join(name.split()), *figures, str(int(rows))]))
    return "\n".join(lines) + "\n"


def confusion_picture(counts: Array, classes: Sequence[str]) -> Pixels:
    """A row a true class, a column a predicted one; a cell's shade is its share of the row.

    Args:
        counts: [true class, predicted class].
        classes: their names, cut where they are long.
    """
    from PIL import Image, ImageDraw, ImageFont

    size = len(classes)
    cell = max(18, min(64, 640 // size))
    font = ImageFont.load_default(size=max(9, min(15, cell // 3)))
    assert isinstance(font, ImageFont.FreeTypeFont)  # a font of a wished size is always one
    names = [name if len(name) <= 18 else name[:17] + "…" for name in classes]
    left = 28 + int(max(font.getlength(text) for text in (*names, CORNER)))
    picture = Image.new("RGB", (left + cell * size + 12, left + cell * size + 12), "white")
    draw = ImageDraw.Draw(picture)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for i in range(size):
        for j in range(size):
            box = (left + j * cell, left + i * cell, left + (j + 1) * cell - 1, left + (i + 1) * cell - 1)
            draw.rectangle(box, fill=_shade_color(float(shares[i, j])))
            if counts[i, j]:
                at = (left + (j + 0.5) * cell, left + (i + 0.5) * cell)
                ink = "white" if shares[i, j] > 0.5 else "black"
                draw.text(at, str(int(counts[i, j])), fill=ink, font=font, anchor="mm")
        draw.text((left - 6, left + (i + 0.5) * cell), names[i], fill="black", font=font, anchor="rm")
        _draw_upright(picture, names[i], (int(left + (i + 0.5) * cell), left - 6), font)
    draw.text((left - 6, 6), CORNER, fill="gray", font=font, anchor="ra")
    return np.asarray(picture)


def _draw_upright(
    picture: Image.Image, text: str, foot: tuple[int, int], font: ImageFont.FreeTypeFont
) -> None:
    """Writes from the foot upwards."""
    from PIL import Image, ImageDraw

    width, height = int(font.getlength(text)) + 2, int(font.size * 1.4)
    label = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(label).text((0, height / 2), text, fill="black", font=font, anchor="lm")
    picture.paste(label.rotate(90, expand=True), (foot[0] - height // 2, foot[1] - width))


def _shade_color(share: float) -> tuple[int, int, int]:
    """White to dark blue."""
    return tuple(round(255 + share * (dark - 255)) for dark in (8, 48, 107))  # type: ignore[return-value]
