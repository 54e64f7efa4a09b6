"""Gradient-boosted decision trees on a table, by LightGBM: a few rounds are one epoch.

J. H. Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of Statistics 29, 2001;
G. Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NIPS 2017.

Shapes (B rows, F numbers, K categories, C classes):

    numbers [B, F] with NaN where missing, ids [B, K] as LightGBM's categories → sum of trees → [B, C]
    round t: trees fitted to the loss's gradients at the sum of those before, times the learning rate
    loss = squared error of the scaled target, or cross-entropy with the classes' weights

What is missing stays missing, whatever `prepare.missing` fills in elsewhere: a split sends it to the side
where it lowers the loss more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.families.table_family import TableFamily, TableOptions
from trainers.hyperparameters import TRAINING, Hyperparameter, real, whole
from trainers.types import ArrayWriter, Batch, Params, State, TrainStep

if TYPE_CHECKING:
    import torch

_SEEDS = 2**31 - 1


class GradientBoostingOptions(TableOptions):
    """Fixed structure of boosted trees.

    Attributes:
        rounds: of boosting in one epoch (or in one of the budget's `steps`); each adds one tree, or one a
            class beyond two.
    """

    rounds: int = Field(default=10, ge=1)


class GradientBoosting(TableFamily):
    """Boosted trees: classification or regression of a table's rows."""

    name = "gradient_boosting"
    summary = "gradient-boosted decision trees by LightGBM; an epoch is a few rounds"
    tasks = ("classification", "regression")
    unstackable = "its trees are not grown by gradient steps"
    Options = GradientBoostingOptions
    libraries = ("lightgbm",)
    one_process = True
    fixed: ClassVar[Params] = {
        **{name: entry.default for name, entry in TRAINING.items() if name != "learning_rate"},
        "batch_size": "all",
    }
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "learning_rate": replace(TRAINING["learning_rate"], default=0.1, doc="times each tree"),
        "num_leaves": whole(31, "of a tree, at most", low=2, high=131_072),
        "max_depth": whole(-1, "of a tree, at most; -1: any", low=-1),
        "min_child_samples": whole(20, "rows in a leaf, at least", low=0),
        "min_child_weight": real(1e-3, "sum of a leaf's second derivatives, at least", low=0.0),
        "min_split_gain": real(0.0, "of a split, at least", low=0.0),
        "feature_fraction": real(1.0, "share of the columns that a tree may use", above=0.0, high=1.0),
        "lambda_l1": real(0.0, "L1 on the leaves", low=0.0),
        "lambda_l2": real(0.0, "L2 on the leaves", low=0.0),
        "max_bin": whole(255, "bins a column of numbers", low=2, high=65_535),
    }

    options: GradientBoostingOptions

    def check(self, dataset: Dataset) -> None:
        """As every family of tables; trees begin with nothing, and none of them can be frozen.

        Raises:
            InputError: what does not fit, or LightGBM is not installed.
        """
        super().check(dataset)
        for name in ("pretrained", "sha256", "freeze"):
            if getattr(self.options, name):
                raise InputError(
                    f"{name} must stand beside weights", "boosted trees, which have none", "leave it out",
                    key=("options", name),
                )  # fmt: skip
        if find_spec("lightgbm") is None:
            do = "pip install 'velodrome[trees]'"
            raise InputError("gradient boosting needs LightGBM", "it is not installed", do)

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """As `TableFamily`, with NaN in `numbers` where a value is missing."""
        from trainers.data.prepare import fit_table
        from trainers.data.tables import write_table

        table = fit_table(dataset)
        for entry in table["numbers"]:
            entry["fill"] = None
        write_table(dataset, table, writer)
        return {"table": table, **self.encode_target(dataset, writer)}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module without a tree; it takes numbers and ids and gives [B, C], or [B, 1] in regression."""
        from trainers.modules.boosted_trees import BoostedTrees

        return BoostedTrees(len(state.get("classes", ())))

    def players(self, module: torch.nn.Module) -> Mapping[str, torch.nn.Module]:
        """None: no optimizer has a part in it."""
        return {}

    def train_step(self, module: torch.nn.Module, batch: Batch, step: TrainStep) -> dict[str, float]:
        """The rounds of one epoch, on all rows of training."""
        import torch

        from trainers.modules.boosted_trees import BoostedTrees

        assert isinstance(module, BoostedTrees)
        drawn = torch.randint(
            _SEEDS, (self.options.rounds,), generator=step.generator, device=step.generator.device
        )
        chosen = {name: step.params[name] for name in self.hyperparameters}
        weights = step.state.get("class_weights")
        weight = None if weights is None else torch.tensor(weights)[batch["target"].cpu()]
        loss = module.grow(
            batch["numbers"], batch["categories"], batch["target"], weight, chosen, drawn.tolist()
        )
        return {"loss": loss}
