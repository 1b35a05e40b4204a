"""Floats to ggml blocks: Q4_0 to Q8_0 as ggml does, bit for bit; K-quants by a search for the least squared error."""

import torch
from torch import Tensor

from mistralrs.api.errors import NotSupportedError
from mistralrs.kernels import native
from mistralrs.quant.affine import Affine
from mistralrs.quant.ggml_kind import Kind
from mistralrs.quant.weight import Weight


def quantize(kind: Kind, x: Tensor) -> Tensor:
    """Floats [..., N, K] -> blocks uint8 [..., N, bytes]; the block divides K. A nan spoils its block."""
    ops = native.compiled
    if ops is None:
        raise NotSupportedError(
            "quantizing needs the compiled kernels, which this installation lacks: install a wheel, "
            "or a C++ compiler and `pip install .`"
        )
    x = x.cpu()
    x = (x if x.dtype in native.TYPES else x.float()).contiguous()
    raw = torch.empty(*x.shape[:-1], kind.row_bytes(x.shape[-1]), dtype=torch.uint8)
    ops.quantize(kind.code, native.TYPES[x.dtype], x.data_ptr(), raw.data_ptr(), x.numel())
    return raw


def packed(kind: Kind, x: Tensor) -> Weight:
    """Floats [N, K] or [E, N, K] as a weight of that type."""
    return Affine.pack(kind, quantize(kind, x))
