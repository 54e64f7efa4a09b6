"""`velodrome explain`: what it writes of tables, texts and images, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.explanation.explain import explain
from infra.errors import WrongInput
from tests.flows.inference.test_predict import COLUMNS, expected_predictions, write_rows
from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle
from tests.trainers.families.cases import CASES, clips
from tests.trainers.families.test_contract import FamilyBench
from trainers.bundle.bundle import load_bundle


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> RegistryFixture:
    """A linear, a text and an image model."""
    made = RegistryFixture(tmp_path_factory.mktemp("registered"))
    for reference in ("linear_regression", "text_cnn", "image_cnn"):
        bundle = a_bundle(reference, made.folder / reference, made.folder / "cache")
        made.add(reference.replace("_", "-"), bundle, alias="champion")
    return made


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_explain_table_writes_importances_that_add_up(registered: RegistryFixture, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.csv", 70)
    told: list[int] = []
    made = explain(
        "linear-regression", rows, out=tmp_path / "why", rows=50, home=registered.home,
        advanced=lambda count, size: told.append(count),
    )  # fmt: skip
    assert (made.rows, made.kind, made.unit, told) == (50, "table", "prediction", [32, 50])
    assert made.worst_gap is not None
    assert made.worst_gap < 1e-4
    table = read_table(tmp_path / "why" / "attributions.csv")
    assert [float(row["score"]) for row in table] == pytest.approx(
        expected_predictions(registered, rows)[:50], abs=1e-3
    )
    for row in table:
        total = sum(float(row[name]) for name in COLUMNS)
        assert total == pytest.approx(float(row["score"]) - float(row["baseline_score"]), abs=1e-2)
    ranking = read_table(tmp_path / "why" / "importance.csv")
    assert [row["column"] for row in ranking][:3] == [feature.name for feature in made.features][:3]
    page = (tmp_path / "why" / "index.html").read_text()
    assert page.count("<tr><td>") == 10 + 40
    bars = [float(width) for width in re.findall(r'"bar"><div style="width:([\d.]+)%', page)]
    assert len(bars) == 10
    assert bars == sorted(bars, reverse=True)
    assert bars[0] == 100
    assert "http" not in page.replace("http-equiv", "")
    assert json.dumps(made.to_json(), allow_nan=False)


def test_explain_texts_escapes_what_people_write(registered: RegistryFixture, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a <script> fine film"}\n{"text": ""}\n{"text": "dull"}\n')
    made = explain("text-cnn", rows, out=tmp_path / "why", home=registered.home)
    assert made.baseline == "every word replaced by padding"
    table = read_table(tmp_path / "why" / "attributions.csv")
    assert [row["word"] for row in table] == ["a", "script", "fine", "film", "dull"]
    assert [row["row"] for row in table] == ["1", "1", "1", "1", "3"]
    page = (tmp_path / "why" / "index.html").read_text()
    assert "<script" not in page
    assert "dull" in page


def test_explain_images_writes_a_picture_each(registered: RegistryFixture, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "digits"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for at in range(2):
        Image.fromarray(draw.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / f"{at}.png")
    made = explain("image-cnn", folder, out=tmp_path / "why", method="occlusion", home=registered.home)
    assert (made.kind, made.method, made.worst_gap, made.features) == ("image", "occlusion", None, ())
    for name in ("pictures/00001.png", "pictures/00002.png", "importance.png"):
        with Image.open(tmp_path / "why" / name) as picture:
            assert picture.width >= 160
    assert (tmp_path / "why" / "index.html").read_text().count("data:image/png;base64,") == 3


def test_explain_clips_shows_time_to_the_right_and_high_pitch_on_top(tmp_path: Path) -> None:
    from PIL import Image

    (case,) = [c for c in CASES if c.name == "image_cnn" and c.dataset is clips]
    registered = RegistryFixture(tmp_path / "registered")
    FamilyBench(case).save(tmp_path / "bundle")
    registered.add("hums", tmp_path / "bundle", alias="champion")
    (tmp_path / "low.wav").write_bytes(clips().columns["audio"].values[0])
    made = explain(
        "hums", tmp_path / "low.wav", out=tmp_path / "why", method="occlusion", home=registered.home
    )
    assert made.baseline == "every moment and pitch at the mean loudness of training"
    with Image.open(tmp_path / "why" / "pictures" / "00001.png") as picture:
        pixels = np.asarray(picture.convert("L"), float)
    width = 0.3 / 0.010 + 1  # moments of 10 ms, beside as many of the map
    assert picture.width / picture.height == pytest.approx((2 * width + 1) / 16)
    loudness = pixels[:, : picture.width // 3].mean(axis=1)
    assert loudness.argmax() > 0.6 * picture.height  # a low hum


def test_explain_command_prints_one_document(
    registered: RegistryFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_HOME", str(registered.home.path))
    rows = write_rows(tmp_path / "rows.csv", 3)
    asked = ["explain", "linear-regression", str(rows), "--out", str(tmp_path / "why"), "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    found: Any = json.loads(done.stdout)
    assert (found["model"], found["rows"], found["method"]) == (
        "linear-regression/1",
        3,
        "integrated-gradients",
    )
    again = CliRunner().invoke(app, [*asked[:-1], "--overwrite"])
    assert again.exit_code == 0, again.output
    assert "mean size" in again.stdout


def test_explain_refuses_before_it_writes(registered: RegistryFixture, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.csv", 3)
    own = tmp_path / "mine"
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    with pytest.raises(WrongInput, match="a new folder"):
        explain("linear-regression", rows, out=own, overwrite=True, home=registered.home)
    assert (own / "thesis.txt").exists()
    with pytest.raises(WrongInput, match="--method"):
        explain("linear-regression", rows, out=tmp_path / "why", method="lime", home=registered.home)
    rows.write_text(rows.read_text().replace("000002,", "000002,x"))
    with pytest.raises(WrongInput, match="must hold numbers"):
        explain("linear-regression", rows, out=tmp_path / "why", home=registered.home)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "rows.csv"]


def test_explained_bundle_answers_as_before(registered: RegistryFixture, tmp_path: Path) -> None:
    """Nothing that explains stays behind in the module."""
    from trainers.explaining.explainer import Explainer

    predictor = load_bundle(registered.folder / "text_cnn")
    before = predictor.predict(predictor.example)
    Explainer(predictor).explain(predictor.example)
    assert predictor.predict(predictor.example).equals(before)
