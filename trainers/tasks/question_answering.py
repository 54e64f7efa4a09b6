"""Extractive question answering: where in a context the answer begins and ends.

A model gives log-probabilities [B, 1 + C, 2]: how likely the answer begins (0) and ends (1) with each token
of its context; place 0 means that it does not stand in what was read, and token c has place 1 + c. Where a
long context is read in several windows, a token has the value of the window that is surest of it.

Shape legend: B questions of a batch, C tokens of a context, T bytes of its text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.errors import NotFinite
from trainers.metric_names import PER_TASK
from trainers.tasks.outputs import IGNORED, output_tensor
from trainers.tasks.squad import exact_match, f1_score
from trainers.tasks.summed_metrics import SummedMetrics

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import Array, Outputs, Params, State

LONGEST = 30  # tokens of an answer, where the state does not say: as BERT's authors have it


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSpan:
    """A stretch of a context: its text, how likely it is, and its first character and the one after it."""

    text: str
    score: float
    start: int
    end: int


class QuestionAnswering:
    """The rules of one state; `max_answer` says how many tokens an answer may have."""

    metrics = PER_TASK["question-answering"]

    def __init__(self, state: State) -> None:
        self.longest = int(state.get("max_answer", LONGEST))

    def loss(self, outputs: Outputs, batch: Mapping[str, torch.Tensor], params: Params) -> torch.Tensor:
        """The mean of the cross-entropies of beginning and end (Devlin et al. 2019, section 4.2), over the
        questions whose answer the model can see.

        Args:
            outputs: as in the module's docstring.
            batch: `target` int64 [B, 4]: the places of the answer's first and last token, -100 where it lies
                beyond what is kept of the context; then its first byte and the one after its last.
            params: `label_smoothing` spreads over the places that were read.
        """
        losses, seen = _question_losses(outputs, batch, float(params.get("label_smoothing") or 0.0))
        return losses.sum() / seen.sum().clamp(min=1)

    def metric_set(self, device: torch.device | str, *, scores: bool = True) -> QuestionMetrics:
        """An empty set; `scores=False` leaves out what compares texts."""
        return QuestionMetrics(device, self.longest, scores=scores)

    def to_user(self, outputs: Outputs) -> pd.DataFrame:
        """Columns `answer`, `score` (its probability), `start` and `end`: characters of the context.

        Args:
            outputs: `scores` as in the module's docstring, and the batch's `offsets` and `text`.
        """
        import pandas as pd

        assert isinstance(outputs, Mapping)
        found = list(likeliest_answers(outputs, outputs, self.longest))
        names = ("answer", "score", "start", "end")
        values = [(answer.text, answer.score, answer.start, answer.end) for answer in found]
        return pd.DataFrame(values, columns=list(names))

    def trivial(self, train: Array, validation: Array) -> dict[str, float]:
        """Always the commonest answer of `train`; texts [N]."""
        if not len(train) or not len(validation):
            return {}
        guess = str(Counter(map(str, train)).most_common(1)[0][0])
        return {
            "f1": float(np.mean([f1_score(guess, str(right)) for right in validation])),
            "exact_match": float(np.mean([exact_match(guess, str(right)) for right in validation])),
        }


def _question_losses(
    outputs: Outputs, batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each question's loss [B], 0 where it does not count, and which do. What is not in the one window that
    was read has place 0."""
    import torch

    scores, target = output_tensor(outputs, "scores").float(), batch["target"][:, :2]
    seen = target[:, 0] != IGNORED
    places = target.clamp(min=0)[:, None]  # [B, 1, 2]
    within = torch.isfinite(scores.detach().gather(1, places)).all(dim=2, keepdim=True)
    places = torch.where(within, places, 0)
    losses = -scores.gather(1, places)[:, 0].mean(dim=1)
    if smoothing:
        read = torch.isfinite(scores.detach())
        spread = -torch.where(read, scores, 0.0).sum(dim=1) / read.sum(dim=1)
        losses = (1.0 - smoothing) * losses + smoothing * spread.mean(dim=1)
    return torch.where(seen, losses, 0.0), seen


