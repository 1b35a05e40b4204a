"""Unquantized weights."""

import pytest
import torch

from mistralrs.quant.plain import Plain


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_plain(dtype):
    tensor = torch.randn(6, 10).to(dtype)
    weight, x, ids = Plain(tensor), torch.randn(3, 10), torch.tensor([5, 0, 5])
    assert (weight.shape, weight.nbytes, weight.bits) == (
        (6, 10),
        tensor.nbytes,
        8 * dtype.itemsize,
    )
    assert torch.equal(weight.dequantize(), tensor.float())
    assert torch.equal(weight.rows(ids, torch.float32), tensor[ids].float())
    torch.testing.assert_close(weight.matmul(x), x @ tensor.float().T, rtol=1e-5, atol=1e-5)
    assert weight.matmul(x.bfloat16()).dtype is torch.bfloat16
