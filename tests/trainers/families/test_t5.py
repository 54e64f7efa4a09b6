"""T5: what it learns, what it writes, and where its weights come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.families.cases import Memory, pairs
from trainers.errors import InputError
from trainers.families.t5 import T5
from trainers.pretrained.hub import check_hash, find_folder
from trainers.tasks import rules_for

SMALL = {"width": 32, "heads": 4, "layers": 1, "feed_forward": 64, "dropout": 0.0, "vocabulary": 270}


class TinyT5:
    def __init__(self, options: dict[str, Any] | None = None, **params: Any) -> None:
        self.family = T5(options)
        known = self.family.list_hyperparameters()
        given = {name: value for name, value in {**SMALL, **params}.items() if name in known}
        self.params = self.family.complete(given)
        memory = Memory()
        self.state = json.loads(json.dumps(self.family.encode(pairs(), self.params, memory)))
        self.arrays = {name: torch.from_numpy(np.array(values)) for name, values in memory.arrays.items()}
        torch.manual_seed(0)
        self.module = self.family.build(self.state, self.params)
        self.family.start(self.module)

    def batch(self, rows: Any) -> dict[str, torch.Tensor]:
        return {name: values[rows] for name, values in self.arrays.items()}

    def loss(self, rows: Any = slice(0, 60)) -> torch.Tensor:
        outputs = self.family.outputs(self.module, self.batch(rows))
        return self.family.loss(outputs, self.batch(rows), self.params, self.state)

    def train(self, steps: int, rate: float = 5e-3) -> None:
        self.module.train()
        trained = [p for p in self.module.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, rate)
        for _ in range(steps):
            optimizer.zero_grad()
            self.loss().backward()
            optimizer.step()
        self.module.eval()

    def predict(self, texts: list[str]) -> pd.DataFrame:
        arrays = self.family.from_user(pd.DataFrame({"input": texts}), self.state)
        batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
        with torch.inference_mode():
            return self.family.to_user(self.family.answers(self.module, batch, self.state), self.state)


def save(fitted: TinyT5, folder: Path) -> Path:
    """As transformers would have saved it."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    module: Any = fitted.module
    module.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(fitted.state["tokenizer"])
    return folder


def test_t5_learns_pairs_and_writes_them() -> None:
    fitted = TinyT5()
    fitted.train(90)
    metrics = rules_for(fitted.state).metric_set("cpu")
    with torch.no_grad():
        fitted.family.judge(fitted.module, fitted.batch(slice(0, 60)), metrics)
    values = metrics.compute()
    assert values["exact_match"] > 0.8
    assert values["loss"] < 0.5
    seen = sorted(set(pairs().columns["input"].values[:60]), key=len)[1:5]
    assert list(fitted.predict(seen)["output"]) == [2 * text[-1] for text in seen]
    how = {"strategy": "beam", "beams": 3, "outputs": 2, "max_tokens": 6}
    fitted.family = T5({"generate": how})
    answers = fitted.predict(seen)
    assert list(answers.columns) == ["output", "output_2"]
    assert list(answers["output"]) == [2 * text[-1] for text in seen]


def test_t5_draws_are_repeatable_and_leave_the_generator_alone() -> None:
    fitted = TinyT5({"generate": {"strategy": "sample", "outputs": 3, "max_tokens": 5}})
    fitted.module.eval()
    state = torch.get_rng_state()
    first = fitted.predict(["abc", "d"])
    assert torch.equal(torch.get_rng_state(), state)
    pd.testing.assert_frame_equal(fitted.predict(["abc", "d"]), first)


def test_t5_same_seed_gives_same_loss() -> None:
    assert TinyT5().loss().item() == TinyT5().loss().item()


def test_t5_outputs_equal_those_of_transformers() -> None:
    fitted = TinyT5()
    fitted.module.eval()
    batch = fitted.batch(slice(0, 5))
    mask = (batch["source"] != 0).long()
    theirs = fitted.module(input_ids=batch["source"], attention_mask=mask, labels=batch["target"])
    torch.testing.assert_close(fitted.family.outputs(fitted.module, batch), theirs.logits)
    torch.testing.assert_close(fitted.loss(slice(0, 5)), theirs.loss)


def test_t5_prefix_stands_before_each_input() -> None:
    plain, prefixed = TinyT5(), TinyT5({"prefix": "ab"})
    longer = prefixed.family.from_user(pd.DataFrame({"input": ["cd"]}), prefixed.state)["source"]
    assert (
        longer.tolist()[0][:5]
        == plain.family.from_user(
            pd.DataFrame({"input": ["abcd"]}), {**plain.state, "tokenizer": prefixed.state["tokenizer"]}
        )["source"].tolist()[0][:5]
    )


def test_t5_pretrained_weights_and_tokenizer_come_from_a_folder(tmp_path: Path) -> None:
    first = TinyT5()
    first.train(5)
    folder = save(first, tmp_path / "t5")
    second = TinyT5({"pretrained": str(folder)})
    assert second.state["tokenizer"] == first.state["tokenizer"]
    for name, tensor in first.module.state_dict().items():
        assert torch.equal(second.module.state_dict()[name], tensor), name
    assert "width" not in second.family.list_hyperparameters()


def test_t5_pretrained_with_another_hash_is_refused(tmp_path: Path) -> None:
    import hashlib

    folder = save(TinyT5(), tmp_path / "t5")
    right = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    TinyT5({"pretrained": str(folder), "sha256": right})
    check_hash([folder / "model.safetensors"], right.upper())
    with pytest.raises(InputError, match="the hash"):
        TinyT5({"pretrained": str(folder), "sha256": "0" * 64})


def test_t5_weights_of_another_shape_or_format_are_refused(tmp_path: Path) -> None:
    folder = save(TinyT5(), tmp_path / "t5")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "d_ff": 80}))
    with pytest.raises(InputError, match="must have the shape"):
        TinyT5({"pretrained": str(folder)})
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="must be in safetensors"):
        TinyT5({"pretrained": str(folder)})


def test_t5_pretrained_of_another_model_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="must be a T5"):
        TinyT5({"pretrained": str(tmp_path)})


def test_t5_name_without_hub_access_says_how_to_bring_the_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def unreachable(**wanted: Any) -> str:
        asked.append(wanted)
        raise LocalEntryNotFoundError("the hub cannot be reached")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(InputError, match="hf download t5-small --local-dir DIR"):
        find_folder("t5-small")
    assert [wanted.get("local_files_only") for wanted in asked] == [True, None]
    assert not any("bin" in pattern or "py" in pattern for pattern in asked[0]["allow_patterns"])
    for wrong in ("../escape", "a b", "no/such/folder"):
        with pytest.raises(InputError, match="a folder that exists"):
            find_folder(wrong)


def test_t5_lora_trains_adapters_alone(tmp_path: Path) -> None:
    folder = save(TinyT5(), tmp_path / "t5")
    fitted = TinyT5({"pretrained": str(folder), "lora": {"rank": 2}})
    before = {name: tensor.clone() for name, tensor in fitted.module.state_dict().items()}
    start = fitted.loss().item()
    fitted.train(10, 1e-2)
    changed = {n for n, t in fitted.module.state_dict().items() if not torch.equal(t, before[n])}
    assert changed
    assert all("lora_" in name for name in changed)
    assert fitted.loss().item() < start
    with pytest.raises(InputError, match="must name layers"):
        TinyT5({"lora": {"targets": ["nowhere"]}})
