"""Matrix times vectors with packed integer weights: w = scale * (code - zero) - min for each group of inputs.

The packed form (cpu/layout.h) exists for the ggml types of FORMATS. Activations become signed bytes with one scale for
32 inputs, so a product differs from that of the dequantized matrix by the rounding of the activations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mistralrs.kernels import memory, native

FORMATS = {  # number of the ggml type: inputs in a block
    2: 32, 3: 32, 6: 32, 7: 32, 8: 32, 10: 256, 11: 256, 12: 256, 13: 256, 14: 256,
}  # fmt: skip


@dataclass(frozen=True)
class Tiles:
    """A matrix [N, K] or a stack [E, N, K] of one ggml type, packed for the compiled kernels."""

    format: int
    data: Tensor  # uint8 [E, bytes of a matrix]
    shape: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        """N and K."""
        return self.shape[-2], self.shape[-1]


@dataclass(frozen=True)
class Rows:
    """Activations [T, K] as bytes with their scales; made once and used by several products."""

    data: Tensor  # uint8 [T, bytes]
    version: int  # of the tensor they were made from


def packs(format: int) -> bool:
    """Whether the compiled kernels of this build take the ggml type."""
    return native.compiled is not None and format in FORMATS


def pack(format: int, raw: Tensor) -> Tiles:
    """Blocks uint8 [N, bytes] or [E, N, bytes] as they lie in a file; the result holds the same information."""
    ops = native.compiled
    assert ops is not None
    assert raw.dtype is torch.uint8
    raw = raw.contiguous()
    count, (rows, size) = raw[..., 0, 0].numel(), raw.shape[-2:]
    inner = size // ops.block_bytes(format) * FORMATS[format]
    data = memory.empty(count, ops.packed_bytes(format, rows, inner))
    for matrix, out in zip(raw.view(count, rows, size), data, strict=True):
        ops.pack(format, matrix.data_ptr(), out.data_ptr(), rows, inner)
    return Tiles(format, data, (*raw.shape[:-1], inner))


def unpack(w: Tiles) -> Tensor:
    """The blocks that `pack` was given, byte for byte."""
    ops = native.compiled
    assert ops is not None
    rows, inner = w.size
    size = inner // FORMATS[w.format] * ops.block_bytes(w.format)
    raw = torch.empty(len(w.data), rows, size, dtype=torch.uint8)
    for matrix, out in zip(w.data, raw, strict=True):
        ops.unpack(w.format, matrix.data_ptr(), out.data_ptr(), rows, inner)
    return raw.view(*w.shape[:-1], size)


def dequantize(w: Tiles, index: int = 0, ids: Tensor | None = None) -> Tensor:
    """Matrix `index` as float32 [N, K], or only its rows `ids` [T]; bit for bit what ggml computes."""
    rows, inner = w.size
    if ids is not None:
        ids = ids.long().contiguous()
        assert ids.numel() == 0 or (int(ids.min()) >= 0 and int(ids.max()) < rows)
    out = torch.empty(rows if ids is None else len(ids), inner)
    assert native.compiled is not None
    native.compiled.dequantize(
        w.format, w.data[index].data_ptr(), native.address(ids), out.data_ptr(), len(out), inner
    )
    return out


def affine(x: Tensor, w: Tiles, bias: Tensor | None = None, index: int = 0) -> Tensor:
    """x [T, K], bias [N] -> x w^T + bias [T, N] in x's dtype, with matrix `index` of a stack."""
    return native.first(AFFINE, x, w, bias, index)


def affine_reference(x: Tensor, w: Tiles, bias: Tensor | None, index: int) -> Tensor:
    """In torch, from the dequantized matrix; activations stay floats."""
    matrix = dequantize(w, index).to(x.dtype)
    return F.linear(x, matrix, None if bias is None else bias.to(x.dtype))


def affine_cpu(x: Tensor, w: Tiles, bias: Tensor | None, index: int) -> Tensor | None:
    """Compiled."""
    if not native.ready(x):
        return None
    bias = None if bias is None else bias.float().contiguous()
    (cols, inner), y = w.size, torch.empty(len(x), w.shape[-2])
    native.ops.affine(
        w.format, quantize(x).data.data_ptr(), w.data[index].data_ptr(), native.address(bias),
        y.data_ptr(), len(x), cols, inner, 0, 0, 1,
    )  # fmt: skip
    return y


def gather(x: Tensor, w: Tiles, ids: Tensor) -> Tensor:
    """x [M, K] -> [M, N] in x's dtype: row m times matrix `ids[m]` of a stack."""
    return native.first(GATHER, x, w, ids)


def gather_reference(x: Tensor, w: Tiles, ids: Tensor) -> Tensor:
    """In torch, a matrix at a time."""
    out = x.new_empty(len(x), w.shape[-2])
    for index in ids.unique().tolist():
        rows = (ids == index).nonzero()[:, 0]
        out[rows] = affine_reference(x[rows], w, None, index)
    return out


def gather_cpu(x: Tensor, w: Tiles, ids: Tensor) -> Tensor | None:
    """Compiled: the rows of a matrix together, so that each matrix is read once."""
    if not native.ready(x):
        return None
    (cols, inner), count = w.size, len(w.data)
    order = ids.argsort(stable=True).int()
    starts = torch.zeros(count + 1, dtype=torch.int64)
    starts[1:] = ids.bincount(minlength=count).cumsum(0)
    assert len(starts) == count + 1, "an id beyond the stack"
    y = torch.empty(len(x), cols)
    native.ops.affine(
        w.format, quantize(x).data.data_ptr(), w.data.data_ptr(), 0, y.data_ptr(), len(x), cols,
        inner, order.data_ptr(), starts.data_ptr(), count,
    )  # fmt: skip
    return y


def quantize(x: Tensor) -> Rows:
    """x float32 [T, K] as bytes. Remembered on the tensor: q, k and v share the work of one norm's output.

    Autograd's version counter tells a tensor that was written since; inference tensors have none, so an
    activation must not be written in place after a product has read it.
    """
    version = 0 if x.is_inference() else x._version
    known = getattr(x, "_rows", None)
    if known is not None and known.version == version:
        return known
    dense = x.contiguous()
    rows, inner = dense.shape
    data = torch.empty(rows, row_bytes(inner), dtype=torch.uint8)
    native.ops.rows(dense.data_ptr(), data.data_ptr(), rows, inner)
    x._rows = known = Rows(data, version)  # type: ignore[attr-defined]
    return known


def row_bytes(inner: int) -> int:
    """Bytes of a quantized row, as cpu/layout.h lays it out."""
    return inner // 32 * 52


def floats(rows: Rows) -> Tensor:
    """The numbers that quantized activations stand for: float32 [T, K]."""
    inner = rows.data.shape[1] // 52 * 32
    codes = rows.data[:, :inner].view(torch.int8).float()
    scales = rows.data[:, inner : inner + inner // 8].contiguous().view(torch.float32)
    return codes * scales.repeat_interleave(32, 1)


AFFINE = (affine_cpu, affine_reference)
GATHER = (gather_cpu, gather_reference)
