"""Images as people hand them in, by what training saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

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
