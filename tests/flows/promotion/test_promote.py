"""Who becomes the champion, and who is refused, by name (F54)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.promotion.adopt import adopt
from flows.promotion.approve import approve
from flows.promotion.gates.judging import judge
from flows.promotion.history import BrokenHistory, history
from flows.promotion.judging.outcome import Promotion
from flows.promotion.policy import policy
from flows.promotion.promote import GateRefused, conclude, promote
from flows.promotion.rollback import rollback
from infra.errors import RefusedError, WrongInput
from infra.registry import identity
from infra.registry.artifacts import fetch_version
from infra.registry.moves import ConcurrentChange, ForeignMove, Mover
from infra.registry.store import Registry
from infra.serving.registry_source import RegistrySource
from tests.flows.promotion.conftest import Shop
from tests.tracking_stores import copy_store


def refusal(shop: Shop, name: str) -> Promotion:
    """The promotion of a sweep's winner that gates refuse."""
    with pytest.raises(GateRefused) as refused:
        shop.promote(name)
    assert refused.value.exit_code == 3
    return refused.value.promotion


def refusing_gates(shop: Shop, name: str) -> set[str]:
    """Those gates."""
    return {finding.gate for finding in refusal(shop, name).findings if finding.is_refused}


def test_promote_first_and_better_models_move_worse_is_refused(shop: Shop, tmp_path: Path) -> None:
    first = shop.promote(shop.sweep("one", skill=0.85), reason="to begin with")
    assert (first.outcome, first.version, first.former) == ("moved", 1, None)
    verdicts = {f.gate: f.verdict for f in first.findings}
    assert [verdicts[gate] for gate in ("better", "classes", "signature")] == ["not applicable"] * 3
    better = shop.promote(shop.sweep("two", skill=0.92, seed=2))
    assert (better.outcome, better.version, better.former) == ("moved", 2, 1)
    assert better.metrics["challenger"]["accuracy"] > better.metrics["champion"]["accuracy"] + 0.03
    assert better.examples > 1_000
    assert better.test_reads == 1
    worse = refusal(shop, shop.sweep("three", skill=0.8, seed=3))
    assert "better" in {f.gate for f in worse.findings if f.is_refused}
    assert shop.champion == 2
    kinds = [(entry.kind, entry.source, entry.target) for entry in shop.mover.records.read_chain().entries]
    assert kinds == [("promotion", None, 1), ("promotion", 1, 2), ("refusal", 2, 3)]
    assert shop.registry.aliases("shop") == {"champion": 2, "challenger": 3, "previous": 1}
    assert (shop.promote("two").outcome, shop.champion) == ("already", 2)
    served = RegistrySource(shop.registry)
    assert served.alias_target("shop", "champion") == "shop/2"
    assert served.fetch("shop/2", tmp_path / "served").bundle


def test_promote_lucky_model_on_few_examples_is_refused(shop: Shop, tmp_path: Path) -> None:
    shop.begin(one={"skill": 0.85})
    few = tmp_path / "few.csv"
    few.write_text("".join(shop.rows.read_text().splitlines(keepends=True)[:121]))
    written = tmp_path / "policy.yaml"
    written.write_text(
        "min_examples: 5\n"
        f"evaluation: {{data: {{source: 'csv:{few}', columns: {{target: label}}}}, part: all}}\n"
    )
    policy("shop", set=str(written))
    lucky = shop.sweep("two", skill=1.0, seed=2)
    found = refusal(shop, lucky)
    (better,) = [finding for finding in found.findings if finding.gate == "better"]
    assert found.examples < 100
    assert found.metrics["challenger"]["accuracy"] > found.metrics["champion"]["accuracy"]
    assert better.is_refused
    assert better.needed is not None
    assert better.needed > found.examples


@pytest.mark.parametrize(
    ("gate", "model"),
    [
        ("class b", {"skill": 0.97, "weak": {"b": 0.6}}),
        ("slice region=south", {"skill": 0.99, "weak": {"south": 0.6}}),
        ("latency_ms", {"skill": 0.97, "sleep": 0.1}),
        ("parameters", {"skill": 0.97, "size": 5_000}),
        ("metric accuracy", {"skill": 0.9}),
        ("new interpreter", {"skill": 0.97, "broken": 0.5}),
    ],
)
def test_promote_challenger_with_one_fault_is_refused_by_its_gate(
    shop: Shop, gate: str, model: dict[str, Any], monkeypatch: Any
) -> None:
    gates = {
        "limits": {"latency_ms": 60.0, "parameters": 1_000},
        "slices": {"columns": ["region"]},
        "metrics": {"accuracy": {"at_least": 0.5 if "weak" in model else 0.75}},
    }
    if gate == "metric accuracy":
        gates["metrics"] = {"accuracy": {"at_least": 0.95}}
    first = {"skill": 0.8} if gate != "metric accuracy" else {"skill": 0.99}
    shop.begin(one={"gates": gates, **first})
    assert gate in refusing_gates(shop, shop.sweep("two", seed=2, **model))
    assert shop.champion == 1


