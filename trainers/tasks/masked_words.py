"""Masked words: cross-entropy of the tokens that were hidden, and how many of them are found.

Shape legend: B texts of a batch, L tokens of a text, M hidden tokens of the batch, V of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainers.errors import NotFinite
from trainers.metric_names import PER_TASK
from trainers.tasks.language import frequency_losses, token_loss, token_terms
from trainers.tasks.outputs import TokenDecoder, output_tensor
from trainers.tasks.summed_metrics import SummedMetrics

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import Array, Outputs, Params, State

_LARGEST_LOSS = 700.0  # of which a perplexity is a number


class MaskedWordPrediction:
    """The rules of one state with a tokenizer; outputs are `logits` [M, V] of the hidden tokens alone and
    `target` [M], what they were: training hides others than `batch["target"]` does, but as many."""

    metrics = PER_TASK["masked-words"]

    def __init__(self, state: State) -> None:
        self._decoder = TokenDecoder(state)

    def loss(self, outputs: Outputs, batch: Mapping[str, torch.Tensor], params: Params) -> torch.Tensor:
        """Mean cross-entropy over the hidden tokens."""
        smoothing = float(params.get("label_smoothing") or 0.0)
        return token_loss(outputs, output_tensor(outputs, "target"), smoothing)

    def count_terms(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The tokens that the loss is a mean over."""
        return token_terms(batch["target"])

    def metric_set(self, device: torch.device | str, *, scores: bool = True) -> MaskedWordMetrics:
        """An empty set."""
        return MaskedWordMetrics(device)

    def to_user(self, outputs: Outputs) -> pd.DataFrame:
        """A column `text`: the outputs' `tokens` [B, L], whose masks were filled in."""
        import pandas as pd

        tokens = output_tensor(outputs, "tokens").tolist()
        return pd.DataFrame({"text": [self._decoder.decode(row).strip() for row in tokens]})

    def trivial(self, train: Array, validation: Array) -> dict[str, float]:
        """Every token as likely as it was in `train` (each counted once more), whatever stands around it."""
        known, losses = frequency_losses(train, validation)
        if not len(known):
            return {}
        return _figures(float(losses[known].sum()), int((known == losses.argmin()).sum()), len(known))


class MaskedWordMetrics(SummedMetrics):
    """Summed cross-entropy, tokens and hits, on the device."""

    def __init__(self, device: torch.device | str) -> None:
        import torch

        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._counts = torch.zeros(2, dtype=torch.int64, device=device)  # hits, tokens

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds `logits` [M, V] and `target` [M] of the outputs."""
        import torch

        logits = output_tensor(outputs, "logits").detach().float()
        target = output_tensor(outputs, "target")
        self._loss += torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        self._counts[0] += (logits.argmax(-1) == target).sum()
        self._counts[1] += len(target)

    def compute(self) -> dict[str, float]:
        """As `MetricSet.compute`; nothing where no token was hidden."""
        hits, tokens = self._counts.tolist()
        return _figures(float(self._loss), hits, tokens) if tokens else {}

    def sums(self) -> list[torch.Tensor]:
        """As `MetricSet.sums`."""
        return [self._loss, self._counts]


def _figures(total: float, hits: int, tokens: int) -> dict[str, float]:
    loss = total / tokens
    if not loss <= _LARGEST_LOSS:  # NaN is not, either
        raise NotFinite("outputs must be finite numbers", f"a cross-entropy of {loss} nats a token")
    return {"loss": loss, "perplexity": math.exp(loss), "accuracy": hits / tokens}
