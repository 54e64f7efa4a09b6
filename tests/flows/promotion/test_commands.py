"""The commands as people type them: status, table, document, and what a file's fault reads like."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.config.policy import Notify
from flows.promotion.history import history
from flows.promotion.judging import promoter
from flows.promotion.judging.notification import ALLOWED, check_webhook, notify
from flows.sweeps.remove import remove
from infra.errors import WrongInput
from infra.registry.records import EXPERIMENT
from infra.serving.registry_source import RegistrySource
from tests.flows.conftest import CommandResult
from tests.flows.promotion.conftest import Shop, ask_here
from tests.flows.promotion.kill_promotion import state

Velodrome = Callable[..., CommandResult]


def promote(shop: Shop, velodrome: Velodrome, monkeypatch: pytest.MonkeyPatch, *words: str) -> CommandResult:
    """`velodrome promote`, with models asked in this process."""
    from flows.promotion import promote as verb

    class Quick(promoter.Promoter):
        def __init__(self, **given: Any) -> None:
            super().__init__(use=ask_here, **given)

    monkeypatch.setattr(verb, "Promoter", Quick)
    return velodrome("promote", *words)


def test_promotion_commands_move_refuse_list_and_roll_back(
    shop: Shop, velodrome: Velodrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sweep("one", skill=0.85)
    first = promote(shop, velodrome, monkeypatch, "one", "--reason", "the first")
    assert first.status == 0
    assert "shop/1 is the champion of shop now, the first champion" in first.out
    assert "the defaults, for the model has no policy" in first.out
    shop.sweep("two", skill=0.7, seed=2)
    refused = promote(shop, velodrome, monkeypatch, "two")
    assert refused.status == 3
    assert "refused: version 1 stays the champion" in refused.out
    assert "must pass every gate of shop" in refused.err
    assert "; version 1 stays the champion" in refused.err
    assert "better: must hold accuracy better than the champion's; found -0." in refused.out
    assert "at 95%, two-sided" in refused.out
    assert "one-sided (McNemar, mid-p" in refused.out
    assert "what would help: a difference above 0" in refused.out
    assert "better: a difference above 0" in refused.err
    shop.sweep("three", skill=0.97, seed=3)
    moved = promote(shop, velodrome, monkeypatch, "three", "--json")
    document = json.loads(moved.out)
    assert (moved.status, document["outcome"], document["version"], document["former"]) == (0, "moved", 3, 1)
    told = velodrome("history", "shop", "--verify")
    assert (told.status, "promotion 1 → 3" in told.out, "3 entries hold together" in told.out) == (
        0,
        True,
        True,
    )
    again = velodrome("history", "shop", "--recompute", "3")
    assert (again.status, "another" in again.out) == (0, False)
    assert "challenger accuracy" in again.out
    back = velodrome("rollback", "shop", "--json")
    assert (back.status, json.loads(back.out)["version"]) == (0, 1)
    entries = json.loads(velodrome("history", "shop", "--json").out)["entries"]
    assert [entry["kind"] for entry in entries] == ["promotion", "refusal", "promotion", "rollback"]
    assert entries[1]["document"]["findings"]
    assert velodrome("adopt", "shop").status == 0
    assert velodrome("history", "shp").status == 2
    assert "did you mean shop" in velodrome("history", "shp").err


@pytest.mark.parametrize("reason", ["x" * 3_001, "ü" * 501])
@pytest.mark.parametrize(
    "command",
    [["promote", "none"], ["rollback", "shop"], ["adopt", "shop"], ["approve", "shop/1"], ["policy", "shop"]],
    ids=lambda command: command[0],
)
def test_reason_that_no_entry_has_room_for_is_refused_first(
    shop: Shop, velodrome: Velodrome, command: list[str], reason: str
) -> None:
    ended = velodrome(*command, "--reason", reason)
    assert (ended.status, "a reason must have at most 3,000 characters" in ended.err) == (2, True)


BAD = {
    "margn: 1\n": ("line 1: margn", "key that Velodrome knows"),
    "compare: {confidence: 2}\n": ("line 1: compare.confidence", "less than 1"),
    "min_examples: 10\nmetrics: {accuracy: {}}\n": ("line 2: metrics.accuracy", "at_least or at_most"),
    "notify: {webhook: 'http://169.254.169.254/'}\n": ("line 1: notify.webhook", "https"),
    "evaluation: {data: {source: 'csv:nowhere.csv'}}\n": ("evaluation.data", "nowhere.csv"),
    "compare: {metric: val/acuracy}\n": (
        "line 1: compare.metric",
        "metric of predictions",
        "did you mean 'accuracy'",
    ),
    "compare: {metric: latency_ms}\n": ("line 1: compare.metric", "compare.smaller or limits"),
    "metrics: {profit: {at_least: 1}}\n": ("line 1: metrics.profit", "known are accuracy"),
    "metrics: {f1: {at_least: 0.9, at_most: 0.1}}\n": ("line 1: metrics.f1", "at_least below at_most"),
    "min_examples: 9\napproval: {by: [ada, ada], count: 2}\n": ("line 2: approval.count", "2 of 1 names"),
    "- a\n": ("line 1: a policy must be a mapping", ""),
    "a: &x 1\n": ("line 1", "anchors"),
}


@pytest.mark.parametrize("text", BAD)
def test_wrong_policy_is_refused_with_its_line(shop: Shop, velodrome: Velodrome, text: str) -> None:
    Path("policy.yaml").write_text(text)
    ended = velodrome("policy", "shop", "--set", "policy.yaml")
    assert ended.status == 2
    for part in BAD[text]:
        assert part in ended.err
    assert shop.mover.records.read_chain().texts == ()


def test_policy_set_is_shown_and_holds_the_fingerprint(shop: Shop, velodrome: Velodrome) -> None:
    assert "has no policy; these defaults hold" in velodrome("policy", shop_model(shop)).out
    (Path.cwd() / "rows.csv").write_text(shop.rows.read_text())
    Path("policy.yaml").write_text(
        "metrics: {accuracy: {at_least: 0.9}}\nlimits: {latency_ms: 20, size_bytes: 1MiB}\n"
        "evaluation: {data: {source: 'csv:rows.csv', columns: {target: label}}}\n"
    )
    ended = velodrome("policy", "shop", "--set", "policy.yaml", "--reason", "agreed on Monday", "--json")
    document = json.loads(ended.out)
    assert document["policy"]["evaluation"]["fingerprint"] == shop.dataset.fingerprint
    assert document["policy"]["limits"]["size_bytes"] == 1 << 20
    assert "agreed on Monday" in velodrome("history", "shop").out
    assert "{accuracy: {at_least: 0.9}}" in velodrome("policy", "shop").out


def shop_model(shop: Shop) -> str:
    """The model, once it is registered."""
    shop.registry.ensure_model("shop")
    return "shop"


def test_remove_keeps_models_that_history_leads_to(shop: Shop) -> None:
    shop.begin(one={})
    version = shop.registry.version("shop", 1)
    assert version is not None
    remove("one", home=shop.home, agree=lambda removal: True, tracking=True)
    assert shop.registry.call("get_run", version.run_id).info.lifecycle_stage == "active"
    experiment = shop.registry.call("get_experiment_by_name", EXPERIMENT)
    runs = shop.registry.call("search_runs", [experiment.experiment_id])
    assert {run.info.lifecycle_stage for run in runs} == {"active"}
    assert len(runs) == 2


def test_remove_names_the_champion_that_came_from_the_sweep(shop: Shop, velodrome: Velodrome) -> None:
    shop.begin(one={})
    shop.sweep("two", seed=2)
    refused = velodrome("remove", "one")  # nobody is there to say yes
    assert refused.status == 3
    assert "registered versions that came from it stay: shop/1, challenger, champion" in refused.err
    removed = velodrome("remove", "one", "--yes", "--json")
    assert json.loads(removed.out)["versions"] == ["shop/1, challenger, champion"]
    assert json.loads(velodrome("remove", "two", "--yes", "--json").out)["versions"] == []
    judged = velodrome("promote", "models:/shop/1", "--model", "other")
    assert judged.status == 2
    assert "came from the sweep one, and there is no one in" in judged.err
    assert "evaluation:" in judged.err
    assert velodrome("history", "shop", "--verify").status == 0


def test_remove_says_where_the_registry_does_not_answer(
    shop: Shop, velodrome: Velodrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sweep("one")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    ended = velodrome("remove", "one", "--yes")
    assert (ended.status, "the registry does not answer" in ended.err) == (0, True)


@pytest.mark.filterwarnings("ignore:.*inferred as AnyType")  # MLflow warns of its own type hints
def test_mlflow_gc_keeps_history_and_its_versions(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where somebody deleted the runs that the versions came from."""
    from click.testing import CliRunner
    from mlflow.cli import gc

    for number, skill in enumerate((0.8, 0.95), start=1):
        shop.promote(shop.sweep(f"s{number}", skill=skill, seed=number))
    before = state(shop)
    for version in shop.registry.versions("shop"):
        shop.registry.call("delete_run", version.run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.home.mlflow_uri)
    ended = CliRunner().invoke(gc, ["--backend-store-uri", shop.home.mlflow_uri])
    assert ended.exit_code == 0, ended.output
    assert ended.output.count("permanently deleted") == 2
    assert state(shop) == before
    assert history("shop", verify=True, home=shop.home).verified
    for number in (1, 2):
        assert RegistrySource(shop.registry).fetch(f"shop/{number}", tmp_path / str(number)).bundle


