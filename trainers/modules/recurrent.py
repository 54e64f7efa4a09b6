"""Recurrent layers over sequences of different lengths. Imports torch: import it where a module is built.

Shape legend: B examples, L places of the longest sequence, D numbers a place, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from trainers.inputs.vocabulary import PAD
from trainers.modules.layers import ACTIVATIONS, Pixels, WordEmbedding

CELLS: Mapping[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class WordSequence(nn.Module):
    """Word ids, integers [B, L] with `PAD` at the end → vectors [B, L', D] and lengths [B].

    L' is the longest text of the batch: what no text reaches is cut off.
    """

    def __init__(self, words: int, dims: int) -> None:
        super().__init__()
        self.words = WordEmbedding(words, dims)

    def forward(self, ids_BL: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        found_B = (ids_BL != PAD).sum(dim=1).clamp(min=1)
        return self.words(ids_BL[:, : int(found_B.max())]), found_B


class RowSequence(nn.Module):
    """Bytes of images [B, H, W, C] → their rows, top to bottom, [B, H, W C]; all of one length."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.pixels = Pixels(mean, std)

    def forward(self, x_BHWC: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.pixels(x_BHWC).permute(0, 2, 3, 1).flatten(2), None


class WindowSequence(nn.Module):
    """Windows of a series [B, L, D] and their lengths [B], as they are."""

    def forward(self, x_BLD: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return x_BLD, lengths_B


class SequenceConvolution(nn.Module):
    """One convolution over places and its activation: [B, L, D] → [B, L, filters].

    A sequence's ends are filled up with zeros, as its padding is, so padding changes nothing.
    """

    def __init__(self, dims: int, filters: int, kernel: int, activation: str) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(dims, filters, kernel, padding="same")
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x_BLD: Tensor) -> Tensor:
        made: Tensor = self.activation(self.convolution(x_BLD.transpose(1, 2))).transpose(1, 2)
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentShape:
    """What recurrent layers are made of, named as the hyper-parameters are."""

    cell: str
    hidden: int
    layers: int
    direction: str
    state: str
    pooling: str
    activation: str
    dropout: float


class Recurrence(nn.Module):
    """Recurrent layers, and what is kept of them: the last state, or all states pooled over places.

    Takes [B, L, D] and the length of each sequence [B], or None where all have L; gives [B, `outputs`], which
    is H, or 2 H with both directions. The backward direction's last state is the one at the first place. What
    stands behind a sequence's end plays no part.
    """

    def __init__(self, dims: int, shape: RecurrentShape) -> None:
        super().__init__()
        between = shape.dropout if shape.layers > 1 else 0.0
        more: dict[str, str] = {"nonlinearity": shape.activation} if shape.cell == "rnn" else {}
        both = shape.direction == "both"
        self.cells = CELLS[shape.cell](
            dims, shape.hidden, shape.layers, batch_first=True, dropout=between, bidirectional=both, **more
        )
        self.both, self.pooled, self.pooling = both, shape.state == "pooled", shape.pooling
        self.outputs = shape.hidden * (2 if both else 1)

    def forward(self, x_BLD: Tensor, lengths_B: Tensor | None) -> Tensor:
        states_BLH = self._states(x_BLD, lengths_B)
        if lengths_B is None:
            lengths_B = torch.full((len(x_BLD),), x_BLD.shape[1], device=x_BLD.device)
        return self._pool(states_BLH, lengths_B) if self.pooled else self._last_states(states_BLH, lengths_B)

    def _states(self, x_BLD: Tensor, lengths_B: Tensor | None) -> Tensor:
        if lengths_B is None or not self.both:  # forwards, a place knows nothing of what stands behind it
            states: Tensor = self.cells(x_BLD)[0]
            return states
        packed = pack_padded_sequence(x_BLD, lengths_B.cpu(), batch_first=True, enforce_sorted=False)
        filled: Tensor = pad_packed_sequence(
            self.cells(packed)[0], batch_first=True, total_length=x_BLD.shape[1]
        )[0]
        return filled

    def _last_states(self, states_BLH: Tensor, lengths_B: Tensor) -> Tensor:
        rows = torch.arange(len(states_BLH), device=states_BLH.device)
        last_BH = states_BLH[rows, lengths_B - 1]
        if not self.both:
            return last_BH
        half = self.outputs // 2
        return torch.cat([last_BH[:, :half], states_BLH[:, 0, half:]], dim=1)

    def _pool(self, states_BLH: Tensor, lengths_B: Tensor) -> Tensor:
        places = torch.arange(states_BLH.shape[1], device=states_BLH.device)
        beyond_BL1 = (places[None] >= lengths_B[:, None])[:, :, None]
        if self.pooling == "max":
            return states_BLH.masked_fill(beyond_BL1, torch.finfo(states_BLH.dtype).min).amax(dim=1)
        total_BH = states_BLH.masked_fill(beyond_BL1, 0.0).sum(dim=1)
        return total_BH / lengths_B[:, None].to(total_BH.dtype)


class SequenceModel(nn.Module):
    """A front that makes sequences, a convolution where there is one, recurrent layers, dropout, a head."""

    def __init__(
        self,
        front: nn.Module,
        convolution: nn.Module | None,
        recurrence: Recurrence,
        dropout: float,
        outputs: int,
    ) -> None:
        super().__init__()
        self.front, self.convolution, self.recurrence = front, convolution, recurrence
        self.dropout = dropout
        self.head = nn.Linear(recurrence.outputs, outputs)

    def forward(self, inputs: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        x_BLD, lengths_B = self.front(inputs, lengths_B)
        if self.convolution is not None:
            x_BLD = self.convolution(x_BLD)
        kept_BH = self.recurrence(x_BLD, lengths_B)
        answer: Tensor = self.head(functional.dropout(kept_BH, self.dropout, self.training))
        return answer
