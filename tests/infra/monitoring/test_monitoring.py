"""Drift in figures, and the log of predictions, on a scripted scorer."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pyarrow import parquet

from infra.errors import StorageUnavailable
from infra.monitoring import drift as drift_module
from infra.monitoring.drift import DriftWatch
from infra.monitoring.prediction_log import PredictionLog, rows_table
from infra.serving.model_schema import Field, ModelSchema
from tests.infra.serving.scripted_server import NUMBER, Server, run
from trainers.data.distribution import TARGET, describe_values

TRAINED = {
    "x": describe_values("number", [n / 1000 for n in range(1000)]),
    TARGET: describe_values("number", [n / 1000 for n in range(1000)]),
}


async def ready_server(*observers: Any) -> Server:
    """A server whose version knows what training saw."""
    server = Server(observers=observers)
    await server.follower.poll_once()
    server.follower.standing.schemas["m/1"] = replace(NUMBER, distribution=TRAINED)
    return server


@pytest.mark.parametrize(("shift", "drifted"), [(0.0, False), (5.0, True)])
def test_drift_of_inputs_and_answers_is_in_metrics_once_there_are_rows_enough(
    shift: float, drifted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_module, "ROWS_A_SECOND", 10_000)

    async def story() -> None:
        watch = DriftWatch()
        server = await ready_server(watch)
        server.service.figures.add_collector(watch)
        await server.ask({"instances": [n / 100 + shift for n in range(100)]})
        assert "velodrome_drift{" not in (await server.ask(method="GET", path="/metrics")).body.decode()
        await server.ask({"instances": [n / 900 + shift for n in range(900)]})
        figures = server.service.figures
        for what, column in (("input", "x"), ("answer", "answer")):
            value = figures.metric_value("velodrome_drift", version="m/1", what=what, column=column)
            assert (value > 0.25) is drifted
            assert drifted or value < 0.1
        assert figures.metric_value("velodrome_drift_rows", version="m/1") == 1000

    run(story)


def test_drift_forgets_what_came_long_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_module, "WINDOW_ROWS", 1000)
    window = drift_module.DriftWindow(TRAINED)
    fine = [n / 1000 for n in range(1000)]
    for values in ([9.0] * 1000, fine, fine):
        window.add_rows({"x": list(values)}, list(values))
    assert window.indices()["x"] < 0.1
    assert window.rows == 2000


def test_drift_looks_at_no_more_rows_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_module, "ROWS_A_SECOND", 50)

    async def story() -> None:
        watch = DriftWatch()
        server = await ready_server(watch)
        for _ in range(3):
            await server.ask({"instances": [0.5] * 400})
        server.service.figures.add_collector(watch)
        assert server.service.figures.metric_value("velodrome_drift_rows", version="m/1") <= 100

    run(story)


def test_observer_that_fails_costs_no_answer() -> None:
    class Broken:
        def observe(self, *_: object) -> None:
            raise ZeroDivisionError

    async def story() -> None:
        server = await ready_server(Broken())
        assert (await server.ask()).status == 200

    run(story)


def test_answered_rows_are_kept_with_inputs_answers_and_request(tmp_path: Path) -> None:
    folder = tmp_path / "predictions"

    async def story() -> None:
        kept = PredictionLog(folder)
        server = await ready_server(kept)
        await server.ask({"instances": [1.0, 2.0]}, headers={"x-request-id": "one"})
        await server.ask({"instances": [None]}, headers={"x-request-id": "refused"})
        await server.ask({"instances": ["no"]})
        await kept.flush()
        await server.ask({"instances": [3.0]}, headers={"x-request-id": "two"})
        await kept.flush()
        await kept.flush()
        assert kept.written >= 3

    run(story)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = sorted(folder.iterdir())
    assert len(files) == 2
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    rows = [row for file in files for row in parquet.read_table(file).to_pylist()]
    found = [(r["request_id"], r["row"], r["version"], r["input.x"], r["answer.prediction"]) for r in rows]
    assert ("one", 1, "m/1", 2.0, 2.0) in found
    assert ("two", 0, "m/1", 3.0, 3.0) in found
    assert rows[0]["at"].tzinfo is not None


def test_share_of_requests_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        kept = PredictionLog(tmp_path, share=0.2, seed=1)
        server = await ready_server(kept)
        for _ in range(200):
            await server.ask()
        await kept.flush()
        assert 20 <= kept.written <= 60

    run(story)


def test_log_that_cannot_be_written_costs_rows_and_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        kept = PredictionLog(tmp_path)
        server = await ready_server(kept)
        monkeypatch.setattr("infra.monitoring.prediction_log.LEAST_FREE_BYTES", 1 << 62)
        assert (await server.ask()).status == 200
        await kept.flush()
        assert (kept.written, kept.dropped) == (0, 1)
        server.service.figures.add_collector(kept)
        assert server.service.figures.metric_value("velodrome_logged_rows_total", outcome="dropped") == 1

    run(story)
    assert not list(tmp_path.iterdir())


def test_log_in_a_place_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageUnavailable, match="--log-predictions"):
        PredictionLog(tmp_path / "file" / "below")


def test_columns_have_the_models_types_whatever_the_rows_hold() -> None:
    schema = ModelSchema(
        fields=[Field(name=name, type=kind) for name, kind in
                (("n", "double"), ("b", "boolean"), ("c", "string"), ("image", "any"), ("audio", "audio"))],
        outputs=[Field(name="label", type="string")],
    )  # fmt: skip
    clip = io.BytesIO()
    soundfile.write(clip, np.full(800, 0.1), 8000, format="WAV", subtype="FLOAT")
    rows = [
        {"at": None, "version": "m/1", "request_id": "a", "row": n, "input.n": None, "input.b": None,
         "input.c": c, "input.image": [[0, 255], [255, 0]], "input.audio": clip.getvalue(),
         "answer.label": "yes"}
        for n, c in enumerate(("x", 3))
    ]  # fmt: skip
    table = rows_table(schema, rows)
    assert list(map(str, table.schema.types)) == [
        "timestamp[ms, tz=UTC]", "string", "string", "int32", "double", "bool", "string", "double", "double",
        "string",
    ]  # fmt: skip
    assert table.column("input.c").to_pylist() == ["x", "3"]
    assert table.column("input.audio").to_pylist()[0] == pytest.approx(-20)
    assert table.column("input.image").to_pylist()[0] == pytest.approx(0.5, abs=0.02)


def test_waiting_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.monitoring.prediction_log.MOST_WAITING", 3)

    async def story() -> None:
        kept = PredictionLog(tmp_path)
        server = await ready_server(kept)
        await asyncio.gather(*(server.ask() for _ in range(5)))
        assert kept.dropped == 2

    run(story)
