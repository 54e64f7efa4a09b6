"""Pooling by two: a stack's as each member's own, and before ReLU as after it, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainers.modules import pooling
from trainers.modules.layers import ConvShape, conv_blocks
from trainers.modules.pooling import MaxPool

SIZES = [(6, 6), (5, 7), (2, 3)]


def make_images(*shape: int) -> Tensor:
    """Whole numbers from few: many windows have a largest that stands in them twice."""
    made = torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(1)).float()
    return made.requires_grad_()


def pool_of_grouped(images_BGHW: Tensor, members: int) -> Tensor:
    """Members' images as grouped convolutions leave them: side by side as channels."""
    split = images_BGHW.unflatten(1, (members, -1)).movedim(1, 0)
    return torch.func.vmap(MaxPool())(split)


@pytest.mark.parametrize("size", SIZES)
def test_stack_is_pooled_as_each_member_with_the_same_gradients(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    by_channels = pooling._PoolByChannels.apply
    monkeypatch.setattr(
        pooling._PoolByChannels, "apply", lambda *given: (calls.append(1), by_channels(*given))[1]
    )
    images = make_images(4, 3 * 2, *size)
    found = pool_of_grouped(images, members=3)
    alone = torch.stack([nn.functional.max_pool2d(part, 2) for part in images.chunk(3, dim=1)])
    assert calls
    assert torch.equal(found, alone)
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(found, images, upstream)
    assert torch.equal(gradient, torch.autograd.grad(alone, images, upstream)[0])


def test_value_that_is_no_number_stays_one_in_its_member_alone() -> None:
    images = make_images(1, 2, 4, 4).detach()
    images[0, 1, 0, 0] = float("nan")
    found = pool_of_grouped(images, members=2)
    assert found[1, 0, 0, 0, 0].isnan()
    assert found.isnan().sum() == 1


def test_single_model_is_pooled_by_torch_itself() -> None:
    images = make_images(2, 3, 5, 4)
    found = MaxPool()(images)
    assert torch.equal(found, nn.functional.max_pool2d(images, 2))
    assert type(found.grad_fn).__name__ == "MaxPool2DWithIndicesBackward0"


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
@pytest.mark.parametrize("way", ["max", "mean"])
def test_block_is_convolution_activation_and_pooling_to_the_bit(activation: str, way: str) -> None:
    torch.manual_seed(0)
    blocks, _ = conv_blocks([2, 4], (5, 6), ConvShape(activation=activation, pooling=way))
    (block,) = blocks.children()
    with torch.no_grad():  # where GELU falls: of its results the largest is not that of the largest
        block.get_submodule("convolution").bias.fill_(-2.0)
    images = make_images(3, 2, 5, 6)
    found = blocks(images)
    function = {"relu": torch.relu, "gelu": nn.functional.gelu, "tanh": torch.tanh}[activation]
    active = function(block.get_submodule("convolution")(images))
    plain = nn.functional.max_pool2d(active, 2) if way == "max" else nn.functional.avg_pool2d(active, 2)
    assert torch.equal(found, plain)
    given = (images, *block.parameters())
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), given),
        torch.autograd.grad(plain.square().sum(), given),
        strict=True,
    ):
        assert torch.equal(one, other)
