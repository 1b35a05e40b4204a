"""Short convolutions against float64, and the same bits for any cut of the sequences."""

import pytest
import torch
from torch.nn import functional as F

from mistralrs import kernels
from mistralrs.kernels.conv import conv
from mistralrs.kernels.glu import activate
from tests.kernels.ragged import CUTS, LENGTHS, ROWS, steps

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [(1, 2), (7, 3), (64, 4), (70, 1), (129, 4), (200, 7)]  # channels, taps


def run(x, weight, bias, cuts, act=None):
    """Outputs and tails after these steps, from slots full of another's numbers."""
    tails = torch.full((9, weight.shape[1] - 1, x.shape[1]), 9.0)
    return steps(lambda rows, part: conv(x[rows], weight, bias, tails, part, act), cuts), tails


def exact(x, weight, bias):
    """In float64 by torch."""
    parts = [F.pad(part.T, (weight.shape[1] - 1, 0)) for part in x.double().split(LENGTHS)]
    weight, bias = weight.double()[:, None], None if bias is None else bias.double()
    return torch.cat([F.conv1d(part, weight, bias, groups=len(weight)).T for part in parts])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("with_bias", [False, True])
def test_conv(isa, shape, dtype, with_bias):
    channels, taps = shape
    x, weight = torch.randn(ROWS, channels), torch.randn(channels, taps).to(dtype)
    bias = torch.randn(channels).to(dtype) if with_bias else None
    got, tails = run(x, weight, bias, CUTS["whole"])
    size = exact(x.abs(), weight.abs(), None if bias is None else bias.abs())
    # A product and a sum, each rounded once, for every tap, and the bias.
    error = (got.double() - exact(x, weight, bias)).abs()
    assert (error <= size * (2 * taps + 1) * 2**-24).all()
    for i, part in enumerate(x.split(LENGTHS)):
        assert torch.equal(tails[7 - i], F.pad(part, (0, 0, taps, 0))[len(part) + 1 :])


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("act", [None, "silu"])
@pytest.mark.parametrize("shape", [(7, 3), (129, 4), (200, 7)], ids=str)
def test_cuts_and_threads_do_not_change_a_bit(isa, shape, act, cut):
    channels, taps = shape
    x, weight = torch.randn(ROWS, 2 * channels)[:, channels:], torch.randn(channels, taps)
    weight, bias = weight.bfloat16(), torch.randn(channels).bfloat16()
    plain, tails = run(x, weight, bias, CUTS["whole"])
    want = plain if act is None else activate(plain, act)
    for threads in (1, 3):
        with kernels.use(isa, threads=threads):
            again = run(x, weight, bias, CUTS[cut], act)
        assert torch.equal(want, again[0])
        assert torch.equal(tails, again[1])


def test_a_large_call_is_shared_by_threads(isa):
    x, weight = torch.randn(ROWS, 2000), torch.randn(2000, 4)
    found = []
    for threads in (1, 4):
        with kernels.use(isa, threads=threads):
            found.append(run(x, weight, None, CUTS["whole"]))
    assert all(map(torch.equal, *found))
