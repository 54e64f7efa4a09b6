"""What takes a judgement's ground away while its models are asked."""

from __future__ import annotations

from typing import Any

import pytest

from flows.promotion.judging.decisions import find_overtaking_entry
from infra.registry.chain import Chain
from tests.infra.registry.test_records import entry


def extend_chain(chain: Chain, kind: Any) -> Chain:
    """The chain with one entry more."""
    return Chain(model=chain.model, texts=(*chain.texts, entry(chain, kind).text))


@pytest.mark.parametrize(
    ("before", "meanwhile", "overtaken"),
    [
        ("promotion", "promotion", True),
        ("promotion", "rollback", True),
        ("promotion", "foreign", True),
        ("promotion", "refusal", False),
        ("promotion", "approval", False),
        ("promotion", "policy", True),
        ("policy", "policy", True),
    ],
)
def test_overtaking_is_found_if_history_moved_while_judging(
    before: str, meanwhile: str, overtaken: bool
) -> None:
    judged = extend_chain(Chain(model="shop"), before)
    assert find_overtaking_entry(judged, judged) is None
    found = find_overtaking_entry(judged, extend_chain(judged, meanwhile))
    assert (found is not None and found.kind == meanwhile) == overtaken
