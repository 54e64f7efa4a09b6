"""Families of tables beside scikit-learn's own models, on the tables that scikit-learn ships.

    python benchmarks/quality/tables.py                          # all tables, one split
    python benchmarks/quality/tables.py wine diabetes --salts 5
    python benchmarks/quality/tables.py diamonds.csv=price       # a file and its target, 6,000 rows at most

For each table and split one sweep over a linear model, dense layers and boosted trees, then `confirm` with
three fresh seeds; scikit-learn's linear model (numbers scaled, as its documentation advises) and its
HistGradientBoosting, all else at their defaults, are fitted on the same training rows. One line a model: what
it scores on the validation and on the test rows.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn import datasets
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import velodrome

SEEDS = 3
MOST_ROWS = 6_000
FEW_CLASSES = 20
TABLES = {
    "wine": datasets.load_wine,
    "cancer": datasets.load_breast_cancer,
    "iris": datasets.load_iris,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One model on one split: accuracy, or the root of the mean squared error."""

    model: str
    validation: float
    test: float


def main() -> None:
    """Prints a line a table and model; over several splits the mean and the sample's deviation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tables", nargs="*", help=f"{', '.join(TABLES)}, or FILE.csv=TARGET")
    parser.add_argument("--salts", type=int, default=1, help="splits of each table")
    parser.add_argument("--trials", type=int, default=16, help="of each family")
    asked = parser.parse_args()
    for name in asked.tables or TABLES:
        found = [score for salt in range(asked.salts) for score in _scores(name, salt, asked.trials)]
        for model in dict.fromkeys(score.model for score in found):
            own = [score for score in found if score.model == model]
            validation = _format([score.validation for score in own])
            test = _format([score.test for score in own])
            print(
                f"{Path(name.partition('=')[0]).stem:10} {model:22} validation {validation}  test {test}",
                flush=True,
            )


def _format(values: list[float]) -> str:
    spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return f"{fmean(values):.4f}{spread}"


def _scores(name: str, salt: int, trials: int) -> Iterator[Score]:
    with TemporaryDirectory() as folder:
        os.environ["VELODROME_HOME"] = str(Path(folder) / "home")
        file = _write_sweep(Path(folder), name, salt, trials)
        velodrome.sweep(file)
        for row in velodrome.confirm(str(file), each_family=True, seeds=SEEDS).rows:
            yield Score(
                model=row.family, validation=fmean(row.validation.values), test=fmean(row.test.values)
            )
        yield from _reference_scores(Path(folder), yaml.safe_load(file.read_text())["data"])


def write_table(folder: Path, name: str) -> Path:
    """The table as a file of the folder; a file's own with its target as the last column, named so."""
    if "=" in name:
        return _write_own_table(folder, name)
    table = TABLES[name]()
    classes = list(getattr(table, "target_names", ()))
    targets = [str(classes[at]) for at in table.target] if classes else table.target.tolist()
    columns = [str(column).replace(" ", "_") for column in table.feature_names]
    path = folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "target"])
        writer.writerows([*row, target] for row, target in zip(table.data.tolist(), targets, strict=True))
    return path


def _write_own_table(folder: Path, name: str) -> Path:
    source, target = name.rsplit("=", 1)
    frame = pd.read_csv(source)
    frame = frame.drop(columns=[column for column in frame if str(column).startswith("Unnamed")])
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=0)
    path = folder / f"{Path(source).stem}.csv"
    frame.rename(columns={target: "target"}).dropna(subset=["target"]).to_csv(path, index=False)
    return path


def _write_sweep(folder: Path, name: str, salt: int, trials: int) -> Path:
    table = write_table(folder, name)
    column = pd.read_csv(table)["target"]
    classes = column.dtype == object or column.nunique() <= FEW_CLASSES
    linear = "logistic_regression" if classes else "linear_regression"
    document = {
        "name": table.stem.lower(),
        "data": {
            "source": f"csv:{table}",
            "task": "classification" if classes else "regression",
            "columns": {"target": "target"},
            "split": {"by": "row", "train": 0.6, "validation": 0.2, "test": 0.2, "salt": salt},
        },
        "objective": {"metric": "accuracy" if classes else "rmse"},
        "budget": {"trials": trials, "epochs": 30},
        "families": {linear: {}, "mlp": {}, "gradient_boosting": {}},
    }
    path = folder / f"{table.stem}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def _reference_scores(folder: Path, data: dict[str, Any]) -> Iterator[Score]:
    from trainers.data.sources.opening import open_dataset

    dataset = open_dataset(data, base=folder, cache=folder / "cache")
    assert dataset.target is not None
    x = pd.DataFrame({
        name: pd.Categorical(list(column.values)) if column.kind == "category"
        else np.asarray(column.values, np.float64)
        for name, column in dataset.columns.items()
    })  # fmt: skip
    words = [name for name in x if isinstance(x[name].dtype, pd.CategoricalDtype)]
    numbers = [name for name in x if name not in words]
    prepared = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), words),
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
    )
    classes = dataset.task == "classification"
    y = dataset.labels() if classes else np.asarray(dataset.target.values, np.float64)
    models = {
        "sklearn linear": make_pipeline(
            prepared, LogisticRegression(max_iter=1000) if classes else LinearRegression()
        ),
        "sklearn boosting": HistGradientBoostingClassifier(random_state=0, categorical_features="from_dtype")
        if classes
        else HistGradientBoostingRegressor(random_state=0, categorical_features="from_dtype"),
    }
    judge = accuracy_score if classes else root_mean_squared_error
    rows = dataset.splits
    for name, model in models.items():
        model.fit(x.iloc[rows["train"]], y[rows["train"]])
        scored = {part: float(judge(y[at], model.predict(x.iloc[at]))) for part, at in rows.items()}
        yield Score(model=name, validation=scored["validation"], test=scored["test"])


if __name__ == "__main__":
    main()
