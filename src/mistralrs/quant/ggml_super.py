"""Super-blocks of 256 values with scaled scales: ggml's K-quants.

Every function decodes blocks uint8 [B, bytes] to float32 [B, 256] with ggml's order of roundings
(format: github.com/ggml-org/ggml, ggml-common.h and ggml-quants.c).
"""

import numpy as np

from mistralrs.quant.ggml_blocks import cut, half, scaled, spread
from mistralrs.quant.ggml_kind import Array


def q2_k(blocks: Array) -> Array:
    """d * scale * q - dmin * min over 16 values."""
    s, q, d, dmin = cut(blocks, 16, 64, 2, 2)
    return affine(half(d) * (s & 15), half(dmin) * (s >> 4), spread(q, 2, 32))


def q3_k(blocks: Array) -> Array:
    """d * (scale - 32) * (q - 4): a third bit and 6-bit scales, each in two places."""
    high, q, s, d = cut(blocks, 32, 64, 12, 2)
    low, top = cut(s, 8, 4)
    scales = (spread(low, 4, 8) | (spread(top, 2, 4) << 4)).astype(np.float32) - 32
    values = (spread(q, 2, 32) | (spread(high, 1, 32) << 2)).astype(np.float32) - 4
    return scaled(half(d) * scales, values)


def q4_k(blocks: Array) -> Array:
    """d * scale * q - dmin * min over 32 values."""
    d, dmin, s, q = cut(blocks, 2, 2, 12, 128)
    scales, mins = six(s)
    return affine(half(d) * scales, half(dmin) * mins, spread(q, 4, 32))


def q5_k(blocks: Array) -> Array:
    """Q4_K with a fifth bit apart."""
    d, dmin, s, high, q = cut(blocks, 2, 2, 12, 32, 128)
    scales, mins = six(s)
    values = spread(q, 4, 32) | (spread(high, 1, 32) << 4)
    return affine(half(d) * scales, half(dmin) * mins, values)


def q6_k(blocks: Array) -> Array:
    """d * scale * (q - 32) over 16 values, two of the six bits apart."""
    low, high, s, d = cut(blocks, 128, 64, 16, 2)
    values = (spread(low, 4, 64) | (spread(high, 2, 32) << 4)).astype(np.float32) - 32
    return scaled(half(d) * s.view(np.int8).astype(np.float32), values)


def six(field: Array) -> tuple[Array, Array]:
    """Eight 6-bit scales and eight 6-bit minima [B, 8] from 12 bytes."""
    scale, low, both = (field[:, i : i + 4] for i in (0, 4, 8))
    scales = np.concatenate([scale & 63, both & 15 | scale >> 2 & 48], axis=1)
    mins = np.concatenate([low & 63, both >> 4 | low >> 2 & 48], axis=1)
    return scales.astype(np.float32), mins.astype(np.float32)


def affine(scales: Array, mins: Array, values: Array) -> Array:
    """scales, mins [B, S], values [B, V] -> scale * value - min [B, V]."""
    grouped = values.astype(np.float32).reshape(*scales.shape, -1)
    return (scales[..., None] * grouped - mins[..., None]).reshape(len(values), -1)
