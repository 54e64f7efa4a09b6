"""A Hugging Face model with its tokenizer, kept as it was saved: texts in, labels out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import torch

CLASSIFIER = "ForSequenceClassification"
COLUMN = "text"


def is_text_classifier(folder: Path) -> bool:
    """Whether a folder holds a classifier of texts with its tokenizer, its weights by safetensors."""
    needed = ("config.json", "tokenizer.json")
    if not all((folder / name).is_file() for name in needed) or not list(folder.glob("*.safetensors")):
        return False
    try:
        architectures = json.loads((folder / "config.json").read_text()).get("architectures") or [""]
    except (ValueError, AttributeError):
        return False
    return str(architectures[0]).endswith(CLASSIFIER)


class TextClassifier:
    """The model of a folder. No code of the folder's own is run, and no pickle read."""

    def __init__(self, folder: Path) -> None:
        """Loads it."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        common = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), **common)
            self.module: torch.nn.Module = AutoModelForSequenceClassification.from_pretrained(
                str(folder), use_safetensors=True, **common
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError("a kept model must load by transformers", str(error)[:300]) from error

    def answer(self, rows: pd.DataFrame) -> pd.DataFrame:
        """`label` and `p_<class>` of each text; `prediction` where the model has one output."""
        import pandas as pd

        texts = [str(value) for value in rows[COLUMN if COLUMN in rows.columns else rows.columns[0]]]
        batch = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        device = next(self.module.parameters()).device
        logits: torch.Tensor = self.module(**{name: t.to(device) for name, t in batch.items()}).logits
        config: Any = self.module.config
        if logits.shape[1] == 1:
            return pd.DataFrame({"prediction": logits[:, 0].float().cpu().numpy().astype(np.float64)})
        chances = logits.float().softmax(dim=1).cpu().numpy().astype(np.float64)
        names = [str(config.id2label[place]) for place in range(chances.shape[1])]
        labels = [names[place] for place in chances.argmax(axis=1)]
        return pd.DataFrame({"label": labels, **{f"p_{n}": chances[:, i] for i, n in enumerate(names)}})
