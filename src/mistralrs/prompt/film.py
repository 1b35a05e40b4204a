"""Bytes of a film, or frames in memory -> a Film; whatever is wrong with them is a MediaError."""

import io
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from mistralrs.api.errors import MediaError
from mistralrs.nn.film import Film
from mistralrs.nn.image import Picture, Size
from mistralrs.prompt.picture import PIXELS, open_picture, rgb, small

MAGIC = {  # the first bytes of files that Pillow reads, by format
    "GIF": (b"GIF8", b""),
    "PNG": (b"\x89PNG", b""),
    "WEBP": (b"RIFF", b"WEBP"),
    "JPEG": (b"\xff\xd8", b""),
}
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,ogg,asf"
ANIMATED = 2_000_000_000  # pixels in all frames of an animated image
FILMED = 75_000_000_000  # of other films: twenty minutes of 1920 x 1080 at 30 frames per second
RATE = 2.0  # frames per second of a film in memory where nobody says
BLINK = 100  # milliseconds that a frame lasts which names none, as in browsers
T = TypeVar("T")


def open_film(
    source: Any, name: str, max_edge: int | None = None, fps: float | None = None
) -> Film:
    """The film of a file's bytes, `fps` frames per second of which are wanted, or of frames in memory at that rate."""
    if not isinstance(source, bytes):
        film = in_order(source, fps or RATE)
    elif format := next((f for f, magic in MAGIC.items() if begins(source, *magic)), None):
        film = replace(guarded(lambda: animated(source, format), name), wanted=fps)
    else:
        film = replace(guarded(lambda: filmed(source), name), wanted=fps)
    size, read = small(film.size, max_edge), film.read
    return replace(film, size=size, read=lambda places: shown(read(places), size, name))


def begins(data: bytes, start: bytes, later: bytes) -> bool:
    """Whether a file has the magic numbers of a format."""
    return data.startswith(start) and data[8:].startswith(later)


def guarded(make: Callable[[], Film], name: str) -> Film:
    """A film, or a MediaError for whatever decoders raise about it."""
    try:
        return make()
    except MediaError as error:
        raise MediaError(f"{name}: {error}") from error.__cause__
    except Exception as error:  # decoders fail with almost any type on damaged files
        raise MediaError(f"{name}: the video is damaged: {error}") from error


def shown(frames: Iterator[Picture], size: Size, name: str) -> Iterator[Picture]:
    """Frames of one size; whatever decoders raise on the way becomes a MediaError."""
    try:
        for frame in frames:
            yield frame if frame.size == size else frame.resize(size, Image.Resampling.BICUBIC)
    except Exception as error:
        raise MediaError(f"{name}: the video is damaged: {error}") from error


def checked(size: Size, frames: int, limit: int) -> None:
    """Raise MediaError for films without frames, and for those that are too large to decode."""
    if not frames or 0 in size:
        raise MediaError("has no frames")
    pixels = size[0] * size[1]
    if pixels > PIXELS or pixels * frames > limit:
        raise MediaError(
            f"has {frames} frames of {size[0]} x {size[1]} pixels, {pixels * frames:,} in all, and the limit is "
            f"{limit:,}; scale it down or cut it"
        )


def in_order(source: Any, rate: float) -> Film:
    """Frames in memory, of one size: an array [N, H, W, 3], or a list of arrays and Pillow's pictures."""
    frames = list(source)
    if not frames:
        raise MediaError("a video needs at least one frame")
    first = open_picture(frames[0], "frame 0")
    for number, frame in enumerate(frames):
        size = frame.size if isinstance(frame, Image.Image) else np.shape(frame)[1::-1]
        if number and size != (
            frames[0].size if isinstance(frames[0], Image.Image) else first.size
        ):
            raise MediaError(
                f"frame {number} has {' x '.join(map(str, size))} pixels, the first one {first.width} x "
                f"{first.height}; all frames of a video have one size"
            )

    def read(places: Sequence[int]) -> Iterator[Picture]:
        return (open_picture(frames[i], f"frame {i}") for i in places)

    return Film(first.size, len(frames), rate, read, whole=True)


