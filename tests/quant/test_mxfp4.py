"""MXFP4: every code, both halves of a byte, and the ends of the scale."""

import pytest
import torch

from mistralrs.quant import mxfp4

MAGNITUDES = [0, 0.5, 1, 1.5, 2, 3, 4, 6]  # OCP microscaling 1.0, table 5
NUMBERS = [*MAGNITUDES, *(-m for m in MAGNITUDES)]


@pytest.mark.parametrize("exponent", [-126, -8, 0, 3, 120])
def test_unpack(exponent):
    low, high = torch.arange(16), torch.arange(16).flip(0)
    blocks = (low | high << 4).to(torch.uint8).view(1, 1, 1, 16)
    scales = torch.tensor([[[exponent + 127]]], dtype=torch.uint8)
    expected = [
        NUMBERS[code] * 2.0**exponent for pair in zip(low, high, strict=True) for code in pair
    ]
    found = mxfp4.unpack(blocks, scales)
    assert found.dtype is torch.bfloat16
    assert found[0, 0].tolist() == expected


def test_every_block_has_its_scale():
    blocks = torch.full((2, 3, 4, 16), 0x22, dtype=torch.uint8)  # all 1.0
    scales = torch.arange(115, 139, dtype=torch.uint8).view(2, 3, 4)
    found = mxfp4.unpack(blocks, scales).unflatten(-1, (4, 32))
    assert torch.equal(found, (2.0 ** (scales.int() - 127))[..., None].expand(-1, -1, -1, 32))
