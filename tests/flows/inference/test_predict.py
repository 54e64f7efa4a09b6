"""`velodrome predict`: every kind of input, killed and carried on, larger than memory, refused early."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.inference.predict import predict
from infra.errors import ClusterUnavailable, OwnedElsewhere, WrongInput
from infra.predicting.format import PartSizes
from infra.predicting.output_parts import open_parts
from infra.predicting.parquet_and_images import open_input
from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle, shift_bias
from trainers.bundle.bundle import load_bundle

COLUMNS = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> RegistryFixture:
    """A linear, a text and an image model; the linear one has a second version."""
    made = RegistryFixture(tmp_path_factory.mktemp("registered"))
    for reference in ("linear_regression", "text_cnn", "image_cnn"):
        bundle = a_bundle(reference, made.folder / reference, made.folder / "cache")
        made.add(reference.replace("_", "-"), bundle, alias="champion")
    made.add("linear-regression", shift_bias(made.folder / "linear_regression", made.folder / "second", 5.0))
    return made


def write_rows(path: Path, rows: int, seed: int = 0) -> Path:
    """A CSV file of random rows with an id each."""
    numbers = random.Random(seed)
    with path.open("w") as file:
        file.write(f"id,{','.join(COLUMNS)}\n")
        for row in range(rows):
            file.write(f"{row:06d},{','.join(f'{numbers.gauss(0, 0.05):.4f}' for _ in COLUMNS)}\n")
    return path


def expected_predictions(
    registered: RegistryFixture, path: Path, bundle: str = "linear_regression"
) -> list[float]:
    """What the model itself says to a file's rows."""
    import pandas as pd

    rows = pd.read_csv(path)[COLUMNS]
    return list(load_bundle(registered.folder / bundle).predict(rows)["prediction"])


