"""The smaller model: pruned and tuned where that is asked for, written as a bundle, measured as loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config.recorded_code import open_recorded_data
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger.rows import SweepRow, TrialRow
from trainers.compression.methods import CompressionMethod
from trainers.job import Job, SilentHooks
from trainers.registry import load_reference
from trainers.types import Goal, Length, Ranks

if TYPE_CHECKING:
    import torch

    from trainers.data.dataset import EncodedDataset
    from trainers.family import Family
    from trainers.types import JsonObject, Tensors

JUDGED_ROWS = 256


@dataclass(slots=True, kw_only=True)
class TuningReports(SilentHooks):
    """The loop's hooks: every report is kept and said; nothing is saved."""

    goal: str
    say: Callable[[str], None]
    reports: dict[int, dict[str, float]] = field(default_factory=dict)

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """As `trainers.job.Hooks`."""
        self.reports[epoch] = dict(metrics)
        self.say(f"epoch {epoch}: {self.goal} {metrics.get(self.goal)}")
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallerModel:
    """What was made.

    Attributes:
        reports: metrics by epoch of the fine-tuning; without one, those of the model at epoch 1.
        epoch: the kept one.
        metrics: of the model as it is loaded, on validation; of training too where it was tuned.
        facts: size, latency and the like.
    """

    reports: dict[int, dict[str, float]]
    epoch: int
    metrics: dict[str, float]
    facts: dict[str, float]


class ModelSource:
    """A trial's kept model, its family and its data."""

    def __init__(self, row: SweepRow, trial: TrialRow, bundle: Path, home: Home) -> None:
        """Opens the data."""
        from trainers.bundle.teaching import encode_for_training

        spec = row.spec.family(trial.family)
        found = load_reference(spec.reference)
        if not isinstance(found, type):
            raise WrongInput(
                "a compressed model must be of a family", f"{trial.family}, a plain function",
                "make it a Family class: then Velodrome knows how to measure it",
            )  # fmt: skip
        self.row, self.trial, self.bundle = row, trial, bundle
        self.family: Family = found(spec.options).of_trial(trial.params)
        self.params = self.family.complete(trial.params)
        dataset = open_recorded_data(row, home)
        self.arrays: EncodedDataset = encode_for_training(self.family, dataset, self.params, home.cache)

    def make_smaller(
        self, folder: Path, how: CompressionMethod, epochs: int, about: JsonObject, say: Callable[[str], None]
    ) -> SmallerModel:
        """Writes the bundle of the smaller model and measures it.

        Args:
            epochs: of fine-tuning after pruning.
            about: sweep, trial and the like, for the bundle's document.
        """
        from trainers.bundle.bundle import load_bundle, read_bundle
        from trainers.bundle.compressed import save_compressed
        from trainers.bundle.latency import measure_latency
        from trainers.compression.packing import prune_weights

        weights: Tensors = read_bundle(self.bundle).weights
        if epochs and self.family.options.privacy is not None:
            raise WrongInput(
                "a privately trained model must be made smaller without its data", f"{epochs} epochs",
                "leave --epochs out: tuning would tell more of the rows than its epsilon says",
            )  # fmt: skip
        hooks = TuningReports(goal=self.row.spec.objectives[0].metric, say=say)
        epoch, trained = 1, dict[str, float]()
        if how.method == "prune":
            weights = prune_weights(weights, how.share)
            if epochs:
                weights, trained, epoch = self._tune(weights, epochs, hooks)
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_compressed(folder, self.bundle, how, weights, {**about, "epoch": epoch, "metrics": trained})
        predictor = load_bundle(folder)
        facts = dict(measure_latency(predictor, predictor.example))
        metrics = {**trained, **self._evaluate(predictor.module)}
        return SmallerModel(reports=hooks.reports or {1: metrics}, epoch=epoch, metrics=metrics, facts=facts)

    def _tune(
        self, weights: Tensors, epochs: int, hooks: TuningReports
    ) -> tuple[Tensors, dict[str, float], int]:
        """Weights, metrics and epoch of the best report."""
        from trainers.compression.tuning import start_pruned
        from trainers.loop.training import train

        goals = self.row.spec.objectives
        ended = train(
            Job(
                family=start_pruned(self.family, weights), params=self.params, seed=self.trial.seed,
                length=Length(epochs=epochs), at=goals[0].at, device=_device(), threads=1,
                goals=tuple(Goal(metric=g.metric, maximize=g.direction == "maximize") for g in goals),
            ),
            self.arrays,
            hooks,
        )  # fmt: skip
        return ended.weights, dict(ended.metrics), ended.epoch

    def _evaluate(self, module: torch.nn.Module) -> dict[str, float]:
        from trainers.data.batches import Batches
        from trainers.loop.evaluation import evaluate

        source = Batches(self.arrays, "validation", "cpu")
        found = evaluate(
            self.family, module, source, self.arrays.state, batch_size=JUDGED_ROWS, ranks=Ranks(),
            alive=lambda: None,
        )  # fmt: skip
        return {f"val/{name}": value for name, value in found.items()}


def _device() -> str:
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"
