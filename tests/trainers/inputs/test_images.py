"""Images as people hand them in, by what training saw."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from trainers.data.images import decode_user_images
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError
from trainers.families.image_cnn import ImageCNN
from trainers.inputs.encoded_arrays import encode_dataset
from trainers.inputs.images import images_from_user


def test_images_in_another_range_of_numbers_are_refused_with_both(tmp_path: Path) -> None:
    digits = open_dataset({"source": "builtin:digits"}, base=tmp_path, cache=tmp_path)
    family = ImageCNN()
    state = encode_dataset(family, digits, family.complete({}), tmp_path).state
    as_sklearn = load_digits().images[:3]
    with pytest.raises(
        InputError, match=r"image 0 reaches 15, where every .* of 255 at least; divide them by"
    ):
        images_from_user(pd.DataFrame({"image": [image.tolist() for image in as_sklearn]}), state)
    whole = images_from_user(pd.DataFrame({"image": [(image * 255 / 16) for image in as_sklearn]}), state)
    shares = images_from_user(pd.DataFrame({"image": [(image / 16).tolist() for image in as_sklearn]}), state)
    assert np.abs(whole["inputs"].astype(int) - shares["inputs"]).max() <= 1
    black = pd.DataFrame({"image": [np.zeros((8, 8), np.uint8)]})
    assert images_from_user(black, state)["inputs"].max() == 0
    older = {key: value for key, value in state.items() if key != "least_peak"}
    assert len(images_from_user(pd.DataFrame({"image": [as_sklearn[0]]}), older)["inputs"]) == 1


def test_image_as_base64_is_read_where_it_says_that_it_is() -> None:
    """A model's example spells bytes so; handed back by MLflow it was taken for a path. Without the word it
    is none, and a refusal does not repeat a megabyte of it."""
    held = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(held, "PNG")
    letters = base64.b64encode(held.getvalue()).decode()
    known = decode_user_images([held.getvalue()], size=(8, 8), channels=1)
    assert (decode_user_images([f"base64:{letters}"], size=(8, 8), channels=1) == known).all()
    for given in (letters, f"data:image/png;base64,{letters}", letters * 3000):
        with pytest.raises(InputError, match=r"characters\).*write base64: before") as caught:
            decode_user_images([given], size=(8, 8), channels=1)
        assert len(str(caught.value)) < 600
    with pytest.raises(InputError, match="must be base64"):
        decode_user_images(["base64:%"], size=(8, 8), channels=1)
