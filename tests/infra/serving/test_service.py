"""Requests, batches, swaps, shadows and canaries, on a scripted scorer; one test on a real model."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from pathlib import Path
from typing import cast

import pandas as pd
import pytest

from infra.serving.artifact import ServedModel, load_artifact, read_artifact
from infra.serving.http.access_control import AccessControl
from infra.serving.http.app import FIXED_S, SHARE, ErrorThrottle
from infra.serving.limits import RequestLimits
from infra.serving.model_schema import Field
from infra.serving.routing import CanaryRule
from infra.serving.scoring import PIECE_ROWS, Answer, RequestBatch, answer_batch, join_requests
from tests.infra.serving.registry_with_models import RegistryFixture, answers
from tests.infra.serving.scripted_server import Aliases, LocalScorer, ScriptedScorer, Server, run
from tests.trainers.families.cases import CASES, clips
from tests.trainers.families.test_contract import FamilyBench
from trainers.bundle.bundle import load_bundle


def test_answer_names_the_version_that_gave_it() -> None:
    async def story() -> None:
        server = Server()
        assert (await server.ask()).status == 503
        assert (await server.ask(method="GET", path="/health")).status == 503
        await server.follower.poll_once()
        reply = await server.ask({"instances": [1.0, 2.5]})
        assert (reply.status, reply.json) == (
            200,
            {"predictions": [{"prediction": 1.0}, {"prediction": 2.5}]},
        )
        assert reply.headers["x-velodrome-version"] == "m/1"
        assert (await server.ask(method="GET", path="/health")).status == 200
        version = await server.ask(method="GET", path="/version")
        assert version.json["champion"] == "m/1"
        figures = (await server.ask(method="GET", path="/metrics")).body.decode()
        assert 'velodrome_requests_total{path="/invocations",status="200",version="m/1"} 1.0' in figures
        assert 'velodrome_version_info{role="champion",version="m/1"} 1.0' in figures

    run(story)


def test_waiting_requests_are_batched_and_never_mixed_up() -> None:
    async def story() -> None:
        server = Server(ScriptedScorer(seconds=0.01), limits=RequestLimits(batch_rows=16))
        await server.follower.poll_once()
        replies = await asyncio.gather(
            *(server.ask({"instances": [float(n)] * (1 + n % 3)}) for n in range(100))
        )
        for number, reply in enumerate(replies):
            assert reply.json == {"predictions": [{"prediction": float(number)}] * (1 + number % 3)}
        assert len(server.scorer.batches) < 30
        assert max(sum(batch.sizes) for _, batch in server.scorer.batches) <= 16

    run(story)


def test_version_swap_under_load_loses_no_request() -> None:
    async def story() -> None:
        server = Server(ScriptedScorer(seconds=0.002))
        await server.follower.poll_once()
        versions: list[str] = []
        moved = False

        async def client() -> None:
            while not moved or len(versions) < 200:
                reply = await server.ask()
                assert reply.status == 200
                versions.append(reply.headers["x-velodrome-version"])

        async def mover() -> None:
            nonlocal moved
            for target in ("m/2", "m/3", "m/2", "m/1", "m/4"):
                await asyncio.sleep(0.03)
                server.aliases.at["champion"] = target
                await server.follower.poll_once()
                assert (await server.ask()).headers["x-velodrome-version"] == target
            moved = True

        await asyncio.gather(mover(), *(client() for _ in range(16)))
        assert set(versions) == {"m/1", "m/2", "m/3", "m/4"}
        assert server.batcher.waiting_rows == 0

    run(story)


def test_version_that_does_not_load_is_refused_and_old_one_answers() -> None:
    async def story() -> None:
        server = Server(ScriptedScorer(broken={"m/2"}))
        await server.follower.poll_once()
        server.aliases.at["champion"] = "m/2"
        for _ in range(3):
            await server.follower.poll_once()
        assert (await server.ask()).headers["x-velodrome-version"] == "m/1"
        assert list(server.follower.standing.refused) == ["m/2"]
        assert sum("m/2 is refused" in line for line in server.said) == 1
        server.aliases.at["champion"] = "m/3"
        await server.follower.poll_once()
        assert (await server.ask()).headers["x-velodrome-version"] == "m/3"
        assert not server.follower.standing.refused

    run(story)


def test_version_that_kills_its_replica_is_refused_the_second_time() -> None:
    async def story() -> None:
        server = Server(ScriptedScorer(deadly={"m/2"}))
        await server.follower.poll_once()
        server.aliases.at["champion"] = "m/2"
        await server.follower.poll_once()
        assert not server.follower.standing.refused
        await server.follower.poll_once()
        assert "died while they loaded it" in server.follower.standing.refused["m/2"]
        assert (await server.ask()).headers["x-velodrome-version"] == "m/1"

    run(story)


def test_version_with_unavailable_files_is_tried_again() -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        server.aliases.at["champion"], server.aliases.lost = "m/2", True
        await server.follower.poll_once()
        assert "no answer" in server.follower.standing.trouble
        assert not server.follower.standing.refused
        server.aliases.lost = False
        await server.follower.poll_once()
        assert (await server.ask()).headers["x-velodrome-version"] == "m/2"

    run(story)


def test_service_keeps_its_version_while_registry_or_alias_is_away() -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        server.aliases.away = True
        await server.follower.poll_once()
        assert "no answer" in server.follower.standing.trouble
        assert (await server.ask()).status == 200
        server.aliases.away = False
        del server.aliases.at["champion"]
        await server.follower.poll_once()
        assert (await server.ask()).headers["x-velodrome-version"] == "m/1"

    run(story)


def test_the_former_champion_stays_loaded_and_older_ones_go() -> None:
    async def story() -> None:
        server = Server()
        for target in ("m/1", "m/2", "m/3"):
            server.aliases.at["champion"] = target
            await server.follower.poll_once()
        await server.follower.poll_once()
        assert server.scorer.loaded == {"m/2", "m/3"}

    run(story)


def test_batch_of_a_dead_replica_is_sent_again() -> None:
    async def story() -> None:
        server = Server(ScriptedScorer(troubles=3))
        await server.follower.poll_once()
        assert (await server.ask()).status == 200
        assert server.batcher.retries == 3

    run(story)


def test_requests_without_any_replica_end_with_503_in_time() -> None:
    async def story() -> None:
        server = Server(ScriptedScorer(troubles=10**6), limits=RequestLimits(answer_s=0.3))
        await server.follower.poll_once()
        replies = await asyncio.gather(*(server.ask() for _ in range(5)))
        assert {reply.status for reply in replies} == {503}
        assert replies[0].headers["retry-after"] == "1"

    run(story)


def test_wrong_requests_take_little_time_and_delay_no_good_one() -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        ended: list[int] = []

        async def ask(body: bytes | None) -> None:
            ended.append((await server.ask(body)).status)

        began = time.monotonic()
        await ask(b"{")
        assert time.monotonic() - began < 1.0  # one alone is not held up either
        began = time.monotonic()
        await asyncio.gather(*(ask(b'{"instances": [') for _ in range(200)), ask(None))
        assert time.monotonic() - began >= 0.9 * 200 * FIXED_S * (1 / SHARE - 1)
        assert ended.index(200) < 100
        assert Counter(ended) == {200: 1, 400: 201}

    run(story)


def test_turnstile_wait_ends_at_its_limit() -> None:
    async def story() -> None:
        turnstile = ErrorThrottle(share=0.1, longest_s=0.05)
        began = time.monotonic()
        await asyncio.gather(*(turnstile.wait(10.0) for _ in range(20)))
        assert 0.04 < time.monotonic() - began < 5.0

    run(story)


def test_requests_beyond_the_waiting_limit_are_503() -> None:
    async def story() -> None:
        server = Server(ScriptedScorer(seconds=0.2), limits=RequestLimits(waiting_rows=10, batch_rows=1))
        await server.follower.poll_once()
        replies = await asyncio.gather(*(server.ask() for _ in range(40)))
        assert sorted({reply.status for reply in replies}) == [200, 503]

    run(story)


def test_shadow_is_compared_and_never_answers_a_client() -> None:
    async def story() -> None:
        server = Server(aliases=Aliases({"champion": "m/1", "challenger": "m/2"}), shadow=True)
        await server.follower.poll_once()
        for value in (0.0, 1.0, 1.0):
            reply = await server.ask({"instances": [value]})
            assert reply.json == {"predictions": [{"prediction": value}]}
        await server.service.await_shadows()
        figures = server.service.figures
        assert figures.metric_value("velodrome_shadow_rows_total", outcome="agreed") == 1
        assert figures.metric_value("velodrome_shadow_rows_total", outcome="differed") == 2
        server.scorer.failing.add("m/2")
        assert (await server.ask()).status == 200
        await server.service.await_shadows()
        assert figures.metric_value("velodrome_shadow_rows_total", outcome="failed") == 1

    run(story)


def test_failing_canary_loses_its_share_and_no_request() -> None:
    async def story() -> None:
        aliases = Aliases({"champion": "m/1", "challenger": "m/2"})
        server = Server(aliases=aliases, canary=CanaryRule(percent=10, most_errors=2))
        await server.follower.poll_once()
        replies = [await server.ask() for _ in range(100)]
        assert sum(r.headers["x-velodrome-version"] == "m/2" for r in replies) == 10
        server.scorer.failing.add("m/2")
        replies = [await server.ask() for _ in range(200)]
        assert {(r.status, r.headers["x-velodrome-version"]) for r in replies} == {(200, "m/1")}
        assert server.service.figures.metric_value("velodrome_canary_requests_total", outcome="failed") == 3
        assert sum("failed too often" in line for line in server.said) == 1
        server.scorer.failing.clear()
        aliases.at["challenger"] = "m/3"
        await server.follower.poll_once()
        replies = [await server.ask() for _ in range(20)]
        assert sum(r.headers["x-velodrome-version"] == "m/3" for r in replies) == 2

    run(story)


def test_hanging_challenger_delays_no_request() -> None:
    async def story() -> None:
        aliases = Aliases({"champion": "m/1", "challenger": "m/2"})
        server = Server(
            ScriptedScorer(hanging={"m/2"}),
            aliases,
            canary=CanaryRule(percent=50),
            limits=RequestLimits(answer_s=0.6),
        )
        await server.follower.poll_once()
        replies = await asyncio.gather(*(server.ask() for _ in range(40)))
        assert {(r.status, r.headers["x-velodrome-version"]) for r in replies} == {(200, "m/1")}
        assert server.service.canary.undone
        await server.batcher.close()

    run(story)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/invocations", {}, 405),
        ("PUT", "/invocations", {"origin": "http://evil.example"}, 403),
        ("DELETE", "/version", {}, 405),
        ("POST", "/health", {"host": "evil.example"}, 403),
        ("POST", "/invocations", {"sec-fetch-site": "cross-site"}, 403),
        ("GET", "/../etc/passwd", {}, 404),
        ("POST", "/invocations", {"content-encoding": "br"}, 415),
        ("POST", "/invocations", {"content-type": "application/x-pickle"}, 415),
        ("POST", "/invocations", {"content-length": "104857600"}, 413),
        ("POST", "/invocations", {"content-length": "-5"}, 413),
    ],
)
def test_request_with_wrong_method_path_or_header_has_its_status(
    method: str, path: str, headers: dict[str, str], status: int
) -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        reply = await server.ask(method=method, path=path, headers=headers)
        assert reply.status == status
        assert reply.json["message"]

    run(story)


def test_body_over_the_limit_is_refused_while_it_arrives() -> None:
    async def story() -> None:
        server = Server(limits=RequestLimits(body_bytes=1000))
        await server.follower.poll_once()
        read = 0

        async def endless() -> object:
            nonlocal read
            read += 1
            return {"type": "http.request", "body": b" " * 400, "more_body": True}

        reply = await server.ask(receive=endless)
        assert (reply.status, read) == (413, 3)
        assert reply.headers["connection"] == "close"

    run(story)


def test_request_with_slow_body_is_408() -> None:
    async def story() -> None:
        server = Server(limits=RequestLimits(receive_s=0.1))
        await server.follower.poll_once()

        async def slow() -> object:
            await asyncio.sleep(0.03)
            return {"type": "http.request", "body": b" ", "more_body": True}

        assert (await server.ask(receive=slow)).status == 408

    run(story)


def test_request_without_the_token_is_401_and_with_a_wrong_one_403() -> None:
    async def story() -> None:
        server = Server(admission=AccessControl(token="0123456789abcdef"))
        await server.follower.poll_once()
        refused = await server.ask()
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert (await server.ask(headers={"authorization": "Bearer 0123456789abcdeF"})).status == 403
        assert (await server.ask(headers={"authorization": "Bearer 0123456789abcdef"})).status == 200

    run(story)


class Picky:
    """A model that cannot read negative numbers, and breaks on 13."""

    example = None
    fields: list[Field] = []  # noqa: RUF012
    outputs: list[str] = []  # noqa: RUF012

    def predict(self, rows: object) -> object:
        import pandas as pd

        from trainers.errors import InputError

        assert isinstance(rows, pd.DataFrame)
        if (rows["x"] < 0).any():
            raise InputError("x must not be negative", "less")
        if (rows["x"] == 13).any():
            raise ZeroDivisionError
        return pd.DataFrame({"prediction": rows["x"]})


def test_unreadable_row_fails_only_its_own_request() -> None:
    requests = [({"x": [1.0]}, 1), ({"x": [-1.0, 2.0]}, 2), ({"x": [13.0]}, 1), ({"x": [3.0, 4.0]}, 2)]
    found = answer_batch(Picky(), join_requests(requests))
    assert [a.reason is None for a in found] == [True, False, False, True]
    assert [a.defect for a in found] == [False, False, True, False]
    assert "negative" in str(found[1].reason)
    assert found[3].content == b'[{"prediction": 3.0}, {"prediction": 4.0}]'


def test_non_finite_prediction_fails_with_a_reason() -> None:
    class Infinite(Picky):
        def predict(self, rows: object) -> object:
            import pandas as pd

            assert isinstance(rows, pd.DataFrame)
            return pd.DataFrame({"prediction": rows["x"] * 1e308 * 10})

    (found,) = answer_batch(Infinite(), RequestBatch(columns={"x": [1.0]}, sizes=(1,)))
    assert "not a finite number" in str(found.reason)


def test_service_follows_real_model_and_refuses_a_damaged_one(
    registered: RegistryFixture, bundle: Path, other: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        server = Server(LocalScorer(), registered.source)
        registered.add("m", bundle, alias="champion")
        await server.follower.poll_once()
        rows = load_artifact(read_artifact("m/1", bundle)).example
        body = {"dataframe_records": rows.to_dict("records")}
        assert (await server.ask(body)).json == {"predictions": answers(bundle)}
        registered.add("m", other, alias="champion")
        await server.follower.poll_once()
        assert (await server.ask(body)).json == {"predictions": answers(other)}
        number = registered.add("m", bundle)
        broken = Path(registered.location("m", number).removeprefix("file://"))
        inner = next(broken.rglob("weights.safetensors"))
        inner.write_bytes(inner.read_bytes()[:-1] + b"\x01")
        registered.move("m", "champion", number)
        await server.follower.poll_once()
        assert "m/3" in server.follower.standing.refused
        assert (await server.ask(body)).json == {"predictions": answers(other)}
        registered.move("m", "champion", 1)
        await server.follower.poll_once()
        assert (await server.ask(body)).json == {"predictions": answers(bundle)}
        assert (await server.ask({"instances": [{"age": 1}]})).status == 400

    run(story)


def test_clips_in_base64_are_answered_as_the_model_answers_their_files(
    registered: RegistryFixture, tmp_path: Path
) -> None:
    (case,) = [c for c in CASES if c.name == "image_cnn" and c.dataset is clips]
    FamilyBench(case).save(tmp_path / "bundle")
    rows = clips().columns["audio"].values[:3]
    want = load_bundle(tmp_path / "bundle").predict(list(rows)).to_dict("records")
    asked = [base64.b64encode(content).decode() for content in rows]

    async def story() -> None:
        registered.add("m", tmp_path / "bundle", alias="champion")
        server = Server(LocalScorer(), registered.source)
        await server.follower.poll_once()
        for body in ({"dataframe_records": [{"audio": text} for text in asked]}, {"instances": asked}):
            reply = await server.ask(body)
            assert reply.status == 200, reply.body
            assert reply.json["predictions"] == [pytest.approx(row) for row in want]
        refused = await server.ask({"instances": [{"audio": base64.b64encode(b"no sound").decode()}]})
        assert refused.status == 400
        assert b"a clip is wanted" in refused.body

    run(story)


class CountingModel:
    """A model whose calls each take a second of a clock of its own."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.sizes: list[int] = []

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Twice each number."""
        self.seconds += 1.0
        self.sizes.append(len(frame))
        return pd.DataFrame({"prediction": frame["x"] * 2})


def answer_many(rows: int, limit_s: float) -> tuple[CountingModel, Answer]:
    model = CountingModel()
    batch = RequestBatch(columns={"x": [float(n) for n in range(rows)]}, sizes=(rows,), limit_s=limit_s)
    (answer,) = answer_batch(cast(ServedModel, model), batch, clock=lambda: model.seconds)
    return model, answer


def test_rows_that_nobody_waits_for_are_not_computed() -> None:
    model, answer = answer_many(10 * PIECE_ROWS, limit_s=2.5)
    assert len(model.sizes) == 3
    assert "the time was over" in (answer.reason or "")


def test_rows_of_many_pieces_are_answered_in_their_order() -> None:
    model, answer = answer_many(2 * PIECE_ROWS + 7, limit_s=10.0)
    assert model.sizes == [PIECE_ROWS, PIECE_ROWS, 7]
    assert [record["prediction"] for record in json.loads(answer.content)] == [
        2.0 * n for n in range(2 * PIECE_ROWS + 7)
    ]


def test_replica_is_told_how_long_a_request_waits() -> None:
    async def story() -> None:
        server = Server(limits=RequestLimits(answer_s=4.0))
        await server.follower.poll_once()
        assert (await server.ask()).status == 200
        ((_, batch),) = server.scorer.batches
        assert 3.0 < batch.limit_s <= 4.0

    run(story)
