"""Films of every kind: files by Pillow and FFmpeg, frames in memory, broken ones."""

import io
import sys
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.video_utils import load_video

from mistralrs import MediaError
from mistralrs.prompt import film as films
from mistralrs.prompt.film import open_film
from tests.models.media.case import animation, film, sound
from tests.prompt.images import png

FRAMES = film(9, 64, 48)


def filmed(
    frames=FRAMES, rate=10, format="mp4", codec="mpeg4", times=None, rotation=0, pixels="yuv420p"
) -> bytes:
    """A file as FFmpeg writes it; frames begin at `times`, in thousandths of a second."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, pixels
        stream.codec_context.time_base = Fraction(1, 1000) if times else Fraction(1, rate)
        stream.bit_rate = 10_000_000
        for number, one in enumerate(frames):
            frame = av.VideoFrame.from_image(one)
            frame.pts = times[number] if times else number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


KINDS = {
    "GIF": lambda: animation(FRAMES, 10, "GIF"),
    "PNG": lambda: animation(FRAMES, 10),
    "WebP": lambda: animation(FRAMES, 10, "WEBP", lossless=True),
    "MP4": lambda: filmed(),
    "MOV": lambda: filmed(format="mov"),
    "MKV": lambda: filmed(format="matroska", codec="libx264"),
    "WebM": lambda: filmed(format="webm", codec="libvpx"),
    "AVI": lambda: filmed(format="avi"),
    "TS": lambda: filmed(format="mpegts", codec="mpeg2video"),
}


def apart(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures."""
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


def number(frame: Image.Image) -> int:
    """Which of FRAMES a picture is, at most damaged by a codec."""
    away = [apart(frame, other) for other in FRAMES]
    assert min(away) < 10
    return away.index(min(away))


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
    found = open_film(KINDS[kind](), "x")
    assert (found.size, found.frames, found.whole) == ((64, 48), 9, False)
    assert found.rate == pytest.approx(10, rel=1e-3)
    for places in ([0, 3, 4, 8], [8], list(range(9))):
        frames = list(found.read(places))
        assert {frame.mode for frame in frames} == {"RGB"}
        assert [number(frame) for frame in frames] == places
        if kind in ("PNG", "WebP"):
            assert all(apart(a, FRAMES[i]) == 0 for a, i in zip(frames, places))


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_frames_are_those_of_transformers(tmp_path, codec):
    (tmp_path / "x.mp4").write_bytes(filmed(rate=25, codec=codec))
    places = [0, 2, 5, 7]
    theirs, about = load_video(
        str(tmp_path / "x.mp4"), backend="pyav", sample_indices_fn=lambda **_: places
    )
    found = open_film((tmp_path / "x.mp4").read_bytes(), "x")
    assert (found.rate, found.frames) == (about.fps, about.total_num_frames)
    for one, other in zip(found.read(places), theirs):
        assert np.array_equal(np.asarray(one), other)


TIMES = [0, 100, 200, 300, 400, 1400, 1500, 1600, 1700]  # one frame stays for a second


def test_a_rate_that_changes():
    """Frames are those that are seen at a time, however many were recorded before it."""
    lasting = [*np.diff(TIMES).tolist(), 212]
    file = io.BytesIO()
    FRAMES[0].save(file, "PNG", save_all=True, append_images=FRAMES[1:], duration=lasting)
    for data in (filmed(times=TIMES, codec="libx264"), file.getvalue()):
        found = open_film(data, "x")
        assert found.rate == pytest.approx(9 / 1.9125, rel=1e-3)
        assert [number(frame) for frame in found.read(range(9))] == [1, 3, 4, 4, 4, 4, 4, 6, 8]


def test_upright():
    """A film whose file says that the phone was held upright."""

    class Turned:
        rotation = 90

        def to_image(self):
            return FRAMES[0]

    assert films.turned(Turned()).size == (48, 64)


def test_frames_in_memory():
    arrays = np.stack([np.asarray(frame) for frame in FRAMES])
    for source in (FRAMES, list(arrays), [*FRAMES[:4], *arrays[4:]]):
        found = open_film(source, "x", fps=5)
        assert (found.size, found.frames, found.rate, found.whole) == ((64, 48), 9, 5, True)
        assert all(apart(a, b) == 0 for a, b in zip(found.read(range(9)), FRAMES, strict=True))
    assert open_film(FRAMES, "x").rate == films.RATE


def test_a_picture_is_a_film_of_one_frame():
    for data in (animation(FRAMES[:1], 10, "GIF"), animation(FRAMES[:1], 1, "WEBP")):
        assert open_film(data, "x").frames == 1


def test_max_edge():
    found = open_film(animation(FRAMES, 10), "x", 32)
    assert found.size == (32, 24)
    assert [frame.size for frame in found.read([0, 5])] == [(32, 24)] * 2


MP4, MKV, GIF = filmed(), filmed(format="matroska", codec="libx264"), animation(FRAMES, 10, "GIF")


def talk() -> bytes:
    """An MP4 file with sound alone."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound(0.5)[None], format="fltp", layout="mono")
        frame.rate = 16000
        for packet in (*stream.encode(frame), *stream.encode()):
            out.mux(packet)
    return file.getvalue()


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
BROKEN = {
    "words": (b"This is no film.", "not a video that can be read"),
    "half of an MP4": (MP4[: len(MP4) // 2], "not a video that can be read|damaged"),
    "the first bytes of an MKV": (MKV[:60], "not a video|no frames|damaged"),
    "a GIF without frames": (GIF[:20], "damaged"),
    "a PNG that claims too much": (png(60000, 60000), "the limit is|damaged"),
    "sound": (talk(), "no pictures"),
    "a playlist": (PLAYLIST, "not a video that can be read"),
    "a list of files": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "not a video that can be"),
    "zeros": (bytes(5000), "not a video that can be read"),
    "no frames": ([], "at least one frame"),
    "frames of two sizes": ([FRAMES[0], FRAMES[1].resize((9, 9))], "frame 1 has 9 x 9 pixels"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name):
    source, message = BROKEN[name]
    with pytest.raises(MediaError, match=message) as info:
        list(open_film(source, "noise.mp4").read([0]))
    if isinstance(source, bytes):
        assert str(info.value).startswith("noise.mp4: ")


def test_the_rest_of_a_film_that_is_cut_off():
    """Frames that are there are seen."""
    found = open_film(MKV[: len(MKV) * 2 // 3], "x")
    assert 1 < found.frames < 9
    assert len(list(found.read(range(found.frames)))) == found.frames


@settings(max_examples=60)
@given(st.data())
def test_damaged_anywhere(data):
    source = bytearray(data.draw(st.sampled_from([MP4, MKV, GIF])))
    for at in data.draw(st.lists(st.integers(0, len(source) - 1), max_size=6)):
        source[at] = data.draw(st.integers(0, 255))
    with suppress(MediaError):
        found = open_film(bytes(source), "x")
        assert len(list(found.read([0, found.frames - 1]))) == 2


@pytest.mark.parametrize(("limit", "data"), [("ANIMATED", GIF), ("FILMED", MP4)])
def test_limits(monkeypatch, limit, data):
    monkeypatch.setattr(films, limit, 64 * 48 * 9 - 1)
    with pytest.raises(MediaError, match=r"9 frames of 64 x 48 pixels, 27,648 in all"):
        open_film(data, "x")


def test_without_av(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert open_film(GIF, "x").frames == 9
    with pytest.raises(MediaError, match=r"x.mp4: .*pip install 'mistralrs\[video\]'"):
        open_film(MP4, "x.mp4")
