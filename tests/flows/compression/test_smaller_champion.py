"""A smaller version of the champion takes its place where it is not worse, and is refused where it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sklearn.datasets import load_digits

from flows.comparison.compare import compare
from flows.compression.compress import compress
from flows.inference.predict import predict
from flows.promotion.policy import policy
from flows.promotion.promote import GateRefused, promote
from infra.home import Home
from tests.flows.real_trials import train_and_write

FILE = """
name: digits
data: {source: builtin:digits}
budget: {trials: 1, epochs: 6}
families: {mlp: {space: {hidden: [128], learning_rate: 0.005}}}
"""
POLICY = """
compare: {margin: -0.04, smaller: {size_bytes: 0.5}}
classes: {max_drop: 0.2}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A finished sweep whose only model is the champion, under the policy."""
    folder = tmp_path_factory.mktemp("smaller")
    (folder / "digits.yaml").write_text(FILE)
    (folder / "policy.yaml").write_text(POLICY)
    place = Home(folder / "home")
    train_and_write(place, folder / "digits.yaml", {"hidden": [128], "learning_rate": 0.005})
    compress("digits", trial=0, how="int8", home=place)
    compress("digits", trial=0, how="prune:0.99", home=place)
    assert promote("digits", trial=0, home=place).outcome == "moved"
    policy("digits", set=str(folder / "policy.yaml"), home=place)
    return place


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_smaller_model_that_is_not_worse_becomes_the_champion_and_answers(home: Home) -> None:
    rows = {row.number: row for row in compare("digits", top=3, latency=False, home=home).rows}
    assert rows[1].costs["size_bytes"] < 0.35 * rows[0].costs["size_bytes"]
    with pytest.raises(GateRefused) as refused:  # a hundredth of the weights is a quarter as good
        promote("digits", trial=2, home=home)
    assert "better" in {found.gate for found in refused.value.promotion.findings if found.is_refused}
    moved = promote("digits", trial=1, home=home)
    assert (moved.outcome, moved.former) == ("moved", 1)
    passed = {found.gate: found.verdict for found in moved.findings}
    assert passed["better"] == "passed"
    assert any("smaller" in gate for gate in passed)
    digits = load_digits()
    file = home.path.parent / "rows.jsonl"
    pictures = (digits.images[:40, :, :, None] * (255 / 16)).round().astype("uint8")
    file.write_text("".join(f'{{"image": {picture.tolist()}}}\n' for picture in pictures))
    made = predict("digits", file, home=home)
    assert made.model == f"digits/{moved.version}"

    answers = [json.loads(line) for line in Path(made.output).read_text().splitlines()]
    right = [str(row["prediction"]) == str(label) for row, label in zip(answers, digits.target, strict=False)]
    assert sum(right) >= 36
