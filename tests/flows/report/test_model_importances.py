"""What a report says of where the best models' answers come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.report.page import render_page
from flows.report.report_data import gather_report_data
from flows.report.sections import build_sections
from infra.home import Home
from tests.flows.real_trials import train_and_write

CANCER = """
name: cancer
data: {source: builtin:cancer}
budget: {trials: 1, epochs: 2}
families: {mlp: {space: {learning_rate: 0.01}}}
"""
DIGITS = CANCER.replace("cancer", "digits").replace("mlp", "image_cnn")


@pytest.mark.parametrize(("text", "name"), [(CANCER, "cancer"), (DIGITS, "digits")])
def test_report_explains_the_best_model_of_a_family(text: str, name: str, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (tmp_path / f"{name}.yaml").write_text(text)
    train_and_write(home, tmp_path / f"{name}.yaml", {"learning_rate": 0.01})
    material = gather_report_data(name, home, latency=False)
    (found,) = material.explained
    section = next(section for section in build_sections(material) if section.id == "explained")
    assert "rows of validation" in section.remarks[0]
    if name == "cancer":
        sizes = [size for _, size in found.features]
        assert len(sizes) == 15
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > 0
        assert section.tables[0].rows[0][0] == found.features[0][0]
    else:
        assert "data:image/png;base64," in render_page(material)
        assert section.pictures[0].png == found.picture


def test_report_says_why_a_model_is_not_explained(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    text = DIGITS.replace("image_cnn", "autoencoder")
    (tmp_path / "digits.yaml").write_text(text.replace("digits}", "digits, task: reconstruction}"))
    train_and_write(home, tmp_path / "digits.yaml", {"learning_rate": 0.01})
    (found,) = gather_report_data("digits", home, latency=False).explained
    assert found.how.startswith("not explained: explained answers must be classes, numbers")
    assert (found.features, found.picture) == ((), "")
