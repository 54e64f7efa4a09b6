"""VGG16: its number of weights, torchvision's names, and its one sigmoid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers.families.cases import Memory, images
from trainers.errors import InputError
from trainers.families.vgg16 import VGG16
from trainers.tasks import rules_for

# torchvision.models.vgg16().features, as its file of weights has them
TORCHVISION = {
    0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256),
    17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
STATE: dict[str, Any] = {
    "task": "classification", "classes": ["ant", "bee"], "shape": [224, 224, 3], "mean": [0.0] * 3,
    "std": [1.0] * 3,
}  # fmt: skip


def test_vgg16_with_sigmoid_has_21137729_weights_named_as_torchvision() -> None:
    family = VGG16({"sigmoid": True})
    with torch.device("meta"):
        module = family.build(STATE, family.complete({}))
    assert sum(p.numel() for p in module.parameters()) == 21_137_729
    shapes = {n: tuple(p.shape) for n, p in module.named_parameters() if n.startswith("features.")}
    expected: dict[str, tuple[int, ...]] = {}
    for place, (after, before) in TORCHVISION.items():
        expected |= {f"features.{place}.weight": (after, before, 3, 3), f"features.{place}.bias": (after,)}
    assert shapes == expected


def file_of(module: torch.nn.Module, path: Path) -> Path:
    """As torchvision gives it out: torch's own format, with the top for a thousand classes."""
    torch.manual_seed(5)
    names = {n: torch.randn_like(t) for n, t in module.state_dict().items() if n.startswith("features.")}
    torch.save({**names, "classifier.6.weight": torch.zeros(1000, 8)}, path)
    return path


def test_vgg16_loads_torchvisions_file_and_trains_the_head_alone(tmp_path: Path) -> None:
    plain = {"preset": "narrow", "batch_norm": False}
    family = VGG16(plain)
    params = family.complete({})
    state = {**STATE, "shape": [32, 32, 3]}
    path = file_of(family.build(state, params), tmp_path / "vgg16.pth")
    family = VGG16({**plain, "pretrained": str(path), "freeze": ["features"]})
    module = family.build(state, params)
    family.start(module)
    found = torch.load(path, weights_only=True)
    own = module.state_dict()
    assert all(torch.equal(own[name], found[name]) for name in own if name.startswith("features."))
    trained = {name.split(".")[0] for name, p in module.named_parameters() if p.requires_grad}
    assert trained == {"head"}
    with pytest.raises(InputError, match="shape"):
        wider = VGG16({**plain, "narrow": 4, "pretrained": str(path)})
        wider.start(wider.build(state, params))


def test_vgg16_sigmoid_equals_softmax_over_zero_and_its_logit() -> None:
    family = VGG16({"preset": "narrow", "sigmoid": True, "size": [32, 32]})
    module = family.build({**STATE, "shape": [32, 32, 3]}, family.complete({})).eval()
    batch = {
        "inputs": torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8),
        "target": torch.tensor([0, 1, 1, 0]),
    }
    logits = family.outputs(module, batch)
    z = module(batch["inputs"])[:, 0]
    torch.testing.assert_close(logits.softmax(1)[:, 1], z.sigmoid())
    loss = rules_for(STATE).loss(logits, batch, {})
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z, batch["target"].float())
    torch.testing.assert_close(loss, expected)


def test_vgg16_data_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="for two classes"):
        VGG16({"sigmoid": True}).encode(images(), {}, Memory())
    with pytest.raises(InputError, match="multiples of 32"):
        VGG16({"size": [100, 100]}).encode(images(), {}, Memory())


def test_vgg16_pixels_are_scaled_as_asked() -> None:
    for scale, mean in (("unit", [0.0] * 3), ("imagenet", [0.485, 0.456, 0.406])):
        memory = Memory()
        state = VGG16({"scale": scale, "size": [32, 32]}).encode(images(), {}, memory)
        assert state["mean"] == mean
        assert memory.arrays["inputs"].shape[1:] == (32, 32, 3)
        assert np.asarray(memory.arrays["inputs"]).dtype == np.uint8