def likeliest_answers(
    outputs: Outputs, batch: Mapping[str, torch.Tensor], longest: int = LONGEST
) -> Iterator[AnswerSpan]:
    """The likeliest stretch of each context.

    Args:
        outputs: as in the module's docstring.
        batch: `text` uint8 [B, T], the contexts in UTF-8, and `offsets` int32 [B, C, 2], the bytes that each
            token stands for.
        longest: tokens that an answer has at most.
    """
    first, last, chances = (
        part.cpu() for part in best_span(output_tensor(outputs, "scores").detach(), longest)
    )
    offsets, texts = batch["offsets"].cpu(), batch["text"].cpu().numpy()
    for row, chance in enumerate(chances.tolist()):
        if not chance:  # an empty context
            yield AnswerSpan(text="", score=0.0, start=0, end=0)
            continue
        start, end = int(offsets[row, first[row], 0]), int(offsets[row, last[row], 1])
        text = texts[row, start:end].tobytes().decode(errors="ignore")
        before = len(texts[row, :start].tobytes().decode(errors="ignore"))
        yield AnswerSpan(text=text, score=chance, start=before, end=before + len(text))


def best_span(scores: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """First and last token, and the probability, of the likeliest stretch of at most `longest` tokens."""
    import torch

    begins, ends = scores[:, 1:, 0].float(), scores[:, 1:, 1].float()
    best = torch.full((len(scores),), float("-inf"), device=scores.device)
    first, last = torch.zeros_like(best, dtype=torch.int64), torch.zeros_like(best, dtype=torch.int64)
    for more in range(min(longest, begins.shape[1])):
        value, at = (begins[:, : begins.shape[1] - more] + ends[:, more:]).max(dim=1)
        better = value > best
        best = torch.where(better, value, best)
        first, last = torch.where(better, at, first), torch.where(better, at + more, last)
    return first, last, best.exp()


def right_answers(batch: Mapping[str, torch.Tensor]) -> list[str | None]:
    """The text of each right answer; None where it lies beyond what is kept of the context."""
    texts = batch["text"].cpu().numpy()
    bounds = batch["target"][:, 2:].tolist()
    return [
        None if start < 0 else row[start:end].tobytes().decode()
        for row, (start, end) in zip(texts, bounds, strict=True)
    ]


def text_scores(
    outputs: Outputs, batch: Mapping[str, torch.Tensor], longest: int
) -> tuple[list[float], list[float]]:
    """Exact matches and F1 of each question of a batch; a lost answer is never found."""
    pairs = list(zip(likeliest_answers(outputs, batch, longest), right_answers(batch), strict=True))
    exact = [0.0 if right is None else exact_match(found.text, right) for found, right in pairs]
    return exact, [0.0 if right is None else f1_score(found.text, right) for found, right in pairs]


class QuestionMetrics(SummedMetrics):
    """Summed losses, exact matches and F1, SQuAD's way (`trainers.tasks.squad`)."""

    def __init__(self, device: torch.device | str, longest: int, *, scores: bool = True) -> None:
        import torch

        self._longest, self._scores = longest, scores
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, exact matches, F1
        self._counts = torch.zeros(2, dtype=torch.int64, device=device)  # that have a loss, all

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds log-probabilities [B, 1 + C, 2]; `batch` as in `likeliest_answers`, with its `target`."""
        losses, seen = _question_losses(outputs, batch)
        self._sums[0] += losses.detach().double().sum()
        self._counts[0] += seen.sum()
        if not self._scores:
            return
        exact, shared = text_scores(outputs, batch, self._longest)
        self._sums[1] += sum(exact)
        self._sums[2] += sum(shared)
        self._counts[1] += len(exact)

    def compute(self) -> dict[str, float]:
        """As `MetricSet.compute`; the loss only where a right answer could be seen."""
        (loss, exact, shared), (seen, rows) = self._sums.tolist(), self._counts.tolist()
        if not np.isfinite(loss):
            raise NotFinite("outputs must be finite numbers", f"a cross-entropy of {loss}")
        values = {"f1": shared / rows, "exact_match": exact / rows} if rows else {}
        return {**values, "loss": loss / seen} if seen else values

    def sums(self) -> list[torch.Tensor]:
        """As `MetricSet.sums`."""
        return [self._sums, self._counts]
