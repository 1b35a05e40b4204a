"""Every row times a matrix of its own choice from a stack, as mixtures of experts do."""

import torch
from torch import Tensor

from mistralrs.kernels import native
from mistralrs.kernels.linear import linear_reference


def gather(x: Tensor, w: Tensor, ids: Tensor) -> Tensor:
    """x [M, K], w [E, N, K], ids int64 [M] -> [M, N] in x's dtype: row m times matrix `ids[m]`."""
    return native.first(GATHER, x, w, ids)


def gather_reference(x: Tensor, w: Tensor, ids: Tensor) -> Tensor:
    """In torch, a matrix at a time."""
    out = x.new_empty(len(x), w.shape[1])
    for index in ids.unique().tolist():
        rows = (ids == index).nonzero()[:, 0]
        out[rows] = linear_reference(x[rows], w[index], None)
    return out


def gather_cpu(x: Tensor, w: Tensor, ids: Tensor) -> Tensor | None:
    """Compiled: bit for bit the rows of `linear`; each matrix is read once, from a slice of a fused stack too."""
    if not native.ready(x) or w.dtype not in native.TYPES or w.stride()[1:] != (w.shape[2], 1):
        return None
    x, ids = x.contiguous(), ids.contiguous()
    (rows, inner), (count, cols, _) = x.shape, w.shape
    y, room = torch.empty(rows, cols), torch.empty(rows * (inner + cols))
    places = torch.empty(rows + 2 * count + 1, dtype=torch.int64)
    if not native.ops.gather(
        x.data_ptr(), w.data_ptr(), ids.data_ptr(), y.data_ptr(), room.data_ptr(),
        places.data_ptr(), native.TYPES[w.dtype], rows, count, cols, inner, w.stride(0),
    ):  # fmt: skip
        raise IndexError(f"an id outside of a stack of {count} matrices")
    return y


GATHER = (gather_cpu, gather_reference)
