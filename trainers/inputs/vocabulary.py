"""Words of a text and the vocabulary of a training split, on the `tokenizers` library.

A vocabulary is one JSON string (the library's own format): it is kept in a family's state, and everything
that turned text into numbers in training does so again wherever the model goes. Id 0 pads, id 1 stands for
every word that the training split did not hold.

Shape legend: N texts, L words of the longest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trainers.data.cell_values import spell_value
from trainers.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from trainers.types import Cell

PAD, UNKNOWN = 0, 1
PAD_TOKEN, UNKNOWN_TOKEN = "[PAD]", "[UNK]"

# As Kim's clean_str cuts English: contractions on their own (do n't, it 's), and the marks that carry
# meaning. Letters of any language and digits make a word; all else separates.
WORD = r"(?i:n't|'(?:s|ve|re|d|ll|m))\b|[^\W_]+?(?=(?i:n't)\b)|[^\W_]+|[(),!?]"

# Articles, prepositions, pronouns and auxiliaries. Without the words that turn or ask: NLTK's list takes
# "not", "no", "what", "who" and "how" away, which is the answer itself in reviews and in questions.
_ENGLISH = """a an the this that these those of to in on at by for from with into onto upon as about between
through during before after above below and or if then than so such i me my mine we us our ours you your yours
he him his she her hers it its they them their theirs am is are was were be been being have has had having do
does did doing will would shall should can could may might must 's 'm 've 're 'd 'll there here also just own
same each other"""
STOP_WORDS = frozenset(_ENGLISH.split())


def stop_words(given: str | None) -> frozenset[str]:
    """The words to leave out: none, our own English list (`english`), or those of a file, one a line."""
    if given is None:
        return frozenset()
    if given == "english":
        return STOP_WORDS
    try:
        lines = Path(given).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "stop_words must be 'english' or a readable file with one word a line",
            f"{given}: {error}",
            key=("options", "stop_words"),
        ) from error
    return frozenset(word.strip().lower() for word in lines if word.strip())


def fit_vocabulary(
    texts: Iterable[str],
    *,
    min_count: int = 1,
    size: int = 30_000,
    leave_out: frozenset[str] = frozenset(),
    lowercase: bool = True,
) -> str:
    """A vocabulary of words, the most frequent first; ties by the word, so the texts' order has no part.

    Args:
        texts: the training split's, and no others.
        min_count: words seen less often are unknown.
        size: at most so many entries, the two special ones among them.
        leave_out: stop words, in lower case; they are left out in any.
        lowercase: whether `Bush` and `bush` are one word.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(
        models.WordLevel(vocab={PAD_TOKEN: PAD, UNKNOWN_TOKEN: UNKNOWN}, unk_token=UNKNOWN_TOKEN)
    )
    normal = [normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])]
    tokenizer.normalizer = normalizers.Sequence(normal)
    cut = [pre_tokenizers.Split(Regex(WORD), "removed", invert=True)]
    if leave_out:
        cut.append(pre_tokenizers.Split(Regex(_whole_words(leave_out)), "removed"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cut)
    trainer = trainers.WordLevelTrainer(
        vocab_size=size,
        min_frequency=min_count,
        special_tokens=[PAD_TOKEN, UNKNOWN_TOKEN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())


def _whole_words(words: frozenset[str]) -> str:
    return r"\A(?i:" + "|".join(re.escape(word) for word in sorted(words)) + r")\z"


def vocabulary_size(vocabulary: str) -> int:
    """Entries of the vocabulary, the two special ones among them."""
    return int(_parse_vocabulary(vocabulary).get_vocab_size())


def word_ids(vocabulary: str, texts: Sequence[str]) -> list[list[int]]:
    """The words of each text as ids. A text without a single word is one unknown word, so that every text
    has something to convolve over."""
    encodings = _parse_vocabulary(vocabulary).encode_batch_fast(list(texts), add_special_tokens=False)
    return [encoding.ids or [UNKNOWN] for encoding in encodings]


def pad_words(ids: Sequence[Sequence[int]], length: int) -> npt.NDArray[np.int32]:
    """int32 [N, length]: cut at `length`, filled up with `PAD`."""
    rows = np.full((len(ids), length), PAD, dtype=np.int32)
    for row, words in zip(rows, ids, strict=True):
        kept = words[:length]
        row[: len(kept)] = kept
    return rows


@lru_cache(maxsize=8)
def _parse_vocabulary(vocabulary: str) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(vocabulary)


def as_text(value: Cell) -> str:
    """A text, or an empty one where it is missing (None, NaN).

    Raises:
        InputError: it holds half a character, as Python's strings may and no file does.
    """
    text = spell_value(value) or ""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"half a surrogate pair at character {error.start} of {ascii(text)[:60]}"
        do = "leave it out: text.encode(errors='ignore').decode()"
        raise InputError("texts must hold whole characters", found, do) from error
    return text
