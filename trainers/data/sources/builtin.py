"""Real data that every installation has: scikit-learn's, and the standard library's documentation."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainers.data import hashing
from trainers.data.dataset import Task
from trainers.data.disk.paths import SOURCE_KEY
from trainers.data.raw import RawDataset, RawFiles, arrow_column
from trainers.errors import InputError

PATCH_PIXELS = 32


def read_builtin(name: str, task: Task | None, cache: Path) -> RawDataset:
    """The rows of a built-in source (its name is checked by `open.read_source`)."""
    if name == "docstrings":
        from trainers.data.sources.docstrings import read_docstrings

        return read_docstrings(task, cache)
    return {"digits": _digits, "diabetes": _diabetes, "cancer": _cancer, "photos": _photos}[name]()


def _data_file(*names: str) -> Path:
    """A data file of scikit-learn, found without importing it (which takes two seconds)."""
    found = importlib.util.find_spec("sklearn")
    places = (found.submodule_search_locations if found else None) or []
    for place in places:
        path = Path(place).joinpath("datasets", *names)
        if path.is_file():
            return path
    do = "install scikit-learn 1.5 or later"
    raise InputError(
        "built-in data comes with scikit-learn", f"no file {'/'.join(names)}", do, key=SOURCE_KEY
    )


def _read_numbers(path: Path, skip: int = 0, delimiter: str | None = ",") -> npt.NDArray[np.float64]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return np.loadtxt(text.decode().splitlines()[skip:], delimiter=delimiter, dtype=np.float64, ndmin=2)


def _digits() -> RawDataset:
    """1,797 images of 8x8 pixels, 0 to 16 in the file (Alpaydin and Kaynak 1998)."""
    values = _read_numbers(_data_file("data", "digits.csv.gz"))
    images = np.round(values[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = arrow_column(values[:, -1].astype(np.int64).astype(str))
    pictures = RawFiles(values=images, hashes=hashing.hash_arrays(images))
    return RawDataset(
        columns={"image": pictures, "digit": labels}, kind="image", task="classification", target="digit"
    )


def _diabetes() -> RawDataset:
    """442 patients, ten measures and the disease's progression a year later (Efron et al. 2004)."""
    names = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    values = _read_numbers(_data_file("data", "diabetes_data_raw.csv.gz"), delimiter=None)
    target = _read_numbers(_data_file("data", "diabetes_target.csv.gz"))[:, 0]
    columns = {name: arrow_column(values[:, i].copy()) for i, name in enumerate(names)}
    return RawDataset(
        columns={**columns, "progression": arrow_column(target)},
        kind="table",
        task="regression",
        target="progression",
    )


def _cancer() -> RawDataset:
    """569 tumours, thirty measures of their cells, malignant or benign (Wolberg et al. 1995)."""
    measures = (
        "radius texture perimeter area smoothness compactness "
        "concavity concave_points symmetry fractal_dimension"
    )
    names = [f"{kind}_{measure}" for kind in ("mean", "error", "worst") for measure in measures.split()]
    values = _read_numbers(_data_file("data", "breast_cancer.csv"), skip=1)
    columns = {name: arrow_column(values[:, i].copy()) for i, name in enumerate(names)}
    labels = arrow_column(np.array(["malignant", "benign"])[values[:, -1].astype(np.int64)])
    return RawDataset(
        columns={**columns, "diagnosis": labels}, kind="table", task="classification", target="diagnosis"
    )


def _photos() -> RawDataset:
    """Patches of 32x32 pixels, none overlapping another, of two photographs."""
    names = ("china", "flower")
    patches = [_cut_patches(_data_file("images", f"{name}.jpg")) for name in names]
    images = np.concatenate(patches)
    labels = np.repeat(np.array(names), [len(patch) for patch in patches])
    pictures = RawFiles(values=images, hashes=hashing.hash_arrays(images))
    return RawDataset(
        columns={"image": pictures, "photo": arrow_column(labels)},
        kind="image",
        task="classification",
        target="photo",
    )


def _cut_patches(path: Path) -> npt.NDArray[np.uint8]:
    """uint8 [N, 32, 32, 3]."""
    from PIL import Image

    with Image.open(path) as opened:
        photo = np.asarray(opened.convert("RGB"))
    rows, columns = photo.shape[0] // PATCH_PIXELS, photo.shape[1] // PATCH_PIXELS
    whole = photo[: rows * PATCH_PIXELS, : columns * PATCH_PIXELS]
    grid = whole.reshape(rows, PATCH_PIXELS, columns, PATCH_PIXELS, 3).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(-1, PATCH_PIXELS, PATCH_PIXELS, 3))
