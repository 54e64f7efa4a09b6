"""BERT and its like: what they learn, what pre-training does, and whose weights they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.families.cases import Memory, images, texts
from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.families.bert import Bert
from trainers.modules.masked_language_model import IGNORED, MaskedWords

SMALL = {"width": 32, "heads": 2, "layers": 1, "feed_forward": 64, "dropout": 0.0, "vocabulary": 300}


class TinyBert:
    def __init__(self, dataset: Dataset, options: dict[str, Any] | None = None, **params: Any) -> None:
        self.dataset, self.family = dataset, Bert(options)
        known = self.family.list_hyperparameters()
        given = {name: value for name, value in {**SMALL, **params}.items() if name in known}
        self.params = self.family.complete(given)
        self.family.check(dataset)
        memory = Memory()
        self.state = json.loads(json.dumps(self.family.encode(dataset, self.params, memory)))
        self.arrays = {name: torch.from_numpy(np.array(values)) for name, values in memory.arrays.items()}
        torch.manual_seed(0)
        self.module = self.family.build(self.state, self.params)
        self.family.start(self.module)

    def batch(self, rows: Any = slice(0, 60)) -> dict[str, torch.Tensor]:
        return {name: values[rows] for name, values in self.arrays.items()}

    def train(self, steps: int, rate: float = 3e-3) -> list[float]:
        self.module.train()
        optimizer = torch.optim.Adam([p for p in self.module.parameters() if p.requires_grad], rate)
        losses = []
        for _ in range(steps):
            outputs = self.family.outputs(self.module, self.batch())
            loss = self.family.loss(outputs, self.batch(), self.params, self.state)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        self.module.eval()
        return losses

    def accuracy(self, rows: Any) -> float:
        with torch.no_grad():
            found = self.family.outputs(self.module, self.batch(rows)).argmax(1)
        return float((found == self.batch(rows)["target"]).float().mean())


def model(folder: Path, config: dict[str, Any], auto: str = "AutoModel", document: str | None = None) -> Path:
    """A folder as transformers saves one, with drawn weights."""
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(1)
    made = getattr(transformers, auto).from_config(transformers.AutoConfig.for_model(**config))
    made.save_pretrained(folder)
    if document is not None:
        (folder / "tokenizer.json").write_text(document)
    return folder


def test_a_small_bert_learns_texts() -> None:
    fitted = TinyBert(texts())
    losses = fitted.train(30)
    assert losses[-1] < 0.3 * losses[0]
    assert fitted.accuracy(slice(60, 75)) > 0.9
    frame = fitted.family.to_user(
        fitted.family.outputs(fitted.module, fitted.batch(slice(0, 2))), fitted.state
    )
    assert list(frame.columns) == ["label", "p_bad", "p_good"]


def test_bert_same_seed_gives_same_losses() -> None:
    assert TinyBert(texts(), dropout=0.1).train(3) == TinyBert(texts(), dropout=0.1).train(3)


def test_bert_padding_changes_no_output() -> None:
    fitted = TinyBert(texts())
    fitted.module.eval()
    together = fitted.family.outputs(fitted.module, fitted.batch(slice(0, 20)))
    alone = [fitted.family.outputs(fitted.module, fitted.batch(slice(i, i + 1))) for i in range(20)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-4, atol=1e-5)


def test_bert_masking_rates_are_the_papers() -> None:
    torch.manual_seed(0)
    head = MaskedWords(8, 1000, batches=3, mask=4, special=5).train()
    ids = torch.randint(5, 1000, (400, 100))
    ids[:, 0], ids[:, -1] = 2, 3
    hidden, wanted = head.mask_tokens(ids)
    chosen = wanted != IGNORED
    assert not chosen[:, 0].any()
    assert not chosen[:, -1].any()
    assert torch.equal(wanted[chosen], ids[chosen])
    assert torch.equal(hidden[~chosen], ids[~chosen])
    share = chosen[:, 1:-1].float().mean().item()
    masked = (hidden[chosen] == 4).float().mean().item()
    kept = (hidden[chosen] == ids[chosen]).float().mean().item()
    assert (share, masked, kept) == pytest.approx((0.15, 0.8, 0.1), abs=0.01)


def test_the_first_batches_find_masked_words_and_then_the_task_is_learned() -> None:
    fitted = TinyBert(texts(), {"masked_words": {"batches": 12}})
    head: Any = fitted.module.masked_words
    before = {n: p.clone() for n, p in fitted.module.named_parameters() if n.startswith("classifier")}
    early = fitted.train(12)
    assert early[-1] < early[0]
    assert int(head.seen) == 12
    for name, value in before.items():
        assert torch.equal(fitted.module.get_parameter(name), value), name
    words = {n: p.clone() for n, p in head.named_parameters()}
    late = fitted.train(30)
    assert late[-1] < 0.5 * late[0]
    assert int(head.seen) == 12
    assert any(not torch.equal(before[n], fitted.module.get_parameter(n)) for n in before)
    assert all(p.grad is not None for p in fitted.module.parameters())  # ranks agree on what has one
    assert words.keys() == dict(head.named_parameters()).keys()
    resumed = TinyBert(texts(), {"masked_words": {"batches": 12}})
    resumed.module.load_state_dict(fitted.module.state_dict())
    assert not resumed.module.train().masked_words.active


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        {"model_type": "distilbert", "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64},
        {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "eos_token_id": 3},
    ],
    ids=lambda config: config["model_type"],
)
def test_bert_starts_from_a_pretrained_folder(config: dict[str, Any], tmp_path: Path) -> None:
    document = TinyBert(texts()).state["tokenizer"]
    folder = model(tmp_path / "m", {"vocab_size": 300, "intermediate_size": 64, **config}, document=document)
    fitted = TinyBert(texts(), {"pretrained": str(folder)})
    from safetensors.torch import load_file

    own = {name.split(".", 1)[1]: t for name, t in fitted.module.state_dict().items() if "." in name}
    taken = [name for name, tensor in load_file(folder / "model.safetensors").items() if name in own]
    assert len(taken) >= 10
    for name, tensor in load_file(folder / "model.safetensors").items():
        if name in own:
            assert torch.equal(own[name], tensor), name
    losses = fitted.train(12, 1e-2)
    assert losses[-1] < losses[0]
    rows = fitted.family.from_user(pd.DataFrame({"text": ["a lovely film", ""]}), fitted.state)
    batch = {name: torch.from_numpy(values) for name, values in rows.items()}
    assert torch.isfinite(fitted.family.outputs(fitted.module, batch)).all()


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "vit", "image_size": 12, "patch_size": 4, "num_channels": 1, "hidden_size": 32,
         "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
        {"model_type": "resnet", "num_channels": 1, "embedding_size": 8, "hidden_sizes": [8, 16],
         "depths": [1, 1], "layer_type": "basic"},
    ],
    ids=lambda config: config["model_type"],
)  # fmt: skip
def test_bert_auto_loads_models_of_images(config: dict[str, Any], tmp_path: Path) -> None:
    folder = model(tmp_path / "m", config)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.4], "image_std": [0.2], "size": {"height": 12, "width": 12}})
    )
    fitted = TinyBert(images(), {"auto": str(folder)})
    assert fitted.state["shape"] == [12, 12, 1]
    assert (fitted.state["mean"], fitted.state["std"]) == ([0.4], [0.2])
    losses = fitted.train(40)
    assert losses[-1] < 0.8 * losses[0]
    (folder / "model.safetensors").unlink()
    TinyBert(images(), {"auto": str(folder)})  # the configuration alone will do
    with pytest.raises(InputError, match="must be in safetensors"):
        TinyBert(images(), {"pretrained": str(folder)})


def test_bert_lora_trains_adapters_and_head_alone() -> None:
    fitted = TinyBert(texts(), {"lora": {"rank": 2, "targets": ["query", "value"]}})
    before = {name: tensor.clone() for name, tensor in fitted.module.state_dict().items()}
    fitted.train(8, 1e-2)
    changed = {n for n, t in fitted.module.state_dict().items() if not torch.equal(t, before[n])}
    assert {name.split(".")[0] for name in changed} == {"bert", "classifier"}
    assert all("lora_" in name for name in changed if name.startswith("bert"))


def test_bert_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images need a model"):
        Bert().check(images())
    with pytest.raises(InputError, match="masked_words are for"):
        Bert({"auto": "x", "masked_words": {"batches": 2}}).check(texts())
    with pytest.raises(InputError, match="multiple of heads"):
        TinyBert(texts(), width=30, heads=4)
    (tmp_path / "config.json").write_text('{"model_type": "nothing-known"}')
    (tmp_path / "tokenizer.json").write_text(TinyBert(texts()).state["tokenizer"])
    with pytest.raises(InputError, match="nothing-known"):
        TinyBert(texts(), {"auto": str(tmp_path)})