def read_output(path: Path) -> list[dict[str, str]]:
    """A CSV file's rows."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_writes_every_row_with_its_prediction(registered: RegistryFixture, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", 500)
    result = predict("linear-regression", path, home=registered.home, sizes=PartSizes(rows=64))
    assert (result.model, result.rows, result.carried_on) == ("linear-regression/1", 500, 0)
    rows = read_output(tmp_path / "rows.predictions.csv")
    assert [row["id"] for row in rows] == [f"{n:06d}" for n in range(500)]
    assert [float(row["prediction"]) for row in rows] == pytest.approx(
        expected_predictions(registered, path), rel=1e-6
    )
    assert sorted(os.listdir(tmp_path)) == ["rows.csv", "rows.predictions.csv"]


def test_predict_command_takes_versions_text_and_images(
    registered: RegistryFixture,
    velodrome: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from PIL import Image

    monkeypatch.setenv("VELODROME_HOME", str(registered.home.path))
    path = write_rows(tmp_path / "rows.csv", 3)
    second = tmp_path / "second.csv"
    ended = velodrome("predict", "linear-regression/2", path, "--out", second, "--json")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["model"] == "linear-regression/2"
    assert float(read_output(second)[0]["prediction"]) == pytest.approx(
        expected_predictions(registered, path, "second")[0], rel=1e-6
    )
    (tmp_path / "t.txt").write_text("a fine film\na dull film\n")
    assert velodrome("predict", "text-cnn", tmp_path / "t.txt").status == 0
    lines = (tmp_path / "t.predictions.jsonl").read_text().splitlines()
    assert [set(json.loads(line)) for line in lines] == [{"text", "prediction", "p_dull", "p_fine"}] * 2
    (tmp_path / "pictures").mkdir()
    for name in ("b.png", "a.png"):
        Image.new("L", (8, 8), 100).save(tmp_path / "pictures" / name)
    assert velodrome("predict", "image-cnn@champion", tmp_path / "pictures").status == 0
    rows = read_output(tmp_path / "pictures.predictions.csv")
    assert [row["image"] for row in rows] == ["a.png", "b.png"]
    assert rows[0]["prediction"] in set("0123456789")


@pytest.mark.parametrize(
    ("model", "content", "options", "says"),
    [
        ("linear-regression", "id,age,sex\n1,2,3\n", (), "bmi"),
        ("linear-regression", ",".join([*COLUMNS, "prediction"]) + "\n", (), "prediction"),
        ("linear-regression", ",".join(COLUMNS) + "\n", (), "at least one row"),
        ("linear-regression", ",".join(COLUMNS) + "\n" + "1," * 9 + "x\n", (), "row 1"),
        ("linear-regression/9", ",".join(COLUMNS) + "\n", (), "registered"),
        ("nothing-of-that-name", "a\n", (), "champion"),
        ("file:///etc/passwd", "a\n", (), "not opened"),
        ("linear-regression", ",".join(COLUMNS) + "\n", ("--out", "x.parquet"), ".csv"),
    ],
)
def test_predict_wrong_input_exits_with_status_2(
    model: str, content: str, options: tuple[str, ...], says: str, registered: RegistryFixture,
    velodrome: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("VELODROME_HOME", str(registered.home.path))
    path = tmp_path / "in.csv"
    path.write_text(content)
    ended = velodrome("predict", model, path, *options)
    assert ended.status == 2
    assert says in ended.err
    assert not (tmp_path / "in.predictions.csv").exists()


def test_predict_existing_output_is_kept_without_overwrite(
    registered: RegistryFixture, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "rows.csv", 5)
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(WrongInput, match="must not be there yet"):
        predict("linear-regression", path, out=tmp_path / "out.csv", home=registered.home)
    assert (tmp_path / "out.csv").read_text() == "mine"
    predict("linear-regression", path, out=tmp_path / "out.csv", home=registered.home, overwrite=True)
    assert len(read_output(tmp_path / "out.csv")) == 5


class SimulatedKill(Exception):
    """The command ended here."""


def test_predict_interrupted_anywhere_resumes_without_duplicates(
    registered: RegistryFixture, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "rows.csv", 100)
    sizes = PartSizes(rows=10)
    predict("linear-regression", path, out=tmp_path / "whole.csv", home=registered.home, sizes=sizes)
    for last in (1, 4, 10):
        out = tmp_path / f"out-{last}.csv"

        def stop(rows: int, _size: int, last: int = last) -> None:
            if rows == last * 10:
                raise SimulatedKill

        with pytest.raises(SimulatedKill):
            predict("linear-regression", path, out=out, home=registered.home, sizes=sizes, advanced=stop)
        assert not out.exists()
        result = predict("linear-regression", path, out=out, home=registered.home, sizes=sizes)
        assert result.carried_on == last
        assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_predict_does_not_go_on_with_parts_of_another_content_of_the_same_size_and_time(
    registered: RegistryFixture, tmp_path: Path
) -> None:
    path, out, sizes = write_rows(tmp_path / "rows.csv", 30), tmp_path / "out.csv", PartSizes(rows=10)
    os.utime(path, (1e9, 1e9))

    def stop(_rows: int, _size: int) -> None:
        raise SimulatedKill

    with pytest.raises(SimulatedKill):
        predict("linear-regression", path, out=out, home=registered.home, sizes=sizes, advanced=stop)
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    os.utime(path, (1e9, 1e9))
    with pytest.raises(WrongInput, match="another input"):
        predict("linear-regression", path, out=out, home=registered.home, sizes=sizes)


def test_predict_ignores_unfinished_parts_of_another_run(registered: RegistryFixture, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", 30)
    out, sizes = tmp_path / "out.csv", PartSizes(rows=10)

    def stop(_rows: int, _size: int) -> None:
        raise SimulatedKill

    def begin(model: str = "linear-regression", **more: Any) -> Any:
        return predict(model, path, out=out, home=registered.home, sizes=sizes, **more)

    with pytest.raises(SimulatedKill):
        begin(advanced=stop)
    with pytest.raises(WrongInput, match="another model"):
        begin("linear-regression/2")
    write_rows(path, 30, seed=1)
    with pytest.raises(WrongInput, match="another input"):
        begin()
    assert begin(overwrite=True).carried_on == 0
    assert [float(r["prediction"]) for r in read_output(out)] == pytest.approx(
        expected_predictions(registered, path), rel=1e-6
    )


def test_predict_output_owned_by_another_command_is_refused(tmp_path: Path) -> None:
    with open_parts(tmp_path / "out.csv", ".csv", {}, overwrite=False):  # noqa: SIM117
        with pytest.raises(OwnedElsewhere), open_parts(tmp_path / "out.csv", ".csv", {}, overwrite=False):
            pass


MEASURED = """
import resource, sys
from pathlib import Path
from flows.inference.predict import predict
from infra.home import Home
before = 0
def advanced(rows, size):
    global before
    before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
predict("linear-regression", Path(sys.argv[1]), home=Home(Path(sys.argv[2])), advanced=advanced)
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def command(*arguments: Any) -> list[str]:
    """Python with some arguments."""
    return [sys.executable, *map(str, arguments)]


