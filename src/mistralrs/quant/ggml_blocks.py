"""Blocks of 32 or 64 values with one scale, and ternary ones: ggml's Q4_0 to Q8_K, IQ4, TQ, MXFP4, NVFP4.

Every function decodes blocks uint8 [B, bytes] to float32 [B, values]; the order of its roundings is ggml's
(format: github.com/ggml-org/ggml, ggml-common.h and ggml-quants.c). Shared pieces of all families are here.
"""

import numpy as np

from mistralrs.quant.ggml_kind import Array

E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)  # doubled
NONLINEAR = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32
)


def cut(blocks: Array, *sizes: int) -> list[Array]:
    """Consecutive fields of a block, each contiguous so that its bytes can be viewed as wider numbers."""
    ends = np.cumsum(sizes)
    assert ends[-1] == blocks.shape[1], (sizes, blocks.shape)
    return [np.ascontiguousarray(blocks[:, e - n : e]) for e, n in zip(ends, sizes, strict=True)]


def half(field: Array) -> Array:
    """A float16 field [B, 2n] as float32 [B, n]."""
    return field.view("<f2").astype(np.float32)


def spread(field: Array, bits: int, run: int) -> Array:
    """[B, n] bytes -> [B, n * 8 / bits]: of each `run` bytes all lowest bits first, then the next ones."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    parts = field.reshape(len(field), -1, 1, run) >> shifts
    return (parts & np.uint8((1 << bits) - 1)).reshape(len(field), -1)


def bits(field: Array) -> Array:
    """[B, n] bytes -> [B, 8n] bits, lowest first."""
    return np.unpackbits(field, axis=1, bitorder="little")


def scaled(scales: Array, values: Array) -> Array:
    """scales [B, S] times values [B, V], each scale over V / S neighbours."""
    grouped = values.reshape(*scales.shape, -1)
    return (scales[..., None] * grouped).reshape(len(values), -1)


def q4_0(blocks: Array) -> Array:
    """d * (q - 8)."""
    d, q = cut(blocks, 2, 16)
    return half(d) * (spread(q, 4, 16).astype(np.float32) - 8)


def q4_1(blocks: Array) -> Array:
    """d * q + m."""
    d, m, q = cut(blocks, 2, 2, 16)
    return half(d) * spread(q, 4, 16).astype(np.float32) + half(m)


def q5_0(blocks: Array) -> Array:
    """d * (q - 16), the fifth bits apart."""
    d, high, q = cut(blocks, 2, 4, 16)
    return half(d) * (five(q, high).astype(np.float32) - 16)


def q5_1(blocks: Array) -> Array:
    """d * q + m, the fifth bits apart."""
    d, m, high, q = cut(blocks, 2, 2, 4, 16)
    return half(d) * five(q, high).astype(np.float32) + half(m)


def five(q: Array, high: Array) -> Array:
    """Four low bits and the fifth of 32 values."""
    return spread(q, 4, 16) | (bits(high) << 4)


def q8_0(blocks: Array) -> Array:
    """d * q."""
    d, q = cut(blocks, 2, 32)
    return half(d) * q.view(np.int8).astype(np.float32)


def q8_1(blocks: Array) -> Array:
    """d * q; the sum that follows d serves dot products only."""
    d, _, q = cut(blocks, 2, 2, 32)
    return half(d) * q.view(np.int8).astype(np.float32)


def q8_k(blocks: Array) -> Array:
    """d * q with a float32 scale; the sums at the end serve dot products only."""
    d, q, _ = cut(blocks, 4, 256, 32)
    return d.view("<f4") * q.view(np.int8).astype(np.float32)


def iq4_nl(blocks: Array) -> Array:
    """d * table[q]."""
    d, q = cut(blocks, 2, 16)
    return half(d) * NONLINEAR[spread(q, 4, 16)]


def iq4_xs(blocks: Array) -> Array:
    """d * (scale - 32) * table[q]: eight 6-bit scales, four bits here and two there."""
    d, high, low, q = cut(blocks, 2, 2, 4, 128)
    scales = spread(low, 4, 1) | (spread(high, 2, 1) << 4)
    return scaled(half(d) * (scales.astype(np.float32) - 32), NONLINEAR[spread(q, 4, 16)])


def tq1_0(blocks: Array) -> Array:
    """d * (digit - 1): five base-3 digits in a byte, read by multiplying until the wanted one overflows."""
    q, high, d = cut(blocks, 48, 4, 2)
    digits = [_ternary(q[:, :32], 5), _ternary(q[:, 32:], 5), _ternary(high, 4)]
    return half(d) * (np.concatenate(digits, axis=1).astype(np.float32) - 1)


def _ternary(field: Array, count: int) -> Array:
    powers = (3 ** np.arange(count)).astype(np.uint8)[:, None]
    shifted = (field[:, None, :] * powers).astype(np.uint16)
    return (shifted * 3 >> 8).reshape(len(field), -1)


def tq2_0(blocks: Array) -> Array:
    """d * (q - 1)."""
    q, d = cut(blocks, 64, 2)
    return half(d) * (spread(q, 2, 32).astype(np.float32) - 1)


def mxfp4(blocks: Array) -> Array:
    """2^(e - 128) * doubled E2M1 (OCP microscaling formats 1.0)."""
    e, q = cut(blocks, 1, 16)
    e = e.astype(np.uint32)
    scale = np.where(e < 2, np.uint32(0x00200000) << e, (e - 1) << 23).astype(np.uint32)
    return scale.view(np.float32) * E2M1[spread(q, 4, 16)]


def nvfp4(blocks: Array) -> Array:
    """Half an unsigned E4M3 scale per 16 doubled E2M1 values."""
    s, q = cut(blocks, 4, 32)
    return scaled(_ue4m3(s) * np.float32(0.5), E2M1[spread(q, 4, 8)])


def _ue4m3(code: Array) -> Array:
    exponent, mantissa = (code >> 3 & 15).astype(np.float32), (code & 7).astype(np.float32)
    normal = (1 + mantissa / 8) * np.exp2(exponent - 7)
    value = np.where(exponent == 0, mantissa * np.float32(2**-9), normal)
    return np.where(code == 0x7F, np.float32(0), value).astype(np.float32)
