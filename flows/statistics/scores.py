"""Scores as arrays, checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Numbers = Sequence[float] | npt.NDArray[np.floating]


def stack_scores(scores_by_seed: Sequence[Numbers]) -> Floats:
    """Scores of several seeds on the same examples, shape (seeds, examples).

    Raises:
        ValueError: none, different numbers of them, or some that are not finite.
    """
    rows = [np.asarray(scores, dtype=np.float64).ravel() for scores in scores_by_seed]
    if not rows or not rows[0].size:
        raise ValueError("a bootstrap takes at least one seed and one example")
    if len({row.size for row in rows}) > 1:
        raise ValueError(
            f"all seeds must be scored on the same examples, but got {[row.size for row in rows]} of them"
        )
    table = np.stack(rows)
    if not np.isfinite(table).all():
        raise ValueError("scores must be finite")
    return table


def paired_differences(challenger: Numbers, champion: Numbers) -> Floats:
    """The challenger's scores less the champion's, shape (examples,).

    Raises:
        ValueError: none, different numbers of them, or some that are not finite.
    """
    one, other = (np.asarray(given, dtype=np.float64).ravel() for given in (challenger, champion))
    if one.size != other.size or not one.size:
        raise ValueError(f"both models must be scored on the same examples, but got {one.size}, {other.size}")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("scores must be finite")
    return np.asarray(one - other, dtype=np.float64)
