"""The vocabulary that processors of sounds are written in: mel filters and log-mel spectrograms."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mistralrs.api.errors import ConfigError, MediaError

PIECE = 4096  # frames whose spectra are in memory together
KNEE, STEP = 1000.0, 27 / math.log(6.4)  # Slaney's scale: linear up to 1000 Hz, then logarithmic

SECONDS = 30  # of sound that Gemma hears at once
SPOKEN = dict(  # preprocessor_config.json of Gemma 3n
    sampling_rate=16000, frame_length_ms=32.0, hop_length_ms=10.0, min_frequency=125.0, max_frequency=7600.0,
    preemphasis=0.97, fft_overdrive=True, mel_floor=1e-5,
)  # fmt: skip


def mels(hertz: float) -> float:
    """A frequency on Slaney's mel scale."""
    return 3 * hertz / 200 if hertz < KNEE else 15 + math.log(hertz / KNEE) * STEP


def hertz(mels: np.ndarray) -> np.ndarray:
    """Frequencies of places on Slaney's mel scale."""
    return np.where(mels < 15, 200 * mels / 3, KNEE * np.exp((mels - 15) / STEP))


@lru_cache(maxsize=8)
def mel_filters(bands: int, size: int, rate: int, highest: float) -> Tensor:
    """Triangles of equal area [bands, size / 2 + 1] over the frequencies of a transform of `size` samples."""
    corners = hertz(np.linspace(0, mels(highest), bands + 2))
    bins = np.linspace(0, rate // 2, size // 2 + 1)
    slopes = corners[:, None] - bins
    widths = np.diff(corners)[:, None]
    rising, falling = -slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return torch.from_numpy(triangles * 2 / (corners[2:] - corners[:-2])[:, None]).float()


def log_mel(
    samples: Tensor, bands: int, size: int = 400, hop: int = 160, rate: int = 16000
) -> Tensor:
    """samples [N] -> Whisper's spectrogram [bands, N / hop]: the loudest 80 dB, about -1 to 1 (arXiv 2212.04356)."""
    window = torch.hann_window(size)
    spectrum = torch.stft(samples, size, hop, window=window, return_complex=True)
    power = (spectrum[:, :-1].abs() ** 2).contiguous()
    x = (mel_filters(bands, size, rate, 8000.0) @ power).clamp(min=1e-10).log10()
    return (torch.maximum(x, x.max() - 8.0) + 4.0) / 4.0


@lru_cache(maxsize=8)
def fbank_filters(bands: int, size: int, rate: int, highest: float) -> Tensor:
    """Kaldi's triangles of equal height [bands, size / 2 + 1], straight on a logarithmic mel scale."""
    corners = np.linspace(0, math.log1p(highest / 700), bands + 2)
    bins = np.log1p(np.arange(size // 2 + 1) * (rate / size) / 700)
    slopes, widths = corners[:, None] - bins, np.diff(corners)[:, None]
    triangles = np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:])
    return torch.from_numpy(np.maximum(0, triangles)).float()


def log_fbank(
    samples: Tensor,
    bands: int = 80,
    size: int = 512,
    width: int = 400,
    hop: int = 160,
    rate: int = 16000,
    highest: float = 7690.0,
) -> Tensor:
    """samples [N] -> Kaldi's log filter banks [frames, bands], each frame pre-emphasized alone."""
    window = torch.hamming_window(width, periodic=False, dtype=torch.float64)
    filters = fbank_filters(bands, size, rate, highest).T
    found = []
    for frames in (
        F.pad(samples, (0, max(width - len(samples), 0))).unfold(0, width, hop).split(PIECE)
    ):
        before = torch.cat((frames[:, :1], frames[:, :-1]), 1)
        spectrum = torch.fft.rfft((frames - 0.97 * before) * 32768 * window, size)
        power = spectrum.to(torch.complex64).abs() ** 2
        found.append((power @ filters).clamp(min=1.0).log())
    return torch.cat(found)


def htk_filters(bands: int, size: int, rate: int, lowest: float, highest: float) -> np.ndarray:
    """Triangles of height 1 on HTK's mel scale [size / 2 + 1, bands], float64."""
    ends = [2595.0 * math.log10(1.0 + hertz / 700.0) for hertz in (lowest, highest)]
    corners = 700.0 * (10 ** (np.linspace(ends[0], ends[1], bands + 2) / 2595.0) - 1.0)
    slopes = corners - np.arange(size // 2 + 1)[:, None] * (rate / size)
    widths = np.diff(corners)
    return np.maximum(0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))


@dataclass(frozen=True)
class Frames:
    """Overlapping frames of sound in bands of frequency, as Gemma hears them."""

    rate: int
    hop: int
    size: int  # of the transform
    window: np.ndarray
    filters: np.ndarray
    emphasis: float  # samples less that much of the one before
    floor: float

    @classmethod
    def of(
        cls, said: Mapping[str, Any], bands: int, window: Callable[[int], np.ndarray]
    ) -> "Frames":
        """By preprocessor_config.json; the window has one sample more than a frame."""
        if said.get("per_bin_mean") is not None or said.get("per_bin_stddev") is not None:
            raise ConfigError(
                "preprocessor_config.json: bands with means of their own are not available"
            )
        rate = int(said["sampling_rate"])
        length, hop = (round(rate * said[k] / 1000) for k in ("frame_length_ms", "hop_length_ms"))
        size = 2 ** (math.ceil(math.log2(length)) + bool(said["fft_overdrive"]))
        edges = float(said["min_frequency"]), float(said["max_frequency"])
        shape = window(length + 1)[:-1].astype(np.float32)
        filters = htk_filters(bands, size, rate, *edges)
        return cls(rate, hop, size, shape, filters, said["preemphasis"], said["mel_floor"])

    def check(self, count: int) -> None:
        """Raise MediaError for more samples than the model hears at once."""
        if count > SECONDS * self.rate:
            raise MediaError(
                f"the sound lasts {count / self.rate:.1f} s and Gemma hears {SECONDS} s at once: send it in pieces"
            )

    def bands(self, samples: np.ndarray) -> np.ndarray:
        """Magnitudes of samples [N] in bands [T, B]; a frame needs one sample more than the window has."""
        frames = np.lib.stride_tricks.sliding_window_view(samples, len(self.window) + 1)
        frames = frames[:: self.hop]
        if self.emphasis:  # HTK's way with the first of a frame
            first = frames[:, :1] * (1.0 - self.emphasis)
            rest = frames[:, 1:-1] - self.emphasis * frames[:, :-2]
            frames = np.concatenate([first, rest], 1)
        else:
            frames = frames[:, :-1]
        return np.abs(np.fft.rfft(frames * self.window, n=self.size)) @ self.filters
