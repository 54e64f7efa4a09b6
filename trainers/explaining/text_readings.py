"""How texts, pairs and questions stand before captum: words' vectors, on the way from that of padding.

Shape legend: B examples, L tokens of a text, Q of a question, C of a context, K windows, D numbers a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from trainers.explaining.attributions import Method, ScoredInputs
from trainers.explaining.scores import ExplainedScores
from trainers.explaining.words import Word, merge_pieces, replaced_outputs, word_vectors
from trainers.inputs.questions import NONE, encode_texts
from trainers.inputs.tokenizers import cutting_tokenizer, parse_tokenizer
from trainers.inputs.vocabulary import as_text
from trainers.types import Batch

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.bundle.predictor import FamilyRunner
    from trainers.inputs.question_windows import QuestionReader

PLACES = 1 << 40  # above any token's id


class TextReading:
    """Of one text; the marks around it stay."""

    baseline = "every word replaced by padding"
    attends = True
    column, ids = "text", "inputs"

    def __init__(self, runner: FamilyRunner, scores: ExplainedScores) -> None:
        """Finds the words' vectors."""
        self._runner, self._scores, self._state = runner, scores, runner.state
        count = int(parse_tokenizer(self._state["tokenizer"]).get_vocab_size())
        self._vectors = word_vectors(runner.module, count)
        self._pad = int(self._state.get("pad_id", 0))

    def texts(self, rows: pd.DataFrame) -> list[str]:
        """What is read of each row."""
        return [as_text(value) for value in rows[self.column]]

    def words(self, rows: pd.DataFrame) -> list[list[Word]]:
        """The words of each text that the model reads."""
        tokenizer = cutting_tokenizer(self._state["tokenizer"], self._state["length"])
        texts = self.texts(rows)
        return [merge_pieces(*pair) for pair in zip(tokenizer.encode_batch(texts), texts, strict=True)]

    def inputs(self, batch: Batch, answer: torch.Tensor, method: Method) -> ScoredInputs:
        """As `trainers.explaining.readings.Reading`: a token is a feature."""
        import torch

        ids = batch[self.ids]
        vectors = self._vectors(ids.long()).detach()
        marks = [i for i in self._marks() if i != self._pad]
        stays = torch.isin(ids.long(), torch.tensor(marks, dtype=torch.int64, device=ids.device))
        baselines = torch.where(stays[:, :, None], vectors, self._vectors.weight[self._pad].detach())
        return self._make_inputs(batch, answer, vectors, baselines)

    def _make_inputs(
        self, batch: Batch, answer: torch.Tensor, vectors: torch.Tensor, baselines: torch.Tensor
    ) -> ScoredInputs:
        import torch

        names = sorted(batch)
        where = torch.arange(vectors.shape[1], device=vectors.device)[None, :, None]

        def score(x_BLD: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
            *arrays, answers = given
            read = {**dict(zip(names, arrays, strict=True)), **self._scores.more_inputs(answers)}
            with self._replace_vectors(x_BLD, read):
                return self._scores.pick(self._runner.family.outputs(self._runner.module, read), answers)

        return ScoredInputs(
            values=(vectors,), baselines=(baselines,), given=(*(batch[name] for name in names), answer),
            features=(where.expand_as(vectors[:1]),), count=vectors.shape[1], score=score,
        )  # fmt: skip

    def _replace_vectors(self, x_BLD: torch.Tensor, read: Batch) -> Any:
        return replaced_outputs([self._vectors], [x_BLD])

    def _marks(self) -> list[int]:
        """Ids of the marks that the tokenizer puts around a text."""
        encoding = parse_tokenizer(self._state["tokenizer"]).encode("")
        return [i for i, mark in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if mark]


class PairReading(TextReading):
    """Of the text that another is written for; its end stays."""

    attends = False  # what is written attends too
    column, ids = "input", "source"

    def texts(self, rows: pd.DataFrame) -> list[str]:
        """With what is put before each."""
        before = str(getattr(self._runner.family.options, "prefix", ""))
        return [before + text for text in super().texts(rows)]

    def words(self, rows: pd.DataFrame) -> list[list[Word]]:
        """As `TextReading`; one token is that of the end."""
        tokenizer = parse_tokenizer(self._state["tokenizer"])
        texts, most = self.texts(rows), self._state["length"] - 1
        read = tokenizer.encode_batch(texts, add_special_tokens=False)
        return [merge_pieces(one, text, most=most) for one, text in zip(read, texts, strict=True)]

    def _marks(self) -> list[int]:
        return [int(self._state["end_id"])]


class QuestionReading(TextReading):
    """Of a question, a line, and its context, in whichever windows these are read."""

    baseline = "every word of question and context replaced by padding"
    attends = False  # windows attend, not texts

    def texts(self, rows: pd.DataFrame) -> list[str]:
        """Question and context in one."""
        return [f"{as_text(q)}\n{as_text(c)}" for q, c in zip(rows["question"], rows["context"], strict=True)]

    def words(self, rows: pd.DataFrame) -> list[list[Word]]:
        """Tokens of questions count from 0, those of contexts from the batch's longest question on."""
        document, state = self._state["tokenizer"], self._state
        questions, contexts = ([as_text(v) for v in rows[name]] for name in ("question", "context"))
        asked, given = encode_texts(document, questions), encode_texts(document, contexts)
        most, whole = state["question_length"], state["context_length"]
        first = max(1, *(min(len(one.ids), most) for one in asked))
        return [
            merge_pieces(one, q, most=most)
            + merge_pieces(other, c, token=first, start=len(q) + 1, most=whole)
            for one, q, other, c in zip(asked, questions, given, contexts, strict=True)
        ]

    def inputs(self, batch: Batch, answer: torch.Tensor, method: Method) -> ScoredInputs:
        """As `TextReading`; no mark is among the tokens."""
        import torch

        ids = torch.cat([batch["question"], batch["context"]], dim=1).long()
        vectors = self._vectors(ids.masked_fill(ids == NONE, self._pad)).detach()
        baselines = self._vectors.weight[self._pad].detach().expand_as(vectors)
        return self._make_inputs(batch, answer, vectors, baselines)

    @contextmanager
    def _replace_vectors(self, x_BLD: torch.Tensor, read: Batch) -> Iterator[None]:
        """A token's place stands where its id was: the windows then say which vector goes where."""
        import torch

        reader = cast("QuestionReader", self._runner.module.reader)
        sides: list[torch.Tensor] = [read["question"], read["context"]]
        places = torch.arange(x_BLD.shape[1], device=x_BLD.device) + PLACES
        parts = (places[: sides[0].shape[1]], places[sides[0].shape[1] :])
        numbered = [torch.where(s == NONE, NONE, p) for s, p in zip(sides, parts, strict=True)]
        windows = reader.windows({"question": numbered[0], "context": numbered[1]})
        done = 0

        def replace(_module: Any, _given: Any, own_KLD: torch.Tensor) -> torch.Tensor:
            nonlocal done
            some = slice(done, done + len(own_KLD))
            done += len(own_KLD)
            at = windows.ids[some] - PLACES
            found = x_BLD[windows.rows[some][:, None], at.clamp(min=0)]
            return torch.where((at >= 0)[:, :, None], found, own_KLD)

        hook = self._vectors.register_forward_hook(replace)
        try:
            yield
        finally:
            hook.remove()


def text_reading(runner: FamilyRunner, scores: ExplainedScores) -> TextReading:
    """By what the model's task reads."""
    kinds = {"seq2seq": PairReading, "question-answering": QuestionReading}
    return kinds.get(runner.state["task"], TextReading)(runner, scores)
