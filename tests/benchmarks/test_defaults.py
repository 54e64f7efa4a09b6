"""What the benchmark of defaults leaves out, and of which rows it is."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import velodrome
from benchmarks.quality.defaults import lane_starts_s, trivial_value
from benchmarks.quality.fewer_rows import write_fewer_rows
from infra.ledger.rows import AttemptRow, TrialRow


def attempt_of(
    number: int, lane: str, beyond_s: float, trained_s: float = 10.0
) -> tuple[TrialRow, AttemptRow]:
    facts = {"train_seconds": trained_s}
    trial = TrialRow(
        role="search", family="mlp", number=number, params={}, seed=0, state="complete",
        seconds=trained_s + beyond_s, facts=facts,
    )  # fmt: skip
    attempt = AttemptRow(
        id=str(number), role="search", family="mlp", number=number, ordinal=1, lane=lane, lane_facts={},
        started_at=float(number),
    )  # fmt: skip
    return trial, attempt


def test_starts_are_what_first_trials_of_lanes_took_beyond_training_and_above_later_ones() -> None:
    rows = [
        attempt_of(0, "a", 21.0),
        attempt_of(1, "b", 31.0),
        *(attempt_of(n, "ab"[n % 2], 1.0) for n in (2, 3)),
    ]
    trials, attempts = [trial for trial, _ in rows], [attempt for _, attempt in rows]
    assert lane_starts_s(trials, attempts) == 50.0
    assert lane_starts_s(trials[:2], attempts[:2]) == 52.0
    quick = [attempt_of(0, "a", 0.5), attempt_of(1, "a", 1.0)]
    assert lane_starts_s([trial for trial, _ in quick], [attempt for _, attempt in quick]) == 0.0


def test_fewer_rows_are_drawn_once_in_their_order_and_less_of_other_parts(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for part in ("train", "test"):
        pd.DataFrame({"x": range(100), "label": ["01", "NA"] * 50}).to_csv(
            tmp_path / "set" / f"{part}.csv", index=False
        )
    made = write_fewer_rows(f"csv:{tmp_path / 'set'}", 40, tmp_path / "one")
    assert made == write_fewer_rows(f"csv:{tmp_path / 'set'}", 40, tmp_path / "two").replace("two", "one")
    parts = {
        part: pd.read_csv(tmp_path / "one/fewer/set" / f"{part}.csv", dtype=str, keep_default_na=False)
        for part in ("train", "test")
    }
    assert {part: len(frame) for part, frame in parts.items()} == {"train": 40, "test": 8}
    assert parts["train"]["x"].astype(int).is_monotonic_increasing
    assert set(parts["train"]["label"]) == {"01", "NA"}


def test_fewer_rows_of_arrays_keep_pictures_beside_their_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.arange(50)[:, None, None], labels=np.arange(50))
    with np.load(
        write_fewer_rows(f"npz:{tmp_path / 'a.npz'}", 20, tmp_path / "one").partition(":")[2]
    ) as arrays:
        assert len(arrays["labels"]) == 20
        np.testing.assert_array_equal(arrays["images"][:, 0, 0], arrays["labels"])
    with pytest.raises(ValueError, match="but got text:a"):
        write_fewer_rows("text:a", 20, tmp_path / "two")


def test_guess_of_pairs_is_the_loss_of_tokens_as_often_as_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_HOME", str(tmp_path / "home"))
    words, chance = ("red", "dog", "sun", "hat", "sea", "cup", "ice", "map"), random.Random(0)
    texts = [" ".join(chance.choices(words, k=size)) for size in (12, 6) for _ in range(2000)]
    rows = (f"{source},{target}\n" for source, target in zip(texts[:2000], texts[2000:], strict=True))
    (tmp_path / "pairs.csv").write_text("source,target\n" + "".join(rows))
    file = tmp_path / "first.yaml"
    written = velodrome.new(f"csv:{tmp_path / 'pairs.csv'}", output=file)
    # Seven tokens each: one of eight words that begin, five of eight behind a blank, the end.
    shares = [1 / 56] * 8 + [5 / 56] * 8 + [1 / 7]
    entropy = -sum(share * math.log(share) for share in shares)
    assert trivial_value(file, (), written) == pytest.approx(entropy, abs=0.05)
