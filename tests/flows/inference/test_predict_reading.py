"""A file without a header, or of other marks: `predict` reads it as the model's training file was read."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.inference.predict import predict, read_as_model_does
from infra.errors import WrongInput
from infra.predicting.csv_file import CsvFile
from infra.predicting.format import PartSizes
from tests.infra.lanes.test_attempt import attempt
from tests.infra.serving.registry_with_models import RegistryFixture

NAMES = ["size", "rooms", "price"]
ROWS = [[n * 3.5 % 40, n % 4, n * 7.0 % 41] for n in range(60)]


def write(path: Path, rows: list[list[Any]], delimiter: str) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RegistryFixture:
    """A model of a file of three unnamed columns, parted by a mark that nobody would guess."""
    folder = tmp_path_factory.mktemp("trained")
    write(folder / "homes.csv", ROWS, "~")
    data = {
        "source": "csv:homes.csv",
        "columns": {"target": "price"},
        "read": {"delimiter": "~", "header": False, "names": NAMES},
    }
    ended, _ = attempt(folder, "linear_regression", data, "loss", {}, {})
    assert ended.model is not None, ended.detail
    made = RegistryFixture(folder / "registry")
    made.add("homes", folder / "storage" / ended.model, alias="champion")
    return made


def answers(trained: RegistryFixture, path: Path, said: list[str]) -> list[float]:
    found = predict("homes", path, home=trained.home, say=said.append)
    with Path(found.output).open(newline="") as file:
        return [float(row["prediction"]) for row in csv.DictReader(file, delimiter=(said and "~") or ",")]


@pytest.mark.parametrize("columns", [3, 2], ids=["with the target", "without it"])
def test_file_written_as_the_training_file_gets_the_answers_of_named_columns(
    trained: RegistryFixture, tmp_path: Path, columns: int
) -> None:
    named = write(tmp_path / "named.csv", [NAMES[:2], *(row[:2] for row in ROWS)], ",")
    bare = write(tmp_path / "bare.csv", [row[:columns] for row in ROWS], "~")
    said: list[str] = []
    assert answers(trained, bare, said) == answers(trained, named, [])
    assert said == ["note: bare.csv is read as the model's training file was (delimiter: ~, header: False)"]


def test_file_that_fits_neither_way_is_refused_by_its_missing_columns(
    trained: RegistryFixture, tmp_path: Path
) -> None:
    odd = write(tmp_path / "odd.csv", [[1, 2, 3, 4, 5]] * 9, "~")
    with pytest.raises(WrongInput, match="size, rooms"):
        predict("homes", odd, home=trained.home)


def test_file_whose_encoding_can_only_be_guessed_is_read_in_that_of_training(tmp_path: Path) -> None:
    lines = "\n".join(["town,price", *(f"{town},7" for town in ("Омск", "Тула") * 30)])
    (tmp_path / "old.csv").write_text(lines, encoding="koi8-r")
    (tmp_path / "new.csv").write_text(lines, encoding="utf-8")
    schema = SimpleNamespace(
        read={"encoding": "koi8_r"}, target="price", fields=[SimpleNamespace(name="town")]
    )
    model: Any = SimpleNamespace(schema=schema, fields=schema.fields)
    said: list[str] = []
    parts = [
        list(read_as_model_does(CsvFile(tmp_path / name), model, said.append).parts(PartSizes()))
        for name in ("old.csv", "new.csv")
    ]
    assert parts[0] == parts[1]
    assert said == ["note: old.csv is read as the model's training file was (encoding: koi8_r)"]
