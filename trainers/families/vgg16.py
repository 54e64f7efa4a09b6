"""VGG16 without its top, and a small head: transfer learning on few images.

K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015
(arXiv 1409.1556), configuration D.

Shapes (B images, H x W pixels, K outputs):

    bytes [B, H, W, 3] → / 255, or (x / 255 - mean) / std of ImageNet [B, 3, H, W]
    → thirteen 3x3 convolutions, ReLU after each, of 64, 64 | 128, 128 | 256 x 3 | 512 x 3 | 512 x 3 filters,
      each group ended by max pooling by two [B, 512, H/32, W/32]
    → flat → linear, ReLU, dropout [B, 256] → linear [B, K]; with `sigmoid: true` one output for two classes

The convolutions bear torchvision's names (`features.0.weight`, …), so its file of ImageNet weights loads:
`pretrained: vgg16-397923af.pth` (what the file has beside them, its own top, is passed over).
`freeze: [features]` trains the head alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.family import Family
from trainers.hyperparameters import OPTIONAL, Hyperparameter, widths
from trainers.inputs.images import ImageOptions, augment_images, images_from_user, write_images
from trainers.inputs.targets import output_size, write_target
from trainers.types import Array, ArrayWriter, Batch, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch

GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SIZE = (224, 224)
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


class VGGOptions(ImageOptions):
    """Fixed structure of a VGG16.

    Attributes:
        size: height and width that images are brought to, multiples of 32.
        scale: of pixels: `unit`, from 0 to 1; `imagenet`, by the mean and deviation of its images, as
            torchvision's weights expect.
        narrow: all numbers of filters divided by this, for small data from scratch.
        batch_norm: after each convolution; torchvision's file of `vgg16` has none.
        sigmoid: one output for two classes instead of two.
    """

    size: tuple[int, int] | None = SIZE
    scale: Literal["unit", "imagenet"] = "unit"
    narrow: Literal[1, 2, 4, 8, 16] = 1
    batch_norm: bool = False
    sigmoid: bool = False


class VGG16(Family):
    """Image classification by VGG16, frozen or not."""

    name = "vgg16"
    summary = "VGG16 without its top, pretrained or narrow, and a small head (Simonyan 2015)"
    kinds = ("image",)
    tasks = ("classification", "regression")
    unstackable = "stacking is slower: its convolutions fill the machine alone"
    Options = VGGOptions
    uses = ("activation", "pooling", "dropout")
    heavy = True
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "dropout": replace(OPTIONAL["dropout"], default=0.5, doc="before the outputs"),
        "dense": widths([256], "widths of hidden layers before the outputs"),
    }
    presets: ClassVar[Mapping[str, Params]] = {
        "frozen": {"freeze": ("features",), "scale": "imagenet"},
        "narrow": {"narrow": 8, "batch_norm": True, "size": (96, 96), "dense": [64]},
    }

    options: VGGOptions

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`inputs`: bytes, uint8 [N, H, W, 3]; `target`."""
        if self.options.sigmoid and len(dataset.classes) != 2:
            found = f"{len(dataset.classes)} in {dataset.source}"
            raise InputError("sigmoid is for two classes", found, "leave it out", key=("options", "sigmoid"))
        options = self.options.model_copy(update={"color": "rgb"})
        height, width = options.size or SIZE
        if height % 32 or width % 32:
            found = f"{height} x {width}"
            raise InputError("size must be multiples of 32", found, key=("options", "size"))
        pixels = write_images(dataset, options, writer)
        moments = IMAGENET if self.options.scale == "imagenet" else {"mean": [0.0] * 3, "std": [1.0] * 3}
        return {**pixels, **moments, **write_target(dataset, writer)}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes uint8 [B, H, W, 3] and gives [B, classes], or [B, 1]."""
        from torch import nn

        from trainers.modules.layers import Pixels, channels_last, dense_layers

        features = _feature_layers(
            self.options.narrow, self.options.batch_norm, params["activation"], params["pooling"]
        )
        height, width, _ = state["shape"]
        numbers = GROUPS[-1][-1] // self.options.narrow * (height // 32) * (width // 32)
        outputs = 1 if self.options.sigmoid else output_size(state)
        widths, activation = [numbers, *params["dense"], outputs], params["activation"]
        head = dense_layers(widths, activation=activation, dropout=params["dropout"])
        pixels = Pixels(state["mean"], state["std"])
        parts = OrderedDict(pixels=pixels, features=features, flat=nn.Flatten(), head=head)
        return channels_last(nn.Sequential(parts))

    def start(self, module: torch.nn.Module) -> None:
        """Takes the convolutions of a pretrained file, whatever top it has, or all of a module like this one,
        and freezes parts.
        """
        from trainers.pretrained.weights import freeze, load_pretrained, read_weights

        if self.options.pretrained is not None:
            path = Path(self.options.pretrained)
            own = any(name.startswith("head.") for name in read_weights(path))
            part = "" if own else "features."
            load_pretrained(module, path, prefix=part, into=part, sha256=self.options.sha256)
        freeze(module, self.options.freeze)

    def outputs(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Logits [B, classes]; of one sigmoid z [0, z], whose softmax is that sigmoid."""
        import torch

        found: torch.Tensor = module(batch["inputs"])
        return torch.cat([torch.zeros_like(found), found], dim=1) if self.options.sigmoid else found

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """On the device, as `trainers.data.augment` does it."""
        return augment_images(batch, params, generator)

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Images of the column `image`: arrays, nested lists, paths, encoded bytes or PIL images."""
        return images_from_user(rows, state)


def _feature_layers(narrow: int, batch_norm: bool, activation: str, pooling: str) -> torch.nn.Sequential:
    """torchvision's `features`, numbered as there."""
    from torch import nn

    from trainers.modules.layers import ACTIVATIONS

    layers: list[nn.Module] = []
    before = 3
    for group in GROUPS:
        for filters in group:
            after = filters // narrow
            layers.append(nn.Conv2d(before, after, 3, padding=1))
            layers += [nn.BatchNorm2d(after)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True) if activation == "relu" else ACTIVATIONS[activation]())
            before = after
        layers.append(nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2))
    for layer in layers:
        if isinstance(layer, nn.Conv2d):  # from scratch thirteen layers learn nothing with torch's own
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # there is one
    return nn.Sequential(*layers)
