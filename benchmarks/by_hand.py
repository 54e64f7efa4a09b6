"""Each family's model and data for `loop_overhead`, and its training loop as somebody writes it by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.data.dataset import EncodedDataset
from trainers.data.sources.opening import open_dataset
from trainers.family import Family
from trainers.inputs.encoded_arrays import encode_dataset
from trainers.registry import load_reference
from trainers.types import Json, Params

BATCH = 32
ROWS = 640  # 20 steps an epoch
JUDGED = 8
Batch = Mapping[str, Tensor]
Loss = Callable[[nn.Module, Batch], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkCase:
    """A family on data that every installation has, and the loss that one writes for its model.

    Attributes:
        loss: of the module and a batch, through the module's own `forward`; None for a GAN.
        name: what a table calls it, where a family has several.
        trainer: whether transformers' Trainer trains the model too.
    """

    family: str
    data: Mapping[str, Json]
    loss: Loss | None
    options: Mapping[str, Json] = field(default_factory=dict)
    params: Params = field(default_factory=dict)
    trainer: bool = False
    name: str = ""


def _table_loss(module: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(module(batch["numbers"], batch["categories"]), batch["target"])


def _regression_loss(module: nn.Module, batch: Batch) -> Tensor:
    guess = module(batch["numbers"], batch["categories"])
    return functional.mse_loss(guess.squeeze(1), batch["target"])


def class_loss(module: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(module(batch["inputs"]), batch["target"])


def _reconstruction_loss(module: nn.Module, batch: Batch) -> Tensor:
    return functional.mse_loss(module(batch["inputs"]), batch["inputs"].float() / 255.0)


def _next_token_loss(module: Any, batch: Batch) -> Tensor:
    """Of a stretch of 64 tokens from a place drawn for each row."""
    context, inputs, target = module.context, batch["inputs"], batch["target"]
    beyond = ((target != -100).sum(1) - context).clamp(min=0)
    first = (torch.rand(len(inputs)) * (beyond + 1)).long()
    places = first[:, None] + torch.arange(context)
    logits = module(inputs.gather(1, places))
    return functional.cross_entropy(logits.flatten(0, 1), target.gather(1, places).flatten())


def t5_inputs(batch: Batch) -> dict[str, Tensor]:
    """A batch as transformers takes it, cut at its longest text."""
    held = batch["source"] != 0
    longest = int(held.sum(1).max())
    mask = held[:, :longest].long()
    return {"input_ids": batch["source"][:, :longest], "attention_mask": mask, "labels": batch["target"]}


def bert_inputs(batch: Batch) -> dict[str, Tensor]:
    """A batch as transformers takes it, cut at its longest text."""
    longest = int(batch["mask"].sum(1).max())
    mask = batch["mask"][:, :longest].long()
    return {"input_ids": batch["inputs"][:, :longest], "attention_mask": mask, "labels": batch["target"]}


def _t5_loss(module: nn.Module, batch: Batch) -> Tensor:
    loss: Tensor = module(**t5_inputs(batch), use_cache=False).loss
    return loss


def _bert_loss(module: nn.Module, batch: Batch) -> Tensor:
    loss: Tensor = module(**bert_inputs(batch)).loss
    return loss


DIGITS, _CANCER = {"source": "builtin:digits"}, {"source": "builtin:cancer"}
DOCSTRINGS = {"source": "builtin:docstrings"}
_SMALL = {"width": 64, "heads": 4, "layers": 2, "feed_forward": 128}

CASES = (
    BenchmarkCase(family="linear_regression", data={"source": "builtin:diabetes"}, loss=_regression_loss),
    BenchmarkCase(family="logistic_regression", data=_CANCER, loss=_table_loss),
    BenchmarkCase(family="mlp", data=_CANCER, loss=_table_loss),
    BenchmarkCase(
        family="image_cnn", data=DIGITS, loss=class_loss, params={"channels": [16, 32], "dense": [64]}
    ),
    BenchmarkCase(
        family="text_cnn", data=DOCSTRINGS, loss=class_loss, params={"embedding": 64, "filters": 32}
    ),
    BenchmarkCase(family="rnn", data=DIGITS, loss=class_loss, params={"hidden": 64}),
    BenchmarkCase(
        family="transformer",
        data={**DOCSTRINGS, "task": "language-model"},
        loss=_next_token_loss,
        params={**_SMALL, "gradient_clip": None},
    ),
    BenchmarkCase(
        family="autoencoder",
        data=DIGITS,
        loss=_reconstruction_loss,
        params={"channels": [16, 32], "noise": 0.0},
    ),
    BenchmarkCase(
        family="vgg16",
        data={"source": "builtin:photos"},
        loss=class_loss,
        options={"preset": "narrow", "size": (32, 32)},
    ),
    BenchmarkCase(
        family="t5",
        data={**DOCSTRINGS, "task": "seq2seq"},
        loss=_t5_loss,
        trainer=True,
        options={"max_tokens": 32},
        params={**_SMALL, "vocabulary": 1000, "gradient_clip": None},
    ),
    BenchmarkCase(
        family="bert",
        data=DOCSTRINGS,
        loss=_bert_loss,
        trainer=True,
        options={"max_tokens": 32},
        params={**_SMALL, "vocabulary": 1000},
    ),
    BenchmarkCase(family="gan", data={**DIGITS, "task": "generation"}, loss=None),
)


@dataclass(frozen=True, slots=True)
class PreparedCase:
    """A case with its family, hyper-parameters and encoded data: `ROWS` rows at most to train on."""

    case: BenchmarkCase
    family: Family
    params: Params
    data: EncodedDataset

    def module(self) -> nn.Module:
        """Fresh, the same each time."""
        torch.manual_seed(0)
        return self.family.build(self.data.state, self.params).train()

    def tensors(self) -> dict[str, Tensor]:
        """The training rows, in memory."""
        rows = torch.from_numpy(np.array(self.data.splits["train"]))
        return {name: torch.from_numpy(np.array(v))[rows] for name, v in self.data.arrays.items()}


def prepare_case(case: BenchmarkCase, folder: Path) -> PreparedCase:
    """Opens and encodes the data."""
    family: Family = load_reference(case.family)(case.options)
    params = family.complete({**case.params, "batch_size": BATCH, "optimizer": "adam"})
    dataset = open_dataset(dict(case.data), base=folder, cache=folder)
    found = encode_dataset(family, dataset, params, folder)
    splits = {name: rows[: ROWS if name == "train" else JUDGED] for name, rows in found.splits.items()}
    state = json.loads(json.dumps(found.state))
    data = EncodedDataset(arrays=found.arrays, state=state, splits=splits, fingerprint=found.fingerprint)
    return PreparedCase(case, family, params, data)


def time_by_hand(given: PreparedCase, epochs: int, *, fused: bool | None) -> list[float]:
    """Seconds of an epoch's steps, the mean of some: the usual loop around Adam, over tensors in memory."""
    if given.case.loss is None:
        return _time_adversaries(given, epochs, fused=fused)
    module, tensors = given.module(), given.tensors()
    optimizer = torch.optim.Adam(module.parameters(), lr=given.params["learning_rate"], fused=fused)
    seconds = []
    for _ in range(epochs):
        started, total = time.perf_counter(), 0.0
        for batch in _batches(tensors):
            optimizer.zero_grad()
            loss = given.case.loss(module, batch)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            total += loss.item() * BATCH
        seconds.append(time.perf_counter() - started)
    return [sum(seconds) / epochs]


