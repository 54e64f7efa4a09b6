"""Private training: examples' own clipped gradients with noise, and a bound that no kill makes smaller."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainers.data.dataset import EncodedDataset
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError
from trainers.families.mlp import MLP
from trainers.family import Family
from trainers.inputs.encoded_arrays import encode_dataset
from trainers.job import Job, Outcome
from trainers.loop.collectives import RankGroup
from trainers.loop.micro_batches import MicroBatch, PartSources
from trainers.loop.privacy_spent import spent_epsilon
from trainers.loop.private_stepper import PrivateStepper, check_private, sample_rate
from trainers.loop.training import train
from trainers.registry import load_reference
from trainers.stacking.structure import why_not
from trainers.types import Goal, Length, Ranks

PRIVACY = {"privacy": {"noise": 0.8, "clip": 0.5, "delta": 1e-5}}
GOALS = (Goal(metric="val/accuracy", maximize=True),)


class Killed(Exception):
    pass


class Hooks:
    """Keeps the newest checkpoint; dies after a report where asked."""

    def __init__(self, die_at: int | None = None) -> None:
        self.die_at, self.kept, self.reports = die_at, None, dict[int, dict[str, float]]()

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.reports[epoch] = dict(metrics)
        if epoch == self.die_at:
            raise Killed
        return True

    def alive(self, step: int) -> None:
        pass

    def stopping(self) -> bool:
        return False

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]) -> None:
        self.kept = ({name: tensor.clone() for name, tensor in tensors.items()}, dict(document))

    def load(self) -> Any:
        return self.kept


def make_job(name: str, params: dict[str, Any], options: dict[str, Any] = PRIVACY, epochs: int = 3) -> Job:
    found = load_reference(name)
    assert isinstance(found, type)
    family = found(options)
    return Job(
        family=family, params=family.complete(params), seed=3, length=Length(epochs=epochs), goals=GOALS,
        threads=1, checkpoint_epochs=1,
    )  # fmt: skip


def encode(family: Family, folder: Path, source: str = "builtin:cancer") -> EncodedDataset:
    dataset = open_dataset({"source": source}, base=folder, cache=folder)
    return encode_dataset(family, dataset, family.complete({}), folder)


def step_by_hand(stepper: PrivateStepper, drawn: list[int], source: Any, clip: float) -> list[torch.Tensor]:
    """Each example's gradient by an ordinary backward pass, cut and added up."""
    module = stepper.module
    total = [torch.zeros_like(parameter) for parameter in module.parameters()]
    for position in drawn:
        module.zero_grad()
        batch = source.gather(torch.tensor([position]))
        stepper._loss(stepper.family.outputs(module, batch), batch).backward()
        gradients = [parameter.grad for parameter in module.parameters()]
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        for held, gradient in zip(total, gradients, strict=True):
            held += gradient * min(1.0, clip / float(norm))
    return total


def count_drawn(seed: int, examples: int, size: int) -> int:
    torch.manual_seed(seed)
    return int((torch.rand(examples) < size / examples).sum())


