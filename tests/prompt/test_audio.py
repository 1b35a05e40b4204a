"""Sound files of every kind, broken ones, and other rates."""

import base64
import io
import struct
import sys
import wave
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from transformers.audio_utils import mel_filter_bank

from mistralrs import MediaError, audio_part
from mistralrs.nn.audio import mel_filters
from mistralrs.prompt.audio import SECONDS, open_sound, resample
from tests.models.media.case import sound

MONO = sound(0.2, 8000)
STEREO = np.stack([MONO, sound(0.2, 8000, seed=1)], 1)


def encoded(samples: np.ndarray, rate: int = 8000, **how: str) -> bytes:
    """A file as libsndfile writes it."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **how)
    return file.getvalue()


FORMATS = {
    "8 bits": (dict(format="WAV", subtype="PCM_U8"), 2**-7),
    "16 bits": (dict(format="WAV", subtype="PCM_16"), 2**-15),
    "24 bits": (dict(format="WAV", subtype="PCM_24"), 2**-23),
    "32 bits": (dict(format="WAV", subtype="PCM_32"), 2**-23),
    "floats": (dict(format="WAV", subtype="FLOAT"), 0),
    "doubles": (dict(format="WAV", subtype="DOUBLE"), 0),
    "extensible": (dict(format="WAVEX", subtype="PCM_16"), 2**-15),
    "extensible floats": (dict(format="WAVEX", subtype="FLOAT"), 0),
    "telephone": (dict(format="WAV", subtype="ULAW"), 0.03),
    "flac": (dict(format="FLAC", subtype="PCM_16"), 2**-15),
    "ogg": (dict(format="OGG", subtype="VORBIS"), 0.2),
    "aiff": (dict(format="AIFF", subtype="PCM_24"), 2**-23),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("samples", [MONO, STEREO], ids=["mono", "stereo"])
def test_formats(name, samples):
    how, tolerance = FORMATS[name]
    data = encoded(samples, **how)
    found = open_sound(data, "x", 8000)
    theirs = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].mean(1)
    wanted = samples if samples.ndim == 1 else samples.mean(1)
    assert np.abs(found - theirs).max() <= 1e-7
    assert np.abs(found - wanted).max() <= tolerance


def test_mp3():
    data = encoded(sound(1.0, 16000), 16000, format="MP3", subtype="MPEG_LAYER_III")
    assert abs(len(open_sound(data, "x", 16000)) - 16000) < 3000  # encoders add silence


@pytest.mark.parametrize("width", [1, 2, 4])
def test_files_of_the_standard_library(width):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(width)
        out.setframerate(8000)
        out.writeframes(bytes(range(256)) * width)
    theirs = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")[0]
    assert np.abs(open_sound(file.getvalue(), "x", 8000) - theirs).max() <= 1e-7


def test_a_stream_that_does_not_know_its_length():
    data = encoded(MONO, format="WAV", subtype="PCM_16")
    at = data.index(b"data") + 4
    endless = data[:at] + b"\xff" * 4 + data[at + 4 :]
    assert np.array_equal(open_sound(endless, "x", 8000), open_sound(data, "x", 8000))
    assert len(open_sound(endless[:-7], "x", 8000)) == len(MONO) - 4  # whole samples only


PLAIN = encoded(MONO, format="WAV", subtype="PCM_16")
FLAC = encoded(MONO, format="FLAC")


def header(channels: int = 1, rate: int = 8000, bits: int = 16, body: bytes = b"\0" * 8) -> bytes:
    """A WAV file with any header."""
    frame = channels * bits // 8 % 65536
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, 0, frame, bits)
    return b"RIFF\0\0\0\0WAVE" + form + b"data" + struct.pack("<I", len(body)) + body


BROKEN = {
    "words": (b"This is no sound.", "not a sound that can be read"),
    "half a header": (PLAIN[:30], "damaged|not a sound"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "not a sound that can be read"),
    "no samples": (header(body=b""), "no samples"),
    "no channels": (header(channels=0), "0 channels"),
    "many channels": (header(channels=500), "500 channels"),
    "no rate": (header(rate=0), "0 samples per second"),
    "a rate of 4 GHz": (header(rate=2**32 - 1), "samples per second"),
    "odd bits": (header(bits=12), "12 bits"),
    "too long": (header(rate=1000, bits=8, body=b"\0" * (SECONDS * 1000 + 1)), "the limit is"),
    "not numbers": (encoded(MONO * np.nan, format="WAV", subtype="FLOAT"), "not numbers"),
    "half a flac header": (FLAC[:20], "not a sound that can be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name):
    data, message = BROKEN[name]
    with pytest.raises(MediaError, match=message) as info:
        open_sound(data, "noise.wav", 16000)
    assert str(info.value).startswith("noise.wav: ")


@given(st.data())
def test_damaged_anywhere(data):
    source = bytearray(data.draw(st.sampled_from([PLAIN, FLAC])))
    for at in data.draw(st.lists(st.integers(0, 120), max_size=4)):
        source[at] = data.draw(st.integers(0, 255))
    kept = bytes(source[: data.draw(st.integers(0, len(source)))])
    with suppress(MediaError):
        assert np.isfinite(open_sound(kept, "x", 16000)).all()


def test_without_soundfile(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert len(open_sound(PLAIN, "x.wav", 8000)) == len(MONO)
    with pytest.raises(MediaError, match=r"x.flac: .*pip install 'mistralrs\[audio\]'"):
        open_sound(FLAC, "x.flac", 8000)


RATES = (
    (8000, 16000),
    (44100, 16000),
    (48000, 16000),
    (22050, 16000),
    (16000, 48000),
    (11025, 16000),
    (15999, 16000),
)


@pytest.mark.parametrize(("source", "target"), RATES)
def test_resample_keeps_tones(source, target):
    def tone(rate: int) -> np.ndarray:
        return np.sin(2 * np.pi * 1234.5 * np.arange(rate // 2) / rate).astype(np.float32)

    found = resample(tone(source), source, target)
    assert abs(len(found) - target // 2) <= 1
    inner = slice(target // 50, -target // 50)
    assert np.abs(found[: target // 2] - tone(target)[: len(found)])[inner].max() < 1e-4


@pytest.mark.parametrize("pitch", [8500, 12000, 20000])
def test_resample_removes_what_the_lower_rate_cannot_hold(pitch):
    high = np.sin(2 * np.pi * pitch * np.arange(22050) / 44100).astype(np.float32)
    assert np.abs(resample(high, 44100, 16000)[300:-300]).max() < 1e-4


@pytest.mark.parametrize("bands", [80, 128])
def test_mel_filters(bands):
    theirs = mel_filter_bank(201, bands, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    assert np.abs(mel_filters(bands, 400, 16000, 8000.0).numpy() - theirs.T).max() < 1e-8


@pytest.mark.parametrize(
    "samples", [MONO, STEREO, MONO.astype(np.float64)], ids=["mono", "stereo", "doubles"]
)
def test_audio_part_keeps_every_bit(samples):
    part = audio_part(samples, 8000)
    data = base64.b64decode(part["input_audio"]["data"])
    theirs, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == 8000
    assert np.array_equal(theirs, samples.astype(np.float32))


def test_audio_part_of_int16():
    whole = (MONO * 32767).astype(np.int16)
    data = base64.b64decode(audio_part(whole, 8000)["input_audio"]["data"])
    assert np.array_equal(open_sound(data, "x", 8000), whole.astype(np.float32) / 32768)


REFUSED = {
    "three axes": (np.zeros((2, 2, 2), np.float32), 8000, "shape"),
    "nothing": (np.zeros(0, np.float32), 8000, "shape"),
    "bytes": (np.zeros(9, np.uint8), 8000, "uint8"),
    "infinite": (np.full(9, np.inf, np.float32), 8000, "finite"),
    "no rate": (MONO, 0, "rate"),
    "a word as rate": (MONO, "high", "rate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_audio_part_refuses(name):
    samples, rate, message = REFUSED[name]
    with pytest.raises(MediaError, match=message):
        audio_part(samples, rate)