@pytest.mark.slow
def test_predict_file_larger_than_memory_streams_through(registered: RegistryFixture, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", 50_000)  # what takes time is rows, and what takes memory bytes
    filler = "x" * 1_900
    wide = tmp_path / "wide.csv"
    with path.open() as file, wide.open("w") as out:
        for number, line in enumerate(file):
            out.write(f"{line.rstrip()},{filler if number else 'note'}\n")
    ended = subprocess.run(
        command("-c", MEASURED, wide, registered.home.path),
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    first_part, whole = map(int, ended.stdout.split())
    megabytes = wide.stat().st_size / 2**20
    assert megabytes > 90
    assert (whole - first_part) / 1024 < 40, f"{whole - first_part} KiB more for {megabytes:.0f} MiB"
    with (tmp_path / "wide.predictions.csv").open() as out:
        assert sum(1 for _ in out) == 50_001


@pytest.mark.slow
def test_predict_killed_in_the_middle_resumes(registered: RegistryFixture, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", 40_000)
    environ = {**os.environ, "VELODROME_HOME": str(registered.home.path), "OMP_NUM_THREADS": "1"}
    run = command("-m", "flows.cli", "predict", "linear-regression", path)
    parts = tmp_path / "rows.predictions.csv.parts"
    first = subprocess.Popen(run, env=environ, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(parts.glob("0*.csv"))) < 2 and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.002)
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert not (tmp_path / "rows.predictions.csv").exists()
    again = subprocess.run(run, env=environ, capture_output=True, text=True, timeout=600, check=True)
    assert "parts of them from before" in again.stderr
    rows = read_output(tmp_path / "rows.predictions.csv")
    assert [row["id"] for row in rows] == [f"{n:06d}" for n in range(40_000)]
    assert not parts.exists()


@pytest.mark.slow
@pytest.mark.ray
def test_predict_on_ray_gives_the_same_output(
    registered: RegistryFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from infra.driver.cluster import RAY_TRAIN_SETTINGS
    from infra.predicting import on_ray
    from infra.predicting.on_ray import ActorPool, score_on_ray

    for name, value in RAY_TRAIN_SETTINGS.items():  # no processes that wait for nothing
        monkeypatch.setenv(name, value)

    path, sizes, pool = write_rows(tmp_path / "rows.csv", 2_000), PartSizes(rows=150), ActorPool(actors=1)
    predict("linear-regression", path, out=tmp_path / "here.csv", home=registered.home, sizes=sizes)

    def stop(_rows: int, _size: int) -> None:
        raise SimulatedKill

    def ignore(_rows: int, _size: int) -> None:
        return

    bad = tmp_path / "bad.csv"
    bad.write_text(path.read_text() + "9," + "x," * 9 + "1\n")
    out = tmp_path / "there.csv"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        kind, artifact, fields = _pieces(registered, path)
        with open_parts(out, ".csv", {}, overwrite=False) as parts:
            with pytest.raises(SimulatedKill) as kept:  # and with it the frames of the run that it ended
                score_on_ray(kind, artifact, fields, parts, sizes, pool, stop)
            assert 0 < len(parts.done_numbers()) < 14
            assert kept.value.__traceback__ is not None
            every = ActorPool(actors=2)  # all processors of the cluster: none is left for the reading
            assert score_on_ray(kind, artifact, fields, parts, sizes, every, ignore) == 2_000
            parts.join_parts(kind, out)
        with (
            open_parts(tmp_path / "bad-out.csv", ".csv", {}, overwrite=False) as parts,
            pytest.raises(WrongInput, match="row 2001"),
        ):
            score_on_ray(open_input(bad), artifact, fields, parts, sizes, pool, ignore)
        monkeypatch.setattr(on_ray, "START_LIMIT_S", 2)
        with (
            open_parts(tmp_path / "more.csv", ".csv", {}, overwrite=False) as parts,
            pytest.raises(ClusterUnavailable, match="no room for 3 of 1 CPU"),
        ):
            score_on_ray(kind, artifact, fields, parts, sizes, ActorPool(actors=3), ignore)
    finally:
        ray.shutdown()
    assert out.read_bytes() == (tmp_path / "here.csv").read_bytes()


def _pieces(registered: RegistryFixture, path: Path) -> tuple[Any, Any, Any]:
    from flows.inference.model_lookup import choose_model, fetch_artifact
    from infra.serving.artifact import load_artifact

    artifact = fetch_artifact(choose_model("linear-regression", registered.home), registered.home)
    return open_input(path), artifact, load_artifact(artifact).fields