@pytest.mark.parametrize(("size", "least", "most"), [(20, 8, 35), (1, 0, 0), (1, 1, 1), ("all", 129, 999)])
def test_private_step_adds_noise_to_the_clipped_gradients_of_what_it_draws(
    tmp_path: Path, size: Any, least: int, most: int
) -> None:
    job = make_job("mlp", {"hidden": [8], "batch_size": size, "learning_rate": 1.0, "optimizer": "sgd"})
    encoded = encode(job.family, tmp_path)
    source = PartSources(encoded, "cpu")["train"]
    expected = len(source) if size == "all" else size
    seed = next(seed for seed in range(99) if least <= count_drawn(seed, len(source), expected) <= most)
    torch.manual_seed(0)
    module = job.family.build(encoded.state, job.params)
    crew, generator = RankGroup(Ranks(), torch.device("cpu")), torch.Generator()
    stepper = PrivateStepper(
        job.family, module, job.params, encoded.state, crew, generator, examples=len(source)
    )
    before = [parameter.detach().clone() for parameter in module.parameters()]
    torch.manual_seed(seed)
    loss, shown = stepper.step([MicroBatch(torch.arange(20), 20, 1.0, 20)], source)
    after = [parameter.detach().clone() for parameter in module.parameters()]
    torch.manual_seed(seed)  # the same draw and the same noise
    drawn = torch.nonzero(torch.rand(len(source)) < expected / len(source))[:, 0].tolist()
    noise = [torch.randn(parameter.shape) * 0.8 * 0.5 for parameter in module.parameters()]
    module.load_state_dict(dict(zip(module.state_dict(), before, strict=True)))
    wanted = step_by_hand(stepper, drawn, source, 0.5)
    for old, new, gradient, extra in zip(before, after, wanted, noise, strict=True):
        assert torch.allclose(new, old - (gradient + extra) / expected, atol=1e-6)
    mean = 0.0
    if drawn:
        batch = source.gather(torch.tensor(drawn))
        mean = stepper._loss(stepper.family.outputs(module, batch), batch).item()
    assert loss == pytest.approx(20 * mean, rel=1e-5)
    assert shown == {}


@pytest.mark.parametrize(
    ("noise", "share", "steps", "delta", "wanted"),
    [
        (1.1, 0.128, 40, 1e-5, 5.644674895026965),
        (0.8, 32 / 455, 45, 1e-5, 6.667970141738866),
        (4.0, 0.01, 10_000, 1e-6, 1.169468923688794),
        (1.0, 1.0, 10, 1e-5, 19.05359753163139),
        (0.5, 0.2, 100, 1e-3, 50.31118068897966),
        (30.0, 0.001, 5, 1e-5, 0.10286742632040574),
    ],
)
def test_epsilon_is_that_of_opacus_accountant(
    noise: float, share: float, steps: int, delta: float, wanted: float
) -> None:
    """The numbers that `RDPAccountant` of opacus 1.6.0 gives."""
    assert spent_epsilon(noise, share, steps, delta) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.7, 1.5, 2.5, 3.1, 3.2, 3.3, 3.4, 3.5, 5.0, 20.0])
@pytest.mark.parametrize("steps", [1, 3])
def test_epsilon_of_steps_on_all_examples_is_the_best_of_all_orders(noise: float, steps: int) -> None:
    """Of the Gaussian mechanism alone, whose divergence at an order is known."""
    orders = [1.1, *(tenth / 10 for tenth in range(12, 110)), *range(12, 64)]
    bounds = [
        steps * order / (2 * noise**2)
        + (-math.log(1e-5) - math.log(order)) / (order - 1)
        + math.log(1 - 1 / order)
        for order in orders
    ]
    assert spent_epsilon(noise, 1.0, steps, 1e-5) == pytest.approx(min(bounds), rel=1e-12)
    assert spent_epsilon(50.0, 1.0, steps, 0.9) == 0.0  # no bound is below 0


@pytest.mark.parametrize(("delta_times_examples", "refused"), [(1.0, True), (1.001, True), (0.999, False)])
def test_delta_must_be_below_one_in_the_examples(delta_times_examples: float, refused: bool) -> None:
    job = make_job("mlp", {"hidden": [8]}, {"privacy": {"delta": delta_times_examples / 64}})
    module = nn.Linear(2, 2)
    if not refused:
        check_private(job.family, module, job.params, 64)
        return
    with pytest.raises(InputError, match=r"of 64; write 0\.002") as caught:
        check_private(job.family, module, job.params, 64)
    assert caught.value.key == ("options", "privacy")


class WithOwnLoss(MLP):
    name = ""

    def loss(self, outputs: Any, batch: Any, params: Any, state: Any) -> torch.Tensor:
        return super().loss(outputs, batch, params, state) * 2


