"""Another model, other data or weaker gates in the place of what was judged: each refused by name."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.promotion.adopt import adopt
from flows.promotion.approve import approve
from flows.promotion.history import BrokenHistory, history
from flows.promotion.policy import policy
from flows.promotion.promote import GateRefused
from flows.promotion.recompute import check_recomputation, recompute
from flows.promotion.rollback import rollback
from infra.errors import RefusedError, WrongInput
from infra.registry.artifacts import fetch_version
from infra.registry.chain import Chain, find_flaws
from infra.registry.integrity import version_mismatch
from infra.registry.store import CARD_TAG, MANIFEST_TAG, ModelVersion
from infra.serving.registry_source import RegistrySource
from tests.flows.conftest import CommandResult
from tests.flows.promotion.conftest import Shop
from tests.infra.registry.test_records import entry


def _version(shop: Shop, number: int) -> ModelVersion:
    version = shop.registry.version("shop", number)
    assert version is not None
    return version


def _files(shop: Shop, number: int) -> Path:
    return Path(shop.registry.location(_version(shop, number)).removeprefix("file://")) / "data"


def _swap_files(shop: Shop) -> None:
    """The weaker model's files in the place of the champion's."""
    shutil.rmtree(_files(shop, 2))
    shutil.copytree(_files(shop, 1), _files(shop, 2))


def _swap_tag(shop: Shop) -> None:
    shop.registry.set_tags(_version(shop, 2), {MANIFEST_TAG: str(_version(shop, 1).manifest_sha256)})


def _swap_both(shop: Shop) -> None:
    _swap_files(shop)
    _swap_tag(shop)


@pytest.fixture
def two_champions(shop: Shop) -> Shop:
    """A shop whose second version took the place of a weaker first one."""
    shop.begin(one={"skill": 0.8}, two={"skill": 0.92, "seed": 2})
    return shop


def _swap_requirements(shop: Shop) -> None:
    """What whoever serves the version by MLflow installs first."""
    path = _files(shop, 2).parent / "requirements.txt"
    path.write_text(path.read_text() + "another-package\n")


def _swap_wheel(shop: Shop) -> None:
    (wheel,) = (_files(shop, 2).parent / "wheels").iterdir()
    wheel.write_bytes(wheel.read_bytes() + b"more")


def _swap_signature(shop: Shop) -> None:
    path = _files(shop, 2).parent / "MLmodel"
    before = path.read_text()
    path.write_text(before.replace('"required": true', '"required": false'))
    assert path.read_text() != before


def _add_file(shop: Shop) -> None:
    (_files(shop, 2).parent / "sitecustomize.py").write_text("print('here')\n")


def test_files_beside_the_bundle_are_sealed_but_for_the_card(two_champions: Shop, tmp_path: Path) -> None:
    shop = two_champions
    folder = _files(shop, 2).parent
    shutil.copytree(folder, tmp_path / "whole")
    (folder / "README.md").write_text("another card\n")
    assert history("shop", verify=True).verified
    for tamper in (_swap_wheel, _swap_signature, _add_file, _swap_requirements):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "whole", folder)
        tamper(shop)
        with pytest.raises(BrokenHistory, match=r"shop/2: its files beside its bundle .* entry 2"):
            history("shop", verify=True)
    with pytest.raises(RefusedError, match="what its history has"):
        RegistrySource(shop.registry).fetch("shop/2", tmp_path / "served")
    rollback("shop", to=1)
    with pytest.raises(RefusedError, match="beside its bundle"):
        rollback("shop", to=2)
    shop.registry.set_alias("shop", "champion", 2)
    with pytest.raises(RefusedError, match="adopted"):
        adopt("shop")


def test_records_from_before_files_were_sealed_hold(two_champions: Shop) -> None:
    shop = two_champions
    former = Chain(model="shop")
    for written in shop.mover.records.read_chain().entries:
        facts = {name: value for name, value in written.facts.items() if name != "files"}
        text = replace(written, before=former.last_hash, facts=facts).text
        former = Chain(model="shop", texts=(*former.texts, text))
    assert find_flaws(former.texts, "shop", shop.mover.records.read_documents()) == []
    version = _version(shop, 2)
    assert former.files_entry(2) is None
    assert version_mismatch(former, version, fetch_version(shop.registry, version, Path())) == ""


def test_document_behind_an_entrys_own_is_verified(shop: Shop) -> None:
    shop.promote(shop.sweep("one", skill=0.9, gates={"min_examples": 50}))
    entry = shop.mover.records.read_chain().entries[0]
    evidence = shop.mover.records.read_document(str(entry.content))
    for digest in (entry.policy, evidence["answers"]):
        piece = f"content/{digest}/000"
        for change in ("value || ' '", "rtrim(value)"):
            with sqlite3.connect(shop.home.path / "mlflow.db") as raw:
                raw.execute(f"UPDATE params SET value = {change} WHERE key = ?", (piece,))
            raw.close()
            if change == "rtrim(value)":
                assert history("shop", verify=True).verified
                continue
            with pytest.raises(BrokenHistory, match="entry 1: its document is missing or was changed"):
                history("shop", verify=True)


@pytest.mark.parametrize("tamper", [_swap_files, _swap_tag, _swap_both])
def test_swapped_champion_is_refused_wherever_it_is_used(
    two_champions: Shop, tamper: Callable[[Shop], None], tmp_path: Path
) -> None:
    shop = two_champions
    tamper(shop)
    with pytest.raises(BrokenHistory, match="shop/2: ") as broken:
        history("shop", verify=True)
    assert broken.value.exit_code == 3
    with pytest.raises(RefusedError, match="what its history has"):
        RegistrySource(shop.registry).fetch("shop/2", tmp_path / "served")
    with pytest.raises(GateRefused) as refused:
        shop.promote(shop.sweep("three", skill=0.99, seed=3))
    (found,) = [f for f in refused.value.promotion.findings if f.is_refused]
    assert (found.gate, found.found.startswith("hashes: shop/2: ")) == ("champion", True)
    rollback("shop", to=1)
    with pytest.raises(RefusedError, match="shop/2"):
        rollback("shop", to=2)
    with pytest.raises(GateRefused) as refused:
        shop.promote("two")
    assert {f.gate for f in refused.value.promotion.findings if f.is_refused} == {"hashes"}
    if tamper is not _swap_files:
        shop.registry.set_alias("shop", "champion", 2)
        with pytest.raises(RefusedError, match="adopted"):
            adopt("shop")


def test_swapped_key_does_not_pass_as_the_champion(two_champions: Shop) -> None:
    shop = two_champions
    other = shop.candidate(shop.sweep("three", skill=0.5, seed=3))
    shop.registry.set_tags(_version(shop, 2), {"velodrome.key": other.key})
    with pytest.raises(RefusedError, match="what its history has"):
        shop.promote("three")


def test_history_verify_refuses_a_moved_alias(two_champions: Shop) -> None:
    two_champions.registry.set_alias("shop", "champion", 1)
    with pytest.raises(BrokenHistory, match="the champion is version 1, the history has it version 2"):
        history("shop", verify=True)
    assert history("shop").state == "foreign"


def test_history_verify_refuses_missing_files(two_champions: Shop) -> None:
    shutil.rmtree(_files(two_champions, 1))
    with pytest.raises(BrokenHistory, match="shop/1"):
        history("shop", verify=True)


def test_edited_chain_is_refused(two_champions: Shop) -> None:
    """The manifest of the second entry, with all hashes after it made right again."""
    texts = two_champions.mover.records.read_chain().texts
    chain = Chain(model="shop", texts=texts)
    second = chain.entries[1]
    forged = entry(chain, "rollback", target=2, source=1, manifest="f" * 64)
    flaws = find_flaws((*texts, forged.text), "shop", two_champions.mover.records.read_documents())
    assert [flaw.found for flaw in flaws] == ["another manifest of version 2 than entry 2 has"]
    with sqlite3.connect(two_champions.home.path / "mlflow.db") as raw:
        changed = second.text.replace(str(second.manifest), "f" * 64)
        raw.execute("UPDATE params SET value = ? WHERE key = 'entry/00002'", (changed,))
    raw.close()
    with pytest.raises(BrokenHistory, match="shop/2"):
        history("shop", verify=True)


WEAK: dict[str, Any] = {
    "min_examples": 1, "classes": {"max_drop": 1}, "compare": {"confidence": 0.5}, "training_rows": "unknown",
}  # fmt: skip


def test_later_sweep_cannot_bring_weaker_gates(two_champions: Shop) -> None:
    shop = two_champions
    name = shop.sweep("three", skill=0.9, seed=3, gates=WEAK)
    with pytest.raises(GateRefused) as refused:
        shop.promote(name)
    assert refused.value.promotion.policy == "defaults"
    assert "are ignored, for shop has had champions without a policy" in refused.value.promotion.notes[0]
    assert policy("shop").source == "defaults"
    moved = shop.promote(shop.sweep("four", skill=0.99, seed=4, gates=WEAK))
    assert (moved.outcome, moved.policy, policy("shop").source) == ("moved", "defaults", "defaults")


def test_refused_promotion_leaves_no_policy_behind(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    name = shop.sweep("one", gates={**WEAK, "approval": {"by": ["bob"]}})
    with pytest.raises(GateRefused) as refused:
        shop.promote(name)
    assert policy("shop").source == "defaults"
    assert shop.mover.records.read_chain().last_policy is None
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    approve(f"shop/{refused.value.promotion.version}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    assert shop.promote(name).policy == "sweep file"
    written = policy("shop")
    assert (written.source, written.policy["approval"], written.entry) == (
        "chain",
        {"by": ["bob"], "count": 1},
        3,
    )
    ignored = shop.promote(shop.sweep("two", skill=0.99, seed=2, gates={"min_examples": 2}), dry_run=True)
    assert ignored.policy == "chain"
    assert "are ignored, for shop has a policy" in ignored.notes[0]


def test_decision_is_recomputed_from_its_record_alone(two_champions: Shop, tmp_path: Path) -> None:
    shop = two_champions
    shutil.rmtree(shop.home.storage)
    found = recompute("shop", 2)
    assert found.agrees
    assert {"rows", "challenger accuracy", "champion f1", "better", "class a", "guess"} <= {
        line.what for line in found.lines
    }
    assert "velodrome" in found.versions
    with pytest.raises(WrongInput, match="known are 1, 2"):
        recompute("shop", 9)


def test_recomputation_of_forged_evidence_names_what_differs(two_champions: Shop) -> None:
    records = two_champions.mover.records
    last = records.read_chain().entries[-1]
    evidence = records.read_document(str(last.content))
    evidence["metrics"]["challenger"]["accuracy"] = 0.99
    better = next(finding for finding in evidence["findings"] if finding["gate"] == "better")
    better["found"] = "+0.5"
    content = records.store_document(evidence)
    two_champions.mover.append_note("refusal", target=2, content=content)
    found = recompute("shop", 3)
    assert [line.what for line in found.lines if not line.agrees] == ["challenger accuracy", "better"]
    with pytest.raises(RefusedError, match="challenger accuracy, better"):
        check_recomputation(found)


ENTRY = "update params set value=replace(value, {}) where key='entry/00001'"
DAMAGE = {
    "a mark": "update params set value='soon' where key like 'applied/%'",
    "an entry that is a list": "update params set value='[]' where key='entry/00001'",
    "an entry of other fields": ENTRY.format("""'"who"', '"whom"'"""),
    "an entry of other types": ENTRY.format("""'"pid":', '"pid":0.'"""),
}
COMMANDS = (
    "history shop", "history shop --verify", "history shop --recompute 1", "promote two", "rollback shop",
    "adopt shop", "approve shop/1", "policy shop", "card shop",
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_record_that_cannot_be_read_is_refused_by_name(
    damage: str, shop: Shop, velodrome: Callable[..., CommandResult]
) -> None:
    shop.begin(one={})
    shop.sweep("two", skill=0.95, seed=2)
    run_sql(shop, DAMAGE[damage])
    for command in COMMANDS:
        ended = velodrome(*command.split())
        assert (ended.status, "the history of shop must be what was written" in ended.err) == (3, True), (
            command
        )


@pytest.mark.parametrize("text", ["[1", "[1]", "null"])
def test_card_of_a_version_whose_tag_was_changed_says_so(
    text: str, shop: Shop, velodrome: Callable[..., CommandResult]
) -> None:
    shop.begin(one={}, two={"skill": 0.95, "seed": 2})
    shop.registry.call("set_model_version_tag", "shop", "1", CARD_TAG, text)
    ended = velodrome("card", "shop/1")
    assert (ended.status, "must be what a promotion wrote" in ended.err) == (2, True)
    assert "the card of shop/1 is not whole in MLflow" in rollback("shop", home=shop.home).note


def test_document_that_cannot_be_read_is_refused_by_name(
    shop: Shop, velodrome: Callable[..., CommandResult]
) -> None:
    shop.begin(one={})
    run_sql(shop, "update params set value='' where key like 'content/%'")
    ended = velodrome("history", "shop")
    assert (ended.status, "cannot be read" in ended.err) == (3, True)


def run_sql(shop: Shop, statement: str) -> None:
    """As somebody does who may write to the registry's database."""
    with contextlib.closing(sqlite3.connect(shop.home.path / "mlflow.db")) as store, store:
        assert store.execute(statement).rowcount > 0
