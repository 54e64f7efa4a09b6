"""BERT that answers questions: what it learns, windows over long contexts, and whose weights it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.families.cases import questions
from tests.trainers.families.test_bert import TinyBert, model
from trainers.data.dataset import Column, Dataset
from trainers.errors import InputError
from trainers.families.bert import Bert
from trainers.tasks.question_answering import right_answers

OPTIONS = {"max_tokens": 40, "stride": 8}


def long_questions() -> Dataset:
    """As `questions`, with the facts behind and before many other words."""
    short = questions()
    values = [
        " ".join(["nothing"] * (row % 30)) + f" {text} " + " ".join(["nothing"] * (30 - row % 30))
        for row, text in enumerate(short.columns["context"].values)
    ]
    assert short.answer_starts is not None
    moved = np.array([len(" ".join(["nothing"] * (row % 30))) + 1 for row in range(short.rows)])
    context = Column(name="context", kind="text", values=values)
    columns = {**short.columns, "context": context}
    return replace(short, columns=columns, answer_starts=short.answer_starts + moved)


def windows_of(fitted: TinyBert, rows: Any) -> Any:
    reader: Any = fitted.module.reader
    return reader.windows(fitted.batch(rows))


def test_question_target_marks_the_given_answer() -> None:
    for dataset in (questions(), long_questions()):
        fitted = TinyBert(dataset, OPTIONS)
        assert dataset.target is not None
        assert right_answers(fitted.batch(slice(None))) == list(dataset.target.values)


def test_windows_cover_every_token_of_a_context_and_hold_the_question() -> None:
    fitted = TinyBert(long_questions(), OPTIONS)
    batch, found = fitted.batch(slice(0, 9)), windows_of(fitted, slice(0, 9))
    assert found.ids.shape[1] <= 40
    assert len(found.rows) > 9
    for row in range(9):
        own = found.rows == row
        held = batch["context"][row][batch["context"][row] >= 0]
        places = found.places[own]
        assert set(places[places > 0].tolist()) == set(range(1, len(held) + 1))
        ids = found.ids[own]
        assert torch.equal(ids[places > 0], held[places[places > 0] - 1].long())
        question = batch["question"][row][batch["question"][row] >= 0].long()
        assert (ids[:, 1 : 1 + len(question)] == question).all()
        assert (found.types[own][places > 0] == 1).all()


def test_question_training_draws_a_window_and_learns_what_it_shows() -> None:
    fitted = TinyBert(long_questions(), OPTIONS)
    batch, generator = fitted.batch(slice(0, 30)), torch.Generator().manual_seed(0)
    drawn = fitted.family.augment(batch, {"augment": None}, generator)
    read = windows_of(fitted, slice(0, 30))
    reader: Any = fitted.module.reader
    some = reader.windows(drawn)
    assert torch.equal(some.rows, torch.arange(30))
    assert len(read.rows) > 60
    outputs = fitted.family.outputs(fitted.module, drawn)
    without = torch.isinf(outputs[torch.arange(30), batch["target"][:, 0], 0])
    assert 0 < int(without.sum()) < 30
    loss = fitted.family.loss(outputs, drawn, fitted.params, fitted.state)
    assert torch.isfinite(loss)
    with pytest.raises(InputError, match="read as they are"):
        fitted.family.augment(batch, {"augment": "word_dropout"}, generator)


def test_answer_cut_off_a_long_context_scores_as_never_found() -> None:
    fitted = TinyBert(long_questions(), {**OPTIONS, "max_context": 20})
    lost = [row for row, right in enumerate(right_answers(fitted.batch(slice(None)))) if right is None]
    assert 0 < len(lost) < 90
    metrics = fitted.family.rules(fitted.state).metric_set("cpu")
    batch = fitted.batch(torch.tensor(lost))
    metrics.update(fitted.family.outputs(fitted.module.eval(), batch), batch)
    assert metrics.compute() == {"f1": 0.0, "exact_match": 0.0}


def test_answers_give_their_place_in_any_script() -> None:
    fitted = TinyBert(questions(), OPTIONS)
    context = "Die Kiste\u2009— größer als „alles“ — hält 1\u00a0234 Münzen 🪙."
    asked = pd.DataFrame({"question": ["Wie viele?", "?", ""], "context": [context, "", None]})
    arrays = fitted.family.from_user(asked, fitted.state)
    batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
    with torch.no_grad():
        found = fitted.family.answers(fitted.module.eval(), batch, fitted.state)
    frame = fitted.family.to_user(found, fitted.state)
    assert list(frame.columns) == ["answer", "score", "start", "end"]
    first = frame.iloc[0]
    assert context[first["start"] : first["end"]] == first["answer"] != ""
    assert 0 < first["score"] <= 1
    assert frame["answer"].tolist()[1:] == ["", ""]
    with pytest.raises(InputError, match="no context"):
        fitted.family.from_user(asked[["question"]], fitted.state)


@pytest.mark.parametrize("auto", ["AutoModelForQuestionAnswering", "AutoModel"])
def test_a_pretrained_bert_answers_as_transformers_does(auto: str, tmp_path: Path) -> None:
    import transformers

    document = TinyBert(questions(), OPTIONS).state["tokenizer"]
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = {"model_type": "bert", "vocab_size": 300, **small, "max_position_embeddings": 48}
    folder = model(tmp_path / "m", config, auto, document)
    fitted = TinyBert(questions(), {"pretrained": str(folder)})
    assert fitted.state["length"] <= 48
    other = getattr(transformers, auto).from_pretrained(folder).eval()
    windows, batch = windows_of(fitted, slice(0, 5)), fitted.batch(slice(0, 5))
    given = {"input_ids": windows.ids, "attention_mask": windows.mask, "token_type_ids": windows.types}
    with torch.no_grad():
        made = other(**given)
        if auto == "AutoModel":
            own = fitted.module.eval().bert(**given).last_hidden_state
            torch.testing.assert_close(own, made.last_hidden_state)
            return
        scores = fitted.family.outputs(fitted.module.eval(), batch)
    for row in range(5):
        held = windows.places[row] >= 0
        expected = made.start_logits[row][held].log_softmax(0)
        torch.testing.assert_close(scores[row, windows.places[row][held], 0], expected)


def test_pretrained_model_without_token_types_answers_questions(tmp_path: Path) -> None:
    document = TinyBert(questions(), OPTIONS).state["tokenizer"]
    config = {"model_type": "distilbert", "vocab_size": 300, "dim": 32, "n_layers": 1, "n_heads": 2}
    folder = model(tmp_path / "m", {**config, "hidden_dim": 64}, document=document)
    losses = TinyBert(questions(), {"auto": str(folder)}).train(6)
    assert losses[-1] < losses[0]


def test_question_lora_trains_adapters_and_head_after_masked_words() -> None:
    fitted = TinyBert(questions(), {**OPTIONS, "lora": {"rank": 2, "targets": ["query", "value"]}})
    before = {name: tensor.clone() for name, tensor in fitted.module.state_dict().items()}
    fitted.train(4)
    changed = {n for n, t in fitted.module.state_dict().items() if not torch.equal(t, before[n])}
    assert all("lora_" in name or name.startswith("qa_outputs") for name in changed)
    assert any(name.startswith("qa_outputs") for name in changed)
    masked = TinyBert(questions(), {**OPTIONS, "masked_words": {"batches": 3}})
    ends = masked.module.qa_outputs.weight.clone()  # type: ignore[operator, union-attr]
    masked.train(3)
    assert torch.equal(ends, masked.module.qa_outputs.weight)  # type: ignore[union-attr, arg-type]
    masked.train(2)
    assert not torch.equal(ends, masked.module.qa_outputs.weight)  # type: ignore[union-attr, arg-type]


def test_question_window_without_room_for_context_is_refused() -> None:
    with pytest.raises(InputError, match="max_tokens must be 16 at least"):
        Bert({"max_tokens": 15}).check(questions())
