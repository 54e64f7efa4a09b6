"""What autoencoders do beyond the contract of all families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.families.cases import Memory, images, table, unlabelled_images, unlabelled_rows
from trainers.bundle.bundle import load_bundle, save_bundle
from trainers.data.dataset import EncodedDataset
from trainers.errors import InputError
from trainers.families.autoencoder import Autoencoder
from trainers.families.image_cnn import ImageCNN
from trainers.samples.writing import samples_of_weights
from trainers.storage.atomic_folders import DamagedFolder, manifest_hash


def build_autoencoder(
    options: Any = None, **params: Any
) -> tuple[Autoencoder, Any, Any, torch.nn.Module, Memory]:
    family, memory = Autoencoder(options), Memory()
    complete = family.complete(params)
    state = family.encode(unlabelled_images(), complete, memory)
    torch.manual_seed(0)
    return family, state, complete, family.build(state, complete), memory


@pytest.mark.parametrize("size", [8, 13])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_autoencoder_returns_images_of_any_size(size: int, padding: str, pooling: str) -> None:
    family, memory = Autoencoder(), Memory()
    params = family.complete({"channels": [4, 6], "padding": padding, "pooling": pooling, "batch_norm": True})
    dataset = replace(images(size, 3), task="reconstruction", classes=())
    if padding == "valid" and size == 8:
        params["channels"] = [4]
    state = family.encode(dataset, params, memory)
    with torch.no_grad():
        made = family.build(state, params)(torch.from_numpy(memory.arrays["inputs"][:5]))
    assert made.shape == (5, size, size, 3)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_autoencoder_noise_is_on_the_input_and_never_the_target() -> None:
    family, state, params, net, memory = build_autoencoder(noise=0.2)
    batch = {"inputs": torch.from_numpy(memory.arrays["inputs"][:20])}
    changed = family.augment(batch, params, torch.Generator().manual_seed(0))
    assert torch.equal(changed["target"], batch["inputs"])
    difference = (changed["inputs"].float() - batch["inputs"].float()) / 255
    assert float(difference.std()) == pytest.approx(0.2, rel=0.5)
    assert family.augment(batch, family.complete({}), torch.Generator()).keys() == {"inputs"}
    loss = family.loss(family.outputs(net, changed), changed, params, state)
    expected = (net(changed["inputs"]) - batch["inputs"] / 255).square().mean()
    torch.testing.assert_close(loss, expected)


def test_autoencoder_target_is_the_augmented_image_without_noise() -> None:
    family, _, params, _, memory = build_autoencoder(noise=0.05, augment={"shift": 0.3})
    batch = {"inputs": torch.from_numpy(memory.arrays["inputs"][:20])}
    changed = family.augment(batch, params, torch.Generator().manual_seed(0))
    assert not torch.equal(changed["target"], batch["inputs"])
    near = (changed["inputs"].float() - changed["target"].float()).abs().mean()
    assert float(near) < 0.1 * 255


def test_autoencoder_metrics_are_in_shares_of_white() -> None:
    family, state, _, net, memory = build_autoencoder()
    batch = {"inputs": torch.from_numpy(memory.arrays["inputs"])}
    metrics = family.rules(state).metric_set("cpu")
    with torch.no_grad():
        made = family.outputs(net.eval(), batch)
    metrics.update(made, batch)
    assert metrics.compute()["mse"] == pytest.approx(
        float((made - batch["inputs"] / 255).square().mean()), rel=1e-5
    )
    given = family.to_user(made[:2], state)["reconstruction"][0]
    assert np.asarray(given).shape == (12, 12, 1)
    assert np.asarray(given).dtype.kind == "i"


def test_autoencoder_returns_table_rows_in_their_units() -> None:
    family, memory, dataset = Autoencoder(), Memory(), unlabelled_rows()
    state = family.encode(dataset, family.complete({}), memory)
    assert state["features"] == ["a", "b", "color=blue", "color=red"]
    back = family.to_user(torch.from_numpy(memory.arrays["inputs"]), state)
    known = np.asarray(table().columns["b"].values)
    np.testing.assert_allclose(back["b"], known, rtol=1e-4, atol=1e-5)
    assert set(back["color=red"]) <= {0.0, 1.0}
    rows = family.from_user(pd.DataFrame({"a": [None], "b": ["1.5"], "color": ["green"]}), state)
    assert rows["inputs"].shape == (1, 4)


@pytest.mark.parametrize(("noise", "rows"), [(0.0, 2), (0.3, 3)])
def test_autoencoder_samples_show_originals_above_reconstructions(noise: float, rows: int) -> None:
    family, state, params, net, memory = build_autoencoder(noise=noise)
    encoded = EncodedDataset(arrays=memory.arrays, state=state, splits=unlabelled_images().splits)
    made = samples_of_weights(family, encoded, params, net.state_dict(), "cpu")
    picture = np.asarray(made["reconstructions"])
    assert picture.shape == (rows * 50 - 2, 10 * 50 - 2, 3)
    first = memory.arrays["inputs"][encoded.splits["validation"][0], :, :, 0]
    np.testing.assert_array_equal(picture[:48:4, :48:4, 0], first)


def test_autoencoder_blocks_equal_those_of_an_image_cnn() -> None:
    _, _, _, net, _ = build_autoencoder(channels=[4, 8])
    family, memory = ImageCNN(), Memory()
    params = family.complete({"channels": [4, 8]})
    other = family.build(family.encode(images(), params, memory), params).state_dict()
    own = {name: tensor.shape for name, tensor in net.state_dict().items() if name.startswith("blocks.")}
    assert own == {name: tensor.shape for name, tensor in other.items() if name.startswith("blocks.")}
    assert len(own) == 4


def save_autoencoder(folder: Path, **params: Any) -> tuple[Path, torch.nn.Module]:
    """A trained autoencoder's bundle: here with fresh weights."""
    family, state, complete, net, _ = build_autoencoder(
        **{"channels": [4, 8], "pooling": "average", **params}
    )
    dataset = unlabelled_images()
    save_bundle(
        folder,
        family_reference="autoencoder",
        options={},
        params=complete,
        state=state,
        weights=net.state_dict(),
        facts={},
        example_rows=family.example(dataset),
        row_hashes_of_train=dataset.row_hashes[:60],
    )
    return folder, net


