"""Vectors of users and of items, from interactions alone.

P. Covington, J. Adams and E. Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016: what a
user has next is a class among all items. X. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large
Corpus Item Recommendations", RecSys 2019: one tower a side.

Shapes (B interactions, I items, D numbers of a vector):

    user [B] → vector, dropout, dense layers if asked for [B, D]
    all items → vectors, dense layers if asked for [I, D]
    score of user u and item i: s_ui = <user, item> + b_i → [B, I]
    loss = mean of -log(exp(s_ui) / Σ_j exp(s_uj)), over all items j of training

The sum over all items is the exact one that sampled negatives estimate; a batch costs B x I numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.family import Family
from trainers.hyperparameters import TRAINING, Hyperparameter, whole, widths
from trainers.inputs.interactions import users_from_user, write_interactions
from trainers.options import Options
from trainers.types import Array, ArrayWriter, Batch, Outputs, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.modules.two_tower import Towers
    from trainers.tasks import MetricSink


class TwoTowerOptions(Options):
    """Fixed structure of two towers.

    Attributes:
        answers: items that `predict` and the server give for a user, best first; metrics judge by ten.
    """

    answers: int = Field(default=10, ge=10, le=1000)


class TwoTower(Family):
    """Recommendation of items that a user has not had."""

    name = "two_tower"
    summary = "vectors of users and items whose product ranks the items"
    kinds = ("interactions",)
    tasks = ("recommendation",)
    unstackable = "its metrics leave out what each user has had, which a stack does not"
    Options = TwoTowerOptions
    uses = ("activation", "dropout")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "learning_rate": replace(TRAINING["learning_rate"], default=1e-2),
        "batch_size": replace(TRAINING["batch_size"], default=256),
        "width": whole(32, "numbers of a vector"),
        "hidden": widths([], "widths of each tower's layers above its vectors"),
    }

    options: TwoTowerOptions

    def check(self, dataset: Dataset) -> None:
        """As `Family.check`; what one pass over rows cannot say is refused.

        Raises:
            InputError: what does not fit.
        """
        super().check(dataset)
        if self.options.teacher is not None or self.options.privacy is not None:
            name = "teacher" if self.options.teacher is not None else "privacy"
            raise InputError(
                f"{name} must stand beside a family that it is made for", "two_tower", "leave it out",
                key=("options", name),
            )  # fmt: skip

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`user` int64 [N] and `target` int64 [N, 2]: see `write_interactions`."""
        return {**write_interactions(dataset, writer), "answers": self.options.answers}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes users and gives [B, I]."""
        from trainers.modules.two_tower import Towers

        return Towers(
            state["seen"],
            state["liked"],
            width=params["width"],
            hidden=params["hidden"],
            activation=params["activation"],
            dropout=params["dropout"],
        )

    def outputs(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Scores of all items [B, I]."""
        found: torch.Tensor = module(batch["user"])
        return found

    def judge(self, module: torch.nn.Module, batch: Batch, metrics: MetricSink) -> None:
        """By the scores of what the user has not had in training."""
        metrics.update(self._scores_of_unseen(module, batch), batch)

    def answers(self, module: torch.nn.Module, batch: Batch, state: State) -> Outputs:
        """The same scores: [B, I], -inf at what the user has had."""
        return self._scores_of_unseen(module, batch)

    def _scores_of_unseen(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        scores = self.outputs(module, batch)
        return cast("Towers", module).without_seen(scores, batch["user"])

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """The column `user`; new users are allowed, and get what is most liked."""
        return users_from_user(rows, state)
