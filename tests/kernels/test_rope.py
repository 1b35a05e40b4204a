"""Rotations against the reference."""

import pytest
import torch

from mistralrs import kernels
from mistralrs.kernels.rope import rope


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("width", "turned"), [(8, 8), (64, 64), (80, 32), (6, 2), (70, 70)])
def test_rope(isa, width, turned, interleaved):
    x = torch.randn(300, 5, width)[:, 1:4]
    angles = torch.rand(300, turned // 2) * 100
    cos, sin = angles.cos(), angles.sin()
    got = rope(x, cos, sin, interleaved)
    with kernels.use("reference"):
        want = rope(x, cos, sin, interleaved)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
    assert torch.equal(got[7:8], rope(x[7:8], cos[7:8], sin[7:8], interleaved))
