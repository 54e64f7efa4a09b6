from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from infra.predicting.parquet_and_images import FileFolder
from tests.trainers.data.conftest import Open
from trainers.data import images
from trainers.data.dataset import Column
from trainers.data.examples import _nested_lists
from trainers.data.picture_headers import common_size, image_sizes
from trainers.errors import InputError
from trainers.families.image_cnn import ImageCNN
from trainers.inputs.encoded_arrays import FolderWriter, encode_dataset

RANDOM = np.random.default_rng(0)


def encode_picture(mode: str = "RGB", size: tuple[int, int] = (20, 30), form: str = "png") -> bytes:
    picture = Image.fromarray(RANDOM.integers(0, 255, (*size, 3), np.uint8)).convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()


def decode_one(value: Any, size: tuple[int, int] = (8, 8), channels: int = 3, fit: Any = "crop") -> Any:
    return images.decode_user_images([value], size=size, channels=channels, fit=fit)[0]


def test_images_of_many_sizes_become_one_array(tmp_path: Path) -> None:
    files = []
    for at, (mode, form) in enumerate(
        [("RGB", "png"), ("L", "png"), ("RGBA", "png"), ("P", "gif"), ("RGB", "jpeg")]
    ):
        file = tmp_path / f"{at}.{form}"
        file.write_bytes(encode_picture(mode, (20 + at, 30), form))
        files.append(str(file))
    column = Column(name="image", kind="image", values=files)
    writer = FolderWriter(tmp_path, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = images.decode_images(column, writer, size=(12, 10), channels=3)
    writer.finish({})
    assert (found.shape, found.dtype) == ((5, 12, 10, 3), np.uint8)
    assert found.reshape(5, -1).std(axis=1).min() > 5
    assert (np.load(tmp_path / "inputs.npy") == found).all()
    assert image_sizes(column, [0, 1]) == [(20, 30, 3), (21, 30, 1)]


def test_image_given_in_any_form_has_the_pixels_of_training(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encode_picture())
    column = Column(name="image", kind="image", values=[str(file)])
    trained = images.decode_images(column, FolderWriter(tmp_path, 1), size=(8, 8), channels=3)[0]
    array = np.asarray(Image.open(file))
    for value in (str(file), file, file.read_bytes(), Image.open(file), array, array.tolist(), array / 255.0):
        assert (decode_one(value) == trained).all()


def test_image_array_of_the_right_size_is_unchanged(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 255, (600, 8, 8, 1), np.uint8)
    column = Column(name="image", kind="image", values=values)
    assert common_size(column) == (8, 8, 1)
    found = images.decode_images(column, FolderWriter(tmp_path, 600), size=(8, 8), channels=1)
    assert (found == values).all()


@pytest.mark.parametrize(
    "value",
    [
        np.full((8, 8), 100, np.int64),
        np.full((8, 8, 1), 100.0),
        np.full((1, 8, 8), 100, np.uint8),
        np.full((8, 8), 100 / 255),
        np.full((3, 8, 8), 100, np.float32),
        [[100] * 5] * 9,
    ],
)
def test_image_arrays_of_any_shape_and_type_are_decoded(value: Any) -> None:
    assert (decode_one(value, channels=1) == 100).all()
    assert decode_one(value, channels=3).shape == (8, 8, 3)


def test_image_fit_crop_takes_the_middle_and_stretch_takes_all() -> None:
    wide = np.zeros((10, 40), np.uint8)
    wide[:, :10] = 255
    assert decode_one(wide, (10, 10), 1, "crop").max() == 0
    assert decode_one(wide, (10, 10), 1, "stretch").max() > 200


def test_transparent_image_becomes_white() -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert (decode_one(clear) == 255).all()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"not an image", "image 0"),
        (encode_picture()[:300], "image 0"),
        ("/no/such/file.png", "/no/such/file.png"),
        (np.zeros((2, 2, 2, 2)), "H x W"),
        (np.full((4, 4), np.nan), "finite"),
        (np.full((4, 4), 300), "0 to 255"),
        (np.array([["a", "b"], ["c", "d"]]), "finite numbers"),
        (np.zeros((0, 4)), "H x W"),
        ([[1, 2], [3]], "image 0"),
        (None, "image 0"),
    ],
)
def test_value_that_is_no_image_is_refused(value: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_one(value)
    assert says in str(caught.value)


def test_damaged_image_file_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "broken.jpg"
    file.write_bytes(encode_picture(form="jpeg")[:200])
    column = Column(name="image", kind="image", values=[str(file)])
    with pytest.raises(InputError, match=r"broken\.jpg"):
        images.decode_images(column, FolderWriter(tmp_path, 1), size=(8, 8), channels=3)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_PIXELS", 100)
    with pytest.raises(InputError, match="more than 100 pixels"):
        decode_one(encode_picture())


def test_picture_that_is_a_program_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS to Ghostscript, which runs what stands in it."""
    program, ran = tmp_path / "gs", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    file = tmp_path / "drawing.png"
    file.write_bytes(encode_picture(form="eps"))
    for value in (file.read_bytes(), str(file)):
        with pytest.raises(InputError, match="EPS is drawn by running it"):
            decode_one(value)
    column = Column(name="image", kind="image", values=[str(file)])
    with pytest.raises(InputError, match="EPS"):
        image_sizes(column, [0])
    assert not ran.exists()


def paint_scene(orientation: int) -> bytes:
    """A picture that is bright on its left and wider than high, stored as a camera held so would."""
    upright = Image.new("RGB", (12, 8))
    upright.paste((255, 255, 255), (0, 0, 6, 8))
    turned = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180, 8: Image.Transpose.ROTATE_270}
    stored = upright.transpose(turned[orientation]) if orientation in turned else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    out = io.BytesIO()
    stored.save(out, "PNG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_image_of_any_orientation_is_decoded_upright(orientation: int) -> None:
    wanted = decode_one(paint_scene(1), (8, 12))
    np.testing.assert_array_equal(decode_one(paint_scene(orientation), (8, 12)), wanted)
    opened = Image.open(io.BytesIO(paint_scene(orientation)))
    np.testing.assert_array_equal(decode_one(opened, (8, 12)), wanted)
    column = Column(name="image", kind="image", values=[paint_scene(orientation)])
    assert image_sizes(column, [0]) == [(8, 12, 3)]
    assert np.shape(_nested_lists(paint_scene(orientation))) == (8, 12, 3)


def encode_tiff(values: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "TIFF")
    return out.getvalue()


def test_tiff_of_fractions_is_scaled_as_an_array_is() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    found = decode_one(encode_tiff(ramp), channels=1)[..., 0]
    np.testing.assert_array_equal(found, np.round(ramp * 255).astype(np.uint8))


@pytest.mark.parametrize("values", [np.full((8, 8), 307_100, np.int32), np.full((8, 8), -0.5, np.float32)])
def test_tiff_beyond_a_pixels_range_is_refused(values: Any) -> None:
    with pytest.raises(InputError, match="from 0 to 255"):
        decode_one(encode_tiff(values), channels=1)


def test_files_of_systems_are_no_images_and_others_are_counted(opened: Open, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for label in ("left", "right"):
        (data / label).mkdir(parents=True)
        for number in range(40):
            Image.new("L", (8, 8), number).save(data / label / f"{number}.jfif", "JPEG")
    for junk in ("__MACOSX/left/._1.jpg", "left/._1.jpg", "left/.x/1.jpg", "left/Thumbs.db", "right/a.heic"):
        (data / junk).parent.mkdir(parents=True, exist_ok=True)
        (data / junk).write_bytes(b"junk")
    dataset = opened(f"images:{tmp_path / 'data'}")
    assert (dataset.rows, dataset.classes) == (80, ("left", "right"))
    assert any("1 file is left out" in note and ".heic 1" in note for note in dataset.notes)
    assert len(FileFolder(data).names) == 80


def test_dangling_link_among_images_is_named(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "data" / "left").mkdir(parents=True)
    (tmp_path / "data" / "left" / "1.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match=r"1\.png"):
        opened(f"images:{tmp_path / 'data'}")


@pytest.mark.parametrize("white", [1, 255])
def test_nested_lists_mean_the_same_however_whole_numbers_are_spelt(white: int) -> None:
    binary = RANDOM.integers(0, 2, (8, 8)) * white
    as_fractions, as_whole = binary.astype(float).tolist(), binary.tolist()
    found = [decode_one(value, channels=1)[..., 0] for value in (as_fractions, as_whole)]
    for pixels in found:
        np.testing.assert_array_equal(pixels, (binary > 0) * np.uint8(255))


def test_binary_neighbour_of_fractions_has_their_scale_and_bytes_of_a_binary_model_stay() -> None:
    binary, fractions = RANDOM.integers(0, 2, (8, 8)).tolist(), np.full((8, 8), 0.5).tolist()
    kept = images.decode_user_images([binary, fractions], size=(8, 8), channels=1, one_is_white=False)
    np.testing.assert_array_equal(kept[0, ..., 0], binary)
    assert set(np.unique(kept[1])) == {128}
    assert decode_one(np.asarray(binary), channels=1).max() == 1  # an array has a type of its own


def test_unreadable_bytes_are_not_told_to_replace_a_file() -> None:
    with pytest.raises(InputError) as refused:
        decode_one(b"no image")
    assert "replace" not in str(refused.value)


def write_pictures(folder: Path, *classes: str, count: int = 12) -> None:
    for shade, label in enumerate(classes):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (4, 4), 20 * shade + number).save(folder / label / f"{number}.png")


def test_classes_in_the_only_folder_of_an_archive_are_found_and_said(opened: Open, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures" / "dataset", "left", "top")
    (tmp_path / "pictures" / "dataset" / "later").mkdir()
    found = opened("images:pictures")
    assert found.classes == ("left", "top")
    assert "classes are the folders in dataset, the only one there" in found.notes
    assert "folders without images are no classes: later" in found.notes


def test_all_damaged_pictures_are_named_at_once(opened: Open, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", "left", "top")
    for name in ("left/0.png", "left/5.png", "top/3.png"):
        (tmp_path / "pictures" / name).write_bytes(b"\x89PNG nothing")
    found = opened("images:pictures")
    family = ImageCNN()
    with pytest.raises(InputError, match="3 that are not") as caught:
        encode_dataset(family, found, family.complete({}), tmp_path / "cache")
    assert all(name in caught.value.found for name in ("left/0.png", "left/5.png", "top/3.png"))
