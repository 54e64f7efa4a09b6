"""Whether the pixels that `explain` names are those that an answer comes from.

    python -m benchmarks.quality.deletion BUNDLE npz:/path/to/mnist10k.npz

Takes 200 rows of validation, blackens the tenth of each image's pixels with the largest importances, a random
tenth, and a random tenth of those that are not black, and prints by how much the probability of the model's
class falls.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pandas as pd

from trainers.bundle.bundle import load_bundle
from trainers.bundle.predictor import Predictor
from trainers.data.sources.opening import open_dataset
from trainers.explaining.explainer import METHODS, Explainer

ROWS, SHARE = 200, 0.1
Images = npt.NDArray[np.uint8]


def main(bundle: str, source: str) -> None:
    """Prints a line for each method and each way of choosing pixels."""
    predictor, chance = load_bundle(Path(bundle)), np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        dataset = open_dataset({"source": source}, base=Path.cwd(), cache=Path(folder))
        shown = np.asarray(dataset.columns["image"].values)[dataset.splits["validation"][:ROWS]]
        images = shown.reshape(*shown.shape[:3]).copy()
    before = _probabilities(predictor, images)
    classes = before.argmax(-1)
    random = chance.random(images.shape)
    ways = {"random": random, "random, not black": random + (images > 0)}
    for method in METHODS:
        explained = Explainer(predictor, method=method).explain(_as_rows(images))
        ways[method] = np.asarray(explained.importances)
    each = np.arange(len(images))
    for way, order in ways.items():
        after = _probabilities(predictor, _blacken(images, order))
        fall = (before[each, classes] - after[each, classes]).mean()
        print(f"{way:22} {fall:.4f}")


def _blacken(images: Images, order: npt.NDArray[np.float64]) -> Images:
    """The tenth of each image's pixels that stand highest in the order."""
    flat, ranks = images.reshape(len(images), -1).copy(), order.reshape(len(images), -1).argsort(axis=1)
    highest = ranks[:, -round(SHARE * flat.shape[1]) :]
    np.put_along_axis(flat, highest, 0, axis=1)
    return flat.reshape(images.shape)


def _as_rows(images: Images) -> pd.DataFrame:
    return pd.DataFrame({"image": [image.tolist() for image in images]})


def _probabilities(predictor: Predictor, images: Images) -> npt.NDArray[np.float64]:
    answers = predictor.predict(_as_rows(images))
    return answers.filter(like="p_").to_numpy(np.float64)


if __name__ == "__main__":
    main(*sys.argv[1:3])
