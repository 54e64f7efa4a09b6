"""A stack's metrics, made for all members at once, beside each member's own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from trainers.data.batches import GROUPS
from trainers.errors import NotFinite
from trainers.modules.stacked_values import call_for_members
from trainers.stacking.evaluation import evaluate_stack
from trainers.tasks import rules_for
from trainers.tasks.classification import Classification

MEMBERS, ROWS = 5, [0, 2, 3]


def classification(count: int, **more: Any) -> dict[str, Any]:
    return {"task": "classification", "classes": [f"c{i}" for i in range(count)], **more}


def random_classes(count: int, seen: int = 0) -> Callable[[torch.Generator], tuple[str, Any, Any]]:
    """Logits of as many classes; targets of the first of them alone, where `seen` says so."""

    def make(chance: torch.Generator) -> tuple[str, Any, Any]:
        target = torch.randint(0, seen or count, (50,), generator=chance)
        return "logits", torch.randn(MEMBERS, 50, count, generator=chance), target

    return make


def random_numbers(*shape: int, spread: float = 1.0) -> Callable[[torch.Generator], tuple[str, Any, Any]]:
    def make(chance: torch.Generator) -> tuple[str, Any, Any]:
        target = 7.0 + spread * torch.randn(50, *shape, generator=chance)
        return "prediction", torch.randn(MEMBERS, 50, *(shape or (1,)), generator=chance), target

    return make


GENDERS = [["gender", ["a", "b", "c"]]]
CASES: dict[str, tuple[dict[str, Any], Callable[[torch.Generator], tuple[str, Any, Any]]]] = {
    "two classes": (classification(2), random_classes(2)),
    "four classes": (classification(4), random_classes(4)),
    "classes that are predicted alone": (classification(4), random_classes(4, seen=3)),
    "one class": (classification(2), random_classes(2, seen=1)),
    "by class": (classification(3, per_class=True), random_classes(3)),
    "too many for a picture": (classification(300), random_classes(300)),
    "a number": ({"task": "regression", "target_mean": 2.0, "target_std": 3.0}, random_numbers()),
    "three numbers": (
        {"task": "regression", "target_std": [1.0, 2.0, 5.0], "targets": ["a", "b", "c"]},
        random_numbers(3),
    ),
    "classes by group": (classification(2, groups=GENDERS), random_classes(2)),
    "a number by group": ({"task": "regression", "groups": GENDERS}, random_numbers()),
    "equal targets": ({"task": "regression"}, random_numbers(spread=0.0)),
}


def evaluate_both(case: str, spoil: int | None = None) -> tuple[list[Any], list[Any]]:
    """What gives the metrics of some rows, at once and one after another, over batches of 16."""
    state, make = CASES[case]
    name, outputs, target = make(torch.Generator().manual_seed(3))
    if spoil is not None:
        outputs[spoil, 4] = float("nan")
    family: Any = SimpleNamespace(rules=rules_for)

    class Source:
        def __len__(self) -> int:
            return len(target)

        def gather(self, positions: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"target": target[positions], "at": positions, GROUPS: positions[:, None] % 3}

    program: Any = SimpleNamespace(
        module=nn.Identity(), outputs=lambda tensors, batch: {name: outputs[:, batch["at"]]}
    )
    source: Any = Source()
    found = evaluate_stack(
        program, [outputs], ROWS, source, state, family=family, batch_size=16, alive=lambda: None
    )
    alone = []
    for row in ROWS:
        metrics = rules_for(state).metric_set("cpu")
        for at in torch.arange(len(target)).split(16):
            metrics.update({name: outputs[row, at]}, source.gather(at))
        alone.append(metrics.compute)
    return found, alone


@pytest.mark.parametrize("case", CASES)
def test_metrics_of_members_at_once_are_each_ones_own(case: str) -> None:
    for together, alone in zip(*evaluate_both(case), strict=True):
        found, wanted = together(), alone()
        assert list(found) == list(wanted)
        assert found == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("case", ["two classes", "a number"])
def test_member_whose_outputs_are_not_finite_fails_and_others_have_their_metrics(case: str) -> None:
    found, alone = evaluate_both(case, spoil=ROWS[1])
    for at, (together, own) in enumerate(zip(found, alone, strict=True)):
        if at == 1:
            with pytest.raises(NotFinite) as said:
                together()
            with pytest.raises(NotFinite) as wanted:
                own()
            assert str(said.value) == str(wanted.value)
        else:
            assert together() == pytest.approx(own(), rel=1e-6)


def test_call_for_members_is_vmaps_and_leaves_no_level_behind() -> None:
    chance = torch.Generator().manual_seed(0)
    weights, shared = torch.randn(4, 3, 2, generator=chance), torch.randn(5, 2, generator=chance)

    def call(given: Any) -> dict[str, torch.Tensor]:
        return {"linear": nn.functional.linear(given[1], given[0]), "same": given[1]}

    found = call_for_members(call, [weights], [shared])
    wanted = torch.func.vmap(lambda one: call([one, shared]))(weights)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    with pytest.raises(RuntimeError, match="item"):
        call_for_members(lambda given: given[0].sum().item(), [weights])  # type: ignore[arg-type, return-value]
    assert torch._C._functorch.maybe_current_level() is None


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 5.0, 0.5]])
def test_classification_losses_of_members_are_each_ones_own(
    weights: list[float] | None, smoothing: float
) -> None:
    rules = Classification(classification(3, **({"class_weights": weights} if weights else {})))
    chance = torch.Generator().manual_seed(1)
    logits = torch.randn(MEMBERS, 20, 3, generator=chance, requires_grad=True)
    own = torch.randint(0, 3, (MEMBERS, 20), generator=chance)
    for target in (own, own[0]):
        found = rules.losses_of_members({"logits": logits}, {"target": target}, smoothing)
        batches = [{"target": one} for one in target.expand(MEMBERS, 20)]
        params = {"label_smoothing": smoothing}
        wanted = torch.stack(
            [rules.loss({"logits": one}, batch, params) for one, batch in zip(logits, batches, strict=True)]
        )
        torch.testing.assert_close(found, wanted)
        (gradient,), (expected,) = (torch.autograd.grad(each.sum(), [logits]) for each in (found, wanted))
        torch.testing.assert_close(gradient, expected)
