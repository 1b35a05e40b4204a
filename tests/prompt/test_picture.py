"""Pictures of every kind become RGB and upright; broken ones raise MediaError soon and take little memory."""

import resource
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mistralrs.api.errors import MediaError
from mistralrs.prompt.fetch import Access
from mistralrs.prompt.picture import in_memory, open_picture
from tests.prompt.images import BIG, BROKEN, PICTURE, RGB, encoded

TRANSPARENT = np.dstack([RGB, np.where(np.arange(7) < 3, 0, 255)[None].repeat(5, 0)]).astype(
    np.uint8
)
ON_WHITE = np.where(TRANSPARENT[..., 3:] == 0, 255, RGB)
GREY = RGB[..., 0]
TURNED = Image.Exif()
TURNED[0x0112] = 6  # taken with the camera on its side


def opened(source, edge=None) -> np.ndarray:
    data = source if in_memory(source) else Access().read(source)
    picture = open_picture(data, "the image", edge)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def grey(values) -> np.ndarray:
    return np.repeat(np.asarray(values)[..., None], 3, 2)


PALETTE = PICTURE.quantize(256)
DEEP = Image.fromarray(GREY.astype(np.uint16) * 257)
CLEAR = Image.fromarray(TRANSPARENT)

# a source, the pixels that it shows
KINDS = {
    "PNG": (encoded("PNG"), RGB),
    "BMP": (encoded("BMP"), RGB),
    "TIFF": (encoded("TIFF"), RGB),
    "TIFF, packed": (encoded("TIFF", compression="tiff_lzw"), RGB),
    "WebP": (encoded("WEBP", lossless=True), RGB),
    "GIF": (encoded("GIF", PALETTE), np.asarray(PALETTE.convert("RGB"))),
    "JPEG": (
        encoded("JPEG", quality=100),
        np.asarray(Image.open(__import__("io").BytesIO(encoded("JPEG", quality=100)))),
    ),
    "palette": (encoded("PNG", PALETTE), np.asarray(PALETTE.convert("RGB"))),
    "grey": (encoded("PNG", Image.fromarray(GREY)), grey(GREY)),
    "one bit": (encoded("PNG", Image.fromarray(GREY > 99)), grey(np.where(GREY > 99, 255, 0))),
    "16 bit": (encoded("PNG", DEEP), grey(GREY)),
    "16 bit TIFF": (encoded("TIFF", DEEP), grey(GREY)),
    "transparent": (encoded("PNG", CLEAR), ON_WHITE),
    "transparent WebP": (encoded("WEBP", CLEAR, lossless=True), ON_WHITE),
    "grey and transparent": (
        encoded("PNG", Image.fromarray(np.dstack([GREY, TRANSPARENT[..., 3]]), "LA")),
        np.where(TRANSPARENT[..., 3:] == 0, 255, grey(GREY)),
    ),
    "opaque alpha": (encoded("PNG", PICTURE.convert("RGBA")), RGB),
    "CMYK": (
        encoded("TIFF", PICTURE.convert("CMYK")),
        np.asarray(PICTURE.convert("CMYK").convert("RGB")),
    ),
    "on its side": (encoded("PNG", exif=TURNED), np.rot90(RGB, -1)),
    "a film": (
        encoded("GIF", PALETTE, save_all=True, append_images=[BIG.quantize(9)]),
        np.asarray(PALETTE.convert("RGB")),
    ),
    "a moving PNG": (encoded("PNG", save_all=True, append_images=[PICTURE.rotate(180)]), RGB),
    "one pixel": (encoded("PNG", PICTURE.crop((0, 0, 1, 1))), RGB[:1, :1]),
    "Pillow": (PICTURE, RGB),
    "Pillow, transparent": (CLEAR, ON_WHITE),
    "array": (RGB, RGB),
    "array, transparent": (TRANSPARENT, ON_WHITE),
    "array, grey": (GREY, grey(GREY)),
    "array, one channel": (GREY[..., None], grey(GREY)),
    "array of floats": (RGB / 255, RGB),
    "array, turned around": (RGB[::-1, ::-1], RGB[::-1, ::-1]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
    source, expected = KINDS[kind]
    assert np.array_equal(opened(source), expected)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 3, 2), np.uint8), "shape"),
        (np.zeros((3, 0, 3), np.uint8), "shape"),
        (np.zeros(9, np.uint8), "shape"),
        (np.zeros((2, 3, 5, 5), np.uint8), "shape"),
        (np.full((3, 3), 2.0), "0 to 1"),
        (np.full((3, 3), np.nan), "0 to 1"),
        (np.zeros((3, 3), np.int64), "uint8"),
        (np.zeros((3, 3), object), "uint8"),
    ],
)
def test_arrays_that_are_no_images(array, message):
    with pytest.raises(MediaError, match=message):
        opened(array)


def attempt(data: bytes) -> np.ndarray | MediaError:
    """What comes of a file; any other error is a failure."""
    try:
        return opened(data)
    except MediaError as error:
        return error


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", BROKEN)
def test_broken(kind):
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = attempt(BROKEN[kind])
    if isinstance(found, MediaError):
        assert isinstance(found, ValueError)
        assert 10 < len(str(found)) < 300
    else:  # some formats cannot tell that their content is wrong
        assert "overwritten" in kind or "magic" in kind
        assert found.shape == (64, 64, 3)
    assert time.monotonic() - started < 5  # far more than it takes, on any machine
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [
        ((100, 50), 20, (20, 10)),
        ((50, 100), 20, (10, 20)),
        ((20, 10), 20, (20, 10)),
        ((1000, 1), 10, (10, 1)),
    ],
)
def test_max_edge(size, edge, expected):
    height, width, _ = opened(Image.new("RGB", size), edge).shape
    assert (width, height) == expected


def test_the_source_is_not_changed(tmp_path: Path):
    picture = PICTURE.copy()
    opened(picture, 3)
    assert np.array_equal(np.asarray(picture), RGB)
    (tmp_path / "x.png").write_bytes(encoded("PNG"))
    assert np.array_equal(opened(tmp_path / "x.png"), RGB)
