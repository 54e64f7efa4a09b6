"""Texts of a data set as arrays of token ids, some thousands of rows at a time.

Shape legend: N rows of the data set, L tokens of the longest text that is kept whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainers.data.dataset import Column, Dataset
from trainers.inputs.tokenizers import encode_chunks, pad_tokens
from trainers.inputs.vocabulary import PAD, UNKNOWN, as_text
from trainers.types import Array, ArrayWriter, Batch

if TYPE_CHECKING:
    import torch

IGNORED = -100


def read_texts(column: Column, rows: Iterable[int] | None = None) -> Iterator[str]:
    """The column's texts, of some rows or of all; an empty one where a value is missing."""
    values = column.values
    return (as_text(values[i]) for i in (range(len(values)) if rows is None else rows))


def longest_length(document: str, texts: Iterator[str], most: int) -> int:
    """Tokens of the longest text and its end, but at most `most`."""
    longest = max((len(tokens) for ids in encode_chunks(document, texts) for tokens in ids), default=0)
    return min(longest + 1, most)


def put_rows(writer: ArrayWriter, name: str, parts: Iterator[Array], rows: int, length: int) -> None:
    """Writes int64 [N, L] piece by piece."""
    array = writer.create(name, (rows, length), np.int64)
    at = 0
    for part in parts:
        array[at : at + len(part)] = part
        at += len(part)


def append_end(ids: Sequence[Sequence[int]], length: int, end: int) -> list[list[int]]:
    """Each text and its end, cut so that the end stands within `length`; an empty one is one unknown."""
    return [[*list(tokens or [UNKNOWN])[: length - 1], end] for tokens in ids]


def put_pairs(
    dataset: Dataset,
    writer: ArrayWriter,
    document: str,
    *,
    end: int,
    most: int,
    pad: int = PAD,
    prefix: str = "",
) -> tuple[int, int]:
    """`source` [N, S] filled up with `pad`, and `target` [N, T] with -100, each text with its end.

    Args:
        prefix: put before each source.

    Returns:
        S and T: of the longest texts of training, but at most `most`.
    """
    assert dataset.target is not None
    train = dataset.splits["train"]
    lengths = []
    sides = (("source", dataset.columns["input"], pad, prefix), ("target", dataset.target, IGNORED, ""))
    for name, column, fill, start in sides:
        length = longest_length(document, (start + text for text in read_texts(column, train)), most)
        chunks = encode_chunks(document, (start + text for text in read_texts(column)))
        parts = (pad_tokens(append_end(ids, length, end), length, fill) for ids in chunks)
        put_rows(writer, name, parts, dataset.rows, length)
        lengths.append(length)
    return lengths[0], lengths[1]


def without_padding(batch: Batch) -> Batch:
    """The batch with `target` [B, T] cut at its longest: a decoder's time goes by T, and most texts are a
    fraction of the longest of all."""
    longest = max(int((batch["target"] != IGNORED).sum(dim=1).max()), 1)
    return {**batch, "target": batch["target"][:, :longest]}


def split_context(x_BL: torch.Tensor, context: int, fill: int) -> torch.Tensor:
    """[B, L] as stretches one after another, [B * ceil(L / context), context]."""
    from torch.nn import functional

    lacking = -x_BL.shape[1] % context
    return functional.pad(x_BL, (0, lacking), value=fill).reshape(-1, context)


def crop_context(batch: Batch, context: int, generator: torch.Generator) -> Batch:
    """`context` tokens of each row from a place drawn anew; shorter rows as a whole."""
    import torch
    from torch.nn import functional

    inputs, target = batch["inputs"], batch["target"]
    lacking = max(0, context - inputs.shape[1])
    inputs = functional.pad(inputs, (0, lacking), value=PAD)
    target = functional.pad(target, (0, lacking), value=IGNORED)
    beyond = ((target != IGNORED).sum(dim=1) - context).clamp(min=0)
    drawn = torch.rand(len(inputs), generator=generator, device=inputs.device)
    first = (drawn * (beyond + 1)).long()
    places = first[:, None] + torch.arange(context, device=inputs.device)
    return {**batch, "inputs": inputs.gather(1, places), "target": target.gather(1, places)}
