"""The pages of the documentation, and what tests read off them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from flows.config.loading import load_sweep
from flows.config.resolving import resolve_families, resolve_sweep

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def blocks(page: Path, language: str) -> list[str]:
    """The page's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def every_block(language: str) -> list[Any]:
    """All blocks of one language with the page and place that they stand at."""
    return [
        pytest.param(block, id=f"{page.name}-{place}")
        for page in PAGES
        for place, block in enumerate(blocks(page, language))
    ]


def resolve(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The specification of a file, as `sweep` would make it, without its data."""
    monkeypatch.setenv("LEDGER_PASSWORD", "x")
    file = load_sweep(path, ())
    resolve_families(file)
    task = file.data.get("task")
    usual = {"regression": "mse"}.get(str(task), "accuracy")
    return resolve_sweep(file, default_metric=usual)
