"""What scikit-learn's own classifiers score on the split of cancer.yaml, or on splits of other salts.

    python benchmarks/quality/cancer_sklearn.py
    python benchmarks/quality/cancer_sklearn.py 1 2 3 4 5

Numbers are scaled on the training split, as scikit-learn's documentation advises; all else is at its
defaults. Prints one line a model and salt: area under the ROC curve on validation and on test.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainers.data.sources.opening import open_dataset

SEEDS = range(5)
DATA = yaml.safe_load(Path(__file__).with_name("cancer.yaml").read_text())["data"]


def main(salt: int) -> None:
    """Fits both on the training split and prints what they score on the others."""
    data = {**DATA, "split": {**DATA["split"], "salt": salt}}
    with TemporaryDirectory() as folder:
        dataset = open_dataset(data, base=Path.cwd(), cache=Path(folder))
    x = np.stack([np.asarray(column.values) for column in dataset.columns.values()], axis=1)
    y = dataset.labels()
    models: dict[str, list[Any]] = {
        "LogisticRegression": [LogisticRegression()],
        "MLPClassifier": [MLPClassifier(max_iter=1000, random_state=seed) for seed in SEEDS],
    }
    train = dataset.splits["train"]
    for name, made in models.items():
        fitted = [make_pipeline(StandardScaler(), model).fit(x[train], y[train]) for model in made]
        scores = {
            part: [roc_auc_score(y[rows], each.predict_proba(x[rows])[:, 1]) for each in fitted]
            for part, rows in dataset.splits.items()
            if part != "train"
        }
        told = "  ".join(f"{part} AUC {fmean(values):.5f}" for part, values in scores.items())
        print(f"salt {salt}  {name:20} {told}  ({len(made)} fitted, {len(train)} rows)")


if __name__ == "__main__":
    for salt in sys.argv[1:] or ["0"]:
        main(int(salt))
