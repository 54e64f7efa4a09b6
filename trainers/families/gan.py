"""Generative adversarial networks for small images.

I. Goodfellow et al., "Generative Adversarial Networks", NIPS 2014 (arXiv 1406.2661), with the structure of
A. Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", ICLR 2016 (arXiv 1511.06434).

Shapes (B images, Z numbers of noise, C channels, H x W pixels), with two blocks:

    generator: noise [B, Z] → linear, norm, ReLU [B, 64, H/4, W/4]
    → 4x4 transposed convolution of stride 2, norm, ReLU [B, 32, H/2, W/2]
    → the same, tanh [B, C, H, W] → [B, H, W, C] in [0, 1]
    discriminator: [B, C, H, W] → 4x4 convolution of stride 2, leaky ReLU [B, 32, H/2, W/2]
    → the same with norm [B, 64, H/4, W/4] → flat → linear [B, 1]

Each step: the discriminator learns to tell real from made, -log D(x) - log(1 - D(G(z))); then the generator
learns to be taken for real, -log D(G(z)) (section 3 of the first paper). Sweeps go by `distance`, see
`trainers.tasks.generation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.family import Family, first_missing
from trainers.hyperparameters import TRAINING, Hyperparameter, whole, widths
from trainers.inputs.images import ImageOptions, augment_images, write_images
from trainers.types import Array, ArrayWriter, Batch, Params, State, TrainStep

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.modules.gan import Adversaries
    from trainers.types import ExampleSource, Sample

SHOWN = 25


class GAN(Family):
    """Images made of noise."""

    name = "gan"
    summary = "a generator and a discriminator of small images (Radford 2016)"
    kinds = ("image",)
    tasks = ("generation",)
    Options = ImageOptions
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "learning_rate": replace(TRAINING["learning_rate"], default=2e-4),
        "beta1": replace(TRAINING["beta1"], default=0.5),
        "label_smoothing": replace(TRAINING["label_smoothing"], doc="of the real images alone"),
        "latent": whole(64, "numbers of noise an image"),
        "channels": widths(
            [64, 32], "of the generator's blocks, one block each; the discriminator has them in turn"
        ),
    }
    samples_at = "report"

    options: ImageOptions

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`inputs`: bytes, uint8 [N, H, W, C]; labels, if there are any, play no part."""
        return {"task": "generation", **write_images(dataset, self.options, writer)}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """`generator`, `discriminator` and `latent` in one module."""
        from trainers.modules.gan import Adversaries

        height, width, channels = state["shape"]
        halvings = len(params["channels"])
        if height % 2**halvings or width % 2**halvings:
            raise InputError(
                f"an image's sides must be multiples of {2**halvings} for {halvings} blocks",
                f"{height} x {width}",
                "use fewer channels (one block each), or options.size",
                key=("channels",),
            )
        return Adversaries((height, width, channels), params["channels"], params["latent"])

    def players(self, module: torch.nn.Module) -> Mapping[str, torch.nn.Module]:
        """Both."""
        pair = cast("Adversaries", module)
        return {"generator": pair.generator, "discriminator": pair.discriminator}

    def train_step(self, module: torch.nn.Module, batch: Batch, step: TrainStep) -> dict[str, float] | None:
        """One step of each."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

        real = batch["inputs"].permute(0, 3, 1, 2).float() / 127.5 - 1.0
        pair = cast("Adversaries", module)
        noise = torch.randn(len(real), pair.latent, generator=step.generator, device=real.device)
        made = pair.generator(noise)

        found_real, found_made = pair.discriminator(real), pair.discriminator(made.detach())
        sure = torch.full_like(found_real, 1.0 - step.params["label_smoothing"])
        judging = cross_entropy(found_real, sure) + cross_entropy(found_made, torch.zeros_like(found_made))
        step.optimizers["discriminator"].zero_grad(set_to_none=True)
        step.backward(judging)
        step.optimizers["discriminator"].step()

        taken = pair.discriminator(made)
        fooling = cross_entropy(taken, torch.ones_like(taken))
        step.optimizers["generator"].zero_grad(set_to_none=True)
        step.backward(fooling)
        step.optimizers["generator"].step()
        return {"discriminator_loss": float(judging.detach()), "generator_loss": float(fooling.detach())}

    def outputs(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Made images [B, H, W, C] in [0, 1], as many as the batch has; the same for the same batch."""
        import torch

        latent = cast("Adversaries", module).latent
        if "seed" in batch:
            noise = torch.stack([_draw_noise(int(seed), latent) for seed in batch["seed"].tolist()])
        else:
            generator = torch.Generator().manual_seed(int(batch["inputs"].long().sum()) & 0x7FFFFFFF)
            noise = torch.randn(len(batch["inputs"]), latent, generator=generator)
        made: torch.Tensor = module(noise.to(next(iter(batch.values())).device))
        return made

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """As `trainers.data.augment` does it, for the real images."""
        return augment_images(batch, params, generator)

    def samples(
        self, module: torch.nn.Module, source: ExampleSource, state: State, params: Params
    ) -> Mapping[str, Sample]:
        """A grid of made images, of the same noise each time."""
        import torch

        from trainers.samples.pictures import grid

        device = next(module.parameters()).device
        noise = torch.stack([_draw_noise(seed, cast("Adversaries", module).latent) for seed in range(SHOWN)])
        pixels = (module(noise.to(device)) * 255.0).round().clamp(0, 255).byte().cpu().numpy()
        return {"made": grid(pixels, 5)}

    def example(self, dataset: Dataset, rows: int = 2) -> pd.DataFrame:
        """Seeds: what an image is made of is drawn from its own."""
        import pandas as pd

        return pd.DataFrame({"seed": list(range(rows))})

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """The column `seed`: a whole number for each image that is wanted."""
        if first_missing(rows, ["seed"]):
            raise InputError("rows must have a column seed", f"columns {list(rows.columns)}")
        try:
            seeds = rows["seed"].to_numpy(np.float64)
        except (TypeError, ValueError) as error:
            raise InputError("a seed must be a whole number", str(error)[:200]) from error
        wrong = seeds[(seeds != np.floor(seeds)) | (np.abs(seeds) > 2**53)]
        if len(wrong) or np.isnan(seeds).any():
            raise InputError("a seed must be a whole number", f"{wrong[:3].tolist() or 'a missing one'}")
        return {"seed": seeds.astype(np.int64)}


def _draw_noise(seed: int, latent: int) -> torch.Tensor:
    import torch

    generator = torch.Generator().manual_seed(seed & 0x7FFFFFFFFFFFFFFF)
    return torch.randn(latent, generator=generator)
