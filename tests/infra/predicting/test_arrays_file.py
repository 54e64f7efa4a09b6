"""Arrays are rows of a model as training reads them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from infra.errors import WrongInput
from infra.predicting.arrays_file import ArraysFile
from infra.predicting.format import PartSizes
from infra.predicting.parquet_and_images import open_input
from infra.serving.model_schema import Field
from trainers.data.sources.opening import open_dataset

LABELS = np.array([n % 2 for n in range(300)])


@pytest.mark.parametrize("how", ["bytes", "fractions", "channels first"])
def test_pictures_are_those_of_training_in_any_part_and_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("VELODROME_HOME", str(tmp_path / "home"))
    whole = np.random.default_rng(0).integers(0, 256, (300, 5, 4, 3)).astype(np.uint8)
    kept: dict[str, npt.NDArray[Any]] = {
        "bytes": whole, "fractions": whole / 255.0, "channels first": np.moveaxis(whole, -1, 1)
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", images=kept[how], labels=LABELS)
    learned = open_dataset({"source": "npz:a.npz"}, base=tmp_path, cache=tmp_path).columns["image"].values
    kind = open_input(tmp_path / "a.npz")
    assert kind.columns() == ["image", "target"]
    elsewhere = pickle.loads(pickle.dumps(kind))
    parts = list(kind.parts(PartSizes()))
    assert [len(part) for part in parts] == [256, 44]
    fields = [Field(name="image", type="any")]
    frames = [elsewhere.frame(part, fields) for part in parts]
    shown = np.stack([picture for frame in frames for picture in frame["image"]])
    np.testing.assert_array_equal(shown, np.asarray(learned))
    answers = pd.DataFrame({"prediction": ["a"] * 256})
    kind.write(parts[0], answers, tmp_path / "out.csv", first=True)
    assert (tmp_path / "out.csv").read_text().splitlines()[:2] == ["row,target,prediction", "0,0,a"]


def test_rows_of_numbers_have_the_names_and_values_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_HOME", str(tmp_path / "home"))
    values = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float16)
    np.savez(tmp_path / "a.npz", x=values)
    np.savez(tmp_path / "labelled.npz", x=values, y=LABELS)
    learned = open_dataset({"source": "npz:labelled.npz"}, base=tmp_path, cache=tmp_path).columns
    kind = ArraysFile(tmp_path / "a.npz")
    (part,) = kind.parts(PartSizes())
    frame = kind.frame(part, [Field(name=name, type="double") for name in ("x0", "x1")])
    for name in ("x0", "x1"):
        np.testing.assert_array_equal(frame[name], np.asarray(learned[name].values))


def test_arrays_that_training_refuses_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_HOME", str(tmp_path / "home"))
    np.savez(tmp_path / "a.npz", images=np.full((4, 5, 5), -1.0))
    with pytest.raises(WrongInput, match="must hold numbers from 0 to 255") as raised:
        open_input(tmp_path / "a.npz").columns()
    assert raised.value.do.startswith("scale them")
