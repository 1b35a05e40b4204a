"""Matmul against float64 within its rounding bound, and the same bits for any batch."""

import pytest
import torch

from mistralrs import kernels
from mistralrs.kernels.linear import linear

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [  # rows, columns, inner: every tile and block edge of cpu/linear.h
    (1, 1, 1), (1, 5, 7), (2, 64, 96), (3, 13, 100), (4, 31, 64), (5, 24, 33), (7, 50, 128),
    (8, 3, 515), (9, 25, 40), (12, 49, 513), (31, 7, 1024), (33, 48, 512), (64, 96, 1030),
    (70, 23, 9), (0, 4, 8),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linear(isa, shape, dtype):
    rows, cols, inner = shape
    x, w, bias = (
        torch.randn(rows, inner),
        torch.randn(cols, inner).to(dtype),
        torch.randn(cols).to(dtype),
    )
    want = x.double() @ w.double().T + bias.double()
    # A sum is off by at most as many roundings of the sum of absolute values as its longest chain has
    # (Higham 2002): at least four lanes add inner / 4 products, twice rounded without FMA, then a tree.
    bound = (x.abs().double() @ w.abs().double().T + bias.abs().double()) * (inner / 2 + 6) * 2**-24
    error = (linear(x, w, bias).double() - want).abs()
    assert (error <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(70, 50, 1030), (70, 25, 33), (40, 7, 512)], ids=str)
def test_rows_do_not_depend_on_the_batch(isa, shape, dtype):
    rows, cols, inner = shape
    x, w, bias = torch.randn(rows, inner), torch.randn(cols, inner).to(dtype), torch.randn(cols)
    whole = linear(x, w, bias)
    for sizes in ([1] * rows, [2, 3, 4, 5, 6, 7, 8, 5] + [rows - 40] * (rows > 40), [9, rows - 9]):
        assert torch.equal(whole, torch.cat([linear(part, w, bias) for part in x.split(sizes)])), (
            sizes
        )
    for threads in (1, 3, 8):
        with kernels.use(isa, threads=threads):
            assert torch.equal(whole, linear(x, w, bias)), threads


def test_columns_do_not_depend_on_their_neighbours(isa):
    x, w = torch.randn(20, 100), torch.randn(50, 100).bfloat16()
    whole = linear(x, w)
    assert torch.equal(whole, torch.cat([linear(x, part) for part in w.split([1, 30, 19])], dim=1))


def test_rows_with_strides_and_weights_at_odd_addresses(isa):
    x = torch.randn(3, 200)[:, 3:103]
    w = torch.randn(5 * 100 + 1).half()[1:].view(5, 100)
    torch.testing.assert_close(linear(x, w), x @ w.float().T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [range(0x10000)])
def test_every_half_precision_number_is_widened_exactly(isa, bits):
    codes = torch.tensor(list(bits), dtype=torch.int32).to(torch.int16).view(-1, 1)
    for dtype in (torch.float16, torch.bfloat16):
        w = codes.view(dtype)
        torch.testing.assert_close(
            linear(torch.ones(1, 1), w)[0], w[:, 0].float(), rtol=0, atol=0, equal_nan=True
        )