def test_promote_changed_signature_is_refused(shop: Shop) -> None:
    shop.promote(shop.sweep("one", skill=0.85, score=1))
    found = refusal(shop, shop.sweep("two", skill=0.95, seed=2))
    (signature,) = [finding for finding in found.findings if finding.gate == "signature"]
    assert signature.is_refused
    assert signature.found == "no longer gives score"


def test_promote_bundle_with_flipped_bit_is_refused_unloaded(shop: Shop) -> None:
    shop.begin(one={"skill": 0.85})
    name = shop.sweep("two", skill=0.95, seed=2)
    shop.candidate(name)  # logged
    for weights in shop.home.artifacts.rglob("weights.safetensors"):
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    asked = len(shop.asked)
    found = refusal(shop, name)
    assert {f.gate for f in found.findings if f.is_refused} == {"hashes"}
    assert found.version is None
    assert len(shop.asked) == asked
    with pytest.raises(RefusedError, match="load as it did"):
        _two_moves_then_back(shop)


def _two_moves_then_back(shop: Shop) -> None:
    shop.mover.move_champion(shop.mover.finish_pending(), "adoption", target=1, source=1)
    rollback("shop", to=_add_version(shop))


def _add_version(shop: Shop) -> int:
    version = shop.registry.version("shop", 1)
    assert version is not None
    again = shop.registry.register("shop", key="again", source=version.source, run_id=None, tags=version.tags)
    shop.mover.move_champion(shop.mover.finish_pending(), "promotion", target=again.number, source=1)
    return 1


def test_promote_leaves_out_rows_that_either_model_trained_on(shop: Shop) -> None:
    test = shop.dataset.splits["test"]
    shop.promote(shop.sweep("one", skill=0.85, trained_on=test[:300]))
    moved = shop.promote(shop.sweep("two", skill=0.95, seed=2, trained_on=test[200:500]))
    hashes = shop.dataset.row_hashes[test]
    assert moved.left_out == np.isin(hashes, hashes[:500]).sum() >= 500
    assert (
        moved.examples
        == len(test) - moved.left_out - moved.copies
        == len(np.unique(hashes[500:][~np.isin(hashes[500:], hashes[:500])]))
    )
    kept = set(zip(shop.asked[-1]["x"], shop.asked[-1]["region"], strict=True))
    assert not kept & {_row(shop, int(row)) for row in test[:500]}
    everything = shop.sweep("three", skill=0.99, seed=3, trained_on=np.arange(shop.dataset.rows))
    found = refusal(shop, everything)
    assert {f.gate for f in found.findings if f.is_refused} == {"examples"}
    assert (found.examples, found.left_out) == (0, len(test))
    unknown = shop.sweep("four", skill=0.99, seed=4, trained_on=test[:0])
    assert "training rows" in refusing_gates(shop, unknown)


def _row(shop: Shop, row: int) -> tuple[float, str]:
    columns = shop.dataset.columns
    return float(columns["x"].values[row]), str(columns["region"].values[row])


def test_promote_overtaken_by_another_promotion_is_refused(shop: Shop) -> None:
    shop.begin(one={"skill": 0.8})
    slow = shop.candidate(shop.sweep("two", skill=0.9, seed=2))
    quick = shop.candidate(shop.sweep("three", skill=0.95, seed=3))

    def meanwhile(given: Any, case: Any) -> Any:
        assert conclude(shop.promoter(), quick, reason="", dry_run=False).outcome == "moved"
        return judge(given, case)

    with pytest.raises(ConcurrentChange, match="nobody else"):
        conclude(shop.promoter(judged=meanwhile), slow, reason="", dry_run=False)
    assert shop.champion == shop.registry.aliases("shop")["champion"] == 3  # type: ignore[index]
    assert [e.target for e in shop.mover.records.read_chain().entries if e.is_move] == [1, 3]


