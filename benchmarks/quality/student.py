"""Whether a student of a tenth of the weights is better taught than alone, over five seeds.

    python -m benchmarks.quality.student BUNDLE npz:/path/to/mnist10k.npz

The teacher is an `image_cnn` of `mnist.yaml`, the student an `mlp` with one hidden layer of 48; both see the
same rows of training. Prints accuracies on validation and the paired t-test.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.stats import ttest_rel

import velodrome
from trainers.data.sources.opening import open_dataset
from trainers.storage.atomic_folders import manifest_hash

SEEDS, EPOCHS = 5, 12
PARAMS = {"hidden": [48], "optimizer": "adam", "learning_rate": 3e-3, "batch_size": 64}


def main(bundle: str, source: str) -> None:
    """Prints a line for alone and taught, and the test of their difference."""
    model = str(Path(bundle).resolve())
    taught = {
        "teacher": {"model": model, "sha256": manifest_hash(Path(model)), "temperature": 4, "weight": 0.9}
    }
    found = {}
    with TemporaryDirectory() as folder:
        dataset = open_dataset({"source": source}, base=Path.cwd(), cache=Path(folder))
        for name, options in (("alone", {}), ("taught", taught)):
            ends = [
                velodrome.try_out(
                    "mlp", PARAMS, epochs=EPOCHS, data=dataset, options=options, seed=seed,
                    directory=folder, show=lambda _: None,
                )
                for seed in range(SEEDS)
            ]  # fmt: skip
            found[name] = np.array([end.values[0] for end in ends])
            print(
                f"{name}: {found[name].mean():.4f} ± {found[name].std(ddof=1):.4f} {found[name]}", flush=True
            )
    test = ttest_rel(found["taught"], found["alone"], alternative="greater")
    print(f"student of {ends[0].facts['parameters']:.0f} weights, p = {test.pvalue:.2g}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
