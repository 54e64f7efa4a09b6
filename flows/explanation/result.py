"""What `velodrome explain` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.terminal.json_results import PlainResult

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureImportance(PlainResult):
    """A column or word: in how many rows it stands, and the mean of its importances and of their size."""

    name: str
    rows: int
    mean_absolute: float
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(PlainResult):
    """What `explain` found and wrote.

    Attributes:
        model: the version that was asked: `digits/3`.
        out: the folder: `index.html`, `attributions.csv`, `importance.csv` or `importance.png`, `pictures/`.
        kind: of rows: `table`, `image` or `text`.
        unit: of scores and importances: `logit`, `log-odds`, or `prediction`, the target's own.
        baseline: what rows are compared with.
        worst_gap: what importances lack of the score's distance from the baseline's, as a share, in the row
            where it is most; None for occlusion, whose importances need not add up.
        features: the columns or words that count most; none of images.
        warning: what should be known; may be empty.
    """

    model: str
    input: str
    out: str
    kind: str
    method: str
    unit: str
    baseline: str
    rows: int
    worst_gap: float | None
    features: tuple[FeatureImportance, ...]
    seconds: float
    warning: str = ""