def at_rate(
    size: Size, starts: Sequence[int | Fraction], end: int | Fraction, tick: Fraction, read: Any
) -> Film:
    """A film of frames that start at these ticks, of some seconds each: at a constant rate, and of what is seen in
    the middle of each interval."""
    step = Fraction(end - starts[0]) / len(starts)

    def places(wanted: Sequence[int]) -> list[int]:
        times = (starts[0] + (i + Fraction(1, 2)) * step for i in wanted)
        return [max(0, bisect_right(starts, time) - 1) for time in times]

    return Film(size, len(starts), float(1 / (step * tick)), lambda wanted: read(places(wanted)))


def picked(frames: Iterable[tuple[int, T]], places: Sequence[int]) -> Iterator[T]:
    """The frames at ascending places, of numbered ones; the last one stays until the end."""
    frames = iter(frames)
    at, frame = next(frames, (0, None))
    if frame is None:
        raise MediaError("no frame can be decoded")
    for place in places:
        while at < place and (following := next(frames, None)):
            at, frame = following
        yield frame


def animated(data: bytes, format: str) -> Film:
    """An animated GIF, PNG or WebP, or a picture as a film of one frame."""

    def frames() -> Iterator[tuple[int, Image.Image]]:
        with Image.open(io.BytesIO(data), formats=[format]) as file:
            for place in range(getattr(file, "n_frames", 1)):
                file.seek(place)
                file.load()
                yield place, file

    def read(places: Sequence[int]) -> Iterator[Picture]:
        return (rgb(frame.copy()) for frame in picked(frames(), places))

    with Image.open(io.BytesIO(data), formats=[format]) as file:
        size = file.size
        checked(size, getattr(file, "n_frames", 1), ANIMATED)
    lasting = (Fraction(frame.info.get("duration", 0) or BLINK) for _, frame in frames())
    ends = list(accumulate(lasting))
    return at_rate(size, [Fraction(0), *ends[:-1]], ends[-1], Fraction(1, 1000), read)


def filmed(data: bytes) -> Film:
    """Another film, by FFmpeg."""
    try:
        import av
    except ImportError as error:
        raise MediaError(
            "is no animated GIF, PNG or WebP; MP4, WebM, MOV, MKV, AVI and others need the package av: "
            "pip install 'mistralrs[video]'"
        ) from error

    def opened() -> Any:
        # Only files that contain everything themselves: no playlists, which name other files.
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
        return av.open(io.BytesIO(data), options=options, metadata_errors="replace")

    def frames() -> Iterator[tuple[int, Any]]:
        with opened() as file:
            stream = file.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in file.decode(stream):
                if frame.pts is not None:
                    yield bisect_right(ticks, frame.pts) - 1, frame

    def read(places: Sequence[int]) -> Iterator[Picture]:
        return (turned(frame) for frame in picked(frames(), places))

    try:
        with opened() as file:
            if not file.streams.video:
                raise MediaError("has sound, but no pictures")
            stream = file.streams.video[0]
            size, tick = (stream.width, stream.height), stream.time_base or Fraction(1)
            packets = [p for p in file.demux(stream) if p.pts is not None and not p.is_discard]
            ticks = sorted({packet.pts for packet in packets})
    except av.error.FFmpegError as error:
        raise MediaError(
            f"is not a video that can be read (MP4, WebM, MOV, MKV, AVI, GIF): {error.strerror}"
        ) from error
    checked(size, len(ticks), FILMED)
    last = Fraction(ticks[-1] - ticks[0], len(ticks) - 1) if len(ticks) > 1 else 1 / tick
    film = at_rate(size, ticks, ticks[-1] + last, tick, read)
    first = next(film.read([0]))  # upright now, and a sign that the decoder is there
    return replace(film, size=first.size)


def turned(frame: Any) -> Picture:
    """A decoded frame as a picture, turned as phones write down that they were held."""
    picture = frame.to_image()
    angle = round(getattr(frame, "rotation", 0) or 0) % 360
    return picture.rotate(angle, expand=True) if angle else picture
