"""Whether a student of a tenth of the weights is better taught than alone, over five seeds.

    velodrome sweep benchmarks/quality/mnist.yaml --set name=mnist-half --set budget.trials=1 \
        --set data.source=npz:/path/to/mnist10k.npz --set data.split.train=0.5 \
        --set data.split.validation=0.1 --set data.split.test=0.4
    python -m benchmarks.quality.student BUNDLE npz:/path/to/mnist10k.npz

The teacher is that sweep's `image_cnn`, the student an `mlp` with one hidden layer; both see the same 5,000
rows of training. How the student learns alone, and how from the teacher, is chosen by validation from
the same rates and dropouts, on two seeds that are not among the five; then each is trained on the five and
tested once, on 4,000 rows. Each keeps its best epoch by validation. Prints accuracies and the paired t-test.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from scipy.stats import ttest_rel

from benchmarks.figures import Measurements, parser
from benchmarks.quality.training import train_once
from trainers.bundle.bundle import read_bundle
from trainers.data.dataset import Dataset
from trainers.data.sources.opening import open_dataset
from trainers.storage.atomic_folders import manifest_hash
from trainers.types import JsonObject

SPLIT: JsonObject = {"train": 0.5, "validation": 0.1, "test": 0.4}
EPOCHS, CHOOSING_SEEDS = 20, (101, 102)
STUDENT: JsonObject = {"hidden": [96], "optimizer": "adam", "batch_size": 64}
RATES, DROPOUTS, TEMPERATURES, WEIGHTS = (1e-3, 3e-3), (0.0, 0.2), (2.0, 4.0, 8.0), (0.9, 1.0)
MOST_P, MOST_SHARE = 0.05, 0.1


class Student:
    """What one way of learning comes to."""

    def __init__(self, bundle: Path, dataset: Dataset, cache: Path) -> None:
        """Trains nothing yet."""
        self._model = {"model": str(bundle), "sha256": manifest_hash(bundle)}
        self._dataset, self._cache = dataset, cache
        self.weights = 0.0

    def score(self, way: JsonObject, seed: int, *, test: bool = False) -> float:
        """The accuracy on validation, or on test.

        Args:
            way: learning rate and dropout; temperature and weight where the teacher is asked.
        """
        params = {name: value for name, value in way.items() if name in ("learning_rate", "dropout")}
        teacher = {name: value for name, value in way.items() if name in ("temperature", "weight")}
        options: JsonObject = {"teacher": {**self._model, **teacher}} if teacher else {}
        ended = train_once(
            "mlp", {**STUDENT, **params}, self._dataset, seed=seed, epochs=EPOCHS, options=options,
            cache=self._cache, read_test=test,
        )  # fmt: skip
        self.weights = ended.facts["parameters"]
        return ended.metrics["test/accuracy" if test else "val/accuracy"]

    def choose(self, ways: list[JsonObject]) -> JsonObject:
        """The way of the best mean on validation; the first of equal ones."""
        means = [float(np.mean([self.score(way, seed) for seed in CHOOSING_SEEDS])) for way in ways]
        for way, mean in zip(ways, means, strict=True):
            print(f"validation {mean:.4f}  {way}", flush=True)
        return ways[int(np.argmax(means))]


def list_ways() -> tuple[list[JsonObject], list[JsonObject]]:
    """Of learning alone, and from a teacher."""
    alone: list[JsonObject] = [
        {"learning_rate": rate, "dropout": dropout} for rate, dropout in product(RATES, DROPOUTS)
    ]
    taught = [
        {**way, "temperature": temperature, "weight": weight}
        for way, temperature, weight in product(alone, TEMPERATURES, WEIGHTS)
    ]
    return alone, taught


def main() -> None:
    """The command."""
    made = parser(__doc__)
    made.add_argument("bundle", type=Path)
    made.add_argument("source")
    made.add_argument("--seeds", type=int, default=5)
    given = made.parse_args()
    figures, bundle = Measurements("A taught student", given.json), given.bundle.resolve()
    with TemporaryDirectory() as folder:
        cache = Path(folder)
        dataset = open_dataset({"source": given.source, "split": SPLIT}, base=Path.cwd(), cache=cache)
        student = Student(bundle, dataset, cache)
        found: dict[str, npt.NDArray[np.float64]] = {}
        for name, ways in zip(("alone", "taught"), list_ways(), strict=True):
            way = student.choose(ways)
            found[name] = np.array([student.score(way, seed, test=True) for seed in range(given.seeds)])
            note = f"± {found[name].std(ddof=1):.4f} {found[name].round(4)} {way}"
            figures.add(f"test accuracy {name}", float(found[name].mean()), "", note=note)
    teacher = sum(tensor.numel() for tensor in read_bundle(bundle).weights.values())
    figures.add("student's share of the weights", student.weights / teacher, "", at_most=MOST_SHARE)
    one_sided = ttest_rel(found["taught"], found["alone"], alternative="greater").pvalue
    two_sided = ttest_rel(found["taught"], found["alone"]).pvalue
    better = float((found["taught"] - found["alone"]).mean())
    figures.add("better taught", better, "", at_least=0.0, note=f"one-sided p {one_sided:.2g}")
    figures.add("two-sided p", float(two_sided), "", at_most=MOST_P)
    figures.conclude()


if __name__ == "__main__":
    main()
