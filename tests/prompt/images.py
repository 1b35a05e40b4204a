"""Image files: whole ones of every kind, and what is wrong with others."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

RGB = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2
PICTURE = Image.fromarray(RGB)


def encoded(format: str, picture: Image.Image = PICTURE, **options) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes = b"", depth: int = 8, color: int = 2) -> bytes:
    """A PNG file that claims a size, with any content."""
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def cut(data: bytes, part: float) -> bytes:
    """The first part of a file."""
    return data[: int(len(data) * part)]


def noise(data: bytes, seed: int) -> bytes:
    """A file whose second half has been overwritten."""
    half = len(data) // 2
    return data[:half] + np.random.default_rng(seed).bytes(len(data) - half)


BIG = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
FILES = {name: encoded(name, BIG) for name in FORMATS}

# Files that must be refused, or, where a decoder makes something of them, give a picture of their size.
BROKEN: dict[str, bytes] = {
    **{f"half of a {name}": cut(data, 0.5) for name, data in FILES.items()},
    **{f"a tenth of a {name}": cut(data, 0.1) for name, data in FILES.items()},
    **{f"the first bytes of a {name}": data[:12] for name, data in FILES.items()},
    **{f"{name} with another magic": b"XXXX" + data[4:] for name, data in FILES.items()},
    **{f"{name} overwritten": noise(data, 1) for name, data in FILES.items()},
    "empty": b"",
    "one byte": b"\x89",
    "zeros": bytes(1000),
    "text": b"hello, I am not an image",
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "PDF": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "ZIP": b"PK\x03\x04" + bytes(100),
    "EPS, which would start another program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "PPM": b"P6 2 2 255\n" + bytes(12),
    "PNG without pixels": png(0, 0),
    "PNG without width": png(0, 9),
    "PNG without data": png(9, 9),
    "PNG with too little data": png(64, 64, bytes(100)),
    "PNG of huge size": png(60000, 60000),
    "PNG of one huge line": png(200_000_000, 1),
    "PNG of the largest size": png(2**31 - 1, 2**31 - 1),
    "PNG that unpacks to much more": png(30000, 30000, bytes(30_000_000)),
    "PNG with a wrong depth": png(4, 4, bytes(64), depth=3),
    "PNG with a wrong checksum": FILES["PNG"][:20] + b"\xff\xff" + FILES["PNG"][22:],
    "GIF of huge size": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";",
    "BMP of huge size": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
    "TIFF of nothing": b"II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    "TIFF that leads to itself": b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
}
