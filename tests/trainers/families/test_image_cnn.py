"""What an image CNN does beyond the contract of all families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.families.cases import Memory, images
from trainers.errors import InputError
from trainers.families.image_cnn import ImageCNN
from trainers.inputs.images import channel_moments


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (32, 3), (13, 3)])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_image_cnn_takes_any_size_and_channels(size: int, channels: int, pooling: str) -> None:
    family, memory = ImageCNN(), Memory()
    params = family.complete({"pooling": pooling, "batch_norm": True, "padding": "same"})
    state = family.encode(images(size, channels), params, memory)
    net = family.build(state, params)
    assert state["shape"] == [size, size, channels]
    assert net(torch.from_numpy(memory.arrays["inputs"][:5])).shape == (5, 3)


def test_image_cnn_standardises_pixels_before_convolutions() -> None:
    family, memory = ImageCNN(), Memory()
    dataset = images(channels=3)
    state = family.encode(dataset, family.complete({}), memory)
    net = family.build(state, family.complete({}))
    train = torch.from_numpy(memory.arrays["inputs"][dataset.splits["train"]])
    seen = net.get_submodule("pixels")(train)
    torch.testing.assert_close(seen.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    assert "pixels.mean" not in net.state_dict()


def test_image_cnn_leaves_constant_channel_unscaled() -> None:
    mean, std = channel_moments(np.full((4, 2, 2, 1), 51, np.uint8), np.arange(4))
    assert mean == pytest.approx([0.2])
    assert std == [1.0]


def test_an_image_too_small_for_its_blocks_is_refused_with_its_size() -> None:
    family = ImageCNN({"preset": "mnist"})
    params = family.complete({"channels": [4, 4, 4]})
    state = {"shape": [12, 12, 1], "mean": [0.5], "std": [0.5], "classes": ["a", "b"]}
    with pytest.raises(InputError, match="12 x 12") as error:
        family.build(state, params)
    assert error.value.key == ("channels",)


def test_image_cnn_options_resize_images_and_make_them_gray() -> None:
    family, memory = ImageCNN({"size": [10, 16], "color": "gray"}), Memory()
    state = family.encode(images(12, 3), family.complete({}), memory)
    assert state["shape"] == [10, 16, 1]
    assert memory.arrays["inputs"].shape == (90, 10, 16, 1)


@pytest.mark.parametrize("size", [[0, 10], [10], "64"])
def test_image_cnn_size_must_be_two_positive_numbers(size: object) -> None:
    with pytest.raises(InputError, match="size"):
        ImageCNN({"size": size})


def test_image_cnn_takes_user_arrays_lists_paths_and_bytes(tmp_path: Path) -> None:
    from PIL import Image

    family, dataset = ImageCNN(), images()
    state = family.encode(dataset, family.complete({}), Memory())
    pixels = np.asarray(dataset.columns["image"].values)[0]
    path = tmp_path / "one.png"
    Image.fromarray(pixels[:, :, 0]).save(path)
    given = [pixels, pixels[:, :, 0].tolist(), str(path), path.read_bytes(), pixels / 255.0]
    made = family.from_user(pd.DataFrame({"image": given}), state)["inputs"]
    for row in made:
        np.testing.assert_array_equal(row, pixels)
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"one\.png"):
        family.from_user(pd.DataFrame({"image": [str(path)]}), state)


def test_image_cnn_without_layers_is_linear_in_the_pixels() -> None:
    family, memory = ImageCNN({"channels": [], "dense": []}), Memory()
    params = family.complete({})
    state = family.encode(replace(images()), params, memory)
    net = family.build(state, params)
    assert [name for name, _ in net.named_parameters()] == ["head.linear1.weight", "head.linear1.bias"]
    assert net(torch.from_numpy(memory.arrays["inputs"][:2])).shape == (2, 3)
