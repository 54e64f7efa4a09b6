"""Suspect rows as a table that `data.drop_rows` takes, as pictures and as a page."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flows.explanation.pictures import encode_png
from flows.inspection.result import Inspection, SuspectRow
from trainers.data.images import open_picture
from trainers.data.sources.listed_rows import COLUMN, spell_row

if TYPE_CHECKING:
    import numpy.typing as npt

    from trainers.data.dataset import Dataset
    from trainers.types import Array, Cell

PAGE, TABLE, PICTURES = "index.html", "suspects.csv", "pictures"
HEADINGS = (COLUMN, "part", "given", "suggested", "p_given", "p_suggested", "reason", "content")
SHOWN_ROWS, MOST_CHARACTERS, MOST_COLUMNS = 200, 300, 12


def describe_suspects(
    dataset: Dataset,
    rows: npt.NDArray[np.int64],
    chances: npt.NDArray[np.float64],
    worst: npt.NDArray[np.int64],
) -> tuple[SuspectRow, ...]:
    """Each suspect row, the worst first.

    Args:
        rows: that were looked at, int64 [n].
        chances: their out-of-fold probabilities, float64 [n, C].
        worst: places of the suspects among them.
    """
    from trainers.data.examples import raw_rows

    labels, validation = dataset.labels()[rows], set(dataset.splits["validation"].tolist())
    frame = None if dataset.kind == "image" else raw_rows(dataset, rows[worst])
    found = []
    for place, at in enumerate(worst):
        likely, given = int(chances[at].argmax()), int(labels[at])
        name = spell_row(int(dataset.row_hashes[rows[at]]))
        content = f"{PICTURES}/{name}.png" if frame is None else _shorten_row(dict(frame.iloc[place]))
        found.append(
            SuspectRow(
                row=name,
                part="validation" if int(rows[at]) in validation else "train",
                given=dataset.classes[given],
                suggested=dataset.classes[likely],
                p_given=float(chances[at, given]),
                p_suggested=float(chances[at, likely]),
                content=content,
            )
        )
    return tuple(found)


def _shorten_row(cells: dict[str, Cell]) -> str:
    if list(cells) == ["text"]:
        return str(cells["text"])[:MOST_CHARACTERS]
    shown = "; ".join(f"{name} = {cells[name]}" for name in list(cells)[:MOST_COLUMNS])
    return shown[:MOST_CHARACTERS] + ("; …" if len(cells) > MOST_COLUMNS else "")


def write_inspection(folder: Path, made: Inspection, dataset: Dataset, rows: npt.NDArray[np.int64]) -> None:
    """Writes the table, the page and, of images, a picture each.

    Args:
        rows: of the data set that the suspects are, in their order.
    """
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADINGS)
        for suspect in made.suspects:
            document = {**suspect.to_json(), COLUMN: suspect.row}
            writer.writerow([document[name] for name in HEADINGS])
    if dataset.kind == "image":
        (folder / PICTURES).mkdir()
        for suspect, row in zip(made.suspects, rows, strict=True):
            pixels = _pixels(dataset.columns["image"].values[int(row)])
            (folder / suspect.content).write_bytes(encode_png(pixels))
    (folder / PAGE).write_text(_render_page(made, dataset.kind == "image"), encoding="utf-8")


def _pixels(value: Cell) -> Array:
    """uint8 [H, W, 3] of an array uint8 [H, W, C], a file's path or its bytes."""
    from PIL import ImageOps

    if isinstance(value, np.ndarray):
        return value if value.shape[2] == 3 else np.repeat(value[..., :1], 3, axis=2)
    with open_picture(value) as picture:
        ImageOps.exif_transpose(picture, in_place=True)
        return np.asarray(picture.convert("RGB"))


def _render_page(made: Inspection, pictures: bool) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files("flows.inspection").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        made=made, shown=made.suspects[:SHOWN_ROWS], table=TABLE, pictures=pictures
    )
