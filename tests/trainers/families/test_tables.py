"""What classifiers of tables do beyond the contract of all families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.families.cases import Memory, classes, table
from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.families.logistic_regression import LogisticRegression
from trainers.families.mlp import MLP
from trainers.families.table_family import class_weights
from trainers.try_out import try_out


def rare() -> Dataset:
    """`classes` with a training split of 40 large, and few of the others."""
    dataset = classes()
    labels = np.array(dataset.target.values)  # type: ignore[union-attr]
    large = np.flatnonzero(labels == "large")[:25]
    others = [np.flatnonzero(labels == name)[:count] for name, count in (("middle", 10), ("small", 5))]
    return replace(dataset, splits={**dataset.splits, "train": np.sort(np.concatenate([large, *others]))})


def test_balanced_class_weights_equal_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    dataset = rare()
    labels = np.array(dataset.target.values)[dataset.splits["train"]]  # type: ignore[union-attr]
    expected = compute_class_weight("balanced", classes=np.array(dataset.classes), y=labels)
    np.testing.assert_allclose(class_weights(dataset, "balanced"), expected)


def test_named_class_weights_keep_loss_scale_and_proportions() -> None:
    dataset = rare()
    weights = class_weights(dataset, {"small": 4.0})
    assert weights is not None
    assert weights[2] / weights[0] == pytest.approx(4.0)
    assert np.mean(np.array(weights)[dataset.labels()[dataset.splits["train"]]]) == pytest.approx(1.0)


def test_class_weights_of_an_absent_class_are_refused() -> None:
    family = LogisticRegression({"class_weights": {"tiny": 2.0}})
    with pytest.raises(InputError, match="'tiny'") as error:
        family.encode(classes(), family.complete({}), Memory())
    assert error.value.key == ("options", "class_weights", "tiny")


@pytest.mark.parametrize("weights", [{"small": 0.0}, {"small": -1}, "even"])
def test_class_weights_must_be_positive_numbers_or_balanced(weights: Any) -> None:
    with pytest.raises(InputError, match="class_weights"):
        MLP({"class_weights": weights})


def test_class_weights_in_regression_are_refused() -> None:
    with pytest.raises(InputError, match="beside classification"):
        MLP({"class_weights": "balanced"}).check(table())


def test_balanced_class_weights_find_a_rare_class() -> None:
    found = {}
    for given in (None, "balanced"):
        family, memory, dataset = LogisticRegression({"class_weights": given}), Memory(), rare()
        params = family.complete({})
        state = family.encode(dataset, params, memory)
        torch.manual_seed(0)
        net = family.build(state, params)
        batch = {name: torch.from_numpy(np.asarray(values)) for name, values in memory.arrays.items()}
        train = {name: values[dataset.splits["train"]] for name, values in batch.items()}
        optimizer = torch.optim.Adam(net.parameters(), 0.05)
        for _ in range(40):
            optimizer.zero_grad()
            family.loss(family.outputs(net, train), train, params, state).backward()
            optimizer.step()
        guess = family.outputs(net, batch).argmax(-1)
        found[given] = float((guess[batch["target"] == 2] == 2).float().mean())
    assert found["balanced"] > found[None]


def test_logistic_regression_reaches_the_optimum_of_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression as Reference

    family, memory, dataset = LogisticRegression(), Memory(), classes()
    params = family.complete({})
    state = family.encode(dataset, params, memory)
    train = dataset.splits["train"]
    x, ids, y = (torch.from_numpy(np.asarray(memory.arrays[n]))[train] for n in _ARRAYS)
    best = Reference(C=10.0, tol=1e-8, max_iter=10_000).fit(x, y)  # C: 1 / (rows x weight decay)
    net = family.build(state, params)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=2000, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = family.loss(net(x, ids * 0), {"target": y}, params, state)
        penalty = 0.5 / (10.0 * len(y)) * net.linear.weight.square().sum()  # type: ignore[operator, union-attr]
        total = loss + penalty
        total.backward()
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        found = net(x, ids * 0).softmax(-1).numpy()
    np.testing.assert_allclose(found, best.predict_proba(x), atol=2e-3)


_ARRAYS = ("numbers", "categories", "target")


def test_classifier_predicts_for_missing_numbers_and_new_categories() -> None:
    family = MLP({"hidden": [4]})
    params = family.complete({"batch_norm": True, "dropout": 0.3})
    state = family.encode(classes(), params, Memory())
    net = family.build(state, params).eval()
    rows = pd.DataFrame({"a": [None, "4.0"], "b": [0.5, np.nan], "color": ["green", None]})
    batch = {name: torch.from_numpy(values) for name, values in family.from_user(rows, state).items()}
    answer = family.to_user(family.outputs(net, batch), state)
    assert list(answer.columns) == ["label", "p_large", "p_middle", "p_small"]
    assert np.isfinite(answer.iloc[:, 1:].to_numpy(float)).all()


def test_mlp_with_one_hot_categories_has_no_embedding() -> None:
    family, memory = MLP(), Memory()
    params = family.complete({})
    dataset = replace(classes(), prepare={"categories": "onehot", "scale": "minmax", "missing": 0})
    state = family.encode(dataset, params, memory)
    assert state["table"]["inputs"] == 4
    assert [name for name, _ in family.build(state, params).named_parameters() if "categories" in name] == []
    assert memory.arrays["numbers"].shape == (90, 4)


@pytest.mark.parametrize("init", ["default", "xavier", "kaiming", "normal", "orthogonal"])
@pytest.mark.parametrize("family", [LogisticRegression, MLP])
def test_table_of_categories_alone_is_learned_without_a_word_of_torchs(
    family: type[LogisticRegression], init: str, tmp_path: Path
) -> None:
    rows = "".join(f"{'uv'[n % 2]},{'klm'[n % 3]},{'ab'[n % 2]}\n" for n in range(90))
    (tmp_path / "rows.csv").write_text(f"one,other,label\n{rows}")
    data = {"source": f"csv:{tmp_path / 'rows.csv'}", "split": {"by": "row"}}
    outcome = try_out(family({}), {"init": init, "learning_rate": 0.1}, data=data, epochs=9, show=len)
    assert outcome.metrics["val/accuracy"] == 1.0
