"""Bytes, arrays and Pillow pictures -> RGB pictures, upright; whatever is wrong with them is a MediaError."""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mistralrs.api.errors import MediaError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "MPO")  # MPO: JPEGs of some phones
PIXELS = 89_000_000  # a picture of that size takes 270 MB; Pillow warns above it


def in_memory(source: Any) -> bool:
    """Whether a source is a picture already: Pillow's or an array, not bytes of a file."""
    array = hasattr(source, "__array_interface__") and not isinstance(source, memoryview)
    return isinstance(source, Image.Image) or array


def open_picture(source: Any, name: str, max_edge: int | None = None) -> Image.Image:
    """The first frame of an image file, or a picture in memory, as an upright RGB picture."""
    if isinstance(source, Image.Image):
        picture = guarded(lambda: upright(source.copy()), name)
    elif in_memory(source):
        picture = of_array(np.asarray(source))
    else:
        picture = guarded(lambda: decode(source), name)
    return limited(picture, max_edge)


def decode(data: bytes) -> Image.Image:
    """The first frame of an image file."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        width, height = file.size
        if width * height > PIXELS:
            raise MediaError(
                f"has {width} x {height} pixels, the limit is {PIXELS:,}; scale it down"
            )
        file.load()
        return upright(file)  # a copy, since the file is closed now


def guarded(make: Any, name: str) -> Image.Image:
    """A picture, or a MediaError for whatever Pillow raises about it."""
    try:
        return make()
    except UnidentifiedImageError:
        raise MediaError(
            f"{name}: is not an image that can be read ({', '.join(FORMATS[:-1])})"
        ) from None
    except MediaError as error:
        raise MediaError(f"{name}: {error}") from None
    except Exception as error:  # decoders fail with almost any type on damaged files
        raise MediaError(f"{name}: the image is damaged: {error}") from error


def upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF data says, in RGB."""
    if not picture.width or not picture.height:
        raise MediaError("has no pixels")
    ImageOps.exif_transpose(picture, in_place=True)
    return rgb(picture)


def rgb(picture: Image.Image) -> Image.Image:
    """RGB: what is transparent becomes white, 16 bits become 8."""
    if picture.mode.startswith("I"):
        values = np.asarray(picture, dtype=np.int64)
        return Image.fromarray((values.clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        return of_array(np.asarray(picture))
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        return on_white(picture.convert("RGBA"))
    return (
        picture
        if type(picture) is Image.Image and picture.mode == "RGB"
        else picture.convert("RGB")
    )


def on_white(picture: Image.Image) -> Image.Image:
    """An RGBA picture laid on white; fully opaque ones keep their colors to the bit."""
    if np.asarray(picture)[..., 3].min() == 255:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture).convert("RGB")


def of_array(values: "np.ndarray[Any, Any]") -> Image.Image:
    """An array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]: bytes, or floats from 0 to 1."""
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or 0 in values.shape or values.shape[2:] not in ((), (3,), (4,)):
        raise MediaError(
            f"an array of shape {list(values.shape)} is no image; its shape must be [height, width] or "
            "[height, width, 3 or 4]"
        )
    if values.shape[0] * values.shape[1] > PIXELS:
        raise MediaError(f"the array has more than {PIXELS:,} pixels; scale it down")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise MediaError("an image array of floats must have values from 0 to 1")
        values = (values * 255).round().astype(np.uint8)
    if values.dtype != np.uint8:
        raise MediaError(f"an image array must be of uint8 or floats, not {values.dtype}")
    return rgb(Image.fromarray(np.ascontiguousarray(values)))


def limited(picture: Image.Image, edge: int | None) -> Image.Image:
    """The picture, scaled down when its longer side has more than `edge` pixels."""
    size = small(picture.size, edge)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BICUBIC)


def small(size: tuple[int, int], edge: int | None) -> tuple[int, int]:
    """The size of about the same proportions whose longer side has at most `edge` pixels."""
    if edge is None or max(size) <= edge:
        return size
    factor = edge / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
