"""`task: masked-words`: a BERT that learns texts alone, and fills in what is masked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import velodrome
from tests.trainers.families.cases import make_dataset, texts
from tests.trainers.families.test_bert import TinyBert, model
from tests.trainers.pretrained.test_pretrained_try_out import BERT
from trainers.bundle.bundle import load_bundle, save_bundle
from trainers.data.dataset import Column, Dataset
from trainers.errors import InputError
from trainers.families.bert import Bert
from trainers.inputs.encoded_arrays import encode_dataset
from trainers.inputs.hidden_words import IGNORED, hidden_count, hide_tokens
from trainers.job import Job, Outcome
from trainers.loop.training import train
from trainers.modules.masked_language_model import HiddenWords
from trainers.tasks import rules_for
from trainers.types import Goal, Length

TINY = {"width": 32, "heads": 2, "layers": 1, "feed_forward": 64, "vocabulary": 300, "learning_rate": 1e-2}


def sentences() -> Dataset:
    """Two words of which each gives the other away, among noise."""
    draw = np.random.default_rng(0)
    pairs = [("salt", "pepper"), ("bread", "butter"), ("thunder", "lightning")]
    values = [" and ".join(pairs[int(draw.integers(3))]) for _ in range(90)]
    column = {"text": Column(name="text", kind="text", values=values)}
    return replace(make_dataset("text", "masked-words", column, None), fingerprint="1" * 32)


class Quiet:
    """Hooks that want nothing."""

    def report(self, epoch: int, metrics: Any) -> bool:
        return True

    def alive(self, step: int) -> None:
        pass

    def stopping(self) -> bool:
        return False

    def save(self, tensors: Any, document: Any) -> None:
        pass

    def load(self) -> None:
        return None


def train_bert(folder: Path, epochs: int = 15, **more: Any) -> tuple[Bert, Any, Outcome]:
    family = Bert()
    params = family.complete({**TINY, "dropout": 0.0, **more})
    encoded = encode_dataset(family, sentences(), params, folder)
    goal = Goal(metric="val/loss", maximize=False)
    job = Job(family=family, params=params, seed=3, length=Length(epochs=epochs), goals=(goal,))
    return family, encoded, train(job, encoded, Quiet())


def test_bert_learns_to_fill_in_masked_words(tmp_path: Path) -> None:
    family, encoded, outcome = train_bert(tmp_path / "cache")
    assert outcome.metrics["val/accuracy"] > 0.6
    assert outcome.metrics["val/perplexity"] == pytest.approx(np.exp(outcome.metrics["val/loss"]))
    folder = save_bundle(
        tmp_path / "bundle",
        family_reference="bert",
        options={},
        params={**TINY, "dropout": 0.0},
        state=encoded.state,
        weights=outcome.weights,
        facts={},
        example_rows=family.example(sentences()),
        row_hashes_of_train=np.arange(3).astype(np.uint64),
    )
    asked = pd.DataFrame({"text": ["bread[MASK]butter", "salt and pepper"]})
    found = load_bundle(folder).predict(asked)["text"].tolist()
    assert found == ["bread and butter", "salt and pepper"]


def test_masked_words_same_seed_gives_same_bits(tmp_path: Path) -> None:
    runs = [train_bert(tmp_path, epochs=2, dropout=0.1)[2] for _ in range(2)]
    assert all(torch.equal(tensor, runs[1].weights[name]) for name, tensor in runs[0].weights.items())


def test_hidden_tokens_depend_on_the_text_alone() -> None:
    draw = np.random.default_rng(0)
    ids = draw.integers(5, 300, (40, 30))
    ids[:, 0], mask = 2, np.arange(30)[None] < draw.integers(1, 31, 40)[:, None]
    hidden, wanted = hide_tokens(ids, mask, mask_id=4, special_ids=range(5), tokens=300)
    counts = (wanted != IGNORED).sum(1)
    lengths = mask.sum(1) - 1
    assert counts.tolist() == [hidden_count(int(n)) if n else 0 for n in lengths]
    assert not (wanted[:, 0] != IGNORED).any()
    assert (wanted[~mask] == IGNORED).all()
    assert (hidden[wanted == IGNORED] == ids[wanted == IGNORED]).all()
    at = np.array([7, 3])
    again = hide_tokens(ids[at], mask[at], mask_id=4, special_ids=range(5), tokens=300)
    np.testing.assert_array_equal(again[0], hidden[at])


def test_training_hides_as_many_other_tokens() -> None:
    draw = np.random.default_rng(0)
    ids, mask = draw.integers(5, 300, (300, 40)), np.ones((300, 40), np.bool_)
    _, wanted = hide_tokens(ids, mask, mask_id=4, special_ids=range(5), tokens=300)
    torch.manual_seed(0)
    given = [torch.from_numpy(values) for values in (ids, mask, wanted)]
    own = HiddenWords(mask=4, special=range(5), tokens=300)
    hidden, other = own.hide(*given)
    found = other != IGNORED
    assert torch.equal(found.sum(1), (given[2] != IGNORED).sum(1))
    assert not torch.equal(found, given[2] != IGNORED)
    assert torch.equal(other[found], given[0][found])
    assert torch.equal(hidden[~found], given[0][~found])
    assert float((hidden[found] == 4).float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float((hidden[found] == given[0][found]).float().mean()) == pytest.approx(0.1, abs=0.03)
    assert int(hidden.min()) >= 4


def test_trivial_guess_of_masked_words_is_the_commonest() -> None:
    rules = rules_for({"task": "masked-words"})
    found = rules.trivial(np.array([7, 7, 8]), np.array([[7, 8], [IGNORED, 7]]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]))


def test_masked_words_continue_a_pretrained_folder(tmp_path: Path) -> None:
    document = TinyBert(texts()).state["tokenizer"]
    folder = model(tmp_path / "m", BERT, document=document)
    options = {"pretrained": str(folder)}
    outcome = velodrome.try_out("bert", data=sentences(), options=options, show=lambda line: None)
    assert outcome.status == "complete"
    assert 0 < outcome.metrics["val/loss"] < 10


def test_masked_words_within_masked_words_are_refused() -> None:
    with pytest.raises(InputError, match="beside another task") as error:
        Bert({"masked_words": {"batches": 3}}).check(sentences())
    assert error.value.key == ("options", "masked_words")
