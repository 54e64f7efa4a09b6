"""Floating-point operations, against counts by hand."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import _FlopCounterMode

from tests.trainers import tiny
from tests.trainers.families.cases import CASES, TREES, Case
from tests.trainers.families.test_contract import FamilyBench, case_id
from tests.trainers.tiny import Normed, Recorder, TwoPlayers
from trainers.bundle.bundle import load_bundle
from trainers.bundle.latency import model_figures
from trainers.flops import count_flops
from trainers.loop.training import train
from trainers.types import Goal

SIDE = 12  # of the made images


def case_of(name: str, dataset: str) -> Case:
    return next(case for case in CASES if (case.name, case.dataset.__name__) == (name, dataset))


def layers(module: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def products_of_linear(module: nn.Module) -> int:
    return sum(2 * layer.in_features * layer.out_features for layer in layers(module, nn.Linear))


@pytest.mark.parametrize(
    "case", [case_of("linear_regression", "table"), case_of("mlp", "classes")], ids=case_id
)
def test_flops_of_linear_layers_are_two_for_each_weight(case: Case) -> None:
    bench = FamilyBench(case)
    module = bench.family.build(bench.state, bench.params).eval()
    expected = products_of_linear(module)
    assert expected > 0
    assert count_flops(lambda: bench.family.outputs(module, bench.batch(slice(0, 1)))) == expected
    assert count_flops(lambda: bench.family.outputs(module, bench.batch(slice(0, 5)))) == 5 * expected


def test_flops_of_image_cnn_are_those_counted_by_hand() -> None:
    bench = FamilyBench(case_of("image_cnn", "images"))
    module = bench.family.build(bench.state, bench.params).eval()
    side, before, expected = SIDE, 1, 0
    for convolution in layers(module, nn.Conv2d):
        (kernel, _), channels = convolution.kernel_size, convolution.out_channels
        assert convolution.padding == "same"
        expected += 2 * kernel * kernel * before * channels * side * side
        before, side = channels, side // 2
    expected += products_of_linear(module)
    assert count_flops(lambda: bench.family.outputs(module, bench.batch(slice(0, 1)))) == expected


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
def test_flops_of_recurrent_layers_are_counted_though_they_are_fused(cell: Any) -> None:
    module = cell(4, 5, num_layers=2, batch_first=True).eval()
    given = torch.randn(3, 7, 4)
    weights = sum(weight.numel() for weight in module.parameters() if weight.dim() == 2)
    with torch.no_grad():
        assert count_flops(lambda: module(given)) == 2 * 3 * 7 * weights


def test_flops_of_attention_are_those_of_its_two_products() -> None:
    query = torch.randn(2, 3, 5, 4)
    attend = nn.functional.scaled_dot_product_attention
    with torch.no_grad():
        assert count_flops(lambda: attend(query, query, query)) == 2 * (2 * 2 * 3 * 5 * 5 * 4)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_family_of_weights_has_flops_for_an_answer(case: Case) -> None:
    bench = FamilyBench(case)
    module = bench.family.build(bench.state, bench.params).eval()
    assert (count_flops(lambda: bench.family.outputs(module, bench.batch(slice(0, 2)))) or 0) > 0


def test_trees_have_no_flops_instead_of_none_at_all(tmp_path: Any) -> None:
    FamilyBench(TREES).save(tmp_path / "trees")
    assert "flops" not in model_figures(load_bundle(tmp_path / "trees"))


def test_training_flops_are_three_passes_over_hidden_layers_and_two_over_the_first() -> None:
    outcome = train(tiny.job(epochs=2), tiny.data(), Recorder())
    (first, *others) = [t for n, t in outcome.weights.items() if t.dim() == 2]
    each = 2 * (2 * first.numel() + 3 * sum(weight.numel() for weight in others))
    examples = len(tiny.data().splits["train"])
    assert outcome.facts["train_flops"] == pytest.approx(each * 2 * examples)
    assert outcome.facts["flops"] == 2 * (first.numel() + sum(weight.numel() for weight in others))


def test_counting_training_changes_neither_buffers_nor_chance() -> None:
    before = torch.get_rng_state()
    outcome = train(tiny.job(Normed(), epochs=1), tiny.data(), Recorder())
    assert outcome.facts["train_flops"] > outcome.facts["flops"]
    counted = [int(t) for n, t in outcome.weights.items() if n.endswith("num_batches_tracked")]
    assert counted
    assert len(set(counted)) == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_family_with_steps_of_its_own_has_no_flops_of_training() -> None:
    outcome = train(tiny.job(TwoPlayers(), epochs=1), tiny.data(), Recorder())
    assert "train_flops" not in outcome.facts


def test_flops_can_be_an_objective() -> None:
    goals = (Goal(metric="val/loss", maximize=False), Goal(metric="flops", maximize=False))
    hooks = Recorder()
    outcome = train(tiny.job(goals=goals, epochs=1), tiny.data(), hooks)
    assert outcome.values[1] == outcome.facts["flops"] == hooks.reports[0]["flops"]


class _NoCompiler:
    """Stands before whatever finds modules."""

    def find_spec(self, name: str, *_: object) -> None:
        assert name != "torch._dynamo", "counting loads PyTorch's compiler"


def test_counting_in_a_process_that_never_compiles_loads_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that tries a model for `promote`: it would take most of two seconds."""
    plain = _FlopCounterMode.__torch_dispatch__.__wrapped__
    monkeypatch.delattr(plain, "__dynamo_disable", raising=False)
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_NoCompiler(), *sys.meta_path])
    layer, rows = nn.Linear(3, 2), torch.zeros(1, 3)
    assert count_flops(lambda: layer(rows)) == 12
