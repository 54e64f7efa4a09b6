"""Masked words, as pre-training within a trial and as a task of their own. Imports torch.

J. Devlin et al., "BERT", NAACL 2019 (arXiv 1810.04805), section 3.1: of each text 15 % of the tokens are to
be found again; of these 80 % are replaced by `[MASK]`, 10 % by a random token, 10 % stay.

Shape legend: B texts, L tokens, D width, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from trainers.types import Batch

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


# -- the task of its own -------------------------------------------------------------------------------------


class HiddenWords(nn.Module):
    """Hides other tokens in each training batch than in the last, as many of each text as its target has."""

    others: Tensor
    special: Tensor

    def __init__(self, *, mask: int, special: Sequence[int], tokens: int) -> None:
        """Args:
        mask: the id of `[MASK]`.
        special: ids that are never hidden and never put in.
        tokens: entries of the vocabulary.
        """
        super().__init__()
        self.mask = mask
        own = torch.tensor(list(special), dtype=torch.int64)
        everything = torch.arange(tokens)
        self.register_buffer("special", own, persistent=False)
        self.register_buffer("others", everything[~torch.isin(everything, own)], persistent=False)

    def hide(self, ids_BL: Tensor, mask_BL: Tensor, wanted_BL: Tensor) -> tuple[Tensor, Tensor]:
        """The texts with tokens hidden by torch's generator, and the tokens to be found (-100 elsewhere)."""
        allowed = mask_BL & ~torch.isin(ids_BL, self.special)
        order = torch.rand(ids_BL.shape, device=ids_BL.device).masked_fill(~allowed, 2.0)
        counts_B1 = (wanted_BL != IGNORED).sum(dim=1, keepdim=True)
        chosen = (order.argsort(dim=1).argsort(dim=1) < counts_B1) & allowed
        how = torch.rand(ids_BL.shape, device=ids_BL.device)
        drawn = self.others[torch.randint(len(self.others), ids_BL.shape, device=ids_BL.device)]
        hidden = torch.where(chosen & (how < 0.8), self.mask, ids_BL)
        hidden = torch.where(chosen & (how >= 0.9), drawn, hidden)
        return hidden, ids_BL.masked_fill(~chosen, IGNORED)


def hidden_outputs(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """`logits` [M, V] of the batch's hidden tokens and `target` [M], what they were.

    Args:
        module: a model of transformers for masked words that has a part `hidden_words`.
        batch: `inputs`, `hidden` and `target` int64 [B, L], `mask` bool [B, L].
    """
    longest = max(int(batch["mask"].sum(dim=1).max()), 1)
    ids, hidden, wanted = (batch[name][:, :longest] for name in ("inputs", "hidden", "target"))
    mask = batch["mask"][:, :longest]
    if module.training:
        own = cast("HiddenWords", module.hidden_words)
        hidden, wanted = own.hide(ids, mask, wanted)
    found = wanted != IGNORED
    return {"logits": token_logits(module, hidden, mask, found), "target": wanted[found]}


def token_logits(module: nn.Module, ids_BL: Tensor, mask_BL: Tensor, found_BL: Tensor) -> Tensor:
    """The logits [M, V] of the tokens that `found_BL` names; a head of its own sees no others."""
    model = cast("PreTrainedModel", module)
    head = getattr(model, "cls", None)
    if head is None:
        logits: Tensor = model(input_ids=ids_BL, attention_mask=mask_BL.long()).logits
        return logits[found_BL]
    encoded = model.base_model(input_ids=ids_BL, attention_mask=mask_BL.long()).last_hidden_state
    made: Tensor = head(encoded[found_BL])
    return made


def fill_masks(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """`tokens` [B, L]: the batch's, with the likeliest token where one is masked."""
    ids, own = batch["inputs"].clone(), cast("HiddenWords", module.hidden_words)
    found = ids == own.mask
    if found.any():
        logits = token_logits(module, ids, batch["mask"], found).index_fill(1, own.special, -torch.inf)
        ids[found] = logits.argmax(dim=-1)
    return {"tokens": ids}
