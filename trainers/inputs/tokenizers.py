"""Tokens of models that write text: characters, words or byte-pair pieces, on the `tokenizers` library.

A tokenizer is one JSON string (the library's own format), fitted on the training split and kept in a family's
state. Unlike the vocabulary of `trainers.inputs.vocabulary`, which is for reading alone, its ids lead back to
text. Ids 0 to 3 are padding, the unknown, the beginning and the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from trainers.inputs.vocabulary import PAD, UNKNOWN

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.trainers import Trainer

Unit = Literal["characters", "words", "pieces"]
BEGIN, END = 2, 3
SPECIAL = {"[PAD]": PAD, "[UNK]": UNKNOWN, "[BEGIN]": BEGIN, "[END]": END}
CHUNK = 2_000


def fit_tokens(texts: Iterable[str], *, unit: Unit, size: int) -> str:
    """A tokenizer whose ids lead back to text.

    Args:
        texts: the training split's, and no others.
        unit: `characters`; `words` (and marks, with blanks between them); `pieces`: byte-pair encoding over
            bytes (Sennrich et al. 2016; Radford et al. 2019), which knows every text.
        size: at most so many entries, the special ones among them, the commonest first.
    """
    makers = {"characters": _character_tokenizer, "words": _word_tokenizer, "pieces": _byte_pair_tokenizer}
    tokenizer, trainer = makers[unit](size)
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())


def _character_tokenizer(size: int) -> tuple[Tokenizer, Trainer]:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(vocab=SPECIAL, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
    return tokenizer, trainer


def _word_tokenizer(size: int) -> tuple[Tokenizer, Trainer]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(vocab=SPECIAL, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
    return tokenizer, trainer


def _byte_pair_tokenizer(size: int) -> tuple[Tokenizer, Trainer]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return tokenizer, trainer


@lru_cache(maxsize=8)
def parse_tokenizer(document: str) -> Tokenizer:
    """The library's tokenizer of a JSON string; read once."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str(document)


def token_count(document: str) -> int:
    """Entries, the four special ones among them."""
    return int(parse_tokenizer(document).get_vocab_size())


def token_ids(document: str, texts: Sequence[str]) -> list[list[int]]:
    """Each text as ids, without a beginning and an end."""
    encodings = parse_tokenizer(document).encode_batch_fast(list(texts), add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def whole_ids(document: str, texts: Sequence[str], most: int) -> list[list[int]]:
    """Each text as ids with what the tokenizer itself puts around it, `most` at most of both."""
    tokenizer = cutting_tokenizer(document, most)
    return [encoding.ids or [UNKNOWN] for encoding in tokenizer.encode_batch_fast(list(texts))]


@lru_cache(maxsize=8)
def cutting_tokenizer(document: str, most: int) -> Tokenizer:
    """The tokenizer of a JSON string that cuts texts at so many tokens; read once."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(document)
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    return tokenizer


def encode_chunks(document: str, texts: Iterable[str]) -> Iterator[list[list[int]]]:
    """The ids of many texts, some thousands at a time, so that memory stays small."""
    rest = iter(texts)
    while chunk := list(islice(rest, CHUNK)):
        yield token_ids(document, chunk)


def characters_of_tokens(document: str) -> list[int]:
    """How many characters of text each id stands for; 0 for the special ones. For bits a character."""
    tokenizer = parse_tokenizer(document)
    return [0 if i < len(SPECIAL) else len(tokenizer.decode([i])) for i in range(token_count(document))]


def pad_tokens(ids: Sequence[Sequence[int]], length: int, fill: int = PAD) -> npt.NDArray[np.int64]:
    """int64 [N, length]: cut at `length`, filled up."""
    rows = np.full((len(ids), length), fill, np.int64)
    for row, tokens in zip(rows, ids, strict=True):
        kept = tokens[:length]
        row[: len(kept)] = kept
    return rows
