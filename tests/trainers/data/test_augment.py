"""Augmentation: what it changes, what it leaves alone, and that chance comes from the generator alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainers.data.augment import AUDIO, CHANGES, IMAGES, augment_batch, check_augment
from trainers.errors import InputError
from trainers.hyperparameters import TRAINING

SHAPES = [(5, 1, 8, 8), (4, 3, 12, 7), (1, 2, 5, 9)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(shape: tuple[int, ...] = (5, 3, 8, 8), dtype: torch.dtype = torch.float32) -> torch.Tensor:
    values = torch.rand(shape, generator=generator(7))
    return (values * 255).to(torch.uint8) if dtype == torch.uint8 else values.to(dtype)


def augment_inputs(inputs: torch.Tensor, spec: Any, seed: int = 0) -> torch.Tensor:
    batch = {"inputs": inputs, "target": torch.arange(len(inputs))}
    result = augment_batch(batch, spec, generator(seed))
    assert torch.equal(result["target"], batch["target"])
    return result["inputs"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("name", [*IMAGES, *AUDIO, list(IMAGES)])
def test_augment_keeps_shape_and_type_and_uses_its_generator(
    shape: tuple[int, ...], dtype: torch.dtype, name: Any
) -> None:
    before = images(shape, dtype)
    original = before.clone()
    first, again, other = (augment_inputs(before, name, seed) for seed in (0, 0, 1))
    assert first.shape == before.shape
    assert first.dtype == dtype
    assert torch.equal(first, again)
    assert torch.equal(before, original)
    assert name == "flip" or not torch.equal(first, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_augment_of_no_strength_changes_nothing(dtype: torch.dtype) -> None:
    before = images(dtype=dtype)
    assert torch.equal(augment_inputs(before, dict.fromkeys({**IMAGES, **AUDIO}, 0.0)), before)
    for spec in (None, "none", [], {}):
        assert torch.equal(augment_inputs(before, spec), before)


@pytest.mark.parametrize("name", ["rotate", "scale", "shift"])
def test_augment_of_least_strength_moves_no_pixel(name: str) -> None:
    before = images((3, 1, 6, 10))
    assert torch.allclose(augment_inputs(before, {name: 1e-6}), before, atol=1e-4)


def test_flip_of_chance_one_mirrors_all_and_of_half_some() -> None:
    before = images((64, 1, 4, 4))
    assert torch.equal(augment_inputs(before, {"flip": 1.0}), before.flip(-1))
    mirrored = (augment_inputs(before, {"flip": 0.5}) == before.flip(-1)).flatten(1).all(1)
    kept = (augment_inputs(before, {"flip": 0.5}) == before).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 16 < int(mirrored.sum()) < 48


def test_crop_moves_an_image_and_fills_with_zeros() -> None:
    before = images((40, 2, 8, 8))
    after = augment_inputs(before, {"crop": 0.125})
    padded = torch.nn.functional.pad(before, (1, 1, 1, 1))
    offsets = set()
    for i in range(len(before)):
        found = [
            (row, column)
            for row in range(3)
            for column in range(3)
            if torch.equal(padded[i, :, row : row + 8, column : column + 8], after[i])
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) == 9


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance always gives the largest angle and move, and no change of size."""
    monkeypatch.setattr(torch, "rand", lambda shape, **kwargs: torch.ones(shape))


def test_largest_augmentations_are_exact_in_oblong_images(most: None) -> None:
    before = images((2, 1, 4, 6))
    assert torch.allclose(augment_inputs(before, {"rotate": 180.0}), before.flip(-1, -2), atol=1e-5)
    moved = augment_inputs(before, {"shift": 0.5})
    assert torch.allclose(moved[..., :2, :3], before[..., 2:, 3:], atol=1e-5)
    assert float(moved[..., 2:, :].abs().max()) < 1e-5


def test_rotate_by_a_quarter_keeps_shapes(most: None) -> None:
    """A square in a wide image stays a square: angles are measured in pixels."""
    wide = torch.zeros(1, 1, 9, 15)
    wide[..., 3:6, 6:9] = 1
    assert torch.allclose(augment_inputs(wide, {"rotate": 90.0}), wide, atol=1e-4)


