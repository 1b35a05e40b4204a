"""Norms against float64, and the same bits for any batch."""

import pytest
import torch

from mistralrs import kernels
from mistralrs.kernels.norm import layer_norm, rms_norm

WIDTHS = [1, 3, 8, 31, 64, 100, 1024, 1027]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm(isa, width, dtype):
    x, w = torch.randn(5, width), torch.randn(width).to(dtype)
    y = rms_norm(x, w, 1e-6, offset=1.0)
    wide = x.double()
    want = wide / (wide.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + w.double())
    torch.testing.assert_close(y.double(), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("width", [w for w in WIDTHS if w > 1])
def test_layer_norm(isa, width, bias):
    x, w, b = 3 + torch.randn(5, width), torch.randn(width), torch.randn(width) if bias else None
    y = layer_norm(x, w, b, 1e-5)
    want = torch.nn.functional.layer_norm(
        x.double(), (width,), w.double(), b if b is None else b.double(), 1e-5
    )
    torch.testing.assert_close(y.double(), want, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_rows_do_not_depend_on_the_batch(isa, norm):
    w = torch.randn(100)
    run = {
        "rms": lambda x: rms_norm(x, w, 1e-6),
        "layer": lambda x: layer_norm(x, w, None, 1e-6),
    }[norm]
    fused = torch.randn(700, 5, 100)
    heads = fused[:, 1:3]  # a slice of a fused projection is read in place
    whole = run(heads)
    assert torch.equal(whole, run(heads.contiguous()))
    assert torch.equal(whole, torch.cat([run(part) for part in heads.split([1, 99, 600])]))
    with kernels.use(isa, threads=3):
        assert torch.equal(whole, run(heads))


@pytest.mark.parametrize("shape", [(0, 16), (16,), (2, 3, 4, 16)])
def test_shapes(isa, shape):
    x, w = torch.randn(shape), torch.ones(16)
    with kernels.use("reference"):
        want = rms_norm(x, w, 1e-6)
    torch.testing.assert_close(rms_norm(x, w, 1e-6), want)


def test_other_dtypes_go_to_the_reference(isa):
    assert rms_norm(torch.randn(2, 8).bfloat16(), torch.ones(8), 1e-6).dtype is torch.bfloat16
