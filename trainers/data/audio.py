"""Clips of sound as log-mel spectrograms of one length, in bytes like a grey picture's.

A clip is read as one channel (the mean of all) at one rate, by a polyphase filter; its mean is taken off; it
is cut behind the length, or filled up with silence. The power of its short-time Fourier transform goes
through M triangular filters, as high as 1 each, whose corners are even on HTK's mel scale, mel(f) =
2595 log10(1 + f / 700) (S. Young et al., The HTK Book, 2006, section 5.4), from 0 Hz to half the rate. In
decibels below the clip's loudest place, 0 is 255 and `range_db` or more is 0: how loud a clip was recorded
plays no part.

Shape legend: N clips, S samples, T frames, M mel bands, K bins of the transform.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trainers.data.cell_values import read_encoded
from trainers.data.dataset import Column
from trainers.data.images import Pixels, all_damaged, decode_column, describe_path
from trainers.errors import InputError

if TYPE_CHECKING:
    import torch
    from soundfile import SoundFile

    from trainers.types import ArrayWriter, Cell

Samples = npt.NDArray[np.float64]
RATE = 16_000  # Hz, by default
RATES = (1_000, 768_000)  # Hz that a file may have: outside it is damaged
SILENCE = 1e-5  # of full scale, 100 dB below it
LOOK_ROWS = 1000  # clips whose lengths are read
COVERED = 0.95  # share of the clips that the length holds whole
LONGEST_S = 10.0
BLOCK = 1 << 16  # samples of all channels that are held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrogram:
    """How clips are read; kept in the model.

    Attributes:
        rate: Hz.
        seconds: of every clip, once it is cut or filled up.
        mels: M.
        window_s, hop_s: of the transform, Hann's window.
        range_db: below the loudest place, which becomes 0.
    """

    rate: int
    seconds: float
    mels: int
    window_s: float = 0.025
    hop_s: float = 0.010
    range_db: float = 80.0

    @property
    def samples(self) -> int:
        """S."""
        return round(self.rate * self.seconds)

    @property
    def hop(self) -> int:
        """Samples between two frames."""
        return max(1, round(self.rate * self.hop_s))

    @property
    def bins(self) -> int:
        """Samples that are transformed together, zeros among them: a power of two that reaches the window's
        and leaves no band without a bin."""
        narrowest = _corners(self.rate, self.mels)[2]  # Hz that the first band spans
        return int(2 ** math.ceil(math.log2(max(self.rate * self.window_s, self.rate / narrowest))))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, M, 1)."""
        return self.samples // self.hop + 1, self.mels, 1


def decode_clips(column: Column, writer: ArrayWriter, how: Spectrogram) -> Pixels:
    """Writes every clip of a column as the array `inputs`, uint8 [N, T, M, 1].

    Raises:
        InputError: names every file that cannot be read.
    """
    _import_soundfile()
    return decode_column(column, writer, "inputs", how.shape, lambda value, where: _decode(value, where, how))


def decode_user_clips(values: Iterable[Cell], how: Spectrogram) -> Pixels:
    """A person's clips, files' paths or encoded bytes (also as text, `base64:…`), as uint8 [N, T, M, 1]."""
    clips = [_decode(read_encoded(value), f"clip {at}", how) for at, value in enumerate(values)]
    return np.stack(clips) if clips else np.zeros((0, *how.shape), np.uint8)


def _decode(value: Cell, where: str, how: Spectrogram) -> Pixels:
    samples, rate = read_samples(value, where, how.seconds)
    return log_mel(resample(samples, rate, how.rate)[: how.samples], how)


def log_mel(samples: Samples, how: Spectrogram) -> Pixels:
    """The spectrogram of S samples at most, uint8 [T, M, 1]; of silence 0."""
    import torch

    centred = samples - samples.mean() if len(samples) else samples
    padded = np.zeros(how.samples, np.float64)
    padded[: len(centred)] = centred
    peak = float(np.abs(padded).max(initial=0.0))
    if peak < SILENCE:
        return np.zeros(how.shape, np.uint8)
    window = torch.hann_window(round(how.rate * how.window_s), dtype=torch.float64)
    spectrum_KT = torch.stft(
        torch.from_numpy(padded / peak), how.bins, how.hop, len(window), window,
        pad_mode="constant", return_complex=True,
    )  # fmt: skip
    power_TM = spectrum_KT.abs().square().T @ _filters(how.rate, how.bins, how.mels)
    decibels = 10 * torch.log10(power_TM / power_TM.max().clamp(min=1e-30) + 1e-30)
    scaled = (1 + decibels / how.range_db).clamp(0, 1) * 255
    found: Pixels = scaled.round().to(torch.uint8)[..., None].numpy()
    return found


@cache
def _filters(rate: int, bins: int, mels: int) -> torch.Tensor:
    import torch

    return torch.from_numpy(mel_filters(rate, bins, mels))


def mel_filters(rate: int, bins: int, mels: int) -> npt.NDArray[np.float64]:
    """The weight of each bin in each band, float64 [K, M]; corners at 0, 1, …, M + 1 times the same step."""
    corners = _corners(rate, mels)
    low, peak, high = corners[:-2], corners[1:-1], corners[2:]
    hertz_K1 = np.linspace(0, rate / 2, bins // 2 + 1)[:, None]
    rising, falling = (hertz_K1 - low) / (peak - low), (high - hertz_K1) / (high - peak)
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)), np.float64)