def _batches(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    order = torch.randperm(len(next(iter(tensors.values()))))
    for rows in order.split(BATCH):
        yield {name: values[rows] for name, values in tensors.items()}


def _time_adversaries(given: PreparedCase, epochs: int, *, fused: bool | None) -> list[float]:
    module: Any = given.module()
    tensors, rate = given.tensors(), given.params["learning_rate"]
    generator, judge = module.generator, module.discriminator
    betas = (given.params["beta1"], given.params["beta2"])
    makes = torch.optim.Adam(generator.parameters(), lr=rate, betas=betas, fused=fused)
    judges = torch.optim.Adam(judge.parameters(), lr=rate, betas=betas, fused=fused)
    criterion, seconds = nn.BCEWithLogitsLoss(), []
    for _ in range(epochs):
        started, total = time.perf_counter(), 0.0
        for batch in _batches(tensors):
            real = batch["inputs"].permute(0, 3, 1, 2).float() / 127.5 - 1.0
            fake = generator(torch.randn(len(real), module.latent))
            ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
            judges.zero_grad()
            judging = criterion(judge(real), ones) + criterion(judge(fake.detach()), zeros)
            judging.backward()
            judges.step()
            makes.zero_grad()
            fooling = criterion(judge(fake), ones)
            fooling.backward()
            makes.step()
            total += judging.item() + fooling.item()
        seconds.append(time.perf_counter() - started)
    return [sum(seconds) / epochs]