def test_noise_has_the_deviation_asked_for() -> None:
    before = torch.full((8, 1, 50, 50), 0.5)
    noise = augment_inputs(before, {"noise": 0.1}) - before
    assert abs(float(noise.std()) - 0.1) < 0.005
    as_bytes = augment_inputs(torch.full((8, 1, 50, 50), 128, dtype=torch.uint8), {"noise": 0.1}).float()
    assert abs(float(as_bytes.std()) - 25.5) < 1
    assert int(augment_inputs(torch.full((1, 1, 9, 9), 255, dtype=torch.uint8), {"noise": 1.0}).max()) == 255


def test_augment_changes_images_independently() -> None:
    same = images((1, 1, 8, 8)).expand(16, 1, 8, 8)
    for name in ("crop", "rotate", "scale", "shift", "noise"):
        after = augment_inputs(same, name).flatten(1)
        assert len(torch.unique(after, dim=0)) > 3, name


def test_word_dropout_gives_unknown_words_and_keeps_padding() -> None:
    ids = torch.randint(2, 100, (50, 40), generator=generator(3))
    ids[:, 30:] = 0
    after = augment_inputs(ids, {"word_dropout": 0.3})
    assert torch.equal(after[:, 30:], ids[:, 30:])
    dropped = after[:, :30] != ids[:, :30]
    assert bool((after[:, :30][dropped] == 1).all())
    assert 0.25 < float(dropped.float().mean()) < 0.35
    assert bool((augment_inputs(ids, {"word_dropout": 1.0})[:, :30] == 1).all())


@pytest.mark.parametrize(
    ("inputs", "spec"),
    [
        (torch.zeros(2, 3), "flip"),
        (torch.zeros(2, 5, dtype=torch.int64), ["word_dropout", "rotate"]),
        (torch.zeros(2, 1, 4, 4), "word_dropout"),
        (torch.zeros(2, 3), "word_dropout"),
    ],
)
def test_augment_change_without_meaning_for_data_is_refused(inputs: torch.Tensor, spec: Any) -> None:
    with pytest.raises(InputError, match="augment must name changes that have a meaning"):
        augment_inputs(inputs, spec)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("flop", "did you mean 'flip'"),
        (["rotate", "sift"], "did you mean 'shift'"),
        ({"zzz": 1}, "known are flip"),
        ({"flip": 2}, "flip must be a number from 0 to 1"),
        ({"rotate": -1}, "rotate must be a number"),
        ({"noise": float("nan")}, "noise must be a number"),
        ({"flip": True}, "flip must be a number"),
        ({"flip": "0.5"}, "flip must be a number"),
        ([1], "must hold names"),
        (3, "must be a name, a list of names or a mapping"),
    ],
)
def test_augment_spec_of_unknown_or_bad_value_is_refused(spec: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_augment(spec)


def test_hyperparameters_refuse_bad_augment_before_training() -> None:
    TRAINING["augment"].check("augment", ["flip", "crop"])
    TRAINING["augment"].check("augment", None)
    with pytest.raises(InputError, match="did you mean 'rotate'"):
        TRAINING["augment"].check("augment", {"rotat": 5})


def test_augment_order_does_not_depend_on_the_spec() -> None:
    forwards, backwards = list(CHANGES), list(reversed(CHANGES))
    assert list(check_augment(backwards)) == forwards
    before = images()
    assert torch.equal(augment_inputs(before, list(IMAGES)), augment_inputs(before, list(reversed(IMAGES))))


@pytest.mark.parametrize(("name", "side"), [("time_mask", 2), ("frequency_mask", 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_mask_covers_one_stretch_of_its_side_with_the_mean(name: str, side: int, dtype: torch.dtype) -> None:
    before = images((64, 1, 20, 30), dtype)
    after = augment_inputs(before, {name: 0.25}, seed=3)
    changed = (after != before).flatten(1)
    touched = (after != before).any(dim=5 - side).flatten(1)  # [B, side]: the other side folded
    widths = touched.sum(dim=1)
    assert int(widths.max()) == before.shape[side] // 4
    assert int(widths.min()) == 0
    edges = torch.diff(torch.nn.functional.pad(touched.int(), (1, 1)), dim=1).abs().sum(dim=1)
    assert bool((edges <= 2).all())
    for one, mask, mean in zip(after.flatten(1), changed, before.double().mean(dim=(1, 2, 3)), strict=True):
        masked = one[mask].double()
        assert torch.allclose(masked, mean.expand_as(masked), atol=1.0 if dtype == torch.uint8 else 1e-5)
