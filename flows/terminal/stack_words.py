"""How trials are trained, one by one or as stacks, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from trainers.types import Document, Json

ONE_BY_ONE = "one by one"


def describe_width(width: int, gain: float | None) -> str:
    """`stacks of 64, about 8 times faster`, or `one by one`."""
    if width == 1:
        return ONE_BY_ONE
    return f"stacks of {width}" + ("" if gain is None else f", about {gain:.1f} times faster")


def describe_share(facts: Mapping[str, Json]) -> str:
    """What a trial's seconds are where it was trained in stacks: its share of their time. Else nothing."""
    if "stack" not in facts:
        return ""
    return f", its share of the time of stacks of up to {facts['stack']}"


def describe_stacks(facts: Document) -> dict[str, str]:
    """By family what its lanes chose, from a sweep's facts; structures that were told the same count once."""
    told = {}
    for family, structures in facts.get("stacks", {}).items():
        found = list(structures.values())
        widths = Counter(choice["width"] for choice in found)
        width, most = widths.most_common(1)[0]
        mine = [choice for choice in found if choice["width"] == width]
        gains = [choice["gain"] for choice in mine if choice["gain"] is not None]
        words = describe_width(width, sum(gains) / len(gains) if gains else None)
        words = f"{words} ({mine[0]['reason']})" if mine[0]["reason"] else words
        others = f", {most} of {len(found)} structures" if most < len(found) else ""
        told[family] = words + others
    return told
