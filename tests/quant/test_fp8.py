"""FP8: one scale for a matrix, or one for every square; codes as torch rounds them."""

import pytest
import torch

from mistralrs.quant import fp8


@pytest.mark.parametrize(
    ("shape", "block"),
    [((4, 6), (2, 3)), ((5, 7), (2, 3)), ((1, 1), (128, 128)), ((130, 160), (128, 128))],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_squares(shape, block, dtype):
    codes = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(torch.float8_e4m3fn)
    counts = [-(-size // step) for size, step in zip(shape, block, strict=True)]
    scales = torch.arange(1.0, counts[0] * counts[1] + 1).view(counts).to(dtype)
    raw = fp8.rows(codes, scales, block)
    found = fp8.of_rows(raw, shape[1], block[1], dtype)
    for n in range(shape[0]):
        for k in range(shape[1]):
            scale = scales[n // block[0], k // block[1]].float()
            assert found.dequantize()[n, k] == codes[n, k].float() * scale
    assert found.shape == shape
    flipped = fp8.of_rows(raw.flip(0), shape[1], block[1], dtype)
    assert torch.equal(flipped.dequantize(), found.dequantize().flip(0))


@pytest.mark.parametrize("size", [1e-6, 0.02, 1.0, 3e4])
def test_quantize(size):
    x = torch.randn(2, 40, 96, generator=torch.Generator().manual_seed(0)) * size
    found = fp8.quantize(x)
    for matrix, got in zip(x, found.dequantize(), strict=True):
        scale = matrix.abs().max() / 448
        assert torch.equal(got, (matrix / scale).to(torch.float8_e4m3fn).float() * scale)
        # Three bits of mantissa, and steps of 2^-9 scales near zero.
        assert ((got - matrix).abs() <= matrix.abs() * 2**-4 + scale * 2**-10).all()
    assert found.bits < 8.1


def test_zeros_and_nan():
    assert torch.equal(fp8.quantize(torch.zeros(3, 32)).dequantize(), torch.zeros(3, 32))
    assert fp8.quantize(torch.full((1, 32), float("nan"))).dequantize().isnan().all()
