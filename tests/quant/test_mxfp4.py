"""MXFP4: every code, both halves of a byte, the ends of the scale; ggml's blocks without loss; the nearest codes."""

import gguf
import numpy as np
import pytest
import torch

from mistralrs.quant import mxfp4
from mistralrs.quant.affine import packed
from mistralrs.quant.ggml import KINDS, GgmlWeight

MAGNITUDES = [0, 0.5, 1, 1.5, 2, 3, 4, 6]  # OCP microscaling 1.0, table 5
NUMBERS = [*MAGNITUDES, *(-m for m in MAGNITUDES)]
TYPE = gguf.GGMLQuantizationType.MXFP4


@pytest.mark.parametrize("exponent", [-126, -8, 0, 3, 120])
def test_hub(exponent):
    low, high = torch.arange(16), torch.arange(16).flip(0)
    blocks = (low | high << 4).to(torch.uint8).view(1, 1, 1, 16)
    scales = torch.tensor([[[exponent + 127]]], dtype=torch.uint8)
    expected = [
        NUMBERS[code] * 2.0**exponent for pair in zip(low, high, strict=True) for code in pair
    ]
    for found in (mxfp4.packed(blocks, scales), mxfp4.of_rows(mxfp4.rows(blocks, scales))):
        assert found.dequantize()[0, 0].tolist() == expected
        assert found.bits == 4.25


def test_every_block_has_its_scale():
    blocks = torch.full((2, 3, 4, 16), 0x22, dtype=torch.uint8)  # all 1.0
    scales = torch.arange(115, 139, dtype=torch.uint8).view(2, 3, 4)
    found = mxfp4.of_rows(mxfp4.rows(blocks, scales)).dequantize().unflatten(-1, (4, 32))
    assert torch.equal(found, (2.0 ** (scales.int() - 127))[..., None].expand(-1, -1, -1, 32))


@pytest.mark.parametrize("shape", [(300,), (3, 40)])
def test_ggml(shape):
    """Bit for bit what the gguf package decodes; a scale of 255 is a nan in the standard and left out here."""
    raw = np.random.default_rng(0).integers(0, 255, (*shape, 6 * 17), np.uint8)
    want = torch.from_numpy(gguf.quants.dequantize(raw, TYPE).copy())
    weight = packed(GgmlWeight(KINDS[39], torch.from_numpy(raw)))
    assert isinstance(weight, mxfp4.Coded)
    found = weight.dequantize() + 0  # the standard has a -0, the package has not
    assert torch.equal(found.view(torch.int32), want.view(torch.int32))
    assert torch.equal(mxfp4.to_ggml(weight), torch.from_numpy(raw))


@pytest.mark.parametrize("size", [1e-30, 0.02, 1.0, 1e30])
def test_quantize(size):
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)) * size
    x[3] = 0
    found = mxfp4.quantize(x).dequantize()
    ggml = gguf.quants.dequantize(gguf.quants.quantize(x.numpy(), TYPE), TYPE)

    def errors(y: torch.Tensor) -> torch.Tensor:
        return ((y - x) / size).square().unflatten(-1, (-1, 32)).sum(-1)

    assert (errors(found) <= errors(torch.from_numpy(ggml)) * (1 + 1e-6)).all()
    assert errors(found).sum() < 0.98 * errors(torch.from_numpy(ggml)).sum()
    assert torch.equal(found[3], torch.zeros(256))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_nan_spoils_its_block(bad):
    x = torch.ones(2, 64)
    x[1, 40] = bad
    found = mxfp4.quantize(x).dequantize()
    assert found[1, 32:].isnan().all()
    assert torch.equal(found[0], x[0])
    assert torch.equal(found[1, :32], x[1, :32])
