"""What linear regression does beyond the contract of all families."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.families.cases import Memory, make_dataset, table
from trainers.data.dataset import Column, Dataset
from trainers.families.linear_regression import LinearRegression


def line() -> Dataset:
    """y = 3x + noise."""
    draw = np.random.default_rng(1)
    x = draw.uniform(0, 10, 90)
    y = 3 * x + draw.normal(size=90)
    columns = {"x": Column(name="x", kind="number", values=x)}
    return make_dataset("table", "regression", columns, Column(name="y", kind="number", values=y))


def fit_line(dataset: Dataset, epochs: int, **params: Any) -> tuple[LinearRegression, Any, torch.nn.Module]:
    family, memory = LinearRegression({"preset": "line"}), Memory()
    complete = family.complete(params)
    state = family.encode(dataset, complete, memory)
    torch.manual_seed(0)
    net = family.build(state, complete)
    rows = torch.from_numpy(dataset.splits["train"])
    arrays = {name: torch.from_numpy(np.asarray(values)) for name, values in memory.arrays.items()}
    assert complete["optimizer"] == "sgd"
    optimizer = torch.optim.SGD(net.parameters(), complete["learning_rate"])
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        size = len(rows) if complete["batch_size"] == "all" else complete["batch_size"]
        for chosen in rows[torch.randperm(len(rows), generator=generator)].split(size):
            batch = {name: values[chosen] for name, values in arrays.items()}
            optimizer.zero_grad()
            family.loss(family.outputs(net, batch), batch, complete, state).backward()
            optimizer.step()
    return family, state, net


def predictions(family: LinearRegression, state: Any, net: torch.nn.Module, rows: pd.DataFrame) -> Any:
    batch = {name: torch.from_numpy(values) for name, values in family.from_user(rows, state).items()}
    with torch.inference_mode():
        return family.to_user(family.outputs(net, batch), state)["prediction"].to_numpy()


def test_the_line_preset_reaches_the_least_squares_line() -> None:
    dataset = line()
    family, state, net = fit_line(dataset, epochs=100)
    train = dataset.splits["train"]
    x, y = np.asarray(dataset.columns["x"].values)[train], np.asarray(dataset.target.values)[train]  # type: ignore[union-attr]
    slope, intercept = np.polyfit(x, y, 1)
    at_zero, at_one = predictions(family, state, net, pd.DataFrame({"x": [0.0, 1.0]}))
    assert at_one - at_zero == pytest.approx(slope, abs=0.05)
    assert at_zero == pytest.approx(intercept, abs=0.3)


def test_categories_count_as_one_hot_columns_do() -> None:
    dataset = table()
    numbers = {name: column for name, column in dataset.columns.items() if name != "a"}  # `a` lacks a value
    family, state, net = fit_line(
        replace(dataset, columns=numbers), epochs=400, learning_rate=0.1, batch_size="all"
    )
    train = dataset.splits["train"]
    b = np.asarray(dataset.columns["b"].values)[train]
    blue = np.array([color == "blue" for color in dataset.columns["color"].values])[train].astype(float)
    y = np.asarray(dataset.target.values)[train]  # type: ignore[union-attr]
    design = np.stack([b, blue, np.ones_like(b)], axis=1)
    best = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    rows = pd.DataFrame({"b": b, "color": ["blue" if is_blue else "red" for is_blue in blue]})
    np.testing.assert_allclose(predictions(family, state, net, rows), best, atol=0.02)


def test_missing_numbers_and_new_categories_have_a_prediction() -> None:
    family, state, net = fit_line(table(), epochs=1)
    rows = pd.DataFrame({"a": [None, "4.0"], "b": [0.5, np.nan], "color": ["green", None]})
    assert np.isfinite(predictions(family, state, net, rows)).all()
