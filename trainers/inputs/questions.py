"""Questions and their contexts as arrays of token ids, and where each token stands in the text.

Shape legend: N rows, Q tokens of a question, C tokens of a context, T bytes of its text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.family import first_missing
from trainers.inputs.token_ids import IGNORED, read_texts
from trainers.inputs.tokenizers import pad_tokens
from trainers.inputs.vocabulary import as_text
from trainers.types import Array, ArrayWriter, State

if TYPE_CHECKING:
    import pandas as pd
    from tokenizers import Encoding, Tokenizer

NONE = -1  # where a question or a context has no token
CHUNK_ROWS = 1024
LEAST_TOKENS = 16  # of a window: less has no room for question and context


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLimits:
    """What is kept of texts, in tokens.

    Attributes:
        window: question, context and marks, read at once.
        context: of the whole context; what lies beyond is never read.
    """

    window: int
    context: int


def pair_frame(document: str) -> dict[str, list[int]]:
    """What the tokenizer puts `before` a pair of texts, `between` and `after` them, and the `types` of
    question and context, as ids."""
    pair = _plain_tokenizer(document).encode("a", "b")
    first, second = ([i for i, side in enumerate(pair.sequence_ids) if side == s] for s in (0, 1))
    return {
        "before": pair.ids[: first[0]],
        "between": pair.ids[first[-1] + 1 : second[0]],
        "after": pair.ids[second[-1] + 1 :],
        "types": [pair.type_ids[first[0]], pair.type_ids[second[0]]],
    }


@lru_cache(maxsize=8)
def _plain_tokenizer(document: str) -> Tokenizer:
    """Without the padding and the cut that a pretrained tokenizer may bring."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(document)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def encode_texts(document: str, texts: Sequence[str]) -> list[Encoding]:
    """Texts without the marks, the padding and the cut that a pretrained tokenizer may bring."""
    return _plain_tokenizer(document).encode_batch(list(texts), add_special_tokens=False)


