"""Samples of families that read and write texts: what was given, what was wanted, and what the model made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from trainers.tasks.outputs import TokenDecoder

if TYPE_CHECKING:
    import torch

    from trainers.family import Family
    from trainers.types import Batch, ExampleSource, State

ROWS, PROMPTS = 10, 4
PROMPT_TOKENS, CONTINUED_TOKENS = 32, 200


def format_table(columns: Mapping[str, Sequence[str]]) -> str:
    """The columns, tab-separated, one line a row."""
    rows = zip(*columns.values(), strict=True)
    lines = ["\t".join(" ".join(str(value).split()) for value in row) for row in rows]
    return "\n".join(["\t".join(columns), *lines]) + "\n"


def first_rows(source: ExampleSource, count: int) -> Batch:
    """The first examples of a part."""
    import torch

    return source.gather(torch.arange(min(count, len(source))))


def translation_samples(
    family: Family, module: torch.nn.Module, source: ExampleSource, state: State
) -> dict[str, str]:
    """`texts`: input, reference and output of some pairs."""
    batch = first_rows(source, ROWS)
    made = family.to_user(family.answers(module, {"source": batch["source"]}, state), state)
    given, wanted = TokenDecoder(state), TokenDecoder(state, side="target_")
    columns = {
        "input": [given.decode(ids) for ids in batch["source"].tolist()],
        "reference": [wanted.decode(ids) for ids in batch["target"].tolist()],
        "output": made["output"].tolist(),
    }
    return {"texts": format_table(columns)}


def continuation_samples(
    source: ExampleSource, state: State, go_on: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, str]:
    """`continuations`: beginnings of a corpus's texts, and what the model writes after each.

    Args:
        go_on: tokens [B, n] that follow prompts [B, L].
    """
    prompts = first_rows(source, PROMPTS)["inputs"][:, :PROMPT_TOKENS]
    decoder, written = TokenDecoder(state), go_on(prompts)
    both = zip(prompts.tolist(), written.tolist(), strict=True)
    texts = [f"{decoder.decode(before)}[…]{decoder.decode(after)}" for before, after in both]
    line = "-" * 40
    return {"continuations": f"what stands before […] was given\n{line}\n" + f"\n{line}\n".join(texts) + "\n"}


def answer_samples(
    family: Family, module: torch.nn.Module, source: ExampleSource, state: State
) -> dict[str, str]:
    """`answers`: question, reference and answer of some rows, and how sure the model is."""
    from trainers.inputs.tokenizers import parse_tokenizer
    from trainers.tasks.question_answering import right_answers

    batch = first_rows(source, ROWS)
    made = family.to_user(family.answers(module, batch, state), state)
    tokenizer = parse_tokenizer(state["tokenizer"])
    columns = {
        "question": [tokenizer.decode([i for i in ids if i >= 0]) for ids in batch["question"].tolist()],
        "reference": [right or "" for right in right_answers(batch)],
        "answer": made["answer"].tolist(),
        "score": [f"{score:.3f}" for score in made["score"]],
    }
    return {"answers": format_table(columns)}