def test_private_training_of_several_workers_or_with_an_own_loss_is_refused() -> None:
    job = make_job("mlp", {"hidden": [8]})
    with pytest.raises(InputError, match="WithOwnLoss with a loss of its own"):
        check_private(WithOwnLoss(PRIVACY), nn.Linear(2, 2), job.params, 64)
    two = RankGroup(Ranks(world_size=2), torch.device("cpu"))
    with pytest.raises(InputError, match=r"one worker.*2"):
        PrivateStepper(job.family, nn.Linear(2, 2), job.params, {}, two, torch.Generator(), examples=64)


def test_sample_rate_is_a_batch_of_the_examples() -> None:
    assert sample_rate({"batch_size": 64, "accumulate": 2}, 1000) == 0.128
    assert sample_rate({"batch_size": "all", "accumulate": 1}, 50) == 1.0
    assert sample_rate({"batch_size": 64, "accumulate": 1}, 50) == 1.0
    assert spent_epsilon(1.0, 0.5, 0, 1e-5) == 0.0


def train_killed_once(job: Job, encoded: EncodedDataset) -> Outcome:
    hooks = Hooks(die_at=2)
    with pytest.raises(Killed):
        train(job, encoded, hooks)
    hooks.die_at = None
    return train(job, encoded, hooks)


def test_killed_private_training_resumes_with_what_was_spent(tmp_path: Path) -> None:
    job = make_job("logistic_regression", {"batch_size": 32})
    encoded = encode(job.family, tmp_path)
    whole = Hooks()
    once, again = train(job, encoded, whole), train_killed_once(job, encoded)
    spent = [whole.reports[epoch]["train/epsilon"] for epoch in (1, 2, 3)]
    assert 0 < spent[0] < spent[1] < spent[2] == once.facts["epsilon"] == again.facts["epsilon"]
    for name, weights in once.weights.items():
        assert torch.equal(weights, again.weights[name])
    steps = 3 * -(-len(encoded.splits["train"]) // 32)
    share = 32 / len(encoded.splits["train"])
    assert spent[2] == spent_epsilon(0.8, share, steps, 1e-5)


@pytest.mark.parametrize(
    ("name", "source", "least"),
    [("image_cnn", "builtin:digits", 0.3), ("mlp", "builtin:cancer", 0.8)],
)
def test_private_families_learn(tmp_path: Path, name: str, source: str, least: float) -> None:
    job = make_job(name, {"learning_rate": 0.01, "batch_size": 128}, epochs=4)
    ended = train(job, encode(job.family, tmp_path, source), Hooks())
    assert ended.metrics["val/accuracy"] > least
    assert ended.facts["epsilon"] > 0


class WithBatchNorm(MLP):
    name = ""

    def build(self, state: Any, params: Any) -> nn.Module:
        return nn.Sequential(super().build(state, params), nn.BatchNorm1d(2))


def test_training_that_breaks_the_bound_is_refused_with_words(tmp_path: Path) -> None:
    def refuse(job: Job, match: str) -> None:
        with pytest.raises(InputError, match=match):
            train(job, encoded, Hooks())

    plain = make_job("mlp", {})
    encoded = encode(plain.family, tmp_path)
    family = WithBatchNorm(PRIVACY)
    refuse(replace(plain, family=family, params=family.complete({})), r"batch norm.*\(1\)")
    refuse(make_job("mlp", {"precision": "bf16"}), "precision bf16")
    refuse(make_job("mlp", {}, {"privacy": {"delta": 0.1}}), "must be below one in the examples")
    refuse(make_job("gradient_boosting", {}), "gradient_boosting, whose gradients")
    refuse(make_job("mlp", {}, {**PRIVACY, "teacher": {"model": "x"}}), "a teacher")
    with pytest.raises(InputError, match=r"option privacy\.delta must be valid"):
        make_job("mlp", {}, {"privacy": {"noise": 1.0}})
    assert why_not(plain.family, plain.params) is not None
