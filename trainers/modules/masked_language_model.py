"""Pre-training by masked words. Imports torch.

J. Devlin et al., "BERT", NAACL 2019 (arXiv 1810.04805), section 3.1: of each text 15 % of the tokens are to
be found again; of these 80 % are replaced by `[MASK]`, 10 % by a random token, 10 % stay.

Shape legend: B texts, L tokens, D width, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARE = 0.15
IGNORED = -100


class MaskedWords(nn.Module):
    """The head that finds the words again, and how many batches it has seen.

    Attributes:
        seen: int64 [], in the state, so that a resumed attempt goes on with the right phase.
    """

    seen: Tensor

    def __init__(self, width: int, tokens: int, *, batches: int, mask: int, special: int) -> None:
        """Args:
        batches: of pre-training, before the task itself is learned.
        mask: the id of `[MASK]`.
        special: ids below are never masked and never put in.
        """
        super().__init__()
        self.batches, self.mask, self.special, self.tokens = batches, mask, special, tokens
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(tokens))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @property
    def active(self) -> bool:
        """Whether this batch is one of pre-training."""
        return self.training and int(self.seen) < self.batches

    def mask_tokens(self, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens with some masked, and those to be found (-100 elsewhere), by torch's generator."""
        self.seen += 1
        candidates = ids_BL >= self.special
        chosen = (torch.rand(ids_BL.shape, device=ids_BL.device) < SHARE) & candidates
        how = torch.rand(ids_BL.shape, device=ids_BL.device)
        random = torch.randint(self.special, self.tokens, ids_BL.shape, device=ids_BL.device)
        masked = torch.where(chosen & (how < 0.8), self.mask, ids_BL)
        masked = torch.where(chosen & (how >= 0.9), random, masked)
        return masked, ids_BL.masked_fill(~chosen, IGNORED)

    def loss(self, x_BLD: Tensor, table_VD: Tensor, wanted_BL: Tensor) -> Tensor:
        """Mean cross-entropy of the masked tokens; the logits come from the table that reads them."""
        found = wanted_BL != IGNORED
        h = self.norm(functional.gelu(self.dense(x_BLD[found])))
        logits = functional.linear(h, table_VD, self.bias)
        total = functional.cross_entropy(logits.float(), wanted_BL[found], reduction="sum")
        return total / found.sum().clamp(min=1)


def zero_gradient_term(module: nn.Module) -> Tensor:
    """Nothing, but a part of every gradient: so that ranks agree on what has one, whatever the phase."""
    return torch.stack([p.sum() * 0.0 for p in module.parameters() if p.requires_grad]).sum()


def pretraining_loss(
    module: nn.Module, ids_BL: Tensor, mask_BL: Tensor, more: Mapping[str, Tensor]
) -> Tensor:
    """The loss of one batch of pre-training by a model of transformers that has a part `masked_words`.

    Args:
        more: what else the model reads of each token, by its own names.
    """
    model = cast("PreTrainedModel", module)
    head: MaskedWords = model.masked_words
    hidden, wanted = head.mask_tokens(ids_BL)
    encoded = model.base_model(input_ids=hidden, attention_mask=mask_BL, **more).last_hidden_state
    return head.loss(encoded, model.get_input_embeddings().weight, wanted) + zero_gradient_term(module)
