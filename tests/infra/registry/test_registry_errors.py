"""What a person reads of a registry that answers, and not with what it was asked for."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from infra.errors import VelodromeError, WrongInput
from infra.registry.records import ANCHOR, ROOT_TAG, Records
from infra.registry.store import Registry, check_registry_uri
from infra.tracking import client
from infra.tracking.client import connect
from tests.infra.registry.test_elsewhere import as_json, run_http_server


def _json(code: str) -> bytes:
    return json.dumps({"error_code": code, "message": "no"}).encode()


PAGE = b"<!DOCTYPE html><title>Sign in</title>"
ANSWERS: dict[str, tuple[int, bytes, int, str]] = {
    "400 as JSON": (400, _json("INVALID_PARAMETER_VALUE"), 2, "must take the request"),
    "400 of a proxy": (400, PAGE, 2, "its log, or that of a proxy"),
    "401 as basic-auth": (401, b"You are not authenticated.", 2, "401 for ada: "),
    "401 as JSON": (401, _json("UNAUTHENTICATED"), 2, "401 for ada: "),
    "403 as basic-auth": (403, b"Permission denied", 2, "ada must have the permission READ at "),
    "403 as JSON": (403, _json("PERMISSION_DENIED"), 2, "ada must have the permission READ at "),
    "404 of no MLflow": (404, b"<html>nothing here</html>", 2, "an MLflow server must be at "),
    "404 of another API": (404, _json("ENDPOINT_NOT_FOUND"), 2, "an MLflow server must be at "),
    "405": (405, PAGE, 2, "must take the request"),
    "407": (407, b"", 2, "the proxy before "),
    "408": (408, PAGE, 4, "must answer in time"),
    "409": (409, _json("RESOURCE_CONFLICT"), 4, "repeat the command: it looks anew"),
    "413": (413, PAGE, 2, "must take the request"),
    "429": (429, _json("REQUEST_LIMIT_EXCEEDED"), 4, "must not be asked so often"),
    "500": (500, _json("INTERNAL_ERROR"), 4, "its log says why; once it works, repeat"),
    "502 of a proxy": (502, b"<html>bad gateway</html>", 4, "its log says why; once it works, repeat"),
    "503": (503, _json("TEMPORARILY_UNAVAILABLE"), 4, "once it works, repeat"),
    "302": (302, b"", 2, "itself; but got 302"),
    "a page": (200, PAGE, 2, "want somebody to log in"),
    "no object": (200, b"[]", 2, "want somebody to log in"),
    "a blank": (200, b"{}", 2, "an answer that names nothing"),
    "nothing": (200, b"", 2, "an answer that names nothing"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_registry_error_has_its_own_words_and_status(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "word")
    status, body, code, words = ANSWERS[case]
    headers = {"Retry-After": "3600", "Location": "http://127.0.0.1:9/"}
    with run_http_server(lambda path: (status, headers, body)) as (uri, asked):
        registry = Registry(connect(uri), tmp_path)
        with pytest.raises(VelodromeError) as refused:
            registry.call("get_experiment_by_name", "velodrome-registry")
        assert len(asked) == 1
    assert refused.value.exit_code == code
    assert words in str(refused.value)
    assert status in (200, 400) or str(status) in str(refused.value)
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


@contextmanager
def run_bytes_server(answer: bytes, *, each_s: float = 0.0) -> Iterator[str]:
    """A server that sends those bytes to whoever asks, one at a time where each takes a while."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    asker, _ = server.accept()
                    with asker, suppress(OSError):
                        asker.recv(65536)
                        for byte in answer if each_s else ():
                            asker.sendall(bytes([byte]))
                            time.sleep(each_s)
                        asker.sendall(b"" if each_s else answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)  # else `accept` waits on, closed or not


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
BROKEN = {
    "closed": ("http://", b"", 4, "must answer; but got"),
    "cut off": ("http://", HEAD + b"{", 4, "must answer; but got"),
    "no HTTP": ("http://", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 4, "must answer; but got"),
    "no TLS": ("https://", b"HTTP/1.1 400 Bad Request\r\n\r\n", 2, "a certificate that is trusted"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_answer_that_is_none_has_its_own_words_and_status(case: str, tmp_path: Path) -> None:
    scheme, answer, code, words = BROKEN[case]
    with run_bytes_server(answer) as address:
        registry = Registry(connect(f"{scheme}{address}"), tmp_path)
        with pytest.raises(VelodromeError, match=words) as refused:
            registry.call("get_experiment_by_name", "x")
    assert (refused.value.exit_code, "Max retries" in str(refused.value)) == (code, False)


def test_answer_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_whole_answer_s", lambda: 0.3)
    with run_bytes_server(HEAD * 9, each_s=0.01) as address:
        registry = Registry(connect(f"http://{address}"), tmp_path)
        with pytest.raises(VelodromeError, match=r"no whole answer within 0.3 s") as refused:
            registry.call("get_experiment_by_name", "x")
    assert refused.value.exit_code == 4


@pytest.mark.parametrize(
    "uri", ["http://", "https:///x", "http://m:70000", "http://m:x/", "http://:80", "http://m:0"]
)
def test_address_without_a_server_is_refused(uri: str) -> None:
    with pytest.raises(WrongInput, match="must name a server"):
        check_registry_uri(uri)


def test_registry_in_a_folder_with_a_blank_in_its_name_is_one() -> None:
    """A sweep there trained, and its model could not be promoted."""
    check_registry_uri("sqlite:////home of mine/mlflow.db")


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////a/mlflow.db ", "sqlite:////a\n/mlflow.db", "sqlite:////a\t/mlflow.db", "sqlite:////a#b/m.db",
        "http://mlflow example:5000", "postgresql://u@h /db",
    ],
)  # fmt: skip
def test_address_with_what_ends_it_early_is_refused(uri: str) -> None:
    with pytest.raises(WrongInput, match=r"must begin.*blanks only in a path"):
        check_registry_uri(uri)


def test_history_whose_root_lost_its_tag_says_so(registry: Registry) -> None:
    records = Records(registry, "shop")
    records.store_document({"a": 1})
    anchor = registry.call("get_experiment_by_name", ANCHOR)
    registry.call("delete_experiment_tag", anchor.experiment_id, ROOT_TAG)
    with pytest.raises(VelodromeError, match="must have the tag") as refused:
        Records(registry, "shop").read_chain()
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
