"""What two towers learn of tastes, and whom they answer with what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.families.cases import Memory, interactions, make_dataset
from trainers.data.dataset import Column, Dataset
from trainers.errors import InputError
from trainers.registry import load_reference
from trainers.try_out import try_out

USERS, ITEMS, TASTES = 60, 40, 4


def tastes() -> Dataset:
    """Each user has ten items, most of one taste; the last two of each are validation and test."""
    draw = np.random.default_rng(0)
    popular = draw.gamma(1.0, size=ITEMS) + 0.1
    pairs = []
    for user in range(USERS):
        weights = popular * np.where(np.arange(ITEMS) % TASTES == user % TASTES, 30, 1)
        items = draw.choice(ITEMS, 10, replace=False, p=weights / weights.sum())
        pairs += [(f"u{user}", f"i{item}") for item in draw.permutation(items)]
    columns = {
        name: Column(name=name, kind="category", values=list(values))
        for name, values in zip(("user", "item"), zip(*pairs, strict=True), strict=True)
    }
    rows = np.arange(len(pairs))
    splits: Any = {
        "train": rows[rows % 10 < 7], "validation": rows[(rows % 10 == 7) | (rows % 10 == 8)],
        "test": rows[rows % 10 == 9],
    }  # fmt: skip
    hashes = rows.astype(np.uint64)
    made = make_dataset("interactions", "recommendation", columns, None)
    return replace(made, splits=splits, row_hashes=hashes, input_hashes=hashes)


def test_tastes_are_learned_better_than_popularity() -> None:
    said: list[str] = []
    outcome = try_out(
        "two_tower", {"learning_rate": 0.05, "dropout": 0.2, "width": 8}, epochs=8, data=tastes(),
        objective="ndcg_10_gain", show=said.append,
    )  # fmt: skip
    assert outcome.values[0] > 0.1
    assert "val/ndcg_10 " in said[-1]


def build(dataset: Dataset) -> tuple[Any, torch.nn.Module, Any]:
    family = load_reference("two_tower")()
    params = family.complete({})
    state = family.encode(dataset, params, Memory())
    return family, family.build(state, params).eval(), state


def test_answers_are_never_what_the_user_had() -> None:
    dataset = tastes()
    family, module, state = build(dataset)
    rows = pd.DataFrame({"user": [f"u{user}" for user in range(USERS)]})
    batch = {name: torch.from_numpy(values) for name, values in family.from_user(rows, state).items()}
    found = family.to_user(family.answers(module, batch, state), state)
    had = {(state["users"][u], state["items"][i]) for u, items in enumerate(state["seen"]) for i in items}
    assert len(had) == USERS * 7
    given = {(user, item) for user, items in zip(rows["user"], found["items"], strict=True) for item in items}
    assert not given & had
    assert len(given) == USERS * 10


def test_new_users_get_what_is_most_liked() -> None:
    family, module, state = build(interactions())
    batch = {"user": torch.tensor([-1])}
    found = family.to_user(family.answers(module, batch, state), state)
    order = np.argsort(-np.array(state["liked"]), kind="stable")[:10]
    assert found["items"][0] == [state["items"][at] for at in order]
    assert found["scores"][0][0] == pytest.approx(max(state["liked"]) / sum(state["liked"]))


def test_users_are_known_by_their_names_whole_numbers_too() -> None:
    family, _, state = build(interactions())
    named = {**state, "users": ["10", "7"]}
    asked = pd.DataFrame({"user": [7, 7.0, "10", "1", None]})
    assert family.from_user(asked.astype(object), named)["user"].tolist() == [1, 1, 0, -1, -1]


@pytest.mark.parametrize(
    "options",
    [{"teacher": {"model": "models:/x@champion"}}, {"privacy": {"noise": 1, "clip": 1, "delta": 1e-5}}],
)
def test_teachers_and_private_training_are_refused(options: Any) -> None:
    (name,) = options
    with pytest.raises(InputError) as error:
        load_reference("two_tower")(options).check(interactions())
    assert error.value.key == ("options", name)
