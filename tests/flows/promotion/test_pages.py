"""The policies in docs are policies."""

from __future__ import annotations

import re
from pathlib import Path

from flows.config.policy import Policy
from flows.promotion.policy import load_policy

PAGE = Path(__file__).resolve().parents[3] / "docs" / "policy.md"


def test_policy_page_examples_load_and_its_table_has_every_key(tmp_path: Path) -> None:
    text = PAGE.read_text()
    blocks = re.findall(r"^```yml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "policy.yaml").write_text(block)
        assert load_policy(tmp_path / "policy.yaml").metrics
    table = "".join(line for line in text.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)[.`]", table)) >= set(Policy.model_fields)
