"""What a promotion judges on: the data of sweep and champion, without the rows that a model has seen."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.promotion.judging.outcome import Promotion
from flows.promotion.policy import policy
from flows.promotion.promote import GateRefused
from tests.flows.promotion.conftest import SOURCE, Shop
from tests.flows.promotion.models import CLASSES


def own_data(shop: Shop, folder: Path) -> Shop:
    """The shop with a file of its own, which a test may change."""
    folder.mkdir()
    (folder / "rows.csv").write_text(shop.rows.read_text())
    return open_data(replace(shop, rows=folder / "rows.csv"))


def open_data(shop: Shop) -> Shop:
    """The shop with its file as it is now."""
    from trainers.data.sources.opening import open_dataset

    return replace(shop, dataset=open_dataset(SOURCE, base=shop.rows.parent, cache=shop.home.cache))


def relabel(shop: Shop, every: int) -> None:
    """Gives each so many'th row the next label."""
    frame = pd.read_csv(shop.rows)
    turned = frame["label"].map(dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True)))
    frame["label"] = np.where(np.arange(len(frame)) % every == 0, turned, frame["label"])
    frame.to_csv(shop.rows, index=False)


def refusals(shop: Shop, name: str) -> dict[str, Any]:
    """Gate → what it found."""
    with pytest.raises(GateRefused) as refused:
        shop.promote(name)
    return {finding.gate: finding for finding in refused.value.promotion.findings if finding.is_refused}


def allow(shop: Shop, folder: Path, text: str) -> None:
    (folder / "policy.yaml").write_text(text)
    policy("shop", set=str(folder / "policy.yaml"))


def test_changed_labels_are_said_in_numbers_and_judged_only_where_allowed(shop: Shop, tmp_path: Path) -> None:
    mine = own_data(shop, tmp_path / "data")
    name = mine.sweep("one", skill=0.9)
    before = mine.dataset
    relabel(mine, 3)
    after = open_data(mine).dataset
    found = refusals(mine, name)["unchanged data"]
    seen = before.row_hashes[np.concatenate([before.splits["train"], before.splits["validation"]])]
    changed = int((~np.isin(seen, after.row_hashes)).sum())
    said = re.search(
        rf"of {len(seen):,} rows .* ([0-9,]+) have another target, 0 are gone, 0 are new", found.found
    )
    assert said is not None
    assert int(said[1].replace(",", "")) == pytest.approx(changed, rel=0.01)  # a few rows are there twice
    assert "changed_data: judged" in found.do
    allow(mine, tmp_path, "changed_data: judged\nmetrics: {accuracy: {at_least: 0.1}}\n")
    mine.promote(name)
    kept = set(zip(mine.asked[-1]["x"], mine.asked[-1]["region"], strict=True))
    old = np.concatenate([before.splits["train"], before.splits["validation"]])
    columns = [before.columns[name].values for name in ("x", "region")]
    assert not kept & {(float(columns[0][int(row)]), str(columns[1][int(row)])) for row in old}


def test_data_that_has_grown_is_the_champions_and_another_is_refused(shop: Shop, tmp_path: Path) -> None:
    mine = own_data(shop, tmp_path / "data")
    mine.promote(mine.sweep("one", skill=0.8))
    frame = pd.read_csv(mine.rows)
    pd.concat([frame, frame.assign(x=frame["x"] + 10)[:3_000]]).to_csv(mine.rows, index=False)
    grown = open_data(mine)
    moved = grown.promote(grown.sweep("two", skill=0.9, seed=2))
    assert {f.gate: f.found for f in moved.findings}["same data"] == "the champion's"
    relabel(grown, 1)
    other = open_data(grown)
    name = other.sweep("three", skill=0.9, seed=3)
    found = refusals(other, name)["same data"]
    assert found.found.startswith("0 of ")
    allow(other, tmp_path, "other_data: judged\n")
    assert "same data" not in refusals(other, name)


def test_copies_of_a_row_are_judged_once_but_where_each_is_a_row_of_its_own(
    shop: Shop, tmp_path: Path
) -> None:
    mine = own_data(shop, tmp_path / "data")
    once = mine.promote(mine.sweep("one", skill=0.85))
    frame = pd.read_csv(mine.rows)
    pd.concat([frame] * 3).to_csv(mine.rows, index=False)
    copied = refusals_or_result(open_data(mine), "two")
    assert copied.examples == once.examples
    assert copied.copies > 2 * once.examples
    assert copied.metrics["champion"] == once.metrics["challenger"]
    data = f"{{source: 'csv:{mine.rows}', columns: {{target: label}}, split: {{by: row}}}}"
    allow(mine, tmp_path, f"evaluation: {{data: {data}, part: all}}\n")
    rows = refusals_or_result(open_data(mine), "three")
    assert (rows.copies, rows.examples + rows.left_out) == (0, 3 * len(frame))


def refusals_or_result(shop: Shop, name: str) -> Promotion:
    """A promotion's result, whatever the gates say."""
    try:
        return shop.promote(shop.sweep(name, skill=0.9, seed=2))
    except GateRefused as refused:
        return refused.promotion


def test_rows_that_selected_a_model_are_left_out_as_its_training_rows_are(shop: Shop, tmp_path: Path) -> None:
    data = f"{{source: 'csv:{shop.rows}', columns: {{target: label}}}}"
    allow(shop, tmp_path, f"evaluation: {{data: {data}, part: all}}\n")
    moved = shop.promote(shop.sweep("one", skill=0.85))
    splits = shop.dataset.splits
    different = len(np.unique(shop.dataset.row_hashes[splits["test"]]))
    assert moved.left_out == len(splits["train"]) + len(splits["validation"])
    assert (moved.examples, moved.copies) == (different, len(splits["test"]) - different)
    old = shop.promote(shop.sweep("two", skill=0.95, seed=2, seen=None))
    (rows,) = [finding for finding in old.findings if finding.gate == "training rows"]
    assert rows.found == "known; not those that the challenger was selected by"