def _corners(rate: int, mels: int) -> npt.NDArray[np.float64]:
    """Where bands begin, are highest and end, in Hz, float64 [M + 2]."""
    highest = 2595 * math.log10(1 + rate / 2 / 700)
    return np.asarray(700 * (10 ** (np.linspace(0, highest, mels + 2) / 2595) - 1), np.float64)


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """The samples at another rate, nothing above half the lower one left (Kaiser's window)."""
    if rate == wanted or not len(samples):
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return np.asarray(resample_poly(samples, wanted // common, rate // common), np.float64)


def read_samples(value: Cell, where: str, seconds: float) -> tuple[Samples, int]:
    """The first seconds of a clip, float64 [S] of one channel, and its rate.

    Args:
        value: a file's path, or its bytes.
        where: names a clip of bytes in an error.

    Raises:
        InputError: it cannot be read.
    """
    with _open_clip(value, where) as file:
        wanted = min(file.frames, math.ceil(seconds * file.samplerate))
        blocks = file.blocks(BLOCK, frames=wanted, dtype="float64", always_2d=True)
        samples = np.concatenate([block.mean(axis=1) for block in blocks])
        if len(samples) < wanted:
            raise ValueError(f"ends after {len(samples):,} of {file.frames:,} samples")
        if not np.isfinite(samples).all():
            raise ValueError("holds samples that are not finite numbers")
        return samples, int(file.samplerate)


def _import_soundfile() -> None:
    try:
        import soundfile  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: without its library of the system
        raise InputError("sound needs soundfile", str(error), "pip install 'velodrome[audio]'") from error


@contextmanager
def _open_clip(value: Cell, where: str) -> Iterator[SoundFile]:
    """The file, open; whatever is wrong with it, also while it is read, as an InputError."""
    _import_soundfile()
    import soundfile

    do = ""
    if isinstance(value, (str, Path)):
        where, do = describe_path(str(value))
    try:
        with _open_bytes(value) as content, soundfile.SoundFile(content) as file:
            if not file.frames:
                raise ValueError("holds no samples")
            if not RATES[0] <= file.samplerate <= RATES[1]:
                raise ValueError(f"has {file.samplerate:,} samples a second")
            yield file
    except (OSError, ValueError, TypeError, soundfile.SoundFileError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else _shorten(error)
        raise InputError("every clip must be readable", f"{where}: {text}", do) from error


def _shorten(error: Exception) -> str:
    """What the library says, without the object that it read from."""
    return str(error).rpartition(">: ")[2].splitlines()[0] if str(error) else type(error).__name__


def _open_bytes(value: Cell) -> IO[bytes]:
    if isinstance(value, (str, Path)):
        return Path(value).open("rb")
    if not isinstance(value, bytes):
        raise TypeError(f"a clip must be a file's path or its bytes, but got {type(value).__name__}")
    return io.BytesIO(value)


def clip_seconds(column: Column, rows: Sequence[int]) -> list[float]:
    """How long some of the clips are, evenly chosen among the rows; reads headers alone.

    Raises:
        InputError: names every clip of the column that cannot be read.
    """
    chosen = rows[:: max(1, math.ceil(len(rows) / LOOK_ROWS))]
    try:
        return [_read_seconds(column.values[int(row)], int(row)) for row in chosen]
    except InputError as error:  # then all that are damaged are named at once
        damaged = [broken for row, value in enumerate(column.values) if (broken := _find_damage(value, row))]
        raise all_damaged(damaged or [error]) from error


def _read_seconds(value: Cell, row: int) -> float:
    with _open_clip(value, f"row {row}") as file:
        return float(file.frames / file.samplerate)


def _find_damage(value: Cell, row: int) -> InputError | None:
    try:
        read_samples(value, f"row {row}", LONGEST_S)
    except InputError as error:
        return error
    return None


def usual_length(seconds: Sequence[float]) -> float:
    """A length that holds most clips whole, in tenths of a second."""
    covering = float(np.quantile(seconds, COVERED, method="inverted_cdf"))
    return min(LONGEST_S, math.ceil(round(10 * covering, 6)) / 10)


def describe_clips(column: Column, train: npt.NDArray[np.int64]) -> str:
    """How clips are read unless a family's options say otherwise, for people."""
    found = clip_seconds(column, train.tolist())
    length = usual_length(found)
    whole = sum(seconds <= length for seconds in found) / len(found)
    return (
        f"clips last {min(found):.2f} to {max(found):.2f} s: read as one channel at {RATE:,} Hz and "
        f"{length:.1f} s, which holds {whole:.0%} of training whole (options: rate, seconds)"
    )


def loudness(value: Cell) -> float:
    """Of a clip, in decibels below full scale (root mean square); -120 of silence."""
    samples, _ = read_samples(value, "clip", LONGEST_S)
    return max(-120.0, 20 * math.log10(max(1e-6, float(np.sqrt(np.square(samples).mean())))))
