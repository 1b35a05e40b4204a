"""Matrix times vectors with float weights as they lie in a checkpoint."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mistralrs.kernels import native


def linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [T, K], w [N, K], bias [N] -> x w^T + bias [T, N] in x's dtype, whatever the dtype of w."""
    return native.first(LINEAR, x, w, bias)


def linear_reference(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    """In torch, in x's dtype."""
    return F.linear(x, w.to(x.dtype), None if bias is None else bias.to(x.dtype))


def linear_cpu(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor | None:
    """Compiled: reads half-precision weights in place, widens them on the fly, sums in float32."""
    if not native.ready(x) or w.dtype not in native.TYPES or not w.is_contiguous():
        return None
    if bias is not None and bias.dtype not in native.TYPES:
        return None
    x = x.contiguous()
    rows, inner = x.shape
    y = torch.empty(rows, w.shape[0])
    native.ops.linear(
        x.data_ptr(), w.data_ptr(), native.address(bias), y.data_ptr(), native.TYPES[w.dtype],
        0 if bias is None else native.TYPES[bias.dtype], rows, w.shape[0], inner,
    )  # fmt: skip
    return y


LINEAR = (linear_cpu, linear_reference)
