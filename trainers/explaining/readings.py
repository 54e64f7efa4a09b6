"""How the rows of a table, images and texts stand before captum: what varies, and from where.

Shape legend: B examples, F numbers, K categories a row, H height, W width, C channels, L tokens, D numbers a
token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trainers.data.prepare import TableState
from trainers.errors import InputError
from trainers.explaining.attributions import Method, ScoredInputs
from trainers.explaining.scores import AnswerScores
from trainers.inputs.tokenizers import cutting_tokenizer
from trainers.types import Batch

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trainers.bundle.predictor import FamilyRunner

PATCHES = 14  # along an image's shorter side, where it is occluded patch by patch


class Reading(Protocol):
    """How one kind of rows is explained.

    Attributes:
        baseline: what every row is compared with, in words.
    """

    baseline: str

    def inputs(self, batch: Batch, answer_B: torch.Tensor, method: Method) -> ScoredInputs:
        """The batch as captum takes it."""


def table_columns(table: TableState) -> list[str]:
    """The columns that a model of a table reads, numbers first."""
    return [entry["name"] for entry in (*table["numbers"], *table["categories"])]


class TableReading:
    """Numbers from their training mean, categories from one that training never saw."""

    def __init__(self, runner: FamilyRunner, scores: AnswerScores) -> None:
        """Finds the categories' vectors.

        Raises:
            InputError: the module has others than one table of vectors a column of categories.
        """
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

    def inputs(self, batch: Batch, answer_B: torch.Tensor, method: Method) -> ScoredInputs:
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
            given=(numbers, ids, answer_B),
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
    """Pixels from the mean colour of training."""

    baseline = "every pixel at the mean colour of training"

    def __init__(self, runner: FamilyRunner, scores: AnswerScores) -> None:
        self._runner, self._scores = runner, scores
        self.height, self.width, _ = (int(side) for side in runner.state["shape"])

    def inputs(self, batch: Batch, answer_B: torch.Tensor, method: Method) -> ScoredInputs:
        """As `Reading`: a pixel is a feature, a patch where they are occluded."""
        pixels = batch["inputs"].float()
        mean = pixels.new_tensor(self._runner.state["mean"]) * 255.0
        where = self.patches(method)
        features = batch["inputs"].new_tensor(where, dtype=_int64())[None, :, :, None]

        def score(x_BHWC: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
            outputs = self._runner.family.outputs(self._runner.module, {"inputs": x_BHWC})
            return self._scores.pick(outputs, answers)

        return ScoredInputs(
            values=(pixels,), baselines=(mean.expand_as(pixels[:1]),), given=(answer_B,),
            features=(features.expand_as(pixels[:1]),), count=int(where.max()) + 1, score=score,
        )  # fmt: skip

    def patches(self, method: Method) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The number of the feature that each pixel belongs to, [H, W]."""
        side = -(-min(self.height, self.width) // PATCHES) if method == "occlusion" else 1
        rows, columns = np.arange(self.height) // side, np.arange(self.width) // side
        return rows[:, None] * (int(columns[-1]) + 1) + columns[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word of a text: its tokens' places, first and behind the last, and where it stands."""

    tokens: tuple[int, int]
    start: int
    end: int


class TextReading:
    """Words' vectors from that of padding; the marks around a text stay."""

    baseline = "every word replaced by padding"

    def __init__(self, runner: FamilyRunner, scores: AnswerScores) -> None:
        """Finds the words' vectors.

        Raises:
            InputError: the module has none.
        """
        self._runner, self._scores = runner, scores
        state = runner.state
        self._tokenizer = cutting_tokenizer(state["tokenizer"], state["length"])
        self._vectors = _word_vectors(runner.module, self._tokenizer.get_vocab_size())
        self._pad = int(state.get("pad_id", 0))

    def words(self, texts: Sequence[str]) -> list[list[Word]]:
        """The words of each text that the model reads, pieces put together."""
        return [_merge_pieces(encoding) for encoding in self._tokenizer.encode_batch(list(texts))]

    def inputs(self, batch: Batch, answer_B: torch.Tensor, method: Method) -> ScoredInputs:
        """As `Reading`: a token is a feature."""
        import torch

        ids, names = batch["inputs"], sorted(batch)
        vectors = self._vectors(ids.long()).detach()
        padding = self._vectors.weight[self._pad].detach()
        special = torch.tensor(
            [i for i in self._specials() if i != self._pad], dtype=torch.int64, device=ids.device
        )
        stays = torch.isin(ids.long(), special)[:, :, None]
        where = torch.arange(ids.shape[1], device=ids.device)[None, :, None]

        def score(x_BLD: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
            *arrays, answers = given
            with replaced_outputs([self._vectors], [x_BLD]):
                outputs = self._runner.family.outputs(
                    self._runner.module, dict(zip(names, arrays, strict=True))
                )
            return self._scores.pick(outputs, answers)

        return ScoredInputs(
            values=(vectors,), baselines=(torch.where(stays, vectors, padding),),
            given=(*(batch[name] for name in names), answer_B),
            features=(where.expand_as(vectors[:1]),), count=ids.shape[1], score=score,
        )  # fmt: skip

    def _specials(self) -> list[int]:
        """Ids of the marks that the tokenizer puts around a text."""
        encoding = self._tokenizer.encode("")
        return [i for i, mark in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if mark]


def _merge_pieces(encoding: Any) -> list[Word]:
    found: list[Word] = []
    last: int | None = None
    for place, (word, span) in enumerate(zip(encoding.word_ids, encoding.offsets, strict=True)):
        if word is None or span[0] == span[1]:
            last = None
        elif word == last:
            before = found[-1]
            found[-1] = Word(tokens=(before.tokens[0], place + 1), start=before.start, end=span[1])
        else:
            found.append(Word(tokens=(place, place + 1), start=span[0], end=span[1]))
            last = word
    return found


def _word_vectors(module: nn.Module, tokens: int) -> nn.Embedding:
    from torch import nn

    known = getattr(module, "get_input_embeddings", None)
    found = known() if known is not None else None
    candidates = [found] if found is not None else [
        m for m in module.modules() if isinstance(m, nn.Embedding) and m.num_embeddings == tokens
    ]  # fmt: skip
    if not candidates or not isinstance(candidates[0], nn.Embedding):
        raise InputError(
            "a model of texts must have a vector for each of its tokens", "no such embedding",
            "explain one of Velodrome's own families",
        )  # fmt: skip
    return candidates[0]


@contextmanager
def replaced_outputs(modules: Sequence[nn.Module], values: Sequence[torch.Tensor]) -> Iterator[None]:
    """Within the block each module gives what is given here, cut as its own output is along the second
    dimension (texts lose what lies beyond the longest of a batch)."""
    with ExitStack() as hooks:
        for module, value in zip(modules, values, strict=True):

            def replace(
                _module: nn.Module, _given: Any, own: torch.Tensor, value: torch.Tensor = value
            ) -> Any:
                return value[:, : own.shape[1]] if own.dim() == 3 else value

            hooks.callback(module.register_forward_hook(replace).remove)
        yield


def _int64() -> torch.dtype:
    import torch

    return torch.int64
