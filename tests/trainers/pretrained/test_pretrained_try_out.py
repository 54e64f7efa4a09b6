"""Models of transformers' own folders by the path that a sweep takes: encoded once, then trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import velodrome
from tests.trainers.families.cases import images, pairs, texts
from tests.trainers.families.test_bert import TinyBert, model
from tests.trainers.families.test_t5 import TinyT5, save

BERT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "vocab_size": 300, "intermediate_size": 64}  # fmt: skip
VIT = {"model_type": "vit", "image_size": 12, "patch_size": 4, "num_channels": 1, "hidden_size": 32,
       "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}  # fmt: skip


@pytest.mark.parametrize("lora", [None, {"rank": 2, "targets": ["query", "value"]}], ids=["whole", "lora"])
@pytest.mark.parametrize("option", ["pretrained", "auto"])
def test_bert_of_a_folder_is_trained_by_try_out(
    option: str, lora: dict[str, Any] | None, tmp_path: Path
) -> None:
    folder = model(tmp_path / "m", BERT, document=TinyBert(texts()).state["tokenizer"])
    options = {option: str(folder), "lora": lora}
    outcome = velodrome.try_out("bert", data=texts(), options=options, show=lambda line: None)
    assert outcome.status == "complete"


@pytest.mark.parametrize("option", ["pretrained", "auto"])
def test_image_model_of_a_folder_is_trained_by_try_out(option: str, tmp_path: Path) -> None:
    options = {option: str(model(tmp_path / "m", VIT)), "lora": {"rank": 2, "targets": ["q_proj", "v_proj"]}}
    outcome = velodrome.try_out("bert", data=images(), options=options, show=lambda line: None)
    assert outcome.status == "complete"


def test_t5_of_a_folder_is_trained_by_try_out(tmp_path: Path) -> None:
    options = {"pretrained": str(save(TinyT5(), tmp_path / "t5")), "lora": {"rank": 2}}
    outcome = velodrome.try_out("t5", data=pairs(), options=options, show=lambda line: None)
    assert outcome.status == "complete"