def test_promote_dry_run_changes_nothing_and_is_counted(shop: Shop) -> None:
    name = shop.sweep("one", gates={"min_examples": 100})
    found = shop.promote(name, dry_run=True)
    assert (found.outcome, found.version, found.entry, found.test_reads) == ("would move", None, None, 1)
    assert shop.registry.aliases("shop") is None
    assert shop.mover.records.read_chain().texts == ()
    assert shop.promote(name).test_reads == 2


def test_promote_sweep_gates_become_policy_of_a_new_model_alone(shop: Shop) -> None:
    shop.promote(shop.sweep("one", gates={"metrics": {"accuracy": {"at_least": 0.7}}}))
    assert policy("shop").policy["metrics"] == {"accuracy": {"at_least": 0.7}}
    shop.promote(shop.sweep("two", skill=0.97, seed=2, gates={"compare": {"margin": 0.5}}))
    assert shop.champion == 2


def test_alias_moved_by_hand_is_reported_recorded_once_and_settled(shop: Shop) -> None:
    shop.begin(
        **{f"s{seed}": {"skill": skill, "seed": seed} for seed, skill in ((1, 0.8), (2, 0.88), (3, 0.96))}
    )
    shop.registry.set_alias("shop", "champion", 1)
    for _ in range(2):
        with pytest.raises(ForeignMove, match="moved it by hand"):
            shop.promote("s2")
    assert shop.champion == 1
    assert [e.kind for e in shop.mover.records.read_chain().entries].count("foreign") == 1
    assert history("shop").state == "foreign"
    assert (adopt("shop").changed, shop.champion) == (True, 1)
    assert adopt("shop").changed is False
    shop.registry.set_alias("shop", "champion", 2)
    back = rollback("shop", to=3, reason="it was right")
    assert (back.version, back.former, shop.champion) == (3, 2, 3)
    assert history("shop", verify=True).state == "settled"


def test_rollback_goes_back_step_by_step(shop: Shop) -> None:
    shop.begin(
        **{f"s{seed}": {"skill": skill, "seed": seed} for seed, skill in ((1, 0.8), (2, 0.88), (3, 0.96))}
    )
    assert [rollback("shop").version, rollback("shop").version, shop.champion] == [2, 1, 1]
    with pytest.raises(WrongInput, match="former champion"):
        rollback("shop")
    with pytest.raises(WrongInput, match="former champion"):
        rollback("shop", to=9)
    assert rollback("shop", to=3).version == 3
    shop.registry.call("delete_model_version", "shop", "1")
    with pytest.raises(RefusedError, match=r"shop/1 was deleted; name one that is left with --to: 2"):
        rollback("shop", to=1)


def test_approval_by_the_promoting_user_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    name = shop.sweep("one", gates={"approval": {"by": ["bob", "ada"]}})
    found = refusal(shop, name)
    assert [f.gate for f in found.findings if f.is_refused] == ["approval"]
    label = f"shop/{found.version}"
    with pytest.raises(RefusedError, match="somebody other"):
        approve(label)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "eve")
    with pytest.raises(RefusedError, match="bob"):
        approve(label)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    assert approve(label).who.startswith("bob@")
    with pytest.raises(GateRefused):  # his own word does not count for his own promotion
        shop.promote(name)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    assert shop.promote(name).outcome == "moved"
    assert identity.registry_user() == "ada"


def test_history_that_was_changed_fails_verification(shop: Shop, tmp_path: Path) -> None:
    shop.begin(one={})
    anchor = history("shop", verify=True).last_hash
    shop.promote(shop.sweep("two", skill=0.98, seed=2))
    assert history("shop", anchor=anchor, export=str(tmp_path / "history.json")).verified
    assert anchor not in (tmp_path / "history.json").read_text().splitlines()[0]
    with pytest.raises(WrongInput, match="new file"):
        history("shop", export=str(tmp_path / "history.json"))
    with pytest.raises(BrokenHistory, match="anchor"):
        history("shop", anchor="0" * 64)
    import sqlite3

    with sqlite3.connect(shop.home.path / "mlflow.db") as raw:
        change = """replace(value, '"target":1', '"target":7')"""
        raw.execute(f"UPDATE params SET value = {change} WHERE key = 'entry/00001'")
    raw.close()
    with pytest.raises(BrokenHistory, match="entry 2"):
        history("shop", verify=True)


