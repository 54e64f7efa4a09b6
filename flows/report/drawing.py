"""Plotly figures as plain documents. Colours of text and grids are the page's: it knows light from dark."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flows.terminal.formatting import number, param_text, printable_text
from infra.ledger.rows import TrialRow
from trainers.types import Json, JsonObject

PALETTE = ("#3b82f6", "#f97316", "#10b981", "#a855f7", "#ec4899", "#06b6d4", "#eab308", "#84cc16")
GREY = "#94a3b8"
BAD = "#ef4444"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotlyFigure:
    """One plot. `min_width_px`: it scrolls sideways on a screen that is narrower. `alt`: in a sentence."""

    id: str
    data: Sequence[Mapping[str, Json]]
    layout: Mapping[str, Json]
    alt: str
    title: str = ""
    height_px: int = 380
    min_width_px: int = 0
    config: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """What the page's script draws."""
        return {"id": f"plot-{self.id}", "data": self.data, "layout": self.layout, "height": self.height_px}


def escape_label(text: object, most: int = 80) -> str:
    """A text of somebody's for plotly, which takes some HTML in its labels: nothing of it has an effect."""
    plain = printable_text(str(text))
    return html.escape(plain if len(plain) <= most else plain[: most - 1] + "…")


def family_colour(place: int) -> str:
    """The colour of the so-many-eth family."""
    return PALETTE[place % len(PALETTE)]


def fade(hexadecimal: str, opacity: float) -> str:
    """The colour, seen through."""
    red, green, blue = (int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def hover_text(trial: TrialRow, value: float, metric: str) -> str:
    """What a pointer over a trial shows."""
    params = [
        f"{escape_label(name)} = {escape_label(param_text(entry), 40)}"
        for name, entry in list(trial.params.items())[:14]
    ]
    head = f"<b>{escape_label(trial.family)} #{trial.number}</b>, {trial.state}"
    return "<br>".join([head, f"{escape_label(metric)} {number(value)}", *params])


def round_values(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Numbers with so many significant digits; a gap where one is not finite."""
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]


def scatter_trace(**more: Json) -> JsonObject:
    """A trace of points or lines."""
    return {"type": "scatter", "mode": "lines", "hoverinfo": "text", **more}


def figure_layout(
    x: str,
    y: str,
    *,
    xaxis: Mapping[str, Json] | None = None,
    yaxis: Mapping[str, Json] | None = None,
    **more: Json,
) -> JsonObject:
    """Titles of the axes (escaped here) and what all figures share."""
    return {
        "xaxis": {"title": {"text": escape_label(x)}, "automargin": True, "zeroline": False, **(xaxis or {})},
        "yaxis": {"title": {"text": escape_label(y)}, "automargin": True, "zeroline": False, **(yaxis or {})},
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        **more,
    }


def view_range(values: Sequence[float], spare: float = 0.06) -> list[float] | None:
    """A range without the few far-off values that would press all others against the edge; None: all."""
    finite = sorted(value for value in values if math.isfinite(value))
    if len(finite) < 8:
        return None
    low, middle, high = finite[0], finite[len(finite) // 2], finite[-1]
    quarter = finite[(3 * len(finite)) // 4] - finite[len(finite) // 4]
    start, end = max(low, middle - 6 * quarter), min(high, middle + 6 * quarter)
    if quarter == 0 or (start == low and end == high):
        return None
    more = spare * (end - start)
    return [start - more, end + more]
