"""Rows times matrices of a stack: bit for bit what `linear` gives, which tests/kernels/test_linear.py bounds."""

import pytest
import torch

from mistralrs import kernels
from mistralrs.kernels.gather import gather, gather_cpu, gather_reference
from mistralrs.kernels.linear import linear

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [  # rows, matrices, columns, inner: none, few, more rows than the thin tiles take
    (0, 4, 3, 8), (1, 1, 1, 1), (1, 8, 50, 33), (8, 8, 49, 100), (40, 2, 25, 515), (90, 3, 70, 64),
    (300, 5, 100, 520),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gather(isa, shape, dtype):
    rows, count, cols, inner = shape
    x, w = torch.randn(rows, inner), torch.randn(count, cols, inner).to(dtype)
    ids = torch.randint(count, (rows,))
    whole = gather(x, w, ids)
    alone = [linear(x[m : m + 1], w[i]) for m, i in enumerate(ids.tolist())]
    assert torch.equal(whole, torch.cat([x.new_empty(0, cols), *alone]))
    torch.testing.assert_close(whole, gather_reference(x, w, ids), rtol=1e-3, atol=1e-3)
    for threads in (1, 3, 8):
        with kernels.use(isa, threads=threads):
            assert torch.equal(whole, gather(x, w, ids)), threads


def test_all_rows_to_one_matrix_and_strided_inputs(isa):
    x, w = torch.randn(20, 64)[:, 1:41], torch.randn(3, 30, 40)
    ids = torch.full((20, 2), 2)[:, 0]
    assert torch.equal(gather(x, w, ids), linear(x, w[2]))


def test_half_of_a_fused_stack_is_read_in_place(isa):
    x, fused, ids = torch.randn(9, 40), torch.randn(3, 60, 40).half(), torch.arange(9) % 3
    for half in fused.split([20, 40], dim=1):
        assert gather_cpu(x, half, ids) is not None
        assert torch.equal(gather(x, half, ids), gather(x, half.contiguous(), ids))


@pytest.mark.parametrize("wrong", [-1, 3])
def test_an_id_outside_of_the_stack(isa, wrong):
    with pytest.raises(IndexError, match="3 matrices"):
        gather(torch.randn(2, 4), torch.randn(3, 5, 4), torch.tensor([0, wrong]))
