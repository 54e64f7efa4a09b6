"""How many made digits a classifier recognises: those of which it is at least 90 % sure.

    python benchmarks/quality/gan_recognised.py gan digits-families

Takes the best models of two finished sweeps, the generator's and the classifier's. Beside 1,000 made images
it shows the classifier the real ones of the validation split, and those with their pixels in a random order:
the share of the first should come near the second's and stay far from the third's.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import velodrome
from trainers.data.sources.opening import open_dataset

Record = dict[str, Any]  # a line of JSON, as a model's columns are
MADE = 1000
SURE = 0.9


def main(generator: str, classifier: str) -> None:
    """Prints, for each kind of image, the share that is recognised and how often each digit is."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        made = _predict(generator, ({"seed": seed} for seed in range(MADE)), folder / "seeds.jsonl")
        dataset = open_dataset({"source": "builtin:digits"}, base=folder, cache=folder / "cache")
        real = np.asarray(dataset.columns["image"].values)[dataset.splits["validation"]]
        mixed = np.random.default_rng(0).permuted(real.reshape(len(real), -1), axis=1).reshape(real.shape)
        kinds = {"made": [row["image"] for row in made], "real": real.tolist(), "real, mixed": mixed.tolist()}
        for kind, images in kinds.items():
            rows = _predict(classifier, ({"image": image} for image in images), folder / f"{kind}.jsonl")
            _print_share(kind, rows)


def _predict(model: str, rows: Iterable[Record], path: Path) -> list[Record]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = Path(velodrome.predict(model, path).output).read_text().splitlines()
    return [json.loads(line) for line in lines]


def _print_share(kind: str, rows: list[Record]) -> None:
    sure = [row for row in rows if max(v for k, v in row.items() if k.startswith("p_")) >= SURE]
    digits = sorted(Counter(str(row["prediction"]) for row in sure).items())
    print(f"{kind:12} {len(sure) / len(rows):.1%} of {len(rows)} recognised: {dict(digits)}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
