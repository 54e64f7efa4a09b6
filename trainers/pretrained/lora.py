"""Low-rank adapters beside frozen weights, by the library peft.

E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021 (arXiv 2106.09685):
h = W x + (alpha / rank) B A x, A drawn, B zero at first, W frozen.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from trainers.errors import InputError

if TYPE_CHECKING:
    import torch


class LoraOptions(BaseModel):
    """Which adapters.

    Attributes:
        rank: of A and B.
        alpha: the adapters' weight is alpha / rank; by default 2 x rank.
        dropout: on the adapters' input.
        targets: ends of names of the layers that get one; by default what peft knows for the kind of model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=8, ge=1)
    alpha: float | None = Field(default=None, gt=0.0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: tuple[str, ...] = ()


def add_lora(module: torch.nn.Module, lora: LoraOptions, *, also: tuple[str, ...]) -> None:
    """Puts adapters into a model in place; everything else is frozen but what `also` matches (a new head).

    Raises:
        InputError: no layer matches.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha or 2.0 * lora.rank,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or None,
    )
    try:
        inject_adapter_in_model(config, module)
    except ValueError as error:
        first = str(error).strip().splitlines()[0][:200]
        raise InputError(
            "options.lora.targets must name layers of the model", first, key=("options", "lora")
        ) from error
    for name, parameter in module.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in also):
            parameter.requires_grad_(True)
