"""Question and context as one text for a model that reads so many tokens at once. Imports torch.

    before, question, between, a window of the context, after   →   tokens [K, L]

A context that has no room is read in windows, each some tokens further than the one before (Devlin et al.
2019 do so in their code for SQuAD). Within a window the probabilities of where the answer begins (and ends)
are over its context and place 0, which means: not here.

Shape legend: B questions, Q tokens of a question, C of a context, K windows of all, L tokens of the longest.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.data.augment import check_augment
from trainers.errors import InputError
from trainers.types import Json

NONE = -1


@dataclass(frozen=True, slots=True)
class QuestionWindows:
    """Some windows, ready to be read.

    Attributes:
        ids, mask, types: int64 [K, L].
        rows: int64 [K], the question that each belongs to.
        places: int64 [K, L]: 0 for the first token, 1 + c for token c of the context, -1 for others.
    """

    ids: Tensor
    mask: Tensor
    types: Tensor
    rows: Tensor
    places: Tensor


class QuestionReader(nn.Module):
    """Cuts questions and contexts into windows, and puts what a model says of them together."""

    def __init__(self, frame: Mapping[str, list[int]], *, length: int, step: int, pad: int) -> None:
        """Args:
        frame: see `trainers.inputs.questions.pair_frame`.
        length: tokens of a window at most.
        step: tokens of the context from one window to the next, where it has room for as many.
        pad: the id that stands where there is no text.
        """
        super().__init__()
        self.frame, self.length, self.step, self.pad = dict(frame), length, step, pad

    def windows(self, batch: Mapping[str, Tensor]) -> QuestionWindows:
        """All windows of each question in turn; where the batch has `drawn` [B] in [0, 1), one of each."""
        question, context = batch["question"], batch["context"]
        asked, held = (question != NONE).sum(1), (context != NONE).sum(1)
        marks = sum(len(self.frame[name]) for name in ("before", "between", "after"))
        room = (self.length - marks - asked).clamp(min=1)
        step = room.clamp(max=self.step)
        count = 1 + torch.div((held - room).clamp(min=0) + step - 1, step, rounding_mode="floor")
        if "drawn" in batch:
            rows, turn = torch.arange(len(held), device=held.device), (batch["drawn"] * count).long()
        else:
            rows = torch.repeat_interleave(torch.arange(len(held), device=held.device), count)
            turn = torch.arange(len(rows), device=held.device) - (count.cumsum(0) - count)[rows]
        first = torch.minimum(turn * step[rows], (held - room).clamp(min=0)[rows])
        size = torch.minimum(room[rows], held[rows] - first)
        return self._assemble_windows(question, context, rows, asked[rows], first, size)

    def _assemble_windows(
        self, question: Tensor, context: Tensor, rows: Tensor, asked: Tensor, first: Tensor, size: Tensor
    ) -> QuestionWindows:
        """Every token by its place in one long row: before, question, between, context, after, padding."""
        parts = [
            torch.tensor(self.frame[name], dtype=question.dtype, device=question.device)
            for name in ("before", "between", "after")
        ]
        before, between, after = [*map(len, parts)]
        spread = [part.expand(len(question), -1) for part in parts]
        padding = question.new_full((len(question), 1), self.pad)
        source = torch.cat([spread[0], question, spread[1], context, spread[2], padding], dim=1)
        at_context = before + question.shape[1] + between  # in `source`
        end = source.shape[1] - 1
        begin, stop = before + asked + between, before + asked + between + size  # in a window
        longest = int((stop + after).max())
        j = torch.arange(longest, device=question.device).expand(len(rows), -1)
        asked, first, begin, stop = (x[:, None] for x in (asked, first, begin, stop))
        index = torch.where(j < before + asked, j, j - asked + question.shape[1])
        index = torch.where(j >= begin, at_context + first + j - begin, index)
        index = torch.where(j >= stop, at_context + context.shape[1] + j - stop, index)
        index = torch.where(j >= stop + after, end, index)
        of_context = (j >= begin) & (j < stop)
        kinds = self.frame["types"]
        return QuestionWindows(
            ids=source[rows].gather(1, index).long(),
            mask=(j < stop + after).long(),
            types=torch.where(j >= begin, kinds[1], kinds[0]).masked_fill(j >= stop + after, 0),
            rows=rows,
            places=torch.where(of_context, 1 + first + j - begin, -1).masked_fill(j == 0, 0),
        )

    def read(
        self, module: nn.Module, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Ids and mask [K, L] of the windows, and what else the model reads of each token."""
        windows = self.windows(batch)
        return (
            windows.ids,
            windows.mask,
            {"token_type_ids": windows.types} if _has_token_types(module) else {},
        )

    def scores(self, module: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Log-probabilities [B, 1 + C, 2] as `trainers.tasks.question_answering` takes them.

        Args:
            module: a model of transformers for question answering.
        """
        windows = self.windows(batch)
        size = len(batch["question"])  # windows at once: as many as there are questions
        pieces = [
            self._score_windows(module, windows, slice(at, at + size))
            for at in range(0, len(windows.rows), size)
        ]
        return merge_scores(torch.cat(pieces), windows, size, batch["context"].shape[1])

    @staticmethod
    def _score_windows(module: nn.Module, windows: QuestionWindows, some: slice) -> Tensor:
        kinds = {"token_type_ids": windows.types[some]} if _has_token_types(module) else {}
        made = module(input_ids=windows.ids[some], attention_mask=windows.mask[some], **kinds)
        logits = torch.stack([made.start_logits, made.end_logits], dim=2).float()
        hidden = (windows.places[some] < 0)[:, :, None]
        return logits.masked_fill(hidden, float("-inf")).log_softmax(dim=1)


def merge_scores(scores_KL2: Tensor, windows: QuestionWindows, questions: int, tokens: int) -> Tensor:
    """[B, 1 + C, 2] of what was found in each window: of several the largest."""
    width = 1 + tokens
    target = windows.rows[:, None] * width + windows.places
    target = torch.where(windows.places < 0, questions * width, target).reshape(-1, 1).expand(-1, 2)
    empty = scores_KL2.new_full((questions * width + 1, 2), float("-inf"))
    found = empty.scatter_reduce(0, target, scores_KL2.reshape(-1, 2), "amax")
    return found[:-1].view(questions, width, 2)


def draw_windows(batch: Mapping[str, Tensor], augment: Json, generator: torch.Generator) -> dict[str, Tensor]:
    """The batch with a number `drawn` in [0, 1) for each question, which decides the window that is read.

    Raises:
        InputError: `augment` asks for changes of texts.
    """
    if any(check_augment(augment).values()):
        do = "leave augment out"
        raise InputError("questions must be read as they are", repr(augment), do, key=("augment",))
    rows = len(batch["question"])
    return {**batch, "drawn": torch.rand(rows, generator=generator, device=batch["question"].device)}


def _has_token_types(module: nn.Module) -> bool:
    """Whether a model tells two texts apart by `token_type_ids`."""
    return "token_type_ids" in inspect.signature(type(module).forward).parameters
