"""Who is let in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.addresses import is_loopback
from infra.auth_tokens import check_token, read_or_make_token
from infra.errors import WrongInput
from infra.serving.http.access_control import AccessControl, known_hosts
from infra.serving.limits import ScoringError

OPEN = AccessControl()
TOKEN = "0123456789abcdef0123"
CLOSED = AccessControl(token=TOKEN, hosts=frozenset({"models.example"}))


def status(admission: AccessControl, method: str = "POST", path: str = "/invocations", **headers: str) -> int:
    given = {"host": "localhost:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        admission.check_request(method, path, given)
    except ScoringError as error:
        return error.status
    return 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"])
def test_request_to_a_loopback_host_name_is_admitted(host: str) -> None:
    assert status(OPEN, host=host) == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "10.evil.com", "127.0.0.1.evil.com", "192.168.0.7", "localhost@evil", "a b", "[::1"],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "GET"])
def test_request_to_a_foreign_host_name_is_refused(host: str, method: str) -> None:
    assert status(OPEN, method, host=host) == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_request_from_a_foreign_page_is_refused(method: str) -> None:
    assert status(OPEN, method, origin="http://evil.example") == 403
    assert status(OPEN, method, origin="null") == 403
    assert status(OPEN, method, sec_fetch_site="cross-site") == 403
    assert status(OPEN, method, sec_fetch_site="same-site") == 403
    assert status(OPEN, method, origin="http://localhost:8000", sec_fetch_site="same-origin") == 200


def test_token_is_demanded_everywhere_but_at_probes() -> None:
    for path in ("/invocations", "/version", "/metrics", "/nothing"):
        assert status(CLOSED, "GET", path) == 401
        assert status(CLOSED, "GET", path, authorization="Bearer wrong") == 403
        assert status(CLOSED, "GET", path, authorization=f"Basic {TOKEN}") == 403
        assert status(CLOSED, "GET", path, authorization="Bearer é") == 403
        assert status(CLOSED, "GET", path, authorization=f"Bearer {TOKEN}") == 200
    assert status(CLOSED, "GET", "/health") == 200


def test_token_request_is_admitted_to_addresses_and_known_hosts() -> None:
    known = {"authorization": f"Bearer {TOKEN}"}
    assert status(CLOSED, host="10.0.0.7:8000", **known) == 200
    assert status(CLOSED, host="models.example", **known) == 200
    assert status(CLOSED, host="evil.example", **known) == 403


def test_loopback_addresses_are_told_from_others() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.9.9.9")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "127.0.0.1.evil.com")))
    assert known_hosts("127.0.0.1", ["Models.Example"]) == {"models.example"}


def test_serve_token_is_made_once_and_readable_by_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "serve_token"
    made = read_or_make_token(path)
    assert len(made) == 64
    assert read_or_make_token(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["serve_token"]
    path.chmod(0o644)
    with pytest.raises(WrongInput, match="readable by its owner alone"):
        read_or_make_token(path)


@pytest.mark.parametrize("token", ["", "short", "with a space in it, long", "é" * 20, "line\nbreak" * 3])
def test_serve_token_of_bad_form_is_refused(token: str) -> None:
    with pytest.raises(WrongInput, match="at least 16"):
        check_token(token, "VELODROME_SERVE_TOKEN")
