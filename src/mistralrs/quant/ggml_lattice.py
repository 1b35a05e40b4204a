"""Groups of 4 or 8 values looked up in a table of lattice points: ggml's IQ1, IQ2 and IQ3 types.

Every function decodes blocks uint8 [B, bytes] to float32 [B, 256] with ggml's order of roundings
(format: github.com/ggml-org/ggml, ggml-common.h and ggml-quants.c).
"""

from functools import cache

import numpy as np

from mistralrs.quant.ggml_blocks import bits, cut, half, spread
from mistralrs.quant.ggml_grids import POINTS, unpack
from mistralrs.quant.ggml_kind import Array

DELTA = np.float32(0.125)


@cache
def points(name: str) -> Array:
    """The points of a grid in ascending order, float32 [points, 4 or 8]."""
    levels, size = POINTS[name][:2]
    digits = unpack(name)[:, None] // len(levels) ** np.arange(size) % len(levels)
    return np.array(levels, np.float32)[digits]


def parity(index: Array) -> Array:
    """Seven stored signs and the eighth, which makes their number even: [...] -> +-1 [..., 8]."""
    seven = (index[..., None] >> np.arange(7, dtype=index.dtype)) & 1
    every = np.concatenate([seven, seven.sum(-1, keepdims=True) & 1], axis=-1)
    return 1 - 2 * every.astype(np.float32)


def signs(field: Array) -> Array:
    """Stored signs [B, n] -> +-1 [B, 8n]."""
    return 1 - 2 * bits(field).astype(np.float32)


def join(db: Array, grid: Array, sign: Array) -> Array:
    """Scales [B, S], points and signs of 256 values each -> [B, 256]."""
    shape = (*db.shape, 256 // db.shape[1])
    return (db[..., None] * grid.reshape(shape) * sign.reshape(shape)).reshape(len(db), 256)


def quarter(d: Array, scales: Array, factor: float) -> Array:
    """d * (0.5 + scale) * factor."""
    return half(d) * (np.float32(0.5) + scales.astype(np.float32)) * np.float32(factor)


def iq2_xxs(blocks: Array) -> Array:
    """Per 32 values four bytes of indices, then four times seven signs and a 4-bit scale."""
    d, q = cut(blocks, 2, 64)
    words = q.view("<u4").reshape(len(q), 8, 2)
    index = np.ascontiguousarray(words[..., 0]).view(np.uint8)
    return join(
        quarter(d, words[..., 1] >> 28, 0.25), points("iq2_xxs")[index], packed(words[..., 1])
    )


def packed(words: Array) -> Array:
    """Four times seven signs in each word [B, n] -> +-1 [B, n, 4, 8]."""
    return parity(words[..., None] >> np.array([0, 7, 14, 21], np.uint32) & 127)


def iq2_xs(blocks: Array) -> Array:
    """9 bits of index and seven signs for 8 values, a 4-bit scale for 16."""
    d, q, s = cut(blocks, 2, 64, 8)
    words = q.view("<u2")
    grid = points("iq2_xs")[words & 511]
    return join(quarter(d, spread(s, 4, 1), 0.25), grid, parity(words >> 9))


def iq2_s(blocks: Array) -> Array:
    """10 bits of index in two places and eight signs for 8 values, a 4-bit scale for 16."""
    d, q, sign, high, s = cut(blocks, 2, 32, 32, 8, 8)
    index = q | spread(high, 2, 1).astype(np.uint16) << 8
    return join(quarter(d, spread(s, 4, 1), 0.25), points("iq2_s")[index], signs(sign))


def iq3_xxs(blocks: Array) -> Array:
    """A byte of index for 4 values, then per 32 values four times seven signs and a 4-bit scale."""
    d, q, s = cut(blocks, 2, 64, 32)
    words = s.view("<u4")
    return join(quarter(d, words >> 28, 0.5), points("iq3_xxs")[q], packed(words))


def iq3_s(blocks: Array) -> Array:
    """9 bits of index in two places for 4 values, eight signs for 8, a 4-bit scale for 32."""
    d, q, high, sign, s = cut(blocks, 2, 64, 8, 32, 4)
    index = q | bits(high).astype(np.uint16) << 8
    scales = half(d) * (1 + 2 * spread(s, 4, 1)).astype(np.float32)
    return join(scales, points("iq3_s")[index], signs(sign))


def iq1_s(blocks: Array) -> Array:
    """11 bits of index in two places for 8 values; a 3-bit scale and the sign of a shift for 32."""
    d, q, high = cut(blocks, 2, 32, 16)
    words = high.view("<u2")
    top = words[..., None] >> np.array([0, 3, 6, 9], np.uint16) & 7
    index = q | (top << 8).reshape(len(q), 32)
    scales = half(d) * (2 * (words >> 12 & 7) + 1).astype(np.float32)
    shift = np.where(words & 0x8000, -DELTA, DELTA)
    return moved(scales, shift, points("iq1")[index])


def iq1_m(blocks: Array) -> Array:
    """11 bits of index and the sign of a shift for 8 values, a 3-bit scale for 16, d in four quarters."""
    q, high, s = cut(blocks, 32, 16, 8)
    words = s.view("<u2")
    quarters = words >> 12 << np.array([0, 4, 8, 12], np.uint16)
    d = np.bitwise_or.reduce(quarters, axis=1, keepdims=True).astype("<u2").view(np.uint8)
    scales = (words[..., None] >> np.array([0, 3, 6, 9], np.uint16) & 7).reshape(len(q), 16)
    nibbles = spread(high, 4, 1)
    index = q | (nibbles & 7).astype(np.uint16) << 8
    each = np.repeat(half(d) * (2 * scales + 1).astype(np.float32), 2, axis=1)
    return moved(each, np.where(nibbles & 8, -DELTA, DELTA), points("iq1")[index])


def moved(scales: Array, shift: Array, grid: Array) -> Array:
    """scale * (point + shift): scales and shifts [B, S], 256 values of points -> [B, 256]."""
    values = grid.reshape(*scales.shape, -1)
    return (scales[..., None] * (values + shift[..., None])).reshape(len(scales), 256)
