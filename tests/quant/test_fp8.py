"""FP8 blocks: every number times the scale of its square."""

import pytest
import torch

from mistralrs.quant import fp8


@pytest.mark.parametrize(
    ("shape", "block"),
    [((4, 6), (2, 3)), ((5, 7), (2, 3)), ((1, 1), (128, 128)), ((130, 129), (128, 128))],
)
def test_unpack(shape, block):
    codes = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(torch.float8_e4m3fn)
    counts = [-(-size // step) for size, step in zip(shape, block, strict=True)]
    scales = torch.arange(1.0, counts[0] * counts[1] + 1).view(counts)
    found = fp8.unpack(codes, scales, block)
    for n, k in [(0, 0), (shape[0] - 1, shape[1] - 1), (shape[0] // 2, shape[1] // 2)]:
        expected = codes[n, k].float() * scales[n // block[0], k // block[1]]
        assert found[n, k] == expected.bfloat16()
    assert found.shape == shape
