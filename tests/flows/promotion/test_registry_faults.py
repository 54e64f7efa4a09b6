"""Each command that asks a registry, beside one that answers wrongly: the same words and status for all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.conftest import CommandResult
from tests.flows.promotion.conftest import Shop
from tests.infra.registry.test_elsewhere import run_http_server

COMMANDS = (
    "promote one", "promote models:/shop/1", "promote models:/shop@champion", "rollback shop", "history shop",
    "history shop --verify", "history shop --recompute 1", "policy shop", "approve shop/1", "adopt shop",
    "card shop", "card shop/1", "predict shop rows.csv", "serve shop --port 0", "drift shop logs",
    "explain shop rows.csv --out explained",
)  # fmt: skip
FAULTS = {
    "401": (401, "UNAUTHENTICATED", 2, "must know who asks"),
    "403": (403, "PERMISSION_DENIED", 2, "must have the permission READ"),
    "404": (404, "ENDPOINT_NOT_FOUND", 2, "an MLflow server must be at"),
    "409": (409, "RESOURCE_CONFLICT", 4, "nobody else may write the same"),
    "429": (429, "REQUEST_LIMIT_EXCEEDED", 4, "must not be asked so often"),
    "503": (503, "TEMPORARILY_UNAVAILABLE", 4, "its log says why"),
    "a login page": (200, "", 2, "want somebody to log in"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_a_registry_is_told_by_its_kind_in_any_command(
    fault: str,
    shop: Shop,
    velodrome: Callable[..., CommandResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status, error_code, code, words = FAULTS[fault]
    body = json.dumps({"error_code": error_code, "message": "no"}) if error_code else "<html>Sign in</html>"
    shop.sweep("one")
    Path("rows.csv").write_text("a\n1\n")
    Path("logs").mkdir()
    with run_http_server(lambda path: (status, {}, body.encode())) as (uri, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        for command in COMMANDS:
            ended = velodrome(*command.split())
            assert (ended.status, words in ended.err, "Traceback" in ended.err) == (code, True, False), (
                command,
                ended.err,
            )
        for command in ("status one", "compare one --no-latency"):  # which need no registry
            assert velodrome(*command.split()).status == 0
