"""A generated series: a sine of 40 rows upon a slower one, with noise.

    python benchmarks/quality/sine.py sine.csv
    velodrome sweep benchmarks/quality/sine.yaml --set data.source=csv:$PWD/sine.csv

The noise has the deviation 0.1, so no forecast has a mean squared error below 0.01 but by luck.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROWS, NOISE = 2000, 0.1


def main() -> None:
    """Writes the series where the first argument says."""
    row = np.arange(ROWS)
    chance = np.random.default_rng(0)
    value = (
        np.sin(2 * np.pi * row / 40) + 0.5 * np.sin(2 * np.pi * row / 290) + NOISE * chance.normal(size=ROWS)
    )
    lines = [f"{when},{number:.6f}" for when, number in zip(row.tolist(), value.tolist(), strict=True)]
    Path(sys.argv[1]).write_text("\n".join(["hour,level", *lines]) + "\n")


if __name__ == "__main__":
    main()
