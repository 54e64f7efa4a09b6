"""Learning from a teacher's answers beside the targets (G. Hinton et al., arXiv:1503.02531).

Shape legend: B examples of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from trainers.types import Params

TEACHER = "teacher"  # the array of a batch that has the teacher's answers


def blend_classes(
    loss: torch.Tensor, logits: torch.Tensor, batch: Mapping[str, torch.Tensor], params: Params
) -> torch.Tensor:
    """(1 - w) · loss + w · T² · KL(teacher at T ‖ model at T), a mean over the batch.

    T² keeps the gradients' size the same at any temperature.

    Args:
        logits: [B, C].
        batch: `teacher` holds the teacher's log-probabilities or logits, [B, C].
        params: `teacher_temperature` T and `teacher_weight` w.
    """
    from torch.nn.functional import kl_div, log_softmax

    temperature, weight = float(params["teacher_temperature"]), float(params["teacher_weight"])
    own = log_softmax(logits.float() / temperature, -1)
    wanted = log_softmax(batch[TEACHER].float() / temperature, -1)
    apart = kl_div(own, wanted, reduction="batchmean", log_target=True)
    return (1.0 - weight) * loss + weight * temperature**2 * apart


def blend_numbers(
    loss: torch.Tensor, guess: torch.Tensor, batch: Mapping[str, torch.Tensor], params: Params
) -> torch.Tensor:
    """(1 - w) · loss + w · the mean squared distance from the teacher's, in the target's scale."""
    from torch.nn.functional import mse_loss

    weight = float(params["teacher_weight"])
    wanted = batch[TEACHER].reshape(guess.shape).to(guess.dtype)
    return (1.0 - weight) * loss + weight * mse_loss(guess, wanted)
