"""Small families, data and hooks for the loop's tests; importable from spawned processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import nn

from trainers.data.dataset import Dataset, EncodedDataset
from trainers.family import Family
from trainers.job import Job
from trainers.options import Options
from trainers.types import ArrayWriter, Batch, Goal, Length, Params, State, TrainStep

FEATURES, CLASSES = 6, 3


def data(rows: int = 100, seed: int = 0, *, validation: int = 30) -> EncodedDataset:
    """Three classes by a noisy linear rule; `rows` of them to train on."""
    draw = np.random.default_rng(seed)
    total = rows + validation + 20
    inputs = draw.normal(size=(total, FEATURES)).astype(np.float32)
    scores = inputs @ draw.normal(size=(FEATURES, CLASSES)) + 0.1 * draw.normal(size=(total, CLASSES))
    parts = np.split(np.arange(total), [rows, rows + validation])
    return EncodedDataset(
        arrays={"inputs": inputs, "target": scores.argmax(1).astype(np.int64)},
        state={"task": "classification", "classes": ["a", "b", "c"]},
        splits=dict(zip(("train", "validation", "test"), parts, strict=True)),
        fingerprint="f" * 32,
    )


class MLP(Family):
    """Two layers."""

    uses: ClassVar[tuple[str, ...]] = ("dropout",)

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        return {}

    def build(self, state: State, params: Params) -> nn.Module:
        dropout = nn.Dropout(params["dropout"])
        return nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), dropout, nn.Linear(16, CLASSES))

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Any]:
        return {}


class Noisy(MLP):
    """Adds noise to its inputs while training, from the generator that it is given."""

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        noise = torch.randn(batch["inputs"].shape, generator=generator)
        return {**batch, "inputs": batch["inputs"] + 0.1 * noise}


class Normed(MLP):
    """With batch norm, whose running means are state too."""

    def build(self, state: State, params: Params) -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))


class Frozen(MLP):
    """Its first layer stays as it is."""

    def build(self, state: State, params: Params) -> nn.Module:
        module = super().build(state, params)
        module.get_parameter("0.weight").requires_grad_(False)
        return module


class Pair(nn.Module):
    """A classifier, and a critic of it that learns by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(FEATURES, CLASSES)
        self.critic = nn.Linear(CLASSES, 1)


class TwoPlayers(MLP):
    """Trains two modules with an optimizer each, in a step of its own."""

    def build(self, state: State, params: Params) -> nn.Module:
        return Pair()

    def players(self, module: nn.Module) -> Mapping[str, nn.Module]:
        return {"classifier": module.get_submodule("classifier"), "critic": module.get_submodule("critic")}

    def outputs(self, module: nn.Module, batch: Batch) -> Any:
        return module.get_submodule("classifier")(batch["inputs"])

    def train_step(self, module: nn.Module, batch: Batch, step: TrainStep) -> dict[str, float]:
        logits = self.outputs(module, batch)
        losses = nn.functional.cross_entropy(logits, batch["target"], reduction="none")
        miss = module.get_submodule("critic")(logits.detach()).squeeze(1) - losses.detach()
        for name, part in (("classifier", losses.mean()), ("critic", (miss**2).mean())):
            step.optimizers[name].zero_grad()
            step.backward(part)
            step.optimizers[name].step()
        return {"loss": float(losses.detach().mean()), "miss": float((miss.detach() ** 2).mean())}


class BadOptions(Options):
    """When and where a bad number comes."""

    at: int = 3
    rank: int = -1
    where: str = "loss"
    kind: float = float("nan")


class Bad(MLP):
    """Gives a bad loss or gradient at one forward pass, on one rank or on all."""

    Options: ClassVar[type[Options]] = BadOptions
    rank: ClassVar[int] = 0
    steps: int = 0

    def loss(self, outputs: Any, batch: Batch, params: Params, state: State) -> torch.Tensor:
        loss = super().loss(outputs, batch, params, state)
        if not outputs.requires_grad:
            return loss
        self.steps += 1
        options: Any = self.options
        if self.steps != options.at or options.rank not in (-1, self.rank):
            return loss
        if options.where == "gradient":
            loss.register_hook(lambda gradient: gradient * options.kind)
            return loss
        return (
            loss.detach() * options.kind + loss * 0.0 if options.where == "constant" else loss * options.kind
        )


@dataclass
class Recorder:
    """Hooks that keep what they are told, and stop or prune on cue."""

    reports: list[dict[str, float]] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    prune_at: int | None = None
    stop_at_tick: int | None = None
    saved: list[tuple[dict[str, torch.Tensor], dict[str, Any]]] = field(default_factory=list)
    start: tuple[dict[str, torch.Tensor], dict[str, Any]] | None = None
    ticks: list[int] = field(default_factory=list)

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.epochs.append(epoch)
        self.reports.append(dict(metrics))
        return epoch != self.prune_at

    def alive(self, step: int) -> None:
        self.ticks.append(step)

    def stopping(self) -> bool:
        return self.stop_at_tick is not None and len(self.ticks) >= self.stop_at_tick

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]) -> None:
        copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self.saved.append((copies, json.loads(json.dumps(document, allow_nan=False))))

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        return self.start

    def losses(self) -> list[float]:
        """Training and validation losses of all reports."""
        return [report[name] for report in self.reports for name in ("train/loss", "val/loss")]


def job(family: Family | None = None, *, seed: int = 1, epochs: int = 3, **settings: Any) -> Job:
    """A short job; hyper-parameters by name among the settings."""
    family = family or MLP()
    fields = {name: settings.pop(name) for name in list(settings) if name in Job.__dataclass_fields__}
    fields.setdefault("length", Length(epochs=epochs))
    fields.setdefault("goals", (Goal(metric="val/accuracy", maximize=True),))
    return Job(family=family, params=family.complete(settings), seed=seed, threads=1, **fields)
