"""Autoencoders: an encoder to a short code and a decoder that gives the input back, with noise to take away.

G. E. Hinton and R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313,
2006; with noise on the input, which only the clean one is compared with: P. Vincent et al., "Extracting and
Composing Robust Features with Denoising Autoencoders", ICML 2008.

Shapes (B images, C channels, H x W pixels, Z numbers of the code), with two blocks of convolution:

    bytes [B, H, W, C] → (x / 255 - mean) / std → 3x3 convolution, f, pooling by two [B, 32, H/2, W/2]
    → the same again [B, 64, H/4, W/4] → flat → dense, f → code [B, Z]
    → dense, f → [B, 64, H/4, W/4] → doubled, 3x3 convolution, f [B, 32, H/2, W/2]
    → doubled, 3x3 convolution, sigmoid [B, C, H, W] → [B, H, W, C] in [0, 1]

The encoder's convolutions are named as `image_cnn` names its own (`blocks`), which can start from them. With
`structure: dense`, and for rows of a table, both halves are dense layers:

    [B, F] → dense, f, … → code [B, Z] → …, f, dense → [B, F]

A table's numbers are compared as they were scaled, an image's bytes as shares of white; loss = mean square.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainers.data.dataset import Dataset, Kind
from trainers.family import Family
from trainers.hyperparameters import OPTIONAL, Hyperparameter, flag, real, whole, widths, word
from trainers.inputs.images import OF_IMAGES, ImageOptions, augment_images, images_from_user, write_images
from trainers.samples.pictures import grid
from trainers.tasks.outputs import output_tensor
from trainers.types import Array, ArrayWriter, Batch, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import ExampleSource, Sample

SHOWN = 10
WHITE = 255.0
_OF_CONVOLUTIONS = ("channels", "kernel", "padding", "pooling", "batch_norm")


class AutoencoderOptions(ImageOptions):
    """Fixed structure of an autoencoder.

    Attributes:
        structure: of images: `convolution`, or `dense` layers over all pixels.
    """

    structure: Literal["convolution", "dense"] = "convolution"


class Autoencoder(Family):
    """Reconstruction of images or of a table's rows through a short code."""

    name = "autoencoder"
    summary = "an encoder to a short code and a decoder back, with noise to take away"
    kinds = ("image", "table")
    tasks = ("reconstruction",)
    stackable = True
    Options = AutoencoderOptions
    uses = ("pooling", "dropout", "activation")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "code": whole(32, "numbers of the code"),
        "noise": real(
            0.0,
            "deviation of what is added to the input in training, 1 being white less black, or a"
            " column's own deviation",
            low=0.0,
            high=1.0,
        ),
        "dense": widths([128], "widths of hidden layers before the code, and after it in turn"),
        "channels": widths([32, 64], "of each block, one block each"),
        "kernel": whole(3, "side of the convolutions"),
        "padding": word("same", ("same", "valid"), "of the encoder's convolutions"),
        "batch_norm": flag(False, "after each convolution of the encoder"),
        "dropout": replace(OPTIONAL["dropout"], doc="share of units left out of hidden layers in training"),
    }
    reads_only: ClassVar[Mapping[str, tuple[Kind, ...]]] = {
        **dict.fromkeys((*_OF_CONVOLUTIONS, "structure"), ("image",)),
        **OF_IMAGES,
    }

    options: AutoencoderOptions

    def list_hyperparameters(self) -> dict[str, Hyperparameter]:
        """Without the names of convolutions where there are none."""
        unread = _OF_CONVOLUTIONS if self.options.structure == "dense" else ()
        return {name: entry for name, entry in super().list_hyperparameters().items() if name not in unread}

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`inputs`: bytes, uint8 [N, H, W, C], or scaled numbers, float32 [N, F]; they are the target too."""
        if dataset.kind == "image":
            pixels = write_images(dataset, self.options, writer)
            return {"task": "reconstruction", "unit": WHITE, **pixels}
        return {"task": "reconstruction", **_write_numbers(dataset, writer)}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes `inputs` and gives as much back, float32."""
        from trainers.modules import autoencoder
        from trainers.modules.layers import ConvShape, channels_last

        middle = {name: params[name] for name in ("code", "dense", "activation", "dropout")}
        if "shape" not in state:
            return autoencoder.TableAutoencoder(state["inputs"], **middle)
        blocks = None
        if self.options.structure == "convolution":
            own = ("kernel", "padding", "activation", "pooling", "batch_norm")
            shape = ConvShape(**{name: params[name] for name in own})
            blocks = autoencoder.ConvBlocks(channels=tuple(params["channels"]), shape=shape)
        pictures = autoencoder.ImageAutoencoder(state["shape"], state["mean"], state["std"], blocks, **middle)
        return channels_last(pictures)

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Changes of images, then noise; what was there before the noise is the target."""
        inputs = batch["inputs"]
        if inputs.ndim == 4:
            batch = augment_images(batch, params, generator)
        if not params["noise"]:
            return batch
        return {**_add_noise(batch, params["noise"], generator), "target": batch["inputs"]}

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Images of the column `image`, or rows of the table."""
        if "shape" in state:
            return images_from_user(rows, state)
        from trainers.data.tables import apply_table

        return {"inputs": apply_table(state["table"], rows)[0]}

    def samples(
        self, module: torch.nn.Module, source: ExampleSource, state: State, params: Params
    ) -> Mapping[str, Sample]:
        """Images of the validation split above what is made of them; noise between, where there is any."""
        import torch

        if "shape" not in state:
            return {}
        batch = source.gather(torch.arange(min(SHOWN, len(source))))
        given = batch
        if params["noise"]:
            generator = torch.Generator(batch["inputs"].device).manual_seed(0)
            given = _add_noise(batch, params["noise"], generator)
        made = (
            (output_tensor(self.outputs(module, given), "inputs").float() * WHITE)
            .round()
            .clamp(0, WHITE)
            .to(torch.uint8)
        )
        rows = [batch["inputs"], *([given["inputs"]] if given is not batch else []), made]
        return {"reconstructions": grid(torch.cat(rows).cpu().numpy(), columns=len(made))}


def _add_noise(batch: Batch, deviation: float, generator: torch.Generator) -> Batch:
    import torch

    inputs = batch["inputs"]
    if inputs.ndim == 4:
        return augment_images(batch, {"augment": {"noise": deviation}}, generator)
    noise = torch.randn(inputs.shape, generator=generator, device=inputs.device)
    return {**batch, "inputs": inputs + deviation * noise}


def _write_numbers(dataset: Dataset, writer: ArrayWriter) -> State:
    """Scaled numbers, and a column of zeros and ones for each category's value."""
    from trainers.data.prepare import fit_table
    from trainers.data.tables import PIECE_ROWS, apply_table

    table = fit_table(dataset, {**dataset.prepare, "categories": "onehot"})
    inputs = writer.create("inputs", (dataset.rows, table["inputs"]), np.float32)
    for at in range(0, dataset.rows, PIECE_ROWS):
        piece = slice(at, min(at + PIECE_ROWS, dataset.rows))
        inputs[piece] = apply_table(table, dataset.columns, piece)[0]
    numbers = table["numbers"]
    ones = [f"{entry['name']}={value}" for entry in table["categories"] for value in entry["values"]]
    return {
        "table": table,
        "inputs": table["inputs"],
        "features": [entry["name"] for entry in numbers] + ones,
        "shift": [entry["shift"] for entry in numbers] + [0.0] * len(ones),
        "factor": [entry["factor"] for entry in numbers] + [1.0] * len(ones),
    }
