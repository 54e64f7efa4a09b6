"""One model of a mixed table, asked in every way that there is, answers the same rows alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.inference.predict import predict
from infra.errors import WrongInput
from tests.infra.lanes.test_attempt import attempt
from tests.infra.serving.registry_with_models import RegistryFixture
from tests.infra.serving.scripted_server import LocalScorer, Server, run
from trainers.errors import CellError, InputError

INPUTS = ["vip", "plan", "size", "count", "price", "since", "cost", "country"]


def make_rows() -> pd.DataFrame:
    """Booleans, words, numbers with and without gaps, codes that look like numbers, dates, spelt numbers."""
    rng, rows = np.random.default_rng(3), 240
    frame = pd.DataFrame({
        "vip": rng.random(rows) < 0.5,
        "plan": rng.choice(["gold", "basic", "007", "1.10"], rows),
        "size": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(5, 2, rows).round(3)),
        "count": pd.array(rng.integers(0, 40, rows), "Int64"),
        "price": rng.normal(2e4, 5e3, rows).round(2),
        "cost": [f"{n // 1000}.{n % 1000:03},50 €" for n in rng.integers(1000, 9000, rows)],
        "country": rng.choice(["NA", "US", "DE"], rows),
        "since": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
    })  # fmt: skip
    frame.loc[::17, "count"] = pd.NA
    score = frame["vip"] * 2.0 + frame["count"].fillna(0).astype(float) / 20 + frame["price"] / 1e4
    return frame.assign(label=np.where(score > score.median(), "stays", "leaves"))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[RegistryFixture, Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("ways")
    rows = make_rows()
    rows.to_csv(folder / "rows.csv", index=False)
    data = {"source": "csv:rows.csv", "columns": {"target": "label"}}
    ended, _ = attempt(folder, "mlp", data, "loss", {"hidden": [8], "dropout": 0.0}, {})
    assert ended.model is not None, ended.detail
    made = RegistryFixture(folder / "registry")
    made.add("m", folder / "storage" / ended.model, alias="champion")
    return made, folder / "storage" / ended.model, rows[INPUTS].head(40)


def by_file(write: Callable[[pd.DataFrame, Path], object], ending: str) -> Callable[..., pd.DataFrame]:
    def ask(made: RegistryFixture, _bundle: Path, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        write(rows, folder / f"asked{ending}")
        found = Path(predict("m", folder / f"asked{ending}", home=made.home).output)
        if ending == ".parquet":
            return pd.read_parquet(found)
        if ending == ".jsonl":
            return pd.read_json(found, lines=True)
        return pd.read_csv(found, sep=None, engine="python")

    return ask


def as_plain(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as a client's JSON has them."""
    return [dict(row) for row in json.loads(rows.to_json(orient="records", date_format="iso"))]


def ask_frame(_made: RegistryFixture, bundle: Path, rows: pd.DataFrame, _folder: Path) -> pd.DataFrame:
    from trainers.bundle.bundle import load_bundle

    return load_bundle(bundle).predict(rows)


def ask_mlflow(made: RegistryFixture, _bundle: Path, rows: pd.DataFrame, _folder: Path) -> pd.DataFrame:
    import mlflow.pyfunc

    found: pd.DataFrame = mlflow.pyfunc.load_model(made.location("m", "1")).predict(rows)
    return found


def over_http(body: Callable[[pd.DataFrame], dict[str, Any]]) -> Callable[..., pd.DataFrame]:
    def ask(made: RegistryFixture, _bundle: Path, rows: pd.DataFrame, _folder: Path) -> pd.DataFrame:
        replies: list[Any] = []

        async def story() -> None:
            server = Server(LocalScorer(), made.source)
            await server.follower.poll_once()
            replies.append(await server.ask(body(rows)))

        run(story)
        assert replies[0].status == 200, replies[0].body
        return pd.DataFrame(replies[0].json["predictions"])

    return ask


def split_body(rows: pd.DataFrame) -> dict[str, Any]:
    plain = as_plain(rows)
    return {"dataframe_split": {"columns": INPUTS, "data": [[row[name] for name in INPUTS] for row in plain]}}


WAYS: dict[str, Callable[..., pd.DataFrame]] = {
    "csv": by_file(lambda rows, path: rows.to_csv(path, index=False), ".csv"),
    "csv with pandas' index": by_file(lambda rows, path: rows.to_csv(path), ".csv"),
    "csv of other marks": by_file(
        lambda rows, path: rows.assign(vip=rows["vip"].map({True: "true", False: "false"})).to_csv(
            path, index=False, sep=";", encoding="utf-16", lineterminator="\r\n"
        ),
        ".csv",
    ),
    "jsonl": by_file(
        lambda rows, path: rows.to_json(path, orient="records", lines=True, date_format="iso"), ".jsonl"
    ),
    "jsonl with times as pandas writes them": by_file(
        lambda rows, path: rows.assign(
            since=(rows["since"] - pd.Timestamp(0)) // pd.Timedelta(milliseconds=1)
        ).to_json(path, orient="records", lines=True),
        ".jsonl",
    ),
    "parquet": by_file(lambda rows, path: rows.to_parquet(path), ".parquet"),
    "frame": ask_frame,
    "frame of objects": lambda made, bundle, rows, folder: ask_frame(
        made, bundle, rows.astype(object).where(rows.notna(), None), folder
    ),
    "mlflow": ask_mlflow,
    "mlflow with objects": lambda made, bundle, rows, folder: ask_mlflow(
        made, bundle, rows.astype(object).where(rows.notna(), None), folder
    ),
    "http records": over_http(lambda rows: {"dataframe_records": as_plain(rows)}),
    "http split": over_http(split_body),
}


