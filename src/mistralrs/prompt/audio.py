"""Bytes of a sound file -> samples of one channel at a model's rate; whatever is wrong with them is a MediaError."""

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mistralrs.api.errors import MediaError

SECONDS = 40 * 60  # of one sound
RATES = range(1000, 192_001)  # samples per second that files may have
CHANNELS = 32
LOBES, BETA, CUTOFF = 32, 10.0, 0.95  # of the filter: half its length, its window, its pass band
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # kinds of samples in a WAV file

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """Samples [N, channels] from -1 to 1."""

    samples: Samples
    rate: int

    @classmethod
    def checked(cls, frames: int, channels: int, rate: int) -> None:
        """Raise MediaError where a file's header announces something that is not read."""
        if rate not in RATES or not 0 < channels <= CHANNELS:
            raise MediaError(
                f"has {channels} channels of {rate} samples per second; {RATES[0]} to {RATES[-1]} and at most "
                f"{CHANNELS} channels are read"
            )
        if not frames:
            raise MediaError("has no samples")
        if frames > SECONDS * rate:
            raise MediaError(
                f"lasts {frames / rate:.0f} seconds, the limit is {SECONDS}; cut it into pieces"
            )


def open_sound(data: bytes, name: str, rate: int) -> Samples:
    """The samples [N] of a sound file, its channels averaged, at `rate` samples per second."""
    try:
        sound = wav(data) if is_wav(data) else other(data)
    except MediaError as error:
        raise MediaError(f"{name}: {error}") from error.__cause__
    if not np.isfinite(sound.samples).all():
        raise MediaError(f"{name}: the sound is damaged: it has samples that are not numbers")
    return resample(sound.samples.mean(1, dtype=np.float32), sound.rate, rate)


def is_wav(data: bytes) -> bool:
    """Whether a file is a WAV with samples that are read without another package."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return False
    return next((kind(body) for name, body in chunks(data) if name == b"fmt "), PCM) in (PCM, FLOAT)


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of the chunks of a RIFF file; the last one may be shorter than it says, as streams are."""
    view, at = memoryview(data), 12
    while at + 8 <= len(data):
        size = int.from_bytes(view[at + 4 : at + 8], "little")
        yield bytes(view[at : at + 4]), view[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def kind(header: memoryview) -> int:
    """What the samples are, by a `fmt ` chunk."""
    at = 24 if header[:2] == b"\xfe\xff" and len(header) >= 26 else 0
    return int.from_bytes(header[at : at + 2], "little")


def wav(data: bytes) -> Sound:
    """A WAV file of whole numbers or floats."""
    found = dict(reversed(list(chunks(data))))
    header, body = found.get(b"fmt "), found.get(b"data")
    if header is None or body is None or len(header) < 16:
        raise MediaError("the sound is damaged: it has no header or no samples")
    channels, rate, _, frame, bits = struct.unpack_from("<HIIHH", header, 2)
    if frame != channels * bits // 8 or (kind(header), bits) not in DECODERS:
        raise MediaError(f"the sound is damaged: its header says {bits} bits in {frame} bytes")
    Sound.checked(len(body) // frame if frame else 0, channels, rate)
    samples = DECODERS[kind(header), bits](body[: len(body) // frame * frame])
    return Sound(samples.reshape(-1, channels), rate)


def small(body: memoryview) -> Samples:
    """Bytes, whose zero is 128."""
    return (np.frombuffer(body, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)


def three(body: memoryview) -> Samples:
    """Whole numbers of three bytes."""
    wide = np.zeros((len(body) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)


def whole(bits: int) -> Any:
    """Reads whole numbers."""
    scale = np.float32(2 ** (bits - 1))
    return lambda body: np.frombuffer(body, f"<i{bits // 8}").astype(np.float32) / scale


def real(bits: int) -> Any:
    """Reads floats."""
    return lambda body: np.frombuffer(body, f"<f{bits // 8}").astype(np.float32)


DECODERS = {
    (PCM, 8): small,
    (PCM, 16): whole(16),
    (PCM, 24): three,
    (PCM, 32): whole(32),
    (FLOAT, 32): real(32),
    (FLOAT, 64): real(64),
}


def other(data: bytes) -> Sound:
    """Another format, by libsndfile."""
    try:
        import soundfile
    except ImportError as error:
        raise MediaError(
            "is no WAV file of plain samples; MP3, FLAC, OGG and others need the package soundfile: "
            "pip install 'mistralrs[audio]'"
        ) from error
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            Sound.checked(file.frames, file.channels, file.samplerate)
            return Sound(file.read(dtype="float32", always_2d=True), file.samplerate)
    except MediaError:
        raise
    except Exception as error:  # libsndfile's and those of reading
        raise MediaError(
            f"is not a sound that can be read (WAV, MP3, FLAC, OGG): {error}"
        ) from error


def resample(samples: Samples, source: int, target: int) -> Samples:
    """Samples [N] at another rate, through a low-pass filter (a sinc in a Kaiser window, 100 dB)."""
    if source == target:
        return samples
    shared = math.gcd(source, target)
    up, down = target // shared, source // shared
    scale = min(1.0, up / down) * CUTOFF
    reach = math.ceil(LOBES / scale)
    weights = filters(up, down, scale, reach)
    padded = np.pad(samples, (reach, reach + 1))
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach)
    count = math.ceil(len(samples) * up / down)
    out = np.empty(count, np.float32)
    step = (1 << 22) // (2 * reach)
    for first in range(0, count, step):  # a piece at a time: views of all would not fit
        n = np.arange(first, min(first + step, count), dtype=np.int64)
        out[n] = np.einsum("nt,nt->n", views[n * down // up + 1], weights[n % up])
    return out


def filters(up: int, down: int, scale: float, reach: int) -> NDArray[np.float32]:
    """The weights [up, 2 * reach] of the neighbours of a sample, for each of its places between them."""
    place = np.arange(up, dtype=np.int64) * down % up / up
    away = np.arange(1 - reach, reach + 1) - place[:, None]
    window = np.i0(BETA * np.sqrt(np.clip(1 - (away / reach) ** 2, 0, None)))
    weights = np.sinc(away * scale) * window
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
