"""Classification: cross-entropy, counts of hits and misses, a label and a probability for each class.

Shape legend: B examples of a batch, N examples of a part, C classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trainers.errors import InputError, NotFinite
from trainers.metric_names import GAP, PER_TASK, group_metric
from trainers.tasks.distillation import TEACHER, blend_classes
from trainers.tasks.group_sums import GroupSums, groups_of
from trainers.tasks.outputs import output_tensor
from trainers.tasks.scores import metrics_by_class, metrics_from_counts

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import Array, Outputs, Params, State

MOST_CLASSES_IN_PICTURE = 256  # a matrix of more cells is neither looked at nor cheap to keep
MOST_CLASSES_BY_NAME = 20  # three more metrics each, every epoch
MOST_CLASSES_FOR_AUC = 100  # beyond it the scores of all examples outgrow the model


class Classification:
    """The rules of one state with `classes` and, where errors cost unequally, `class_weights`.

    With `per_class` in the state, and at most 20 classes, metrics also come by class (`recall_<class>`):
    of those `named`.
    """

    metrics = PER_TASK["classification"]

    def __init__(self, state: State) -> None:
        self.classes = tuple(str(name) for name in state["classes"])
        named = bool(state.get("per_class")) and len(self.classes) <= MOST_CLASSES_BY_NAME
        self.named = self.classes if named else ()
        self.groups = groups_of(state)
        self.class_weights: Sequence[float] | None = state.get("class_weights")
        if self.class_weights is not None and len(self.class_weights) != len(self.classes):
            raise InputError(
                f"class_weights must have one number for each of {len(self.classes)} classes",
                str(len(self.class_weights)),
            )

    def loss(self, outputs: Outputs, batch: Mapping[str, torch.Tensor], params: Params) -> torch.Tensor:
        """Cross-entropy of logits [B, C], with `params["label_smoothing"]` and the state's weights;
        beside a teacher also the distance from what it answers.

        A weighted loss is divided by the number of examples, not by the sum of their weights as torch does:
        so a batch has the same gradient however it is cut into micro-batches and ranks.
        """
        import torch

        logits = output_tensor(outputs, "logits")
        smoothing = float(params.get("label_smoothing") or 0.0)
        target = batch["target"]
        if self.class_weights is None:
            loss = torch.nn.functional.cross_entropy(logits, target, label_smoothing=smoothing)
        else:
            weights = torch.tensor(self.class_weights, dtype=logits.dtype, device=logits.device)
            total = torch.nn.functional.cross_entropy(
                logits, target, weight=weights, label_smoothing=smoothing, reduction="sum"
            )
            loss = total / len(target)
        return blend_classes(loss, logits, batch, params) if TEACHER in batch else loss

    def losses_of_members(
        self, outputs: Outputs, batch: Mapping[str, torch.Tensor], smoothing: float
    ) -> torch.Tensor:
        """`loss` of each of several models, [F], from logits [F, B, C] and their targets [F, B], or [B] for
        all: under vmap torch takes cross-entropy apart in Python, at each step."""
        import torch

        logits = output_tensor(outputs, "logits")
        target = batch["target"].expand(logits.shape[:2]).reshape(-1)
        weights = None
        if self.class_weights is not None:
            weights = torch.tensor(self.class_weights, dtype=logits.dtype, device=logits.device)
        each = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), target, weight=weights, label_smoothing=smoothing, reduction="none"
        )
        return each.view(logits.shape[:2]).mean(1)

    def metric_set(self, device: torch.device | str, *, scores: bool = True) -> ClassificationMetrics:
        """An empty set; `scores=False` leaves `auc` out."""
        return ClassificationMetrics(
            len(self.classes), device, scores=scores, named=self.named, groups=self.groups
        )

    def to_user(self, outputs: Outputs) -> pd.DataFrame:
        """Columns `label` and `p_<class>`."""
        import pandas as pd

        chances = output_tensor(outputs, "logits").detach().float().softmax(-1).cpu().numpy()
        labels = np.array(self.classes, dtype=object)[chances.argmax(-1)]
        columns = {f"p_{name}": chances[:, i] for i, name in enumerate(self.classes)}
        return pd.DataFrame({"label": labels, **columns})

    def trivial(self, train: Array, validation: Array) -> dict[str, float]:
        """Always the majority class of `train`; the loss is that of its class frequencies (plus one)."""
        size = len(self.classes)
        actual = np.bincount(validation[validation >= 0], minlength=size)
        seen = np.bincount(train[train >= 0], minlength=size)
        predicted = np.zeros(size, dtype=np.int64)
        predicted[seen.argmax()] = actual.sum()
        values = metrics_from_counts(np.minimum(actual, predicted), actual, predicted)
        if not values:
            return {}
        if (actual > 0).sum() > 1 and size <= MOST_CLASSES_FOR_AUC:
            values["auc"] = 0.5
        frequency = (seen + 1) / (seen + 1).sum()
        values["loss"] = float(-(np.log(frequency) * actual).sum() / actual.sum())
        return values


class ClassificationMetrics:
    """Counts and summed cross-entropy on the device; every example's probabilities only for `auc`.

    `loss` is the plain mean cross-entropy: neither smoothed nor weighted, so that trials which differ in
    these are compared on the same ground.
    """

    def __init__(
        self,
        classes: int,
        device: torch.device | str,
        *,
        scores: bool = True,
        named: Sequence[str] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Empty.

        Args:
            classes: how many there are.
            scores: whether probabilities are kept for `auc`.
            named: the classes' names, where metrics are wanted for each of them.
            groups: of each sensitive column.
        """
        import torch

        self._size, self._named = classes, named
        self._picture = classes <= MOST_CLASSES_IN_PICTURE
        cells = classes * classes if self._picture else 3 * classes
        self._cells = torch.zeros(cells, dtype=torch.int64, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._by_group = GroupSums(groups or {}, 1, device)
        self._keep = scores and classes <= MOST_CLASSES_FOR_AUC
        self._chances: list[torch.Tensor] = []
        self._targets: list[torch.Tensor] = []

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds logits [B, C] and `batch["target"]` [B]; nothing waits for the device."""
        import torch

        logits = output_tensor(outputs, "logits").detach().float()
        target = batch["target"]
        self._loss += torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        guess = logits.argmax(-1)
        self._count(guess, target)
        self._by_group.add((guess == target).double().unsqueeze(0), batch)
        if self._keep:
            self._chances.append(logits.softmax(-1))
            self._targets.append(target)

    def _count(self, guess: torch.Tensor, target: torch.Tensor) -> None:
        # index_add_, for bincount makes the device wait until the largest index is known.
        ones = target.new_ones(len(target))
        if self._picture:
            self._cells.index_add_(0, target * self._size + guess, ones)
            return
        self._cells.index_add_(0, target, (guess == target).long())
        self._cells.index_add_(0, target + self._size, ones)
        self._cells.index_add_(0, guess + 2 * self._size, ones)

    def compute(self) -> dict[str, float]:
        """As `MetricSet.compute`; without `auc` where fewer than two classes were seen."""
        cells = self._cells.cpu().numpy()
        if self._picture:
            matrix = cells.reshape(self._size, self._size)
            hits, actual, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        else:
            hits, actual, predicted = cells.reshape(3, self._size)
        values = metrics_from_counts(hits, actual, predicted)
        if not values:
            return {}
        if self._named:
            values |= metrics_by_class(self._named, hits, actual, predicted)
        values |= accuracies_by_group(self._by_group)
        area = self._auc(actual)
        if area is not None:
            values["auc"] = area
        loss = float(self._loss) / int(actual.sum())
        values["loss"] = require_finite_loss(loss)
        return values

    def _auc(self, actual: npt.NDArray[np.int64]) -> float | None:
        import torch

        if not self._keep or (actual > 0).sum() < 2 or not self._chances:
            return None
        chances, target = torch.cat(self._chances), torch.cat(self._targets)
        if self._size == 2:
            return float(roc_areas(chances[:, 1:], (target == 1).unsqueeze(1)))
        present = torch.from_numpy(np.flatnonzero(actual)).to(target.device)
        return float(roc_areas(chances[:, present], target.unsqueeze(1) == present).mean())

    def sums(self) -> list[torch.Tensor]:
        """As `MetricSet.sums`."""
        return [self._cells, self._loss, *self._by_group.sums()]

    def rows(self) -> list[torch.Tensor]:
        """As `MetricSet.rows`: probabilities [N, C] and targets [N]; none without `auc`."""
        import torch

        if not self._keep:
            return []
        if not self._chances:
            at = self._cells.device
            empty = torch.zeros(0, self._size, device=at)
            return [empty, torch.zeros(0, dtype=torch.int64, device=at)]
        return [torch.cat(self._chances), torch.cat(self._targets)]

    def set_rows(self, rows: Sequence[torch.Tensor]) -> None:
        """As `MetricSet.set_rows`."""
        if self._keep:
            self._chances, self._targets = [rows[0]], [rows[1]]

    def confusion(self) -> Array | None:
        """Counts [true class, predicted class]; None beyond 256 classes."""
        if not self._picture:
            return None
        matrix: Array = self._cells.cpu().numpy().reshape(self._size, self._size)
        return matrix


def require_finite_loss(loss: float) -> float:
    """The mean cross-entropy, which a model whose outputs are not numbers does not have."""
    if not np.isfinite(loss):
        raise NotFinite("outputs must be finite numbers", f"a cross-entropy of {loss}")
    return loss


def accuracies_by_group(by_group: GroupSums) -> dict[str, float]:
    """Each group's accuracy, and the largest difference within a column; empty without groups."""
    values: dict[str, float] = {}
    columns: defaultdict[str, list[float]] = defaultdict(list)
    for one in by_group.means():
        values[group_metric("accuracy", one.column, one.group)] = one.means[0]
        columns[one.column].append(one.means[0])
    if columns:
        values[GAP] = max(max(found) - min(found) for found in columns.values())
    return values


def roc_areas(scores: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """Area under the ROC curve of each column, from ranks, ties sharing theirs.

    The Mann-Whitney form: Hanley and McNeil, "The meaning and use of the area under a receiver operating
    characteristic (ROC) curve", Radiology 143 (1982).

    Args:
        scores: [N, K] finite numbers.
        positive: [N, K] bool, with at least one of each kind in every column.

    Returns:
        [K] float64.
    """
    import torch

    columns = scores.T.contiguous()
    ordered = columns.sort(dim=1).values
    below = torch.searchsorted(ordered, columns)
    up_to = torch.searchsorted(ordered, columns, right=True)
    ranks = (below + up_to + 1).double() / 2
    hit = positive.T
    positives = hit.sum(1).double()
    negatives = hit.shape[1] - positives
    rank_sum = (ranks * hit).sum(1)
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
