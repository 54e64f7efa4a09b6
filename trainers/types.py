"""What families, the training loop and their surroundings hand to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]
Cell: TypeAlias = Any  # a value of people's own rows: text, number, date, path, bytes, image, list
Document: TypeAlias = dict[str, Any]  # JSON read back, of the layout that its writer gave it
State: TypeAlias = dict[str, Any]  # JSON; what is under a name is the family's own affair
Params: TypeAlias = Mapping[str, Any]  # JSON; of the types that `Family.known` names, checked before use
Batch: TypeAlias = "dict[str, torch.Tensor]"
Tensors: TypeAlias = "Mapping[str, torch.Tensor]"
Array: TypeAlias = "npt.NDArray[Any]"
Outputs: TypeAlias = "torch.Tensor | Tensors"


class ArrayWriter(Protocol):
    """Where `Family.encode` puts its arrays; they end as memory-mapped files that lanes share."""

    def put(self, name: str, values: Array) -> None:
        """A whole array, first dimension N."""

    def create(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """An array on disk to fill piece by piece, for data that does not fit in memory."""


class TrainStep(Protocol):
    """What a family's own `train_step` may use."""

    params: Params
    state: State
    generator: torch.Generator

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """One for each of `Family.players`, by its name."""

    def backward(self, loss: torch.Tensor) -> None:
        """Scaled and synchronised backward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One metric to be judged by (`val/accuracy`) and whether larger is better."""

    metric: str
    maximize: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long to train: `epochs`, or `steps` with a report every `report_every` of them.

    Attributes:
        patience: reports without an improvement of the first goal by more than `min_delta` before stopping.
        seconds: training stops after the report that finds this much time used; its value so far counts.
    """

    epochs: int | None = None
    steps: int | None = None
    report_every: int | None = None
    patience: int | None = None
    min_delta: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among those that train one attempt together; the process group spans exactly them.

    Attributes:
        sharded: each rank holds its part of weights, gradients and optimizer, instead of all of them.
    """

    rank: int = 0
    world_size: int = 1
    sharded: bool = False


class ExampleSource(Protocol):
    """The examples of one part, as `trainers.data.batches.Batches` has them; positions count from 0 in it."""

    def __len__(self) -> int:
        """How many examples the part has."""

    def order(
        self,
        epoch: int,
        seed: int,
        batch_size: int | Literal["all"],
        rank: int,
        world_size: int,
        *,
        start: int,
    ) -> Iterator[torch.Tensor]:
        """This rank's positions for each batch of an epoch from batch `start` on. A short last batch is
        dealt out evenly; a rank that gets none of it has one example, which must not count."""

    def gather(self, positions: torch.Tensor) -> Batch:
        """The batch of those examples, on the device."""


Pixels: TypeAlias = "npt.NDArray[np.uint8]"  # [H, W] or [H, W, 3]
Sample: TypeAlias = "str | Pixels"
