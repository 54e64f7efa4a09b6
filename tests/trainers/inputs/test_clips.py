"""Clips of sound: what is read is what was said, in every format, and what cannot be read is named."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from tests.trainers.families.cases import Memory
from trainers.data.audio import (
    Spectrogram,
    clip_seconds,
    decode_clips,
    decode_user_clips,
    log_mel,
    mel_filters,
    resample,
    usual_length,
)
from trainers.data.dataset import Column, Dataset
from trainers.data.distribution import measure_value
from trainers.data.examples import example_rows
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError
from trainers.family import Family
from trainers.inputs.clips import CLIP
from trainers.registry import load_reference

HOW = Spectrogram(rate=16_000, seconds=0.5, mels=40)
HERTZ = 1000.0


def tone(hertz: float = HERTZ, *, rate: int = 16_000, seconds: float = 0.5, size: float = 0.4) -> Any:
    return size * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def encoded(samples: Any, rate: int = 16_000, form: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def read_one(value: Any, how: Spectrogram = HOW) -> Any:
    return decode_user_clips([value], how)[0]


def band_of(hertz: float, how: Spectrogram = HOW) -> int:
    """The band whose peak is nearest on the mel scale."""

    def mel(f: float) -> float:
        return 2595 * math.log10(1 + f / 700)

    return round(mel(hertz) / (mel(how.rate / 2) / (how.mels + 1))) - 1


def test_mel_filters_are_those_computed_by_hand() -> None:
    # One band of 8,000 Hz: its peak lies at half the mel of 4,000 Hz, 700 (sqrt(1 + 4000 / 700) - 1) Hz.
    peak = 700 * (math.sqrt(1 + 4000 / 700) - 1)
    by_hand = [0, 1000 / peak, 2000 / (4000 - peak), 1000 / (4000 - peak), 0]
    np.testing.assert_allclose(mel_filters(8000, 8, 1)[:, 0], by_hand, rtol=1e-12)
    assert peak == pytest.approx(1113.836, abs=1e-3)


@pytest.mark.parametrize("rate", [4000, 16_000, 48_000])
@pytest.mark.parametrize("mels", [8, 64, 256])
def test_no_band_is_without_a_bin(rate: int, mels: int) -> None:
    how = Spectrogram(rate=rate, seconds=1, mels=mels)
    assert (mel_filters(rate, how.bins, mels).max(axis=0) > 0).all()


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        ("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
        ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_tone_stands_in_its_band_in_every_format_and_rate(form: str, subtype: str | None, rate: int) -> None:
    found = read_one(encoded(tone(rate=rate), rate, form, subtype))
    assert (found.shape, found.dtype) == ((51, 40, 1), np.uint8)
    assert set(found[5:40, :, 0].argmax(axis=1)) == {band_of(HERTZ)}
    assert found.max() == 255


def test_channels_are_averaged_and_loudness_plays_no_part() -> None:
    loud, quiet = encoded(tone(), subtype="FLOAT"), encoded(tone(size=0.004), subtype="FLOAT")
    both = encoded(np.stack([tone(), np.zeros(8000)], axis=1), subtype="FLOAT")
    shifted = encoded(tone() + 0.3, subtype="FLOAT")
    for other in (quiet, both, shifted):
        assert np.abs(read_one(loud).astype(int) - read_one(other)).max() <= 1


def test_resampling_keeps_what_fits_and_leaves_nothing_to_fold_back() -> None:
    kept = resample(tone(rate=44_100), 44_100, 16_000)
    np.testing.assert_allclose(kept[100:-100], tone()[100:-100], atol=1e-3)
    too_high = resample(tone(10_000, rate=44_100), 44_100, 16_000)
    assert np.abs(too_high[100:-100]).max() < 4e-3


def test_long_clips_are_cut_and_short_ones_filled_with_silence() -> None:
    long = encoded(np.concatenate([tone(), tone(3000)]), subtype="FLOAT")
    np.testing.assert_array_equal(read_one(long), read_one(encoded(tone(), subtype="FLOAT")))
    short = read_one(encoded(tone(seconds=0.2)))
    assert short[:19].any(axis=1).all()
    assert not short[24:].any()


@pytest.mark.parametrize("level", [0.0, 0.25, 1e-7])
def test_silence_is_nothing_at_all(level: float) -> None:
    assert not read_one(encoded(np.full(4000, level), subtype="FLOAT")).any()
    assert not log_mel(np.zeros(0), HOW).any()
    assert measure_value("audio", encoded(np.zeros(400))) == -120


def broken_files() -> dict[str, bytes]:
    whole = encoded(tone(), form="FLAC")
    return {
        "empty.wav": b"",
        "letter.wav": b"Dear all, this is no sound.",
        "cut.flac": whole[: len(whole) // 2],
        "header.wav": encoded(np.zeros(0)),
        "nan.wav": encoded(np.full(800, np.nan), subtype="FLOAT"),
        "rate.wav": encoded(tone(), 10),
    }


@pytest.mark.parametrize("name", broken_files())
def test_damaged_clip_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(broken_files()[name])
    with pytest.raises(InputError, match="every clip must be readable") as refused:
        read_one(str(tmp_path / name))
    assert str(tmp_path / name) in refused.value.found
    with pytest.raises(InputError) as of_bytes:
        read_one(broken_files()[name])
    assert of_bytes.value.found.startswith("clip 0: ")
    assert "replace" not in str(of_bytes.value)


@pytest.mark.parametrize("value", [None, 3.5, [0.1, 0.2], "nowhere.wav"])
def test_file_that_is_no_clip_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="every clip must be readable"):
        read_one(value)


def test_all_damaged_clips_of_a_column_are_named_at_once(tmp_path: Path) -> None:
    files = broken_files()
    for name, content in {**files, "good.wav": encoded(tone())}.items():
        (tmp_path / name).write_bytes(content)
    column = Column(name="audio", kind="audio", values=[str(file) for file in sorted(tmp_path.iterdir())])
    with pytest.raises(InputError, match="6 that are not") as refused:
        decode_clips(column, Memory(), HOW)
    assert all(name in refused.value.found for name in files)
    assert "good.wav" not in refused.value.found
    with pytest.raises(InputError, match="6 that are not"):
        clip_seconds(column, range(len(column.values)))


def test_length_holds_most_clips_whole_and_is_bounded() -> None:
    assert usual_length([0.31] * 95 + [7.0] * 5) == pytest.approx(0.4)
    assert usual_length([0.3] * 3) == pytest.approx(0.3)
    assert usual_length([3600.0]) == 10.0


Folder = Callable[..., Dataset]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """folder(low=300, high=2000) writes ten clips a class and reads them."""

    def read(**classes: float) -> Dataset:
        for label, hertz in classes.items():
            (tmp_path / "clips" / label).mkdir(parents=True)
            for number in range(10):
                sound = tone(hertz + 5 * number, seconds=0.3 + 0.01 * number)
                (tmp_path / "clips" / label / f"{number}.wav").write_bytes(encoded(sound))
        return open_dataset({"source": "audio:clips"}, base=tmp_path, cache=tmp_path / "cache")

    return read


def test_folder_of_clips_has_classes_and_says_how_it_is_read(folder: Folder) -> None:
    found = folder(low=300, high=2000)
    assert (found.kind, found.task, found.classes, found.rows) == (
        "audio",
        "classification",
        ("high", "low"),
        20,
    )
    said = next(note for note in found.notes if note.startswith("clips last"))
    assert "at 16,000 Hz and 0.4 s" in said


def test_speakers_and_names_of_files_can_decide_the_split(tmp_path: Path) -> None:
    for label, hertz in (("low", 300), ("high", 2000)):
        for speaker in "abcdefgh":
            (tmp_path / "clips" / label / speaker).mkdir(parents=True)
            for number in range(8):
                sound = encoded(tone(hertz + 10 * number + ord(speaker), seconds=0.3))
                (tmp_path / "clips" / label / speaker / f"{number}.wav").write_bytes(sound)
    for column, place in (("folder", -2), ("file", -1)):
        split = {"by": "group", "train": 0.4, "validation": 0.3, "test": 0.3, "salt": 2}
        spec = {"source": "audio:clips", "columns": {"group": column}, "split": split}
        found = open_dataset(spec, base=tmp_path, cache=tmp_path / "cache")
        files = found.columns["audio"].values
        seen = [{Path(files[row]).parts[place] for row in rows} for rows in found.splits.values()]
        assert sum(map(len, seen)) == len(set.union(*seen)) == 8
        assert list(found.columns) == ["audio"]


def test_damaged_header_is_told_before_anything_is_trained(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "clips" / "low").mkdir(parents=True)
    for number in range(10):
        (tmp_path / "clips" / "low" / f"{number}.wav").write_bytes(b"nothing %d" % number)
    with pytest.raises(InputError, match="10 that are not") as refused:
        folder(high=2000)
    assert all(f"low/{number}.wav" in refused.value.found for number in range(10))


@pytest.mark.parametrize("name", ["image_cnn", "rnn", "transformer"])
def test_families_read_a_clip_in_use_as_in_training(folder: Folder, name: str) -> None:
    dataset = folder(low=300, high=2000)
    found = load_reference(name)
    assert isinstance(found, type)
    assert issubclass(found, Family)
    family, memory = found({"mels": 16}), Memory()
    state = family.encode(dataset, family.complete({}), memory)
    assert (state["shape"], state[CLIP]["seconds"], state[CLIP]["rate"]) == ([41, 16, 1], 0.4, 16_000)
    paths = dataset.columns["audio"].values
    for rows in (pd.DataFrame({"audio": paths}), example_rows(dataset, 3)):
        rows_read = family.from_user(rows, state)["inputs"]
        chosen = dataset.splits["train"][:3] if len(rows) == 3 else np.arange(dataset.rows)
        np.testing.assert_array_equal(rows_read, memory.arrays["inputs"][chosen])


@pytest.mark.parametrize(
    ("options", "key"),
    [({"size": [8, 8]}, "size"), ({"color": "gray"}, "color"), ({"augment": "flip"}, "augment")],
)
def test_options_of_pictures_are_refused_beside_clips(folder: Folder, options: Any, key: str) -> None:
    found = load_reference("image_cnn")
    assert isinstance(found, type)
    with pytest.raises(InputError) as refused:
        found(options).check(folder(low=300, high=2000))
    assert key in (refused.value.key or ())
