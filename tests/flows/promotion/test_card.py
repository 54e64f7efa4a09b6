"""Model cards: what they say is what the bundle and the history have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from scipy.stats import binomtest

from flows.promotion.card import card, describe_in_mlflow
from flows.promotion.card_text import CardFacts, card_body
from flows.promotion.history import history
from flows.promotion.promote import GateRefused
from flows.promotion.rollback import rollback
from flows.statistics.shares import wilson_interval
from infra.errors import WrongInput
from infra.registry.artifacts import fetch_version
from infra.registry.integrity import files_mismatch
from tests.flows.promotion.conftest import Shop

WRITTEN = {
    "purpose": "Sorts parcels by region.",
    "limits": "Never for people | or letters.",
    "licence": "apache-2.0",
}


def description_of(shop: Shop, number: int) -> str:
    return str(shop.registry.call("get_model_version", "shop", str(number)).description)


def page_of(shop: Shop) -> str:
    return str(shop.registry.call("get_registered_model", "shop").description)


def test_promotion_describes_version_and_model_by_the_card(shop: Shop) -> None:
    shop.sweep("first", skill=0.9, seed=1, card=WRITTEN)
    result = shop.promote("first")
    assert (result.outcome, result.notes) == ("moved", ())
    text = description_of(shop, 1)
    accuracy = result.metrics["challenger"]["accuracy"]
    low, high = wilson_interval(accuracy, result.examples)
    assert f"| accuracy | {accuracy:.4g} (95 % {low:.4g} to {high:.4g}) |" in text
    for part in (
        WRITTEN["purpose"],
        "Never for people",
        "apache-2.0",
        f"fingerprint `{result.data['fingerprint']}`",
        "It became the champion (entry 1",
        "models:/shop/1",
    ):
        assert part in text
    shown = f"accuracy {accuracy:.4g} (95 % {low:.4g} to {high:.4g}) on {result.examples} examples"
    assert text.splitlines()[0] == f"{shown} of the test split of csv:rows.csv"  # all that a list shows of it
    for finding in result.findings:
        assert f"| {finding.gate} | {finding.verdict} |" in text
    assert page_of(shop).startswith(f"Champion: version 1. {WRITTEN['purpose']}")


def test_card_lies_beside_the_bundle_and_leaves_its_seal_whole(shop: Shop, tmp_path: Path) -> None:
    shop.sweep("first", skill=0.9, seed=1, card=WRITTEN)
    assert shop.promote("first").notes == ()
    given: dict[str, Any] = {"registry": shop.home.mlflow_uri, "home": shop.home}
    written = card("shop/1", **given)
    version = shop.registry.version("shop", 1)
    assert version is not None
    files = fetch_version(shop.registry, version, tmp_path)
    assert files.bundle is not None
    beside = files.folder / "README.md"
    assert written.beside == beside.as_uri() or written.beside == str(beside)
    assert beside.read_text() == written.text
    assert ModelCard.load(beside).data.license == "apache-2.0"
    assert not (files.bundle / "README.md").exists()
    assert files_mismatch(files, version.manifest_sha256) == ""
    assert history("shop", verify=True, **given).verified
    beside.write_text("changed by hand")
    assert card("shop/1", **given).text == beside.read_text()
    shop.sweep("second", skill=0.95, seed=2, card=WRITTEN)
    shop.promote("second")
    assert rollback("shop", **given).note == ""


def test_refused_version_has_a_card_and_leaves_the_models_page(shop: Shop) -> None:
    shop.begin(first={"skill": 0.9, "seed": 1})
    shop.sweep("second", skill=0.5, seed=2)
    with pytest.raises(GateRefused):
        shop.promote("second")
    assert "Its promotion was refused (entry 2" in description_of(shop, 2)
    assert page_of(shop).startswith("Champion: version 1.")


def test_rollback_puts_the_former_champion_on_the_models_page(shop: Shop) -> None:
    for number, skill in ((1, 0.6), (2, 0.95)):
        shop.sweep(f"sweep{number}", skill=skill, seed=number)
        shop.promote(f"sweep{number}")
    assert page_of(shop).startswith("Champion: version 2.")
    assert rollback("shop", registry=shop.home.mlflow_uri, home=shop.home).note == ""
    assert page_of(shop).startswith("Champion: version 1.")


def test_card_is_read_by_the_hub_and_written_once(shop: Shop, tmp_path: Path) -> None:
    shop.begin(first={"skill": 0.9, "seed": 1, "card": WRITTEN})
    path = tmp_path / "README.md"
    given: dict[str, Any] = {"registry": shop.home.mlflow_uri, "home": shop.home}
    written = card("shop", out=str(path), **given)
    loaded = ModelCard.load(path)
    assert loaded.data.license == "apache-2.0"
    assert loaded.data.model_name == "shop/1"
    assert written.text == path.read_text() == card("shop@champion", **given).text
    assert loaded.text.strip().startswith(f"# shop/1\n\n{WRITTEN['purpose']}\n\n**accuracy 0.")
    assert loaded.text.partition("## Purpose")[2] == description_of(shop, 1).partition("## Purpose")[2] != ""
    with pytest.raises(WrongInput, match="--out must name a new file"):
        card("shop/1", out=str(path), **given)


def test_card_of_a_version_without_purpose_says_that_it_has_none(shop: Shop) -> None:
    shop.begin(first={"skill": 0.9, "seed": 1})
    assert "Not said: `card:` in the sweep's file has no `limits`." in description_of(shop, 1)


def test_card_changed_in_the_file_is_that_of_the_next_promotion(shop: Shop) -> None:
    shop.sweep("first", skill=0.9, seed=1, card=WRITTEN)
    candidate = shop.candidate("first")
    said = json.loads(candidate.tags["velodrome.card"])
    assert said == {**WRITTEN, "data": said["data"]}
    assert said["data"]["source"] == "csv:rows.csv"


def test_missing_version_has_no_card_and_no_trouble(shop: Shop) -> None:
    assert describe_in_mlflow(shop.registry, "shop", 7, champion=True) == ""
    with pytest.raises(WrongInput, match="a card is of a registered version"):
        card("shop/7", registry=shop.home.mlflow_uri, home=shop.home)


def test_card_lists_classes_by_validation_and_keeps_tables_whole() -> None:
    metrics: dict[str, Any] = {"val/accuracy": 0.5}
    metrics |= {"val/precision_a|b": 0.1, "val/recall_a|b": 0.2, "val/f1_a|b": 0.3}
    known = CardFacts(
        label="m/1", family="mlp", params={}, versions={}, facts={"metrics": metrics, "sweep": "s",
        "family": "mlp", "number": 4, "role": "search"},
    )  # fmt: skip
    text = card_body(known)
    assert "| a/b | 0.1 | 0.2 | 0.3 |" in text
    assert "| accuracy |  | 0.5 |" in text
    assert "velodrome reproduce s --family mlp --trial 4" in text
    assert "recall_a" not in text


def test_wilson_interval_is_scipys_and_stays_within_a_share() -> None:
    assert wilson_interval(1.0, 20)[1] == 1.0
    found = binomtest(18, 20).proportion_ci(0.95, method="wilson")
    assert wilson_interval(0.9, 20) == (found.low, found.high)
    assert wilson_interval(0.9, 20) == pytest.approx((0.6990, 0.9721), abs=5e-5)


def test_model_made_unfair_is_refused_and_its_card_has_the_groups(shop: Shop) -> None:
    gates = {"groups": {"columns": ["region"], "max_gap": 0.05}}
    shop.sweep("first", skill=0.95, seed=1, weak={"south": 0.7}, gates=gates)
    with pytest.raises(GateRefused) as refused:
        shop.promote("first")
    assert [f.gate for f in refused.value.promotion.findings if f.is_refused] == ["groups region"]
    assert "| groups region | refused |" in description_of(shop, 1)
    assert "south 0." in description_of(shop, 1)
