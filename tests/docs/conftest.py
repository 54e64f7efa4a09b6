"""What tests of the documentation share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import EXAMPLES


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the examples as the current one, and its modules importable."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(EXAMPLES)
    yield EXAMPLES
    for name in ("table_mlp", "plain_function"):
        sys.modules.pop(name, None)