def start_from_encoder(family: ImageCNN) -> torch.nn.Module:
    params = family.complete({})
    net = family.build(family.encode(images(), params, Memory()), params)
    family.start(net)
    return net


def test_an_image_cnn_starts_from_its_blocks_and_takes_their_structure(tmp_path: Path) -> None:
    folder, net = save_autoencoder(tmp_path / "bundle")
    family = ImageCNN({"encoder": str(folder), "encoder_sha256": manifest_hash(folder)})
    known = {name: entry.default for name, entry in family.list_hyperparameters().items()}
    assert (known["channels"], known["pooling"]) == ([4, 8], "average")
    assert {"channels", "pooling", "kernel"} <= family.decided
    started_net = start_from_encoder(family)
    for name, tensor in net.state_dict().items():
        if name.startswith("blocks."):
            assert torch.equal(started_net.state_dict()[name], tensor)


def test_frozen_blocks_stay_the_encoders(tmp_path: Path) -> None:
    folder, _ = save_autoencoder(tmp_path / "bundle")
    net = start_from_encoder(ImageCNN({"encoder": str(folder), "freeze": ["blocks"]}))
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith("head.") for name in trained)


def test_encoder_from_a_weights_file_is_loaded(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    _, _, _, net, _ = build_autoencoder(channels=[4, 8])
    save_file({n: t.contiguous().clone() for n, t in net.state_dict().items()}, tmp_path / "w.safetensors")
    options = {"encoder": str(tmp_path / "w.safetensors"), "channels": [4, 8]}
    first = start_from_encoder(ImageCNN(options)).state_dict()["blocks.block1.convolution.weight"]
    assert torch.equal(first, net.state_dict()["blocks.block1.convolution.weight"])
    with pytest.raises(InputError, match="shape"):
        start_from_encoder(ImageCNN({**options, "channels": [4, 6]}))


def test_encoder_that_is_not_the_one_meant_is_refused(tmp_path: Path) -> None:
    folder, _ = save_autoencoder(tmp_path / "bundle")
    with pytest.raises(DamagedFolder):
        ImageCNN({"encoder": str(folder), "encoder_sha256": "0" * 64})
    with pytest.raises(InputError, match="channels must be the encoder's") as error:
        ImageCNN({"encoder": str(folder), "channels": [8, 16]})
    assert error.value.key == ("options", "channels")
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedFolder):
        ImageCNN({"encoder": str(folder)})


def test_a_fine_tuned_model_needs_its_encoder_no_more(tmp_path: Path) -> None:
    folder, _ = save_autoencoder(tmp_path / "bundle")
    family, dataset = ImageCNN({"encoder": str(folder)}), images()
    params = family.complete({"dense": [8]})
    state = family.encode(dataset, params, Memory())
    net = family.build(state, params)
    save_bundle(
        tmp_path / "tuned",
        family_reference="image_cnn",
        options={"encoder": str(folder)},
        params=params,
        state=state,
        weights=net.state_dict(),
        facts={},
        example_rows=family.example(dataset),
        row_hashes_of_train=dataset.row_hashes[:60],
    )
    for file in folder.iterdir():
        file.unlink()
    assert len(load_bundle(tmp_path / "tuned").predict(family.example(dataset))) == 2