def put_questions(dataset: Dataset, writer: ArrayWriter, document: str, limits: QuestionLimits) -> State:
    """Writes `question` int32 [N, Q] and `context` int32 [N, C], -1 where they have ended; `offsets` int32
    [N, C, 2], each token's first byte in `text` and the one after its last; `text` uint8 [N, T]; and `target`
    int64 [N, 4] as `trainers.tasks.question_answering` has it.

    Returns:
        What a family's state needs: `frame`, `length` (tokens of a window), `question_length`,
        `context_length`.
    """
    frame = pair_frame(document)
    sides = [dataset.columns[name] for name in ("question", "context")]
    train = dataset.splits["train"]
    asked, given = (_longest_text(document, read_texts(side, train)) for side in sides)
    asked = max(1, min(asked, limits.window // 2))
    marks = sum(len(frame[name]) for name in ("before", "between", "after"))
    state: State = {
        "frame": frame,
        "length": min(limits.window, marks + asked + max(given, 1)),
        "question_length": asked,
        "context_length": limits.context,
    }
    widths = _find_widths(document, dataset, state)
    arrays = {
        name: writer.create(name, (dataset.rows, *shape), dtype)
        for name, (shape, dtype) in _array_layout(*widths).items()
    }
    target = writer.create("target", (dataset.rows, 4), np.int64)
    for rows, made in _encode_chunks(document, dataset, state, widths):
        for name, values in made.items():
            arrays[name][rows.start : rows.stop] = values
        target[rows.start : rows.stop] = _answer_targets(dataset, rows, made)
    return state


def _array_layout(
    asked: int, given: int, size: int
) -> dict[str, tuple[tuple[int, ...], type[np.int32 | np.uint8]]]:
    return {
        "question": ((asked,), np.int32),
        "context": ((given,), np.int32),
        "offsets": ((given, 2), np.int32),
        "text": ((size,), np.uint8),
    }


def _longest_text(document: str, texts: Iterator[str]) -> int:
    rest, longest = list(texts), 0
    for at in range(0, len(rest), CHUNK_ROWS):
        chunk = encode_texts(document, rest[at : at + CHUNK_ROWS])
        longest = max(longest, *(len(encoding.ids) for encoding in chunk))
    return longest


def _find_widths(document: str, dataset: Dataset, state: State) -> tuple[int, int, int]:
    widths = (1, 1, 1)
    for _, made in _encode_chunks(document, dataset, state, None):
        found = (made[name].shape[1] for name in ("question", "context", "text"))
        widths = tuple(map(max, widths, found))
    return widths


def _encode_chunks(
    document: str, dataset: Dataset, state: State, widths: tuple[int, int, int] | None
) -> Iterator[tuple[range, dict[str, Array]]]:
    questions, contexts = dataset.columns["question"], dataset.columns["context"]
    for start in range(0, dataset.rows, CHUNK_ROWS):
        rows = range(start, min(start + CHUNK_ROWS, dataset.rows))
        texts = list(read_texts(questions, rows)), list(read_texts(contexts, rows))
        yield rows, _question_arrays(document, *texts, state, widths)


def _question_arrays(
    document: str,
    questions: Sequence[str],
    contexts: Sequence[str],
    state: State,
    widths: tuple[int, int, int] | None = None,
) -> dict[str, Array]:
    """The arrays of some rows but the target; as wide as their longest, or as told."""
    asked = [encoding.ids[: state["question_length"]] for encoding in encode_texts(document, questions)]
    read = encode_texts(document, contexts)
    kept = slice(state["context_length"])
    given = [encoding.ids[kept] for encoding in read]
    spans = [_token_bytes(t, encoding.offsets[kept]) for t, encoding in zip(contexts, read, strict=True)]
    texts = [t.encode()[: int(at[-1, 1]) if len(at) else 0] for t, at in zip(contexts, spans, strict=True)]
    if widths is None:
        widths = tuple(max(1, *map(len, part)) for part in (asked, given, texts))  # type: ignore[assignment]
    assert widths is not None
    made = {
        name: np.zeros((len(questions), *shape), dtype)
        for name, (shape, dtype) in _array_layout(*widths).items()
    }
    made["question"][:] = pad_tokens(asked, widths[0], NONE)
    made["context"][:] = pad_tokens(given, widths[1], NONE)
    for row, (at, text) in enumerate(zip(spans, texts, strict=True)):
        made["offsets"][row, : len(at)] = at
        made["text"][row, : len(text)] = np.frombuffer(text, np.uint8)
    return made


def _token_bytes(text: str, offsets: Sequence[tuple[int, int]]) -> Array:
    """The bytes of each token, int32 [tokens, 2], without the blanks that some tokenizers put into one."""
    spans = np.array([trim_blanks(text, start, end) for start, end in offsets], np.int32).reshape(-1, 2)
    if text.isascii():
        return spans
    sizes = np.fromiter((len(character.encode()) for character in text), np.int32, len(text))
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)[spans]


def trim_blanks(text: str, start: int, end: int) -> tuple[int, int]:
    """A stretch of a text without the blanks at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _answer_targets(dataset: Dataset, rows: range, made: dict[str, Array]) -> Array:
    """[rows, 4]: places of the first and the last token, first byte and the one after the last."""
    assert dataset.target is not None
    assert dataset.answer_starts is not None
    target = np.full((len(rows), 4), NONE, np.int64)
    target[:, :2] = IGNORED
    for at, row in enumerate(rows):
        context, answer = as_text(dataset.columns["context"].values[row]), str(dataset.target.values[row])
        start = len(context[: int(dataset.answer_starts[row])].encode())
        end = start + len(answer.encode())
        held = made["offsets"][at][made["context"][at] != NONE]
        tokens = np.flatnonzero((held[:, 0] < end) & (held[:, 1] > start))
        if len(held) and end <= held[-1, 1] and len(tokens):
            target[at] = (1 + tokens[0], 1 + tokens[-1], start, end)
    return target


def questions_from_user(rows: pd.DataFrame, state: State) -> dict[str, Array]:
    """The columns `question` and `context` as `put_questions` makes them.

    Raises:
        InputError: one is missing.
    """
    lacking = first_missing(rows, ["question", "context"])
    if lacking:
        found = f"no {lacking} among {', '.join(map(str, rows.columns))}"
        raise InputError("rows must have the columns question and context", found)
    questions, contexts = ([as_text(value) for value in rows[name]] for name in ("question", "context"))
    return _question_arrays(state["tokenizer"], questions, contexts, state)
