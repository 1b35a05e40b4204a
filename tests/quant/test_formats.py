"""Every type that floats can be quantized to: size, error, stacks, bad numbers, and the formulas of the new ones."""

import math

import numpy as np
import pytest
import torch

from mistralrs.quant import afq, bytes8, hqq
from mistralrs.quant.formats import FORMATS

# Root mean square error over the standard deviation for normal numbers: a uniform step over the range of a group of n
# gives range / (2^bits - 1) / sqrt(12); the range of 64 normal numbers is 4.7 deviations, of 32 it is 4.1, and the
# largest of 32 is 2.2, of 256 it is 2.9.
LIMITS = {
    "AFQ2": 4.9 / 3 / math.sqrt(12), "AFQ3": 4.9 / 7 / math.sqrt(12), "AFQ4": 4.9 / 15 / math.sqrt(12),
    "AFQ6": 4.9 / 63 / math.sqrt(12), "AFQ8": 4.9 / 255 / math.sqrt(12),
    "HQQ4": 5.2 / 15 / math.sqrt(12), "HQQ8": 5.2 / 255 / math.sqrt(12),
    "F8Q8": 2.4 / 127 / math.sqrt(12) * 1.125, "Q8_K": 3.1 / 127 / math.sqrt(12), "Q8_1": 2.4 / 127 / math.sqrt(12),
    "FP8": 2**-4, "MXFP4": 0.12,
}  # fmt: skip


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02


@pytest.mark.parametrize("name", FORMATS)
def test_size_and_stacks(name):
    format, x = FORMATS[name], normal(3, 48, 512)
    stack = format.quantize(x)
    assert stack.shape == (3, 48, 512)
    assert stack.bits <= format.bits + 0.01
    for index in range(3):
        one = format.quantize(x[index])
        assert torch.equal(one.dequantize(), stack.dequantize()[index])
    ids, rows = torch.tensor([2, 0, 2]), normal(3, 512)
    want = torch.stack([stack.product(r[None], i)[0] for r, i in zip(rows, ids, strict=True)])
    assert torch.equal(stack.gather(rows, ids), want)


@pytest.mark.parametrize("name", LIMITS)
def test_error(name):
    x = normal(64, 1024)
    off = FORMATS[name].quantize(x).dequantize() - x
    assert off.norm() / x.norm() <= LIMITS[name]


@pytest.mark.parametrize("name", [name for name in FORMATS if name in LIMITS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_zeros(name, dtype):
    x = normal(8, 256).to(dtype)
    x[2] = 0
    found = FORMATS[name].quantize(x).dequantize()
    assert torch.equal(found, FORMATS[name].quantize(x.float()).dequantize())
    assert torch.equal(found[2], torch.zeros(256))
    assert found.isfinite().all()


def fields(packed: torch.Tensor, bits: int) -> np.ndarray:
    """Integers that lie one after another in little-endian words of 32 bits, the lowest bits first."""
    flat = np.unpackbits(packed.numpy().view("<u4").view(np.uint8), axis=-1, bitorder="little")
    return (flat.reshape(len(flat), -1, bits) << np.arange(bits)).sum(-1)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_afq_is_affine_quantization_of_mlx(bits):
    """mlx.core.dequantize: w = scale * code + bias for groups of 64, codes packed in unsigned words of 32 bits."""
    x = normal(16, 256)
    weight = afq.quantize(x, bits)
    w = weight.codes
    q, scale, bias = fields(w.codes, bits), *(t.float().numpy() for t in (w.scales, w.zeros))
    want = scale.repeat(64, 1) * q.astype(np.float32) + bias.repeat(64, 1)
    assert np.array_equal(weight.dequantize().numpy(), want)
    # Every code is the best of its grid.
    levels = scale[..., None] * np.arange(2**bits, dtype=np.float32) + bias[..., None]
    off = np.abs(levels.repeat(64, 1) - x.numpy()[..., None])
    taken = np.take_along_axis(off, q[..., None].astype(np.int64), -1)[..., 0]
    assert (taken <= off.min(-1) + 1e-7).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_hqq(bits):
    """w = (code - zero) * scale, and a smaller error in its norm than without the fit."""
    x = torch.distributions.StudentT(4.0).sample((64, 512)) * 0.02
    weight = hqq.quantize(x, bits)
    w = weight.codes
    q, scale, zero = fields(w.codes, bits), *(t.float().numpy() for t in (w.scales, w.zeros))
    want = (q.astype(np.float32) - zero.repeat(64, 1)) * scale.repeat(64, 1)
    assert np.array_equal(weight.dequantize().numpy(), want)
    low, high = x.unflatten(-1, (-1, 64)).aminmax(dim=-1)  # before the fit
    step, low = ((t.repeat_interleave(64, 1)) for t in ((high - low) / (2**bits - 1), low))
    off, plain = weight.dequantize() - x, ((x - low) / step).round() * step + low - x
    assert off.abs().pow(0.7).mean() < plain.abs().pow(0.7).mean()


def test_f8q8_and_q8_k():
    x = normal(8, 512)
    weight = bytes8.f8q8(x)
    most, scales = x.unflatten(-1, (-1, 32)).abs().amax(-1), weight.codes.scales
    assert (scales.float() * 127 / 448 >= most * (1 - 2**-20)).all()  # nothing is cut
    assert (scales.float() * 127 / 448 <= most * 1.125 + 2**-9 / 448 * 127).all()
    codes = weight.codes.codes.view(torch.int8).float()
    assert torch.equal(weight.dequantize(), codes * (scales.float() / 448).repeat_interleave(32, 1))
    weight = bytes8.q8_k(x)
    codes = weight.codes.codes.view(torch.int8).unflatten(-1, (-1, 256))
    assert (codes.amin(-1) == -127).all()  # where the farthest number is
    assert torch.equal(
        weight.dequantize(), codes.flatten(-2) * weight.codes.scales.repeat_interleave(256, 1)
    )


@pytest.mark.parametrize("name", ["AFQ4", "HQQ4", "HQQ8", "MXFP4", "FP8", "F8Q8", "Q8_K"])
@pytest.mark.parametrize("value", [5.0, -5.0, 1e-3])
def test_equal_numbers(name, value):
    x = torch.full((4, 256), value)
    found = FORMATS[name].quantize(x).dequantize()
    assert ((found - x).abs() <= abs(value) * (0.21 if name == "MXFP4" else 0.04)).all()
