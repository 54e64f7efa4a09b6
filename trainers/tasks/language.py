"""Language models: cross-entropy of the next token, perplexity, and bits for each character of the text.

Shape legend: B texts of a batch, T tokens of a text, V tokens of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trainers.errors import NotFinite
from trainers.metric_names import PER_TASK
from trainers.tasks.outputs import IGNORED, TokenDecoder, output_tensor
from trainers.tasks.summed_metrics import SummedMetrics

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import Array, Outputs, Params, State


def token_loss(outputs: Outputs, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy over the tokens of a batch that count.

    Args:
        outputs: logits [B, T, V], or a mapping that holds them.
        target: token ids [B, T], -100 where nothing is to be learned.
        smoothing: as in `torch.nn.functional.cross_entropy`.

    Returns:
        A scalar; 0 with a gradient of 0 where no token counts.
    """
    import torch

    logits = output_tensor(outputs, "logits")
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2),
        target.flatten(),
        ignore_index=IGNORED,
        label_smoothing=smoothing,
        reduction="sum",
    )
    return total / token_terms(target).clamp(min=1)


def token_terms(target: torch.Tensor) -> torch.Tensor:
    """How many tokens of [B, T] count, int64 []."""
    return (target != IGNORED).sum()


class LanguageModel:
    """The rules of one state with a vocabulary; `token_characters` says how long each token's text is."""

    metrics = PER_TASK["language-model"]

    def __init__(self, state: State) -> None:
        self._decoder = TokenDecoder(state)
        self._characters = _token_characters(state)

    def loss(self, outputs: Outputs, batch: Mapping[str, torch.Tensor], params: Params) -> torch.Tensor:
        """Mean cross-entropy of logits [B, T, V] over the tokens of `batch["target"]` that are not -100."""
        return token_loss(outputs, batch["target"], float(params.get("label_smoothing") or 0.0))

    def count_terms(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The tokens that the loss is a mean over."""
        return token_terms(batch["target"])

    def metric_set(self, device: torch.device | str, *, scores: bool = True) -> LanguageMetrics:
        """An empty set; without `bits_per_character` where the tokens' lengths are not known."""
        return LanguageMetrics(device, self._characters)

    def to_user(self, outputs: Outputs) -> pd.DataFrame:
        """A column `text` for generated ids (`tokens` of the outputs); else `next`, the likeliest next
        token after the last one, and its `probability`."""
        import pandas as pd

        if isinstance(outputs, Mapping) and "tokens" in outputs:
            return pd.DataFrame({"text": [self._decoder.decode(row) for row in outputs["tokens"].tolist()]})
        last = output_tensor(outputs, "logits").detach().float()[:, -1].softmax(-1)
        best = last.max(-1)
        tokens = [self._decoder.decode([i]) for i in best.indices.tolist()]
        return pd.DataFrame({"next": tokens, "probability": best.values.cpu().numpy()})

    def trivial(self, train: Array, validation: Array) -> dict[str, float]:
        """Every token as likely as it was in `train` (each counted once more), whatever came before."""
        known, losses = frequency_losses(train, validation)
        if not len(known):
            return {}
        characters = None
        if self._characters is not None:
            characters = int(np.asarray(self._characters)[known].sum())
        return _loss_metrics(float(losses[known].sum()), len(known), characters)


def frequency_losses(
    train: Array, validation: Array
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The tokens of `validation` that count, [n], and what each of a vocabulary costs, [V] in nats, where it
    is as likely as it was in `train`, each counted once more; ids below 0 are left out of both."""
    known, seen = (np.asarray(ids).reshape(-1).astype(np.int64) for ids in (validation, train))
    known, seen = known[known >= 0], seen[seen >= 0]
    size = int(max(known.max(initial=0), seen.max(initial=0))) + 1
    counts = np.bincount(seen, minlength=size) + 1.0
    return known, -np.log(counts / counts.sum())


def _token_characters(state: State) -> list[int] | None:
    if "token_characters" in state:
        return list(state["token_characters"])
    vocabulary = state.get("vocabulary")
    if vocabulary is not None and state.get("joiner", " ") == "":
        return [len(token) for token in vocabulary]
    return None


def _loss_metrics(total: float, tokens: int, characters: int | None) -> dict[str, float]:
    loss = total / tokens
    if not math.isfinite(loss):
        raise NotFinite("outputs must be finite numbers", f"a cross-entropy of {loss}")
    if loss > 700:
        raise NotFinite("perplexity must be a finite number", f"a cross-entropy of {loss:g} nats a token")
    values = {"loss": loss, "perplexity": math.exp(loss)}
    if characters:
        values["bits_per_character"] = total / math.log(2) / characters
    return values


class LanguageMetrics(SummedMetrics):
    """Summed cross-entropy, tokens and characters, on the device."""

    def __init__(self, device: torch.device | str, characters: Sequence[int] | None = None) -> None:
        import torch

        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._counts = torch.zeros(2, dtype=torch.int64, device=device)  # tokens, characters
        self._lengths = None
        if characters is not None:
            self._lengths = torch.tensor(characters, dtype=torch.int64, device=device)

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds logits [B, T, V] and `batch["target"]` [B, T], -100 where nothing counts."""
        import torch

        target = batch["target"].flatten()
        logits = output_tensor(outputs, "logits").detach().flatten(0, -2).float()
        self._loss += torch.nn.functional.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
        counted = target != IGNORED
        self._counts[0] += counted.sum()
        if self._lengths is not None:
            self._counts[1] += (self._lengths[target.clamp(min=0)] * counted).sum()

    def compute(self) -> dict[str, float]:
        """As `MetricSet.compute`."""
        tokens, characters = self._counts.tolist()
        return _loss_metrics(float(self._loss), tokens, characters) if tokens else {}

    def sums(self) -> list[torch.Tensor]:
        """As `MetricSet.sums`."""
        return [self._loss, self._counts]
