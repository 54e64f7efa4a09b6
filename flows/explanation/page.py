"""The page of an explanation: one file that refers to nothing outside itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from flows.explanation.rows import FeatureMean, ShownRow

if TYPE_CHECKING:
    from flows.explanation.result import Explanation

SHOWN_FEATURES = 60


def render_explanation(
    head: Explanation,
    means: Sequence[tuple[str, FeatureMean]],
    rows: Sequence[ShownRow],
    total: bytes | None,
) -> str:
    """The page as text; everything from people is escaped.

    Args:
        means: what counts most first.
        total: a PNG of the pixels' mean importances, of images alone.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["png"] = _base64
    text = files("flows.explanation").joinpath("page.html.j2").read_text(encoding="utf-8")
    gap = head.worst_gap
    added = (
        "what is occluded together may count twice, so they need not add up to it" if gap is None
        else f"they add up to its distance from the baseline's to within {gap:.2g} of it"
    )  # fmt: skip
    return environment.from_string(text).render(
        head=head, means=list(means)[:SHOWN_FEATURES], rows=rows, added=added,
        largest=means[0][1].absolute / means[0][1].count if means else 0.0,
        total=None if total is None else _base64(total),
    )  # fmt: skip


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
