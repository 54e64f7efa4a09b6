"""Weights from files: names, shapes, and nothing that runs code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trainers.errors import InputError
from trainers.pretrained.weights import freeze, load_pretrained, read_weights


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)
    return path


def test_pretrained_weights_are_loaded_by_name(tmp_path: Path) -> None:
    source, target = net(), net()
    path = save_tensors(tmp_path / "w.safetensors", source.state_dict())
    assert load_pretrained(target, path) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)


def test_pretrained_part_is_loaded_under_another_name_without_head(tmp_path: Path) -> None:
    source, target = net(), net()
    path = save_tensors(
        tmp_path / "w.safetensors", {f"encoder.{n}": t for n, t in source.state_dict().items()}
    )
    head = target.get_parameter("2.weight").detach().clone()
    taken = load_pretrained(target, path, prefix="encoder.", leave=["2.*"])
    assert taken == ["0.bias", "0.weight"]
    assert torch.equal(target.get_parameter("0.weight"), source.get_parameter("0.weight"))
    assert torch.equal(target.get_parameter("2.weight"), head)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.weight": torch.zeros(4, 5)}, r"shape \(4, 3\).*\(4, 5\)"),
        ({"0.weight": None}, r"without '0.weight'"),
        ({"more": torch.zeros(1)}, r"unknown 'more'"),
        ({"0.weight": None, "0.weights": torch.zeros(4, 3)}, r"is '0.weights' the module's '0.weight'"),
    ],
)
def test_pretrained_misfit_is_named_and_changes_nothing(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    target = net()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    tensors = {n: t for n, t in {**net().state_dict(), **change}.items() if t is not None}
    with pytest.raises(InputError, match=message):
        load_pretrained(target, save_tensors(tmp_path / "w.safetensors", tensors))
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in before.items())


def test_torch_weights_file_is_read_without_unpickling(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").keys() == net().state_dict().keys()


class Payload:
    """Makes a canary file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors", ".pkl"])
def test_weights_file_with_pickle_payload_is_never_run(tmp_path: Path, suffix: str) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / f"w{suffix}"
    if suffix in (".pth", ".bin"):
        torch.save({"0.weight": Payload(canary)}, path)
    else:
        path.write_bytes(pickle.dumps({"0.weight": Payload(canary)}))
    with pytest.raises(InputError, match="pretrained must"):
        read_weights(path)
    assert not canary.exists()


def test_weights_file_of_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"safetensors\.torch\.save_file"):
        read_weights(tmp_path / "w.pt")


def test_missing_weights_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file that exists"):
        read_weights(tmp_path / "none.safetensors")


def test_freezing_takes_patterns_and_parts() -> None:
    module = net()
    assert freeze(module, ["0"]) == ["0.weight", "0.bias"]
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True]
    with pytest.raises(InputError, match="must name parameters"):
        freeze(module, ["encoder.*"])
    with pytest.raises(InputError, match="left to train"):
        freeze(module, ["*"])
