"""Groups of a column that no model sees: judged, gated, kept in the evidence and on the card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.promotion.card import card
from flows.promotion.promote import GateRefused
from flows.promotion.recompute import recompute
from flows.statistics.shares import wilson_interval
from tests.flows.promotion.conftest import SOURCE, Shop
from trainers.data.sources.opening import open_dataset

WEAK = {"south": 0.6}  # where most are women


def with_gender(shop: Shop, folder: Path) -> Shop:
    """The shop with a column of its own that says nothing new; of a few rows it is not known."""
    frame = pd.read_csv(shop.rows)
    gender = np.where(frame["region"] == "south", "female", "male")
    frame["gender"] = np.where(np.arange(len(frame)) % 20 == 3, "", gender)
    folder.mkdir()
    frame.to_csv(folder / "rows.csv", index=False)
    source = {**SOURCE, "columns": {"target": "label", "sensitive": ["gender"]}}
    dataset = open_dataset(source, base=folder, cache=shop.home.cache)
    return replace(shop, rows=folder / "rows.csv", dataset=dataset, source=source)


def evidence_of(shop: Shop, entry: int) -> Any:
    records = shop.mover.records
    return records.read_document(str(records.read_chain().entries[entry - 1].content))


def test_promotion_keeps_scores_by_group_of_a_column_that_no_model_sees(shop: Shop, tmp_path: Path) -> None:
    mine = with_gender(shop, tmp_path / "data")
    mine.promote(mine.sweep("one", skill=0.9, weak=WEAK))
    assert list(mine.asked[0].columns) == ["x", "region"]
    (table,) = evidence_of(mine, 1)["groups"]
    assert [score["group"] for score in table["groups"]] == ["female", "male", "(missing)"]
    shares = {score["group"]: score["value"] for score in table["groups"]}
    assert shares["female"] == pytest.approx(0.6, abs=0.1)
    assert shares["male"] == pytest.approx(0.9, abs=0.05)
    assert table["gap"] == max(shares.values()) - min(shares.values())
    assert sum(score["examples"] for score in table["groups"]) == len(mine.asked[0])
    for score in table["groups"]:
        assert (score["low"], score["high"]) == wilson_interval(score["value"], score["examples"])
    text = card("shop/1", home=mine.home).text
    first = table["groups"][0]
    assert f"| gender | female | {first['examples']} | accuracy | {first['value']:.4g} (95 % " in text


@pytest.mark.parametrize(
    ("gates", "refused"),
    [
        ({"groups": {"columns": ["gender"], "max_gap": 0.1}}, "groups gender"),
        ({"metrics": {"val/accuracy_gap": {"at_most": 0.1}}}, "metric val/accuracy_gap"),
    ],
    ids=["groups", "metric"],
)
def test_gap_between_sensitive_groups_is_refused_and_comes_out_again(
    shop: Shop, tmp_path: Path, gates: dict[str, Any], refused: str
) -> None:
    mine = with_gender(shop, tmp_path / "data")
    name = mine.sweep("one", skill=0.9, weak=WEAK, gates=gates)
    with pytest.raises(GateRefused) as found:
        mine.promote(name)
    assert [one.gate for one in found.value.promotion.findings if one.is_refused] == [refused]
    assert recompute("shop", 1, home=mine.home).agrees
    assert mine.promote(mine.sweep("two", skill=0.9, gates=gates)).outcome == "moved"


def test_slices_may_be_those_of_a_sensitive_column(shop: Shop, tmp_path: Path) -> None:
    mine = with_gender(shop, tmp_path / "data")
    gates = {"slices": {"columns": ["gender"], "max_drop": 0.05}}
    mine.promote(mine.sweep("one", skill=0.9, gates=gates))
    with pytest.raises(GateRefused) as found:
        mine.promote(mine.sweep("two", skill=0.99, seed=2, weak={"south": 0.5}, gates=gates))
    gates_refused = [one.gate for one in found.value.promotion.findings if one.is_refused]
    assert "slice gender=female" in gates_refused
    assert "slice gender=male" not in gates_refused


def test_rows_that_differ_in_their_group_alone_are_no_copies(shop: Shop, tmp_path: Path) -> None:
    frame = pd.read_csv(shop.rows)[:2000]
    both = pd.concat([frame.assign(gender="female"), frame.assign(gender="male")] * 2)
    (tmp_path / "rows.csv").write_text(both.to_csv(index=False))
    source = {**SOURCE, "columns": {"target": "label", "sensitive": ["gender"]}}
    dataset = open_dataset(source, base=tmp_path, cache=shop.home.cache)
    mine = replace(shop, rows=tmp_path / "rows.csv", dataset=dataset, source=source)
    promoted = mine.promote(mine.sweep("one", skill=0.9))
    (table,) = evidence_of(mine, 1)["groups"]
    assert [score["examples"] for score in table["groups"]] == [promoted.examples / 2] * 2
    assert promoted.copies == promoted.examples


def test_other_groups_of_the_same_rows_are_said_and_refused(shop: Shop, tmp_path: Path) -> None:
    mine = with_gender(shop, tmp_path / "data")
    name = mine.sweep("one", skill=0.9)
    frame = pd.read_csv(mine.rows, keep_default_na=False)
    frame["gender"] = frame["gender"].to_numpy()[::-1]
    frame.to_csv(mine.rows, index=False)
    with pytest.raises(GateRefused) as found:
        mine.promote(name)
    (changed,) = [one for one in found.value.promotion.findings if one.gate == "unchanged data"]
    assert changed.found.endswith("how often rows stand there, test rows, or a sensitive column")
