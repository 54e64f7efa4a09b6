"""One step of the optimizer against the same step written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.trainers import tiny
from tests.trainers.tiny import MLP, Bad, Frozen, Noisy, TwoPlayers
from trainers.data.batches import Batches
from trainers.errors import NotFinite
from trainers.family import Family
from trainers.loop.collectives import RankGroup
from trainers.loop.micro_batches import MicroBatch
from trainers.loop.randomness import fix_torch_flags
from trainers.loop.stepper import Stepper, own_steps, require_finite
from trainers.types import Ranks

RATE = 0.5


@pytest.fixture(autouse=True)
def as_before() -> Any:
    with fix_torch_flags(1):
        yield


def make_stepper(family: Family | None = None, **params: Any) -> Stepper:
    family = family or MLP()
    whole = family.complete({"optimizer": "sgd", "learning_rate": RATE, **params})
    torch.manual_seed(3)
    module = family.build({}, whole).train()
    state = tiny.data().state
    crew, generator = RankGroup(Ranks(), torch.device("cpu")), torch.Generator().manual_seed(4)
    return Stepper(family, module, whole, state, crew, generator)


SOURCE = Batches(tiny.data(), "train")


def group_of(*sizes: int, weights: Sequence[float] | None = None) -> list[MicroBatch]:
    """Micro-batches of so many examples, weighted by them."""
    total, first, made = sum(sizes), 0, []
    for place, size in enumerate(sizes):
        weight = weights[place] if weights else size / total
        made.append(MicroBatch(torch.arange(first, first + size), size, weight, total))
        first += size
    return made


def loss_of(stepper: Stepper, first: int, last: int) -> torch.Tensor:
    batch = SOURCE.gather(torch.arange(first, last))
    return torch.nn.functional.cross_entropy(stepper.module(batch["inputs"]), batch["target"])


def gradients_of(stepper: Stepper, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(stepper.module.parameters())))


def before_of(stepper: Stepper) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in stepper.module.parameters()]


def assert_moved(stepper: Stepper, before: list[torch.Tensor], by: Sequence[torch.Tensor]) -> None:
    for new, old, gradient in zip(stepper.module.parameters(), before, by, strict=True):
        assert torch.allclose(new, old - RATE * gradient, atol=1e-6)


@pytest.mark.parametrize("sizes", [(16,), (16, 16), (16, 16, 5)])
def test_step_descends_the_mean_loss_of_all_its_examples(sizes: tuple[int, ...]) -> None:
    stepper, total = make_stepper(), sum(sizes)
    before, loss = before_of(stepper), loss_of(stepper, 0, total)
    wanted = gradients_of(stepper, loss)
    losses, shown = stepper.step(group_of(*sizes), SOURCE)
    assert_moved(stepper, before, wanted)
    assert losses == pytest.approx(loss.item() * total, rel=1e-5)
    assert shown == {}
    again = loss_of(stepper, 0, total)
    before, wanted = before_of(stepper), gradients_of(stepper, again)
    stepper.step(group_of(*sizes), SOURCE)  # nothing of the former step's gradient is left
    assert_moved(stepper, before, wanted)


def test_micro_batch_moves_by_its_weight() -> None:
    stepper = make_stepper()
    before, wanted = before_of(stepper), gradients_of(stepper, loss_of(stepper, 0, 16))
    losses, _ = stepper.step(group_of(16, weights=[0.25]), SOURCE)
    assert_moved(stepper, before, [gradient / 4 for gradient in wanted])
    assert losses == pytest.approx(16 * loss_by(before, stepper).item(), rel=1e-5)


def loss_by(weights: list[torch.Tensor], stepper: Stepper) -> torch.Tensor:
    names = [name for name, _ in stepper.module.named_parameters()]
    batch = SOURCE.gather(torch.arange(16))
    said = torch.func.functional_call(
        stepper.module, dict(zip(names, weights, strict=True)), (batch["inputs"],)
    )
    return torch.nn.functional.cross_entropy(said, batch["target"])


@pytest.mark.parametrize("most", [0.01, 0.1, 1e3])
def test_gradient_is_clipped_by_its_whole_norm(most: float) -> None:
    stepper = make_stepper(gradient_clip=most)
    before, wanted = before_of(stepper), gradients_of(stepper, loss_of(stepper, 0, 16))
    norm = float(torch.cat([gradient.flatten() for gradient in wanted]).norm())
    stepper.step(group_of(16), SOURCE)
    assert_moved(stepper, before, [gradient * min(1.0, most / norm) for gradient in wanted])


def test_sum_of_weights_is_pulled_down_by_l1_before_the_clip() -> None:
    stepper = make_stepper(l1=0.02, gradient_clip=0.05)
    before, wanted = before_of(stepper), gradients_of(stepper, loss_of(stepper, 0, 16))
    wanted = [gradient + 0.02 * old.sign() for gradient, old in zip(wanted, before, strict=True)]
    norm = float(torch.cat([gradient.flatten() for gradient in wanted]).norm())
    assert norm > 0.05
    stepper.step(group_of(16), SOURCE)
    assert_moved(stepper, before, [gradient * (0.05 / norm) for gradient in wanted])


def test_weights_are_clipped_after_the_step_and_frozen_ones_are_not() -> None:
    stepper = make_stepper(Frozen(), weight_clip=0.03, l1=0.1)
    frozen = stepper.module.get_parameter("0.weight").detach().clone()
    stepper.step(group_of(16), SOURCE)
    for name, parameter in stepper.module.named_parameters():
        if name == "0.weight":
            assert torch.equal(parameter, frozen)
        else:
            assert parameter.abs().max().item() <= 0.03 + 1e-7
            assert parameter.abs().max().item() > 0.02


def test_rate_is_set_as_a_share_of_its_peak_for_every_optimizer() -> None:
    stepper = make_stepper(TwoPlayers())
    assert len(stepper.optimizers) == 2
    for factor in (1.0, 0.25, 0.25, 0.0, 1.0):
        stepper.set_rate(factor)
        assert stepper.rate == RATE * factor
        rates = [group["lr"] for one in stepper.optimizers.values() for group in one.param_groups]
        assert rates == [RATE * factor] * 2


def test_batch_is_augmented_by_families_that_do_so_alone() -> None:
    plain, noisy = make_stepper(), make_stepper(Noisy())
    group = group_of(16)
    losses = [stepper.step(group, SOURCE)[0] for stepper in (plain, noisy)]
    assert losses[0] != losses[1]
    assert torch.equal(plain.generator.get_state(), torch.Generator().manual_seed(4).get_state())
    assert not torch.equal(noisy.generator.get_state(), torch.Generator().manual_seed(4).get_state())


def test_half_precision_rounds_the_forward_pass_and_not_the_weights() -> None:
    seen: list[torch.dtype] = []

    class Watched(MLP):
        def loss(self, outputs: Any, batch: Any, params: Any, state: Any) -> torch.Tensor:
            seen.append(outputs.dtype)
            return super().loss(outputs, batch, params, state)

    for precision in ("fp32", "bf16"):
        stepper = make_stepper(Watched(), precision=precision)
        stepper.step(group_of(16), SOURCE)
        assert {parameter.dtype for parameter in stepper.module.parameters()} == {torch.float32}
    assert seen == [torch.float32, torch.bfloat16]


def test_own_step_is_given_all_positions_of_its_group_and_its_numbers_are_shown() -> None:
    sizes: list[int] = []

    class Own(TwoPlayers):
        def train_step(self, module: Any, batch: Any, step: Any) -> dict[str, float]:
            sizes.append(len(batch["target"]))
            return super().train_step(module, batch, step)

    stepper = make_stepper(Own(), weight_clip=0.03)
    for group in (group_of(16), group_of(16, 16, 5)):
        losses, shown = stepper.step(group, SOURCE)
        assert losses == 0.0
        assert shown.keys() == {"loss", "miss"}
    assert sizes == [16, 37]
    assert max(one.abs().max().item() for one in stepper.module.parameters()) <= 0.03 + 1e-7
    assert own_steps(stepper.family)
    assert not own_steps(MLP())


@pytest.mark.parametrize(
    ("where", "said"),
    [("loss", "the loss must be a finite number"), ("gradient", "the norm of the gradient must be a finite"),
     ("constant", "the loss must be a finite number")],
)  # fmt: skip
def test_number_that_is_not_finite_ends_the_step_before_the_weights_move(where: str, said: str) -> None:
    stepper = make_stepper(Bad({"at": 1, "where": where}))
    before = before_of(stepper)
    with pytest.raises(NotFinite, match=said):
        stepper.step(group_of(16), SOURCE)
    assert all(torch.equal(new, old) for new, old in zip(stepper.module.parameters(), before, strict=True))


@pytest.mark.parametrize("player", ["classifier", "critic"])
def test_own_step_s_loss_that_is_not_finite_ends_it_before_that_player_moves(player: str) -> None:
    """Its gradient may be finite all the same."""

    class Own(TwoPlayers):
        def train_step(self, module: Any, batch: Any, step: Any) -> dict[str, float]:
            loss = torch.nn.functional.cross_entropy(self.outputs(module, batch), batch["target"])
            for name, part in self.players(module).items():
                step.optimizers[name].zero_grad()
                own = loss if name == "classifier" else sum(one.sum() for one in part.parameters())
                step.backward(own * 0.0 + float("nan") if name == player else own)
                step.optimizers[name].step()
            return {}

    stepper = make_stepper(Own())
    before = [one.detach().clone() for one in stepper.module.get_submodule(player).parameters()]
    with pytest.raises(NotFinite, match="the loss must be a finite number"):
        stepper.step(group_of(16), SOURCE)
    after = stepper.module.get_submodule(player).parameters()
    assert all(torch.equal(new, old) for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_only_finite_numbers_are_let_through(value: float) -> None:
    require_finite("it", 1.0)
    with pytest.raises(NotFinite, match="it must be a finite number") as caught:
        require_finite("it", value)
    assert caught.value.found == f"{value}"
