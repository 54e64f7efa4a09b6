"""How the rows of a table and images stand before captum: what varies, and from where.

Shape legend: B examples, F numbers, K categories a row, H height, W width, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trainers.data.prepare import TableState
from trainers.errors import InputError
from trainers.explaining.attributions import Method, ScoredInputs
from trainers.explaining.scores import ExplainedScores
from trainers.explaining.words import replaced_outputs
from trainers.inputs.clips import CLIP
from trainers.types import Batch

if TYPE_CHECKING:
    import torch

    from trainers.bundle.predictor import FamilyRunner

PATCHES = 14  # along an image's shorter side, where it is occluded patch by patch


class Reading(Protocol):
    """How one kind of rows is explained.

    Attributes:
        baseline: what every row is compared with, in words.
    """

    baseline: str

    def inputs(self, batch: Batch, answer: torch.Tensor, method: Method) -> ScoredInputs:
        """The batch as captum takes it."""


def table_columns(table: TableState) -> list[str]:
    """The columns that a model of a table reads, numbers first."""
    return [entry["name"] for entry in (*table["numbers"], *table["categories"])]


class TableReading:
    """Numbers from their training mean, categories from one that training never saw."""

    def __init__(self, runner: FamilyRunner, scores: ExplainedScores) -> None:
        """Finds the categories' vectors."""
        from torch import nn

        self._runner, self._scores = runner, scores
        self._table: TableState = runner.state["table"]
        self._vectors = [m for m in runner.module.modules() if isinstance(m, nn.Embedding)]
        if [m.num_embeddings for m in self._vectors] != self._table["cardinalities"]:
            raise InputError(
                "a model of a table must have one embedding for each column of categories",
                f"{len(self._vectors)} embeddings for {len(self._table['cardinalities'])} columns",
                "explain one of Velodrome's own families",
            )
        standard = self._table["prepare"]["scale"] == "standard"
        middle = "training mean" if standard else "value that stands for a missing one"
        self.baseline = f"each number at its {middle}, each category one that training never saw"

    def inputs(self, batch: Batch, answer: torch.Tensor, method: Method) -> ScoredInputs:
        """As `Reading`: numbers and vectors of categories vary."""
        import torch

        numbers, ids = batch["numbers"], batch["categories"]
        own, count = self._number_features(), len(table_columns(self._table))
        values = [numbers, *(rows(ids[:, k]) for k, rows in enumerate(self._vectors))]
        starts = [numbers.new_tensor(self._starts())[None], *(rows.weight[:1] for rows in self._vectors)]
        features = [torch.tensor([own], dtype=torch.int64)]
        first = len(self._table["numbers"])
        features += [torch.tensor([[first + k]]) for k in range(len(self._vectors))]
        kept = slice(None) if numbers.shape[1] else slice(1, None)

        def score(*parts: torch.Tensor) -> torch.Tensor:
            """The answers' scores, where these parts stand for what is read."""
            *varied, x_BF, ids_BK, answers = parts
            if numbers.shape[1]:
                x_BF, *varied = varied
            with replaced_outputs(self._vectors, varied):
                outputs = self._runner.family.outputs(
                    self._runner.module, {"numbers": x_BF, "categories": ids_BK}
                )
            return self._scores.pick(outputs, answers)

        return ScoredInputs(
            values=tuple(value.detach() for value in values[kept]),
            baselines=tuple(start.detach() for start in starts[kept]),
            given=(numbers, ids, answer),
            features=tuple(feature.to(numbers.device) for feature in features[kept]),
            count=count, score=score,
        )  # fmt: skip

    def _starts(self) -> list[float]:
        """Of each number; a category that is told by zeros and ones is told by zeros alone."""
        standard = self._table["prepare"]["scale"] == "standard"
        found = [
            0.0 if standard or entry["fill"] is None else (entry["fill"] - entry["shift"]) * entry["factor"]
            for entry in self._table["numbers"]
        ]
        return found + [0.0] * (self._table["inputs"] - len(found))

    def _number_features(self) -> list[int]:
        """Which column each of the F numbers is of."""
        first = len(self._table["numbers"])
        onehot = [] if self._table["cardinalities"] else self._table["categories"]
        return [*range(first), *(first + k for k, entry in enumerate(onehot) for _ in entry["values"])]


class ImageReading:
    """Pixels from the mean colour of training, of a clip's spectrogram from its mean loudness."""

    def __init__(self, runner: FamilyRunner, scores: ExplainedScores) -> None:
        self._runner, self._scores = runner, scores
        what = "moment and pitch at the mean loudness" if CLIP in runner.state else "pixel at the mean colour"
        self.baseline = f"every {what} of training"
        self.height, self.width, _ = (int(side) for side in runner.state["shape"])

    def inputs(self, batch: Batch, answer: torch.Tensor, method: Method) -> ScoredInputs:
        """As `Reading`: a pixel is a feature, a patch where they are occluded."""
        pixels = batch["inputs"].float()
        mean = pixels.new_tensor(self._runner.state["mean"]) * 255.0
        where = self.patches(method)
        features = batch["inputs"].new_tensor(where, dtype=_int64())[None, :, :, None]

        def score(x_BHWC: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
            outputs = self._runner.family.outputs(self._runner.module, {"inputs": x_BHWC})
            return self._scores.pick(outputs, answers)

        return ScoredInputs(
            values=(pixels,), baselines=(mean.expand_as(pixels[:1]),), given=(answer,),
            features=(features.expand_as(pixels[:1]),), count=int(where.max()) + 1, score=score,
        )  # fmt: skip

    def patches(self, method: Method) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The number of the feature that each pixel belongs to, [H, W]."""
        side = -(-min(self.height, self.width) // PATCHES) if method == "occlusion" else 1
        rows, columns = np.arange(self.height) // side, np.arange(self.width) // side
        return rows[:, None] * (int(columns[-1]) + 1) + columns[None]


def _int64() -> torch.dtype:
    import torch

    return torch.int64
