"""A copy of a source with fewer rows, for a benchmark that would take hours on all of them."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path

import numpy as np
import pandas as pd


def write_fewer_rows(source: str, rows: int, folder: Path) -> str:
    """The source of the copy, drawn by a fixed seed, in the order of the rows.

    Args:
        source: `csv:FILE`, `csv:FOLDER` of parts, or `npz:FILE`.
        rows: at most so many of a file, or of a folder's part train; of its other parts a fifth.
        folder: where the copy is written; bears the source's name, by which its sweep is called.

    Raises:
        ValueError: the source is of another kind.
    """
    scheme, _, rest = source.partition(":")
    path, made = Path(rest), folder / "fewer" / Path(rest).name
    made.parent.mkdir(parents=True, exist_ok=True)
    if scheme == "npz":
        with np.load(path, allow_pickle=False) as arrays:
            kept = _draw(next(iter(arrays.values())), rows)
            np.savez(made, **{name: arrays[name][kept] for name in arrays.files})
    elif scheme == "csv" and path.is_dir():
        made.mkdir()
        for part in sorted(path.glob("*.csv")):
            _copy_table(part, made / part.name, rows if part.stem == "train" else max(1, rows // 5))
    elif scheme == "csv":
        _copy_table(path, made, rows)
    else:
        raise ValueError(f"fewer rows can be taken of csv: and npz:, but got {source}")
    return f"{scheme}:{made}"


def _copy_table(path: Path, to: Path, rows: int) -> None:
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.iloc[_draw(frame, rows)].to_csv(to, index=False)


def _draw(of: Sized, rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    order = np.random.default_rng(0).permutation(len(of))
    return np.sort(order[:rows])
