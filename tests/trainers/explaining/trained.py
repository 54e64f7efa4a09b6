"""Small models, trained here and now, as they are loaded for use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.bundle.contents import Bundle
from trainers.bundle.predictor import Predictor, make_predictor
from trainers.data.dataset import Dataset
from trainers.inputs.encoded_arrays import encode_dataset
from trainers.registry import load_reference
from trainers.try_out import try_out


def predictor_of(
    reference: str, dataset: Dataset, cache: Path, *, epochs: int = 3, options: Any = None, **params: Any
) -> Predictor:
    """A built-in family's model; 0 epochs: with the weights that it is born with."""
    found: Any = load_reference(reference)
    family = found(options)
    complete = family.complete(params)
    state = encode_dataset(family, dataset, complete, cache).state
    torch.manual_seed(0)
    weights: Any = family.build(state, complete).state_dict()
    if epochs:
        weights = try_out(family, params, epochs=epochs, data=dataset, directory=cache, show=str).weights
    document: Any = {
        "family": reference, "options": family.options.model_dump(mode="json"), "params": complete,
        "state": state, "code": {}, "facts": {},
    }  # fmt: skip
    bundle = Bundle(
        document=document, weights=weights, example=family.example(dataset), train_rows=np.zeros(0, np.uint64)
    )
    return make_predictor(bundle, device="cpu", accept_code_change=True)


def rows_of(dataset: Dataset, count: int = 12) -> Any:
    """The first rows as people have them."""
    import pandas as pd

    return pd.DataFrame(
        {
            name: pd.Series(list(column.values[:count]), dtype=object)
            for name, column in dataset.columns.items()
        }
    )