@pytest.mark.parametrize("way", WAYS)
def test_answers_are_the_same_whichever_way_a_model_is_asked(
    asked: tuple[RegistryFixture, Path, pd.DataFrame], way: str, tmp_path: Path
) -> None:
    made, bundle, rows = asked
    known = load_answers(bundle, rows)
    found = WAYS[way](made, bundle, rows, tmp_path)
    assert len(found) == len(rows)
    assert list(found["label"] if "label" in found else found["prediction"]) == list(known["label"])
    np.testing.assert_allclose(
        found["p_leaves"].to_numpy(float), known["p_leaves"].to_numpy(float), rtol=1e-6, atol=1e-6
    )


def load_answers(bundle: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """The bundle's own answers to the cells as the training file spells them."""
    from trainers.bundle.bundle import load_bundle

    cells = pd.read_csv(pd.io.common.StringIO(rows.to_csv(index=False)), dtype=str, keep_default_na=False)
    return load_bundle(bundle).predict(cells)


ODD: list[dict[str, Any]] = [
    {"size": None}, {"size": -0.0}, {"since": "2020"}, {"since": 2020}, {"since": 1577836800000},
    {"since": "1577836800"}, {"since": ""}, {"plan": 7}, {"plan": ["gold"]}, {"plan": "gold "}, {"vip": 1},
    {"vip": "TRUE"}, {"cost": "3.500,50"}, {"cost": 3500.5}, {"country": "NA"}, {"more": {"a": 1}},
]  # fmt: skip
WRONG: list[dict[str, Any]] = [
    {"size": 1e39}, {"size": 10**40}, {"size": True}, {"since": "2020-13-01"}, {"cost": "3,500.50"},
]  # fmt: skip


def test_odd_value_has_one_answer_by_every_way_in(
    asked: tuple[RegistryFixture, Path, pd.DataFrame], tmp_path: Path
) -> None:
    """Alone over HTTP, and beside the others in files and a frame."""
    made, bundle, rows = asked
    odd = [{**as_plain(rows)[3], "since": "2020-06-01", "more": None, **one} for one in ODD]
    replies = ask_each(made, [{"dataframe_records": [row]} for row in odd])
    replies += ask_each(made, [{"inputs": {name: [row[name]] for name in row}} for row in odd])
    known = [reply.json["predictions"][0]["p_leaves"] for reply in replies]
    assert known[: len(odd)] == pytest.approx(known[len(odd) :])
    for path in write_files(odd, tmp_path):
        assert list(ask_by_file(made, path)["p_leaves"]) == pytest.approx(known[: len(odd)], abs=1e-6)
    for ask in (ask_frame, ask_mlflow):
        frame = ask(made, bundle, pd.DataFrame(odd, dtype=object), tmp_path)
        assert list(frame["p_leaves"]) == pytest.approx(known[: len(odd)], abs=1e-6)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_wrong_value_is_refused_by_every_way_in(
    asked: tuple[RegistryFixture, Path, pd.DataFrame], wrong: dict[str, Any], tmp_path: Path
) -> None:
    """1e39 was refused by HTTP alone, and NaN by every other way."""
    made, bundle, rows = asked
    row = {**as_plain(rows)[3], "since": "2020-06-01", **wrong}
    (reply,) = ask_each(made, [{"dataframe_records": [row]}])
    assert reply.status == 400
    for path in write_files([row], tmp_path):
        with pytest.raises((WrongInput, InputError), match="row 1 of"):
            ask_by_file(made, path)
    for ask in (ask_frame, ask_mlflow):
        with pytest.raises(CellError):
            ask(made, bundle, pd.DataFrame([row], dtype=object), tmp_path)


def ask_each(made: RegistryFixture, bodies: list[dict[str, Any]]) -> list[Any]:
    """The replies of a server to one request after another."""
    replies: list[Any] = []

    async def story() -> None:
        server = Server(LocalScorer(), made.source)
        await server.follower.poll_once()
        replies.extend([await server.ask(body) for body in bodies])

    run(story)
    return replies


def write_files(rows: list[dict[str, Any]], folder: Path) -> list[Path]:
    """The rows as lines of JSON and as CSV."""
    lines, table = folder / "a.jsonl", folder / "a.csv"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cells = [
        {n: json.dumps(v) if isinstance(v, (list, dict, bool)) else v for n, v in row.items()} for row in rows
    ]
    pd.DataFrame(cells, dtype=object).to_csv(table, index=False)
    return [lines, table]


def ask_by_file(made: RegistryFixture, path: Path) -> pd.DataFrame:
    output = Path(predict("m", path, home=made.home).output)
    return pd.read_json(output, lines=True) if path.suffix == ".jsonl" else pd.read_csv(output)
