"""How families read texts word by word: a vocabulary of the training split, and ids.

Shape legend: N rows, L words of the longest text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.family import first_missing
from trainers.hyperparameters import Hyperparameter, flag, whole
from trainers.inputs.vocabulary import as_text, fit_vocabulary, pad_words, stop_words, word_ids
from trainers.options import Options
from trainers.types import Array, ArrayWriter, Cell, Params, State

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS = 10_000

WORDS: Mapping[str, Hyperparameter] = {
    "min_count": whole(1, "words seen less often in training are unknown"),
    "lowercase": flag(True, "false, as Kim did for TREC: capitals tell names from words"),
    "vocabulary": whole(30_000, "most entries, the commonest words first", low=3),
}
"""What decides the words; `Family.encoding` of whoever reads them."""


class WordOptions(Options):
    """Fixed structure of a family that reads words.

    Attributes:
        max_words: texts are cut there.
        stop_words: words left out: `english` (our own list), or a file with one word a line.
    """

    max_words: int = Field(default=256, ge=1)
    stop_words: str | None = None


def write_words(
    dataset: Dataset, params: Params, options: WordOptions, writer: ArrayWriter, *, fill: bool = False
) -> State:
    """Writes `inputs`: word ids, int32 [N, L], 0 where a text has ended.

    Args:
        params: the names of `WORDS`.
        fill: L is `max_words`, whatever the longest text of training has.

    Returns:
        `tokenizer` and `length`.
    """
    texts, train = dataset.columns["text"].values, dataset.splits["train"]
    vocabulary = fit_vocabulary(
        (as_text(texts[i]) for i in train),
        min_count=params["min_count"],
        size=params["vocabulary"],
        leave_out=stop_words(options.stop_words),
        lowercase=params["lowercase"],
    )
    longest = options.max_words if fill else _longest_text(vocabulary, texts, train)
    length = min(longest, options.max_words)
    ids = writer.create("inputs", (len(texts), length), np.int32)
    for rows in _row_chunks(np.arange(len(texts))):
        ids[rows] = pad_words(word_ids(vocabulary, [as_text(texts[i]) for i in rows]), length)
    return {"tokenizer": vocabulary, "length": length}


def _longest_text(vocabulary: str, texts: Array | Sequence[Cell], train: Array) -> int:
    chunks = (word_ids(vocabulary, [as_text(texts[i]) for i in rows]) for rows in _row_chunks(train))
    return max((len(words) for chunk in chunks for words in chunk), default=1)


def _row_chunks(rows: Array) -> Iterator[Array]:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]


def words_from_user(rows: pd.DataFrame, state: State) -> dict[str, Array]:
    """Texts of the column `text` as `write_words` makes them; cut and filled alike.

    Raises:
        InputError: there is no such column.
    """
    if first_missing(rows, ["text"]):
        raise InputError("rows must have a column text", f"columns {list(rows.columns)}")
    ids = word_ids(state["tokenizer"], [as_text(value) for value in rows["text"]])
    return {"inputs": pad_words(ids, state["length"])}
