"""What a person reads of a registry that answers, and not with what it was asked for."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from infra.errors import VelodromeError
from infra.registry.records import Records
from infra.registry.store import Registry
from infra.tracking.client import connect
from tests.infra.registry.test_elsewhere import as_json, run_http_server


def _json(code: str) -> bytes:
    return json.dumps({"error_code": code, "message": "no"}).encode()


ANSWERS: dict[str, tuple[int, bytes, int, str]] = {
    "401 as basic-auth": (401, b"You are not authenticated.", 2, "401 for ada: "),
    "401 as JSON": (401, _json("UNAUTHENTICATED"), 2, "401 for ada: "),
    "403 as basic-auth": (403, b"Permission denied", 2, "ada must have the permission READ at "),
    "403 as JSON": (403, _json("PERMISSION_DENIED"), 2, "ada must have the permission READ at "),
    "404 of no MLflow": (404, b"<html>nothing here</html>", 2, "an MLflow server must be at "),
    "409": (409, _json("RESOURCE_CONFLICT"), 4, "repeat the command: it looks anew"),
    "500": (500, _json("INTERNAL_ERROR"), 4, "its log says why; once it works, repeat"),
    "502 of a proxy": (502, b"<html>bad gateway</html>", 4, "its log says why; once it works, repeat"),
    "503": (503, _json("TEMPORARILY_UNAVAILABLE"), 4, "once it works, repeat"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_registry_error_has_its_own_words_and_status(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "word")
    status, body, code, words = ANSWERS[case]
    with run_http_server(lambda path: (status, {}, body)) as (uri, _):
        registry = Registry(connect(uri), tmp_path)
        with pytest.raises(VelodromeError) as refused:
            registry.call("get_experiment_by_name", "velodrome-registry")
    assert refused.value.exit_code == code
    assert words in str(refused.value)
    assert str(status) in str(refused.value)
    assert ("repeat" in refused.value.do) == (code == 4)


def test_record_that_an_account_may_not_write_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")

    def answer(path: str) -> Any:
        return (403, {}, _json("PERMISSION_DENIED")) if "log-parameter" in path else as_json({})

    with run_http_server(answer) as (uri, _):
        records = Records(Registry(connect(uri), tmp_path), "shop")
        records._run = "0" * 32
        with pytest.raises(VelodromeError, match="bob must have the permission EDIT") as refused:
            records.store_document({"a": 1})
    assert refused.value.exit_code == 2


def test_registry_that_answers_late_says_which_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        registry = Registry(connect(f"http://127.0.0.1:{silent.getsockname()[1]}"), tmp_path)
        with pytest.raises(VelodromeError, match="MLFLOW_HTTP_REQUEST_TIMEOUT") as refused:
            registry.call("get_experiment_by_name", "x")
    assert refused.value.exit_code == 4


def test_registry_that_nobody_runs_is_to_be_repeated(tmp_path: Path) -> None:
    registry = Registry(connect("http://127.0.0.1:9"), tmp_path)
    with pytest.raises(VelodromeError, match="must answer") as refused:
        registry.call("get_experiment_by_name", "x")
    assert (refused.value.exit_code, "repeat" in refused.value.do) == (4, True)