def test_promote_to_another_registry_copies_the_same_bytes(
    shop: Shop, empty_store: Path, tmp_path: Path
) -> None:
    shop.begin(one={})
    uri = f"sqlite:///{tmp_path}/production.db"
    copy_store(empty_store, tmp_path / "production.db")
    production = Registry.open(uri, shop.home)
    there = shop.promoter(target=production)
    candidate = shop.candidate("models:/shop@champion")
    moved = conclude(there, candidate, reason="", dry_run=False)
    assert (moved.outcome, production.alias_target("shop", "champion")) == ("moved", 1)
    version = production.version("shop", 1)
    here = shop.registry.version("shop", 1)
    assert version is not None
    assert here is not None
    assert version.manifest_sha256 == here.manifest_sha256
    assert fetch_version(production, version, tmp_path / "x").manifest_sha256 == here.manifest_sha256
    assert conclude(there, candidate, reason="", dry_run=False).outcome == "already"
    assert Mover(production, "shop").finish_pending().last_move is not None


URIS = [
    "file:///etc/passwd",
    "http://169.254.169.254/latest",
    "https://user:word@host/x",
    "models:/shop/1#x",
    "models:/../shop/1",
    "models:/shop/1?x=y",
    "models:/shop/latest",
    "runs:/../../etc/passwd",
    "runs:/0123/model",
    "s3://bucket/model",
    "models:/m-../x",
    "mlflow-artifacts:/x",
    "data:,x",
    "model.tar.gz",
    "./model.zip",
    "/etc/passwd",
]


@pytest.mark.parametrize("uri", URIS)
def test_promote_foreign_address_is_refused_without_a_request(uri: str, shop: Shop, monkeypatch: Any) -> None:
    import socket

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a request left")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(WrongInput):
        promote(uri, model="shop")


Tamper = Callable[[Path], None]


def _link(folder: Path) -> None:
    (folder / "data" / "more").symlink_to("/etc")


def _hard_link(folder: Path) -> None:
    (folder / "twin").hardlink_to(folder / "MLmodel")


def _add_pickle(folder: Path) -> None:
    import pickle

    (folder / "python_model.pkl").write_bytes(pickle.dumps({"a": 1}))
    text = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(
        text.replace("loader_module: velodrome.model", "python_model: python_model.pkl")
    )


def _foreign_loader(folder: Path) -> None:
    text = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(text.replace("velodrome.model", "antigravity"))


def _code(folder: Path) -> None:
    (folder / "code").mkdir()
    (folder / "code" / "evil.py").write_text("raise SystemExit")


@pytest.mark.parametrize("tamper", [_link, _hard_link, _add_pickle, _foreign_loader, _code])
def test_promote_model_with_code_pickle_or_link_is_refused_unloaded(shop: Shop, tamper: Tamper) -> None:
    candidate = shop.candidate(shop.sweep("one"))
    folder = Path(candidate.location.removeprefix("file://"))
    tamper(folder)
    with pytest.raises((GateRefused, WrongInput)) as refused:
        conclude(shop.promoter(), candidate, reason="", dry_run=False)
    if isinstance(refused.value, GateRefused):
        assert "contents" in {f.gate for f in refused.value.promotion.findings if f.is_refused}
    else:
        assert "link" in refused.value.found
    assert shop.asked == []
    assert shop.champion is None


def test_promote_reads_no_file_outside_the_store(shop: Shop, tmp_path: Path) -> None:
    candidate = shop.candidate(shop.sweep("one"))
    outside = tmp_path / "outside"
    shutil.copytree(Path(candidate.location.removeprefix("file://")), outside)
    shop.registry.ensure_model("shop")
    shop.registry.register("shop", key="outside", source=outside.as_uri(), run_id=None, tags={})
    with pytest.raises(WrongInput, match="where the registry's experiments keep theirs"):
        promote("models:/shop/1")


def test_adopt_accepts_champion_alias_removed_by_hand(shop: Shop) -> None:
    shop.begin(one={})
    shop.registry.call("delete_registered_model_alias", "shop", "champion")
    with pytest.raises(ForeignMove, match="nowhere"):
        shop.promote("one")
    adopted = adopt("shop", reason="it was withdrawn")
    assert (adopted.version, adopted.former, adopted.changed) == (None, 1, True)
    assert history("shop", verify=True).state == "settled"
    again = shop.promote("one")
    assert (again.outcome, again.former, shop.champion) == ("moved", None, 1)