WEBHOOKS = {
    "https://example.org/x": True,
    "http://127.0.0.1:9/x": True,
    "http://localhost/x": True,
    "http://example.org/x": False,
    "https://ada:word@example.org/": False,
    "ftp://example.org/": False,
    "https://example.org/#x": False,
    "https:///x": False,
    "http://127.0.0.1.example.org/": False,
    "file:///etc/passwd": False,
}


@pytest.mark.parametrize("url", WEBHOOKS)
def test_webhook_to_a_forbidden_address_is_refused(url: str) -> None:
    if WEBHOOKS[url]:
        check_webhook(url)
    else:
        with pytest.raises(WrongInput):
            check_webhook(url)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """An address, and what was posted there; it answers with a redirect that must not be followed."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204 if self.path == "/ok" else 307)
            self.send_header("Location", "/ok")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join(5)


def test_webhook_is_called_once_and_follows_no_redirect(listener: tuple[str, list[bytes]]) -> None:
    url, got = listener
    assert notify(Notify(webhook=f"{url}/ok"), "moved", {"model": "shop"}) == ""
    assert json.loads(got[0]) == {"model": "shop"}
    assert "307" in notify(Notify(webhook=f"{url}/away"), "moved", {})
    assert len(got) == 2
    assert notify(Notify(webhook=f"{url}/ok", on=["refused"]), "moved", {}) == ""
    assert len(got) == 2


def test_notify_command_runs_only_where_the_machine_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import sys; open({str(tmp_path / 'told')!r}, 'w').write(sys.stdin.read())"
    wanted = Notify(command=[sys.executable, "-c", code])
    assert ALLOWED in notify(wanted, "moved", {"model": "shop"})
    assert not (tmp_path / "told").exists()
    monkeypatch.setenv(ALLOWED, sys.executable)
    assert notify(wanted, "moved", {"model": "shop"}) == ""
    assert json.loads((tmp_path / "told").read_text()) == {"model": "shop"}
    assert "ended with" in notify(Notify(command=[sys.executable, "-c", "exit(3)"]), "moved", {})
